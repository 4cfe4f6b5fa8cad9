"""``wattshed advice``: what could be done about waste, what was said of it, whether it held."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from wattshed_collector import advice_book
from wattshed_collector.advice.model import Kind, State
from wattshed_collector.api import advice as api
from wattshed_collector.api.advice import STATES
from wattshed_collector.api.pages import MOST_ROWS
from wattshed_collector.errors import InvalidInput

from . import access, answers, shown

Subparsers = argparse._SubParsersAction

LIST_EXAMPLES = """examples:
  wattshed advice list
  wattshed advice list --team assist --state open,accepted --json
  wattshed advice list --state done                what was saved, as measured since"""
SHOW_EXAMPLE = "example: wattshed advice show 3f9c21aa17d0b6e4"
SAY_EXAMPLES = """examples:
  wattshed advice accept 3f9c21aa17d0b6e4 --note "after the release"
  wattshed advice done 3f9c21aa17d0b6e4
  wattshed advice dismiss 3f9c21aa17d0b6e4 --note "warm standby, wanted"

What is done is measured from the next full hour on, against what was before."""
FIND_EXAMPLE = "example: wattshed advice find    look now; a collector looks every six hours"
FIGURES = ("kWh/month", "money", "kg CO2e", "sure")
VERBS = {
    "accept": (State.ACCEPTED, "say that it will be done"),
    "dismiss": (State.DISMISSED, "say that it will not be done, and why"),
    "done": (State.DONE, "say that it is done; from now on it is measured"),
    "reopen": (State.OPEN, "take back what was said"),
}


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add ``advice list``, ``show``, ``accept``, ``dismiss``, ``done``, ``reopen``, ``find``."""
    command = commands.add_parser("advice", help="what could be done about waste, with proof")
    parts = command.add_subparsers(metavar="COMMAND", required=True)
    listed = _part(parts, "list", "advice, the largest first", LIST_EXAMPLES)
    listed.add_argument("--state", default="open,accepted", help=f"of {', '.join(STATES)}")
    listed.add_argument("--team", default="", metavar="TEAM", help="only of this team")
    listed.add_argument("--kind", default="", choices=tuple(Kind), help="only of this kind")
    listed.set_defaults(run=run_list)
    show = _part(parts, "show", "one advice, its evidence and numbers", SHOW_EXAMPLE)
    show.add_argument("id", metavar="ID", help="as list shows it")
    show.set_defaults(run=run_show)
    for verb, (state, help_) in VERBS.items():
        say = _part(parts, verb, help_, SAY_EXAMPLES)
        say.add_argument("id", metavar="ID", help="as list shows it")
        say.add_argument("--note", default="", metavar="TEXT", help="why")
        say.set_defaults(run=run_say, state=state)
    find = _part(parts, "find", "look for advice now", FIND_EXAMPLE)
    find.set_defaults(run=run_find)


def _part(
    parts: Subparsers[argparse.ArgumentParser], name: str, help: str, epilog: str
) -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    command = parts.add_parser(name, help=help, epilog=epilog, formatter_class=raw)
    answers.add_place(command)
    command.add_argument("--json", action="store_true", help="print the answer as JSON")
    return command


def run_list(arguments: argparse.Namespace) -> None:
    """Print advice, the largest first."""
    asked = {"state": arguments.state, "team": arguments.team, "kind": arguments.kind}
    document = _listed(arguments, {name: said for name, said in asked.items() if said})
    if arguments.json:
        print(json.dumps(document, indent=2, allow_nan=False))
    elif not document["advice"]:
        print("nothing is advised")
    else:
        _print(document)


def run_show(arguments: argparse.Namespace) -> None:
    """Print one advice."""
    rows = _listed(arguments, {"id": arguments.id})["advice"]
    row = rows[0] if arguments.id and rows else None
    if row is None:
        raise InvalidInput(f"there is no advice {arguments.id!r}", "id")
    if arguments.json:
        print(json.dumps(row, indent=2, allow_nan=False))
        return
    shown.say("\n".join(lines(row)))


def run_say(arguments: argparse.Namespace) -> None:
    """Say it, and print how the advice stands then."""
    document = {"id": arguments.id, "state": str(arguments.state), "note": arguments.note}
    answer = answers.running(arguments).post("/v1/advice", {**document, "by": access.user()})
    print(json.dumps(answer) if arguments.json else f"{arguments.id} is {answer['state']}")


def run_find(arguments: argparse.Namespace) -> None:
    """Look now."""
    if remote := answers.connect(arguments):
        found = remote.post("/v1/advice", {"look": True})["found"]
    else:
        with answers.existing(arguments.data) as (_, client):
            found = advice_book.look(client, int(time.time()))
    print(json.dumps({"found": found}) if arguments.json else f"{found} found")


