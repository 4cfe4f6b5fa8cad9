"""``wattshed report --team``: what a team, or each, drew, paid and emitted in a month or week."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from wattshed_collector import period, showback
from wattshed_collector.errors import InvalidInput

from . import answers


def add_arguments(report: argparse.ArgumentParser) -> None:
    """Add what a showback is asked with."""
    group = report.add_argument_group("showback", "of a month or week, in place of --since")
    who = group.add_mutually_exclusive_group()
    who.add_argument("--team", metavar="TEAM", help='one team; "" is what nobody said for whom')
    who.add_argument("--all-teams", action="store_true", help="each team (the default)")
    when = group.add_mutually_exclusive_group()
    when.add_argument(
        "--month", default="", metavar="MONTH", help="such as 2026-10, of UTC (default: the last)"
    )
    when.add_argument("--week", default="", metavar="WEEK", help="such as 2026-W44, from Monday on")
    group.add_argument("--csv", type=Path, metavar="FILE", help="write a row per team, day, class")
    report.set_defaults(since_default=report.get_default("since"))


def is_asked(arguments: argparse.Namespace) -> bool:
    """Return whether the command line names a team, a period or what only a showback has."""
    asked = arguments.all_teams or arguments.month or arguments.week or arguments.csv
    return arguments.team is not None or bool(asked)


def run(arguments: argparse.Namespace) -> None:
    """Print or write it."""
    if arguments.since != arguments.since_default or arguments.until:
        raise InvalidInput("a showback is of a --month or a --week, without --since", "window")
    document = _asked(arguments)
    if arguments.html:
        from wattshed_collector.present import showback_page

        _write(arguments.html, showback_page.render(document))
    if arguments.csv:
        from wattshed_collector.present.showback import as_csv

        _write(arguments.csv, as_csv(document))
    if arguments.json:
        print(json.dumps(document, indent=2, allow_nan=False))
    if not (arguments.html or arguments.csv or arguments.json):
        from rich.console import Console

        from wattshed_collector.present.showback import print_showback

        print_showback(document, Console())


def _asked(arguments: argparse.Namespace) -> dict[str, Any]:
    now = int(time.time())
    span = period.asked(arguments.month, arguments.week, now)
    if remote := answers.connect(arguments):
        query = {span.kind: span.name}
        if arguments.team is not None:
            query["team"] = arguments.team
        found: dict[str, Any] = remote.get("/v1/showback", **query)
        return found
    with answers.existing(arguments.data) as (_, client):
        return showback.build(client, span, arguments.team, now)


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8", newline="")
    print(f"wrote {file}", file=sys.stderr)
