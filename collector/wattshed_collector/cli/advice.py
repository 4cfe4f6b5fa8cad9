"""``wattshed advice``: what could be done about waste, what was said of it, whether it held."""

from __future__ import annotations

import argparse
import getpass
import json
import time
from typing import Any

from wattshed_collector import advice_book
from wattshed_collector.advice.model import Kind, State
from wattshed_collector.api.advice import STATES
from wattshed_collector.errors import InvalidInput

from . import answers

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
    listed.add_argument("--kind", default="", choices=("", *Kind), help="only of this kind")
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
    document = _listed(arguments, arguments.state, arguments.team, arguments.kind)
    if arguments.json:
        print(json.dumps(document, indent=2, allow_nan=False))
    elif not document["advice"]:
        print("nothing is advised")
    else:
        _print(document)


def run_show(arguments: argparse.Namespace) -> None:
    """Print one advice."""
    rows = _listed(arguments, "", "", "")["advice"]
    row = next((row for row in rows if row["id"] == arguments.id), None)
    if row is None:
        raise InvalidInput(f"there is no advice {arguments.id!r}", "id")
    if arguments.json:
        print(json.dumps(row, indent=2, allow_nan=False))
        return
    for line in _lines(row):
        print(line)


def run_say(arguments: argparse.Namespace) -> None:
    """Say it, and print how the advice stands then."""
    document = {"id": arguments.id, "state": str(arguments.state), "note": arguments.note}
    answer = answers.running(arguments).post("/v1/advice", {**document, "by": getpass.getuser()})
    print(json.dumps(answer) if arguments.json else f"{arguments.id} is {answer['state']}")


def run_find(arguments: argparse.Namespace) -> None:
    """Look now."""
    if remote := answers.connect(arguments):
        found = remote.post("/v1/advice", {"look": True})["found"]
    else:
        with answers.existing(arguments.data) as (_, client):
            found = advice_book.look(client, int(time.time()))
    print(json.dumps({"found": found}) if arguments.json else f"{found} found")


def _listed(arguments: argparse.Namespace, state: str, team: str, kind: str) -> dict[str, Any]:
    if remote := answers.connect(arguments):
        asked = {"state": state, "team": team, "kind": kind}
        told: dict[str, Any] = remote.get("/v1/advice", **{k: v for k, v in asked.items() if v})
        return told
    with answers.existing(arguments.data) as (_, client):
        return advice_book.listed(client, [s for s in state.split(",") if s], team, kind)


def _print(document: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("id", "state", "kWh/month", "money", "kg CO2e", "sure", "effort", "what"):
        right = title in ("kWh/month", "money", "kg CO2e", "sure")
        table.add_column(title, overflow="fold", justify="right" if right else "left")
    for row in document["advice"]:
        table.add_row(*map(escape, _cells(row)))
    console = Console()
    console.print(table)
    console.print(f"open: {document['open_joules_per_month'] / 3.6e6:.1f} kWh a month")
    if document["saved_joules"]:
        console.print(f"saved, as measured: {document['saved_joules'] / 3.6e6:.1f} kWh")


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


def _lines(row: dict[str, Any]) -> list[str]:
    of = ", ".join(filter(None, (row["team"], row["owner"], row["site"])))
    joules = "facility joules" if row["are_facility_joules"] else "joules of devices, no PUE known"
    found = [
        f"{row['title']} ({row['kind']}, {row['state']})",
        f"of          {of}",
        f"because     {row['reason']}",
        f"saves       {row['joules_per_month'] / 3.6e6:.1f} kWh a month ({joules})",
        f"sure        {row['confidence']:.0%}, effort {row['effort']}",
        f"checked by  {row['measure'].replace('_', ' ')} of "
        + " and ".join(row["workload"].splitlines()),
    ]
    if check := row["verification"]:
        saved = check["saved_joules"]
        told = "not known" if saved is None else f"{saved / 3.6e6:.2f} kWh saved"
        promised = f"{check['expected_joules'] / 3.6e6:.2f} kWh promised"
        found.append(f"since       {told}, {promised}: {check['verdict'].replace('_', ' ')}")
    found += [f"{name:28} {value:.6g}" for name, value in sorted(row["numbers"].items())]
    return [*found, "", row["evidence"]]