def _listed(arguments: argparse.Namespace, query: Mapping[str, str]) -> dict[str, Any]:
    """Return all pages as one."""
    if remote := answers.connect(arguments):
        asked = {**query, "limit": str(MOST_ROWS)}
        page = whole = cast(dict[str, Any], remote.get("/v1/advice", **asked))
        while page["next"] is not None:
            page = cast(dict[str, Any], remote.get("/v1/advice", **asked, after=page["next"]))
            whole["advice"] += page["advice"]
        return {**whole, "next": None}
    with answers.existing(arguments.data) as (_, client):
        return advice_book.listed(client, replace(api.asked(query), limit=0))


def _print(document: dict[str, Any]) -> None:
    titles = ("id", "state", *FIGURES, "effort", "what")
    shown.table(titles, map(_cells, document["advice"]), FIGURES)
    if document["open_joules_per_month"]:
        print(f"open: {document['open_joules_per_month'] / 3.6e6:.1f} kWh a month")
    if document["saved_joules"]:
        print(f"saved, as measured: {document['saved_joules'] / 3.6e6:.1f} kWh")
    if document["saved_g"]:
        print(f"saved by waiting or elsewhere: {document['saved_g'] / 1000:.1f} kg CO2e")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    cost, grams, check = row["cost_per_month"], row["g_per_month"], row["verification"]
    return (
        row["id"],
        f"{row['state']}, {check['verdict']}" if check else row["state"],
        f"{row['joules_per_month'] / 3.6e6:.1f}",
        "-" if cost is None else f"{cost:.2f} {row['currency']}",
        "-" if grams is None else f"{grams / 1000:.1f}",
        f"{row['confidence']:.0%}",
        row["effort"],
        row["title"],
    )


def lines(row: Mapping[str, Any]) -> list[str]:
    """Return what ``show`` prints of a row of ``GET /v1/advice``."""
    parts = (f"{team or 'nobody'} {part:.0%}" for team, part in sorted(row["teams"].items()))
    of = ", ".join(filter(None, (row["team"], *parts, row["owner"], row["site"])))
    joules = "facility joules" if row["are_facility_joules"] else "joules of devices, no PUE known"
    found = [
        f"{row['title']} ({row['kind']}, {row['state']})",
        f"of          {of}",
        f"because     {row['reason']}",
        f"saves       {row['joules_per_month'] / 3.6e6:.1f} kWh a month ({joules})",
        *_factors(row),
        f"sure        {row['confidence']:.0%}, effort {row['effort']}",
        f"checked by  {row['measure'].replace('_', ' ')} of "
        + " and ".join(row["workload"].splitlines()),
    ]
    if row["state_at"]:
        claimed = f" (claimed by {row['claimed_by']})" if row["claimed_by"] else ""
        note = f": {row['note']}" if row["note"] else ""
        found.append(f"said by     {row['said_by'] or 'nobody known'}{claimed}{note}")
    if check := row["verification"]:
        found.append(f"since       {_checked(check)}: {check['verdict'].replace('_', ' ')}")
        found.append(f"assuming    {check['assumes']}")
    found += [f"{name:28} {value:.6g}" for name, value in sorted(row["numbers"].items())]
    return [*found, "", row["evidence"]]


def _factors(row: Mapping[str, Any]) -> list[str]:
    """Return what money and grams are, and by which factor."""
    found = []
    if row["cost_per_month"] is not None:
        money = f"{row['cost_per_month']:.2f} {row['currency']} a month, of the devices' joules"
        found.append(f"money       {money}; {_said(row['cost_source'], row['cost_said'])}")
    if row["g_per_month"] is not None:
        grams = f"{row['g_per_month'] / 1000:.2f} kg CO2e a month, {row['carbon_scope']}"
        known = _said(f"{row['carbon_method']} of {row['carbon_source']}", row["carbon_said"])
        found.append(f"carbon      {grams}; {known}")
    return found


def _said(source: str, at: int | None) -> str:
    when = "" if at is None else f", said {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
    return f"{source or 'source not known'}{when}"


def _checked(check: Mapping[str, Any]) -> str:
    if check["expected_g"] is not None:
        saved, promised, unit = check["saved_g"], check["expected_g"] / 1000, "kg CO2e"
        known = None if saved is None else saved / 1000
    else:
        saved, promised, unit = check["saved_joules"], check["expected_joules"] / 3.6e6, "kWh"
        known = None if saved is None else saved / 3.6e6
    told = "not known" if known is None else f"{known:.2f} {unit} saved"
    return f"{told}, {promised:.2f} {unit} promised"
