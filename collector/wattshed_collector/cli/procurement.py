"""``wattshed scorecard`` and ``wattshed replace``: how hardware did, when a new one has paid."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from wattshed_collector import procurement
from wattshed_collector.api.procurement import DEFAULT_SINCE, NUMBERS, asked
from wattshed_collector.api.window import window

from . import answers, shown

Subparsers = argparse._SubParsersAction

EXIT_NEVER = 10
SCORECARD_EXAMPLES = """examples:
  wattshed scorecard
  wattshed scorecard --since 90d --site dublin --json
  wattshed import mlperf results/h200x8/llama2-70b/Server    results of others, shown beside"""
REPLACE_EXAMPLES = """examples:
  wattshed replace --model "NVIDIA A100-SXM4-80GB" --with "NVIDIA H100 80GB HBM3" --site dublin
  wattshed replace --model "NVIDIA L40S" --with "NVIDIA H200" --ratio 0.4 --old-per-new 3 \\
      --purchase-price 30000 --embodied-kg 250 --remaining-years 2

What is not said is looked up: the ratio of joules per outcome on both, what was told of devices,
the price and the intensity of the window. exit status: 0 carbon is even within the remaining life,
10 never or not known, 2 too little is known, 1 the collector does not answer."""
MEANINGS = {
    "ratio": "joules for the same work, new over old",
    "old_per_new": "how many old ones one new one replaces (1)",
    "remaining_years": "for how long the old ones would be kept",
    "embodied_kg": "to make one new one",
    "purchase_price": "of one new one",
    "price_per_kwh": "of power",
    "g_per_kwh": "of the grid",
    "carbon_change": "of the grid a year, such as -0.05",
    "price_change": "of power a year",
}


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add ``scorecard`` and ``replace``."""
    card = _command(commands, "scorecard", "how models of hardware did", SCORECARD_EXAMPLES)
    card.set_defaults(run=run_scorecard)
    replace = _command(
        commands, "replace", "when a new device has paid for itself", REPLACE_EXAMPLES
    )
    replace.add_argument("--model", required=True, metavar="MODEL", help="the old one's name")
    replace.add_argument("--with", required=True, metavar="MODEL", help="the new one's name")
    replace.add_argument("--outcome", default="token_out", help="(default: %(default)s)")
    replace.add_argument("--ai-model", default="", metavar="MODEL", help="of what both serve")
    for name in NUMBERS:
        option = f"--{name.replace('_', '-')}"
        replace.add_argument(option, type=float, metavar="NUMBER", help=MEANINGS[name])
    replace.set_defaults(run=run_replace)


def _command(
    commands: Subparsers[argparse.ArgumentParser], name: str, help: str, epilog: str
) -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    command = commands.add_parser(name, help=help, epilog=epilog, formatter_class=raw)
    answers.add_arguments(command)
    command.set_defaults(since=DEFAULT_SINCE)
    command.add_argument("--site", default="", metavar="SITE", help="only there")
    command.add_argument("--json", action="store_true", help="print the answer as JSON")
    return command


def run_scorecard(arguments: argparse.Namespace) -> None:
    """Print the cards of the own fleet, and imported results beside them."""
    if remote := answers.connect(arguments):
        asked_for = {name: getattr(arguments, name) for name in ("since", "until", "site")}
        document = remote.get("/v1/scorecard", **asked_for)
    else:
        span = window(arguments.since, arguments.until, time.time())
        with answers.existing(arguments.data) as (_, client):
            document = procurement.scorecard(client, *span, arguments.site)
    if arguments.json:
        print(json.dumps(document, indent=2, allow_nan=False))
        return
    for card in document["own"]:
        _print_card(card)
    for supply in document["supplies"]:
        shown.say(
            f"{supply['device']}: {supply['inner_ratio']:.1%} or more of what the outer meter gave"
        )
    if document["mlperf"]:
        shown.say(
            f"imported MLPerf results, not comparable as they stand: {document['mlperf_note']}"
        )
    for row in document["mlperf"]:
        shown.say(f"  {row['result']}  {_made(row)}")
    if not document["own"] and not document["mlperf"]:
        shown.say("nothing was measured then, and no result was imported")


def run_replace(arguments: argparse.Namespace) -> int:
    """Print after how many years both are even."""
    names = ("model", "with", "outcome", "ai_model", "since", "until", "site", *NUMBERS)
    said = {name: getattr(arguments, name) for name in names}
    query = {name: str(value) for name, value in said.items() if value not in (None, "")}
    if remote := answers.connect(arguments):
        document = remote.get("/v1/replace", **query)
    else:
        question = asked(query, time.time())
        with answers.existing(arguments.data) as (_, client):
            document = procurement.replace(client, question)
    if arguments.json:
        print(json.dumps(document, indent=2, allow_nan=False))
    else:
        _print_change(document)
    return EXIT_NEVER if document["carbon"]["years"] is None else 0


def _print_card(card: dict[str, Any]) -> None:
    idle, throttled = card["watts_while_idle"], card["throttled_ratio"]
    shown.say(
        f"{card['model']}: {card['devices']} devices, {card['device_hours']:.0f} device hours"
    )
    if idle is not None:
        shown.say(f"  idle         {idle:.1f} W while charged as idle")
    if card["failures_per_1000_hours"] is None:
        shown.say("  failures     nobody counts them")
    else:
        shown.say(f"  failures     {card['failures']:.0f}, in 1000 hours "
              f"{card['failures_per_1000_hours']:.3g} ({card['failures_low']:.3g} to "
              f"{card['failures_high']:.3g})")  # fmt: skip
    if card["program_errors"]:
        shown.say(f"  programs     {card['program_errors']:.0f} errors that are mostly theirs")
    if throttled is not None:
        shown.say(f"  held down    {throttled:.1%} of the time")
    for row in card["outcomes"]:
        shown.say(f"  {_made(row)}")


def _made(row: dict[str, Any]) -> str:
    what = f"{row['outcome']} of {row['ai_model'] or 'no named model'}"
    return f"{row['outcomes_per_joule']:.4g} {what} per joule"


def _print_change(document: dict[str, Any]) -> None:
    facility = "of the facility" if document["are_facility_watts"] else "of devices, no PUE known"
    shown.say(f"{document['old_watts']:.1f} W {facility} now")
    shown.say(f"{document['new_watts']:.1f} W for the same work on {document['with']}")
    for name, unit, scale in (("carbon", "kg", 1000.0), ("money", document["currency"], 1.0)):
        even = document[name]
        if even["years"] is None:
            shown.say(f"{name}: {even['reason']}")
        else:
            shown.say(f"{name}: even after {even['years']:.2f} years; by the end of "
                  f"{document['remaining_years']:.1f} years {even['left'] / scale:.1f} {unit} are "
                  f"saved")  # fmt: skip
    for name, source in document["sources"].items():
        if source:
            shown.say(f"  {name:16} {document[name]:.4g}: {source}")
