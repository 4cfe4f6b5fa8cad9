"""``wattshed devices``: the register, what operators tell of devices, whose versions differ."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from wattshed_collector.api.devices import filters
from wattshed_collector.errors import InvalidInput
from wattshed_collector.lifecycle.told import FIELDS, WHO, from_cell, from_csv, from_documents
from wattshed_collector.present import units
from wattshed_collector.store import lifecycle
from wattshed_collector.store.lifecycle import STATES

from . import answers, shown

Subparsers = argparse._SubParsersAction

LIST_EXAMPLES = """examples:
  wattshed devices list
  wattshed devices list --model H100 --state lost --json"""
SHOW_EXAMPLE = "example: wattshed devices show GPU-5f3a"
TELL_EXAMPLES = f"""examples:
  wattshed devices tell --device GPU-5f3a commissioned=2024-03-01 purchase_price=25000 currency=EUR
  wattshed devices tell --model "NVIDIA H200" embodied_kg=180 embodied_source="the maker's EPD"
  wattshed devices tell --device GPU-5f3a embodied_kg=          take it back

facts: {", ".join(FIELDS)}"""
IMPORT_EXAMPLES = f"""examples:
  wattshed devices import inventory.csv
  wattshed devices import - < inventory.json

a CSV table with a header, or a JSON list of objects, with {", ".join(WHO)} and any of
{", ".join(FIELDS)};
all of it is taken, or nothing."""
DRIFT_EXAMPLE = "example: wattshed devices drift --json"
SHOWN = (
    *("device", "kind", "node", "site", "model", "vendor", "serial", "driver", "firmware", "state"),
    *("age_years", "age_since", "lifetime_years", "embodied_kg", "embodied_low_kg"),
    *("embodied_high_kg", "embodied_method", "embodied_source", "embodied_reason"),
    *("embodied_inside_kg", "purchase_price", "currency", "failures", "program_errors"),
    *("xid_errors", "uncorrected_errors", "corrected_errors"),
    *("throttled_seconds", "busy_seconds", "idle_seconds", "last_gap"),
)
YEAR_S = 31_557_600
"""As the register has it: 365.25 days."""
FIGURES = ("age", "failures", "throttled", "idle", "embodied kg")
DATES = ("commissioned", "first_seen", "last_seen", "warranty_end", "written_off")


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add ``devices list``, ``show``, ``tell``, ``import`` and ``drift``."""
    command = commands.add_parser(
        "devices", help="the register of devices, and what is told of them"
    )
    parts = command.add_subparsers(metavar="COMMAND", required=True)
    listed = _part(parts, "list", "every device, its age, failures and use", LIST_EXAMPLES)
    listed.add_argument("--site", default="", metavar="SITE", help="only there")
    listed.add_argument(
        "--model", default="", metavar="TEXT", help="only models with it in their name"
    )
    listed.add_argument("--kind", default="", metavar="KIND", help="gpu, module, cpu, ...")
    listed.add_argument("--state", default="", choices=STATES, help="only in this state")
    listed.set_defaults(run=run_list)
    show = _part(parts, "show", "one device", SHOW_EXAMPLE)
    show.add_argument("device", metavar="DEVICE", help="its key, as list shows it")
    show.set_defaults(run=run_show)
    tell = _part(parts, "tell", "tell of a device or model what no meter says", TELL_EXAMPLES)
    who = tell.add_mutually_exclusive_group(required=True)
    who.add_argument("--device", default="", metavar="DEVICE", help="its key")
    who.add_argument("--model", default="", metavar="MODEL", help="every device of it")
    tell.add_argument("facts", nargs="+", metavar="FACT=VALUE", help="an empty value takes it back")
    tell.set_defaults(run=run_tell)
    load = _part(parts, "import", "tell the same from a file", IMPORT_EXAMPLES)
    load.add_argument("file", metavar="FILE", help="CSV or JSON; -: what comes in")
    load.set_defaults(run=run_import)
    drift = _part(parts, "drift", "drivers and firmware that few of a model run", DRIFT_EXAMPLE)
    drift.set_defaults(run=run_drift)


def _part(
    parts: Subparsers[argparse.ArgumentParser], name: str, help: str, epilog: str
) -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    command = parts.add_parser(name, help=help, epilog=epilog, formatter_class=raw)
    answers.add_place(command)
    command.add_argument("--json", action="store_true", help="print the answer as JSON")
    return command


def run_list(arguments: argparse.Namespace) -> None:
    """Print the register."""
    names = ("site", "model", "state", "kind")
    asked = {name: getattr(arguments, name) for name in names}
    rows = _listed(arguments, {name: said for name, said in asked.items() if said})
    if arguments.json:
        print(json.dumps({"devices": rows}, indent=2, allow_nan=False))
    elif rows:
        shown.table(("device", "model", "state", *FIGURES), map(_cells, rows), FIGURES)
    else:
        print("no device was ever read")


