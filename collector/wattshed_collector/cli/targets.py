"""``wattshed targets``: what the collector scrapes, and how each target is."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from . import answers, shown

Subparsers = argparse._SubParsersAction


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add the command."""
    command = commands.add_parser(
        "targets",
        help="what the collector scrapes, and how each target is",
        epilog="example: wattshed targets --health down\n\n"
        "exit status: 0 none of them is down, 1 one is, or no collector answers, 2 wrong usage",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    answers.add_place(command)
    command.add_argument("--job", default="", metavar="NAME", help="only those of this job")
    command.add_argument("--health", choices=("up", "down", "unknown"), default="")
    command.add_argument("--json", action="store_true", help="print them as JSON")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the targets; 1 where one that is shown is down."""
    asked = {"job": arguments.job, "health": arguments.health}
    said = answers.running(arguments).get("/v1/targets", **asked)
    if arguments.json:
        print(json.dumps(said, indent=2, allow_nan=False))
    elif said["targets"] or said["dropped"]:
        _show(said)
    elif arguments.job or arguments.health:
        print("no target is like that")
    else:
        print(
            "nothing is scraped: the collector's scrape.targets or scrape.jobs say what should be"
        )
    return int(any(record["health"] == "down" for record in said["targets"]))


def _show(said: dict[str, Any]) -> None:
    now = time.time()
    titles = ("job", "target", "health", "last scrape", "took", "samples", "last error")
    shown.table(titles, (_cells(record, now) for record in said["targets"]))
    for job, count in said["dropped"].items():
        shown.say(f"{count} found for {job} are dropped by its rules")


def _cells(record: dict[str, Any], now: float) -> tuple[str, ...]:
    scraped, took, samples = (
        record[key] for key in ("last_scrape", "last_scrape_seconds", "last_samples")
    )
    return (
        record["job"],
        record["url"],
        record["health"],
        "never" if scraped is None else f"{max(0.0, now - scraped):.0f} s ago",
        "" if took is None else f"{took * 1000:.0f} ms",
        "" if samples is None else str(samples),
        record["last_error"],
    )
