"""``wattshed decide`` for schedulers' scripts, and ``wattshed shifted``: what waiting has saved."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from wattshed_collector import decide
from wattshed_collector.api.window import window
from wattshed_collector.errors import InvalidInput
from wattshed_collector.grid.policies import Action
from wattshed_collector.store.decisions import MOST_JOBS

from . import answers, shown

Subparsers = argparse._SubParsersAction

EXITS = {Action.RUN: 0, Action.HOLD: 10, Action.CAP: 11}
DECIDE_EXAMPLES = """examples:
  wattshed decide --job slurm/alpha/4711 --site dublin --duration 4h --deadline 24h \\
      --attribute team=research --attribute workload=train-7b
  wattshed decide ... --dry-run --json

exit status: 0 run, 10 hold (ask again at the time that is printed), 11 run with less power, 2 wrong
usage, 1 the collector does not answer: then run."""
SHIFTED_EXAMPLES = """examples:
  wattshed shifted --since 30d
  wattshed shifted --since 7d --json | jq .saved_by_unit"""


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add ``decide`` and ``shifted``."""
    raw = argparse.RawDescriptionHelpFormatter
    command = commands.add_parser(
        "decide",
        help="run, hold or cap: what a job that can wait should do now",
        epilog=DECIDE_EXAMPLES,
        formatter_class=raw,
    )
    command.add_argument("--job", required=True, metavar="KEY", help="key of its workload")
    command.add_argument("--duration", required=True, metavar="LENGTH", help="such as 90m or 4h")
    command.add_argument(
        "--deadline", required=True, metavar="TIME", help="an instant, or a length from now"
    )
    place = command.add_mutually_exclusive_group(required=True)
    place.add_argument("--site", metavar="SITE", help="where it runs")
    place.add_argument("--zone", metavar="ZONE", help="zone of the grid, such as IE")
    command.add_argument(
        "--attribute", action="append", default=[], metavar="NAME=TEXT", help="matched by policies"
    )
    command.add_argument("--interruptible", action="store_true", help="the job may be paused")
    command.add_argument("--dry-run", action="store_true", help="keep no record of it")
    _place(command)
    command.set_defaults(run=run_decide)
    report = commands.add_parser(
        "shifted",
        help="what jobs that were held saved against running at once",
        epilog=SHIFTED_EXAMPLES,
        formatter_class=raw,
    )
    report.add_argument("--since", default="30d", metavar="TIME", help="(default: %(default)s)")
    report.add_argument("--until", default="", metavar="TIME", help="end of the window (now)")
    _place(report)
    report.set_defaults(run=run_shifted)


def _place(command: argparse.ArgumentParser) -> None:
    answers.add_place(command)
    command.add_argument("--json", action="store_true", help="print the answer as JSON")


def run_decide(arguments: argparse.Namespace) -> int:
    """Ask, and print what the job should do; the exit status says it too."""
    names = ("job", "duration", "deadline", "site", "zone")
    document: dict[str, Any] = {n: v for n in names if (v := getattr(arguments, n)) is not None}
    document["attributes"] = dict(map(_attribute, arguments.attribute))
    document["interruptible"] = "1" if arguments.interruptible else "0"
    document["keep"] = not arguments.dry_run
    answer = answers.running(arguments).post("/v1/decide", document)
    if arguments.json:
        print(json.dumps(answer, indent=2, allow_nan=False))
    else:
        print(answer["action"] + _until(answer))
        for reason in answer["reasons"]:
            shown.say(f"  {reason}")
    return EXITS[Action(answer["action"])]


def _attribute(said: str) -> tuple[str, str]:
    name, equals, value = said.partition("=")
    if not equals or not name:
        raise InvalidInput(f"--attribute {said!r}: write NAME=TEXT", "attribute")
    return name, value


def _until(answer: dict[str, Any]) -> str:
    if answer["cap_ratio"] is not None:
        return f" at {answer['cap_ratio']:.0%} of the power limit"
    if answer["until"] is None:
        return ""
    return time.strftime(", ask again at %Y-%m-%d %H:%M UTC", time.gmtime(answer["until"]))


def run_shifted(arguments: argparse.Namespace) -> None:
    """Print what each job saved, and the sums."""
    if remote := answers.connect(arguments):
        document = remote.get("/v1/shifted", since=arguments.since, until=arguments.until)
    else:
        asked = window(arguments.since, arguments.until, time.time())
        with answers.existing(arguments.data) as (_, client):
            document = decide.saved(client, *asked)
    if arguments.json:
        print(json.dumps(document, indent=2, allow_nan=False))
        return
    if not document["jobs"]:
        print("no job was held")
    if len(document["jobs"]) == MOST_JOBS:
        print(f"of the newest {MOST_JOBS} jobs alone: ask for a shorter time for those before")
    for job in document["jobs"]:
        hours = job["shift_seconds"] / 3600
        told = job["reason"] if job["saved"] is None else f"{job['saved']:.4g} {job['unit']}"
        shown.say(f"{job['job']}: {hours:.1f} h later, {told}")
    for unit, saved in document["saved_by_unit"].items():
        shown.say(f"saved in all: {saved:.4g} {unit}")
    if document["saved_by_unit"]:
        print(f"assuming that {document['assumes']}")
