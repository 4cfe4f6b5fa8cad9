"""``wattshed report`` and ``wattshed energy``: what the store knows, for people and programs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from . import answers, showback

Subparsers = argparse._SubParsersAction

REPORT_EXAMPLES = """examples:
  wattshed report --since 7d --html week.html
  wattshed report --team research --month 2026-10 --html research.html
  wattshed report --all-teams --week 2026-W44 --csv week.csv"""


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add both commands."""
    report = commands.add_parser(
        "report",
        help="where the joules went: tables, JSON or one HTML page",
        epilog=REPORT_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    answers.add_arguments(report)
    report.add_argument("--html", type=Path, metavar="FILE", help="write a self-contained page")
    report.add_argument("--json", action="store_true", help="print the whole report as JSON")
    showback.add_arguments(report)
    report.set_defaults(run=run_report)

    from wattshed_collector.store.queries import GROUPS

    energy = commands.add_parser(
        "energy",
        help="joules per workload, team, node, ..., with their cost where a price is known",
        epilog="example: wattshed energy --by team --since 24h --json",
    )
    answers.add_arguments(energy)
    energy.add_argument(
        "--by",
        choices=sorted(GROUPS),
        default="workload",
        help="what to group by (default: %(default)s): %(choices)s",
        metavar="WHAT",
    )
    energy.add_argument(
        "--carbon", action="store_true", help="also what they emitted (location-based), and by whom"
    )
    energy.add_argument("--json", action="store_true", help="print the rows as JSON")
    energy.set_defaults(run=run_energy)


def run_report(arguments: argparse.Namespace) -> None:
    """Print or write the report, or a showback where a team or a period is named."""
    if showback.is_asked(arguments):
        showback.run(arguments)
        return
    with answers.opened(arguments) as ask:
        report = ask.report(arguments.since, arguments.until)
    if arguments.html:
        from wattshed_collector.present import page

        arguments.html.write_text(page.render(report, live=False), encoding="utf-8")
        print(f"wrote {arguments.html}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(report, indent=2, allow_nan=False))
    if not arguments.html and not arguments.json:
        from rich.console import Console

        from wattshed_collector.present.terminal import print_report

        print_report(report, Console())


def run_energy(arguments: argparse.Namespace) -> None:
    """Print joules per group."""
    with answers.opened(arguments) as ask:
        asked = arguments.by, arguments.since, arguments.until
        records = ask.energy(*asked, carbon=arguments.carbon)
    if arguments.json:
        print(json.dumps(records, indent=2, allow_nan=False))
        return
    from rich.console import Console

    from wattshed_collector.present.terminal import print_energy

    print_energy(records, arguments.by, Console())
