"""``wattshed when``: when a job costs least carbon or money before its deadline."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from typing import Any

from wattshed_collector import place, when
from wattshed_collector.api.when import asked

from . import answers, shown

Subparsers = argparse._SubParsersAction

EXIT_WAIT, EXIT_UNKNOWN = 10, 3
EXAMPLES = """examples:
  wattshed when --site dublin --duration 4h --deadline 12h
  wattshed when --zone IE --duration 90m --deadline 2026-02-01T06:00Z --interruptible --json
  wattshed when --site dublin --duration 4h --deadline 12h --signal price && sbatch train.sh
  wattshed when --site dublin --duration 4h --deadline 12h --config collector.yaml

exit status: 0 begin now, 10 wait (the start is printed), 3 nothing is known that would tell,
2 wrong usage, 1 the collector does not answer."""


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add ``when``."""
    command = commands.add_parser(
        "when",
        help="when a job costs least before its deadline",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--duration", required=True, metavar="LENGTH", help="such as 90m or 4h")
    command.add_argument(
        "--deadline", required=True, metavar="TIME", help="an instant, or a length from now"
    )
    command.add_argument("--earliest", metavar="TIME", help="when it may begin (now)")
    where = command.add_mutually_exclusive_group(required=True)
    where.add_argument("--site", metavar="SITE", help="where it runs")
    where.add_argument("--zone", metavar="ZONE", help="zone of the grid, such as IE")
    command.add_argument(
        "--signal", choices=tuple(when.SIGNALS), default="carbon", help="(default: %(default)s)"
    )
    command.add_argument("--interruptible", action="store_true", help="the job may be paused")
    answers.add_place(command)
    command.add_argument(
        "--config",
        metavar="FILE",
        help="the collector's settings file: where its data is, and how old a forecast may be",
    )
    command.set_defaults(data_default=command.get_default("data"))
    command.add_argument("--json", action="store_true", help="print the answer as JSON")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the plan; 0: begin now, 10: wait, 3: nothing is known."""
    document = _ask(arguments)
    plan = document["plan"]
    if arguments.json:
        print(json.dumps(document, indent=2, allow_nan=False))
    elif plan is None:
        shown.say(f"cannot tell: {document['reason']}")
    else:
        _print(document, plan)
    if plan is None:
        return EXIT_UNKNOWN
    return 0 if document["run_now"] else EXIT_WAIT


def _ask(arguments: argparse.Namespace) -> dict[str, Any]:
    names = ("duration", "deadline", "earliest", "site", "zone", "signal")
    query = {n: said for n in names if (said := getattr(arguments, n)) is not None}
    query["interruptible"] = "1" if arguments.interruptible else "0"
    if arguments.config and arguments.data == arguments.data_default:
        arguments.data = place.configured(
            argparse.Namespace(config=arguments.config, data=None)
        ).data
    if remote := answers.connect(arguments):
        answer: dict[str, Any] = remote.get("/v1/when", **query)
        return answer
    now = int(time.time())
    oldest_s = int(place.configured(arguments).grid.forecast_max_age_seconds)
    question = asked(query, now, oldest_s)
    with answers.existing(arguments.data) as (_, client):
        return when.answer(client, question, now)


def _print(document: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
    unit = document["unit"]
    for piece in plan["pieces"]:
        print(f"{_clock(piece['start'])} to {_clock(piece['end'])}")
    saved = "" if plan["saved_ratio"] is None else f", {plan['saved_ratio']:.1%} less than at once"
    shown.say(f"{document['signal']}: {plan['mean']:.4g} {unit} on average{saved}")
    print(f"rests on: {', '.join(name.replace('_', ' ') for name in plan['rests_on'])}")
    if forecast := document["forecast"]:
        hours = forecast["age_seconds"] / 3600
        too_old = "" if forecast["is_used"] else ", too old to be used"
        said = f"{_clock(forecast['said'])}, {hours:.1f} h ago"
        shown.say(f"forecast: said by {forecast['source']} at {said}{too_old}")


def _clock(at_s: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at_s))
