"""``wattshed energy-per-outcome``: joules per token, step, request, ..., grouped as asked."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from wattshed_collector.errors import InvalidInput

from . import answers

Subparsers = argparse._SubParsersAction

EXAMPLES = """examples:
  wattshed energy-per-outcome --outcome token_out --by ai_model --since 7d
  wattshed energy-per-outcome --by team,hardware --where site=dub --json
  wattshed energy-per-outcome --outcome step --step 1h --csv > steps.csv

Active are the joules while the devices worked, loaded are all that the workload is charged with.
What was drawn before the first outcome of a run stands apart. Each kind of outcome has its own
rows, and the joules of a workload stand in all of them: choose one kind, or add counts alone."""


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add the command."""
    command = commands.add_parser(
        "energy-per-outcome",
        help="joules per token, step, request, ...: active and fully loaded",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    answers.add_arguments(command)
    command.add_argument(
        "--by",
        default="workload",
        metavar="COLUMNS",
        help="what to group by, with commas between: team, ai_model, precision, batch_class, "
        "phase, hardware, site, ... (default: %(default)s)",
    )
    command.add_argument("--outcome", default="", metavar="KINDS", help="such as token_out,step")
    command.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE", help="only those"
    )
    command.add_argument(
        "--step", choices=("1m", "1h", "1d"), default="", help="a row for each step of time"
    )
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the rows as JSON")
    form.add_argument("--csv", action="store_true", help="print the rows as CSV with a header")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print every row."""
    from wattshed_collector.api import outcome_pages

    page = _page(arguments)
    if arguments.json:
        print(json.dumps({name: page[name] for name in ("by", "window", "rows")}, indent=2))
    elif arguments.csv:
        sys.stdout.write(outcome_pages.as_csv(page))
    else:
        _print(page)


def _page(arguments: argparse.Namespace) -> Any:
    """Return one page of all rows, from a running collector or from the store."""
    from wattshed_collector.api import outcome_pages

    query = _query(arguments)
    outcome_pages.parse(list(query.items()), time.time())
    if remote := answers.connect(arguments):
        return _gathered(remote, query)
    with answers.existing(arguments.data) as (store, client):
        if not store.is_server:
            with answers.computing(store, client) as ledger:
                ledger.run()
        page: Any = None
        while page is None or page["next"]:
            said = {**query, **({"after": page["next"]} if page else {})}
            found = outcome_pages.parse(list(said.items()), time.time())
            page = _joined(page, outcome_pages.answer(client, found))
        return page


def _gathered(remote: answers.Remote, query: dict[str, str]) -> Any:
    page = remote.get("/v1/outcomes", **query)
    while page["next"]:
        page = _joined(page, remote.get("/v1/outcomes", **query, after=page["next"]))
    return page


def _joined(before: Any, page: Any) -> Any:
    return page if before is None else {**page, "rows": before["rows"] + page["rows"]}


def _query(arguments: argparse.Namespace) -> dict[str, str]:
    said = {name: getattr(arguments, name) for name in ("by", "since", "until", "outcome", "step")}
    for pair in arguments.where:
        column, equals, value = pair.partition("=")
        if not equals or not column:
            raise InvalidInput(f"--where {pair!r}: write COLUMN=VALUE, such as team=nlp", "where")
        said[column] = value
    return {"limit": "10000", **{name: value for name, value in said.items() if value}}


def _print(page: Any) -> None:
    from rich.console import Console

    from wattshed_collector.present.per_outcome import print_page

    console = Console(highlight=False)
    print_page(page, console)