def run_show(arguments: argparse.Namespace) -> None:
    """Print one device."""
    if remote := answers.connect(arguments):
        (row,) = remote.get("/v1/devices", device=arguments.device)["devices"]
    else:
        with answers.existing(arguments.data) as (_, client):
            row = lifecycle.one(client, arguments.device)
    if arguments.json:
        print(json.dumps(row, indent=2, allow_nan=False))
        return
    for name in SHOWN:
        if row[name] not in (None, ""):
            said = f"{row[name]:.6g}" if isinstance(row[name], float) else row[name]
            shown.say(f"{name:20} {said}")
    for name in DATES:
        print(f"{name:20} {_day(row[name])}")
    for reason, seconds in row["unmeasured_seconds"].items():
        shown.say(f"{'not measured':20} {seconds / 3600:.2f} h in 30 days: {reason}")


def run_tell(arguments: argparse.Namespace) -> None:
    """Tell of one device or model."""
    who = {"device": arguments.device} if arguments.device else {"model": arguments.model}
    _tell(arguments, [{**who, **dict(map(_fact, arguments.facts))}])


def run_import(arguments: argparse.Namespace) -> None:
    """Tell what a file says."""
    name = arguments.file
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        text = raw.decode("utf-8-sig")
    except ValueError as error:
        raise InvalidInput(f"{name} is no text in UTF-8: {error}", "malformed") from error
    if text.lstrip()[:1] in ("[", "{"):
        try:
            said = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"{name} is not JSON: {error}", "malformed") from error
        _tell(arguments, said if isinstance(said, list) else [said])
    else:
        _tell(arguments, from_csv(text))


def run_drift(arguments: argparse.Namespace) -> None:
    """Print versions that are not their model's usual one."""
    if remote := answers.connect(arguments):
        rows = remote.get("/v1/devices/drift")["rows"]
    else:
        with answers.existing(arguments.data) as (_, client):
            rows = lifecycle.drift(client)
    if arguments.json:
        print(json.dumps({"rows": rows}, indent=2, allow_nan=False))
    elif not rows:
        print("every model runs one driver and one firmware")
    for row in [] if arguments.json else rows:
        shown.say(
            f"{row['model']}: {row['what']} {row['version']} ({row['direction']}) on "
            f"{', '.join(row['behind'])}; {row['majority_devices']} of {row['devices']} run "
            f"{row['majority']}"
        )


def _listed(arguments: argparse.Namespace, asked: dict[str, str]) -> list[dict[str, Any]]:
    if remote := answers.connect(arguments):
        rows: list[dict[str, Any]] = []
        after = ""
        while after is not None:
            page = remote.get("/v1/devices", **asked, **({"after": after} if after else {}))
            rows += page["devices"]
            after = page["next"]
        return rows
    site, model, state, kind, _, _ = filters(asked)
    with answers.existing(arguments.data) as (_, client):
        return lifecycle.register(client, site, model, state, kind, most=2**32 - 1)


def _tell(arguments: argparse.Namespace, documents: list[Any]) -> None:
    told = from_documents(documents)
    if remote := answers.connect(arguments):
        kept = remote.post("/v1/devices", documents)["accepted"]
    else:
        with answers.existing(arguments.data) as (_, client):
            kept = lifecycle.tell(client, told, time.time())
    print(json.dumps({"accepted": kept}) if arguments.json else f"told of {kept}")


def _fact(said: str) -> tuple[str, Any]:
    name, equals, value = said.partition("=")
    if not equals or name not in FIELDS:
        raise InvalidInput(f"{said!r}: write FACT=VALUE with one of {', '.join(FIELDS)}", "fact")
    return name, from_cell(name, value) if value.strip() else None


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    def hours(seconds: float | None) -> str:
        return "-" if seconds is None else f"{seconds / 3600:.1f} h"

    failures, embodied = row["failures"], row["embodied_kg"]
    return (
        row["device"],
        row["model"],
        row["state"],
        _age(row["age_years"], row["age_since"]),
        "-" if failures is None else f"{failures:.0f}",
        hours(row["throttled_seconds"]),
        hours(row["idle_seconds"]),
        "-" if embodied is None else f"{embodied:g}",
    )


def _age(years: float | None, since: str) -> str:
    if years is None or years < 0:  # commissioned tomorrow
        return "-"
    said = f"{years:.1f} y" if years >= 1 else units.seconds(years * YEAR_S)
    return said if since == "commissioned" else f"{said} seen"


def _day(at_s: int | None) -> str:
    return "-" if at_s is None else time.strftime("%Y-%m-%d", time.gmtime(at_s))
