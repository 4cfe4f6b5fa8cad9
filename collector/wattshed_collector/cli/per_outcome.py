"""``wattshed energy-per-outcome``: what a token, a step or a request took, by whatever differs."""

from __future__ import annotations

import argparse
import json
import sys

from . import answers

EXAMPLES = """examples:
  wattshed energy-per-outcome                              each workload, last 24 hours
  wattshed energy-per-outcome --by ai_model,precision --outcome token_out --since 7d
  wattshed energy-per-outcome --by hardware --team assist --since 7d
  wattshed energy-per-outcome --by team --step 1d --since 30d --csv > month.csv
  wattshed energy-per-outcome --by workload --json

Active are the joules while the devices worked, loaded are all that the workload is charged with;
what was drawn before the first outcome of a run stands apart. The joules of a workload stand in the
rows of each kind that it produces: choose one kind, or add counts alone. A workload that produced
and has no energy, and one that has energy and never produced, stand in rows of their own: neither
is in any other row's joules per outcome.

exit status: 0 done, 1 there is nobody or nothing to ask, 2 it cannot be asked so
"""

Subparsers = argparse._SubParsersAction


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add the command; every column can be a filter."""
    from wattshed_collector.api.outcome_pages import STEPS
    from wattshed_collector.store.outcome_queries import COLUMNS

    command = commands.add_parser(
        "energy-per-outcome",
        help="joules per token, step, request, ... of workloads, models, hardware, ...",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--by",
        default="workload",
        metavar="COLUMNS",
        help=f"what to group by, with commas between (default: %(default)s): {', '.join(COLUMNS)}",
    )
    command.add_argument(
        "--outcome", metavar="KINDS", help="such as token_out,request (default: all of them)"
    )
    command.add_argument("--step", choices=tuple(STEPS), help="a series of steps in time")
    answers.add_arguments(command)
    only = command.add_argument_group("only what has this", "each column of --by")
    for column in COLUMNS:
        only.add_argument(
            f"--{column.replace('_', '-')}", dest=column, metavar="NAME", help=argparse.SUPPRESS
        )
    only.description = ", ".join(f"--{column.replace('_', '-')}" for column in COLUMNS)
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the rows as JSON")
    form.add_argument("--csv", action="store_true", help="print the rows as CSV")
    command.set_defaults(run=run, columns=COLUMNS)


def run(arguments: argparse.Namespace) -> None:
    """Print joules per outcome."""
    names = ("by", "outcome", "step", "since", "until", *arguments.columns)
    asked = {name: getattr(arguments, name) for name in names}
    query = {name: value for name, value in asked.items() if value is not None}
    with answers.opened(arguments) as ask:
        page = ask.per_outcome(query)
    if arguments.json:
        print(json.dumps(page["rows"], indent=2, allow_nan=False))
    elif arguments.csv:
        from wattshed_collector.api.outcome_pages import as_csv

        sys.stdout.write(as_csv(page))
    else:
        from rich.console import Console

        from wattshed_collector.present.per_outcome import print_page

        print_page(page, Console())
