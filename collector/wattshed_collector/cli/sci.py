"""``wattshed sci``: Software Carbon Intensity per outcome: operation, and making the hardware."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from wattshed_collector import sci
from wattshed_collector.api.sci import DEFAULT_SINCE, asked
from wattshed_collector.present import units

from . import answers, shown

Subparsers = argparse._SubParsersAction

EXIT_UNKNOWN = 3
EXAMPLES = """examples:
  wattshed sci
  wattshed sci --outcome request --by workload --since 30d
  wattshed sci --by team --json

exit status: 0 every row has a score, 3 a part of some row is missing (it says which), 2 wrong
usage, 1 the collector does not answer."""


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add ``sci``."""
    command = commands.add_parser(
        "sci",
        help="grams of CO2 per outcome, hardware included (ISO/IEC 21031)",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--outcome", default="token_out", help="(default: %(default)s)")
    command.add_argument("--by", choices=sci.BY, default="ai_model", help="(default: %(default)s)")
    answers.add_arguments(command)
    command.set_defaults(since=DEFAULT_SINCE)
    command.add_argument("--json", action="store_true", help="print the answer as JSON")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the scores."""
    document = _ask(arguments)
    rows = document["rows"]
    if arguments.json:
        print(json.dumps(document, indent=2, allow_nan=False))
    elif not rows:
        shown.say(f"no {document['outcome']} was made")
    else:
        _print(rows)
    return EXIT_UNKNOWN if any(row["g_per_outcome"] is None for row in rows) else 0


def _ask(arguments: argparse.Namespace) -> dict[str, Any]:
    query = {name: getattr(arguments, name) for name in ("outcome", "by", "since", "until")}
    if remote := answers.connect(arguments):
        told: dict[str, Any] = remote.get("/v1/sci", **query)
        return told
    now = int(time.time())
    question = asked(query, now)
    with answers.existing(arguments.data) as (_, client):
        return sci.answer(client, *question, now)


def _print(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        shown.say(f"{row['name'] or '(none)'}: {_each(row['g_per_outcome'])}")
        operational, embodied = row["operational"], row["embodied"]
        methods = ", ".join(operational["methods"])
        age = operational["age_seconds"]
        old = "" if age is None else f", said {age / 3600:.1f} h ago"
        shown.say(f"  operation  {_each(operational['g_per_outcome'])}  {operational['scope']}"
              f"{f', {methods}' if methods else ''}{old}")  # fmt: skip
        low, high = row["low_g_per_outcome"], row["high_g_per_outcome"]
        between = "" if low is None or high is None else f", in all {_each(low)} to {_each(high)}"
        shown.say(f"  hardware   {_each(embodied['g_per_outcome'])}  "
              f"{', '.join(embodied['methods'])}{between}")  # fmt: skip
        for reason in row["reasons"]:
            shown.say(f"  missing    {reason}")


def _each(grams: float | None) -> str:
    return "not known" if grams is None else units.grams(grams)
