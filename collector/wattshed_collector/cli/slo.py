"""``wattshed slo``: objectives for energy per outcome, whether they burn, and why."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from wattshed_collector.errors import CollectorError, InvalidInput
from wattshed_exporter.errors import ConfigError

from . import answers, shown

Subparsers = argparse._SubParsersAction

EXIT_BURNING, EXIT_UNKNOWN = 1, 2
LIST_EXAMPLES = """examples:
  wattshed slo list
  wattshed slo list --json | jq '.slos[] | select(.is_burning) | .owner'"""
CHECK_EXAMPLES = """examples:
  wattshed slo check                          does any objective burn?
  wattshed slo check chat-tokens embeddings   does one of these?
  wattshed slo check --file slos.yaml         is the file right? Asks no collector

exit status: 0 nothing burns (or the file is right), 1 something burns, 2 what was asked cannot be
told: wrong usage, an unknown name, a wrong file, no collector. A window that is gated (too few
outcomes) does not burn; it is named."""
EXPLAIN_EXAMPLES = """examples:
  wattshed slo explain chat-tokens
  wattshed slo explain chat-tokens --json"""


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add ``slo list``, ``slo check`` and ``slo explain``."""
    command = commands.add_parser("slo", help="objectives for energy per outcome, and what burns")
    parts = command.add_subparsers(metavar="COMMAND", required=True)
    listed = _part(parts, "list", "every objective, its budget and its burn rates", LIST_EXAMPLES)
    listed.set_defaults(run=run_list)
    check = _part(parts, "check", "whether an objective burns, for scripts", CHECK_EXAMPLES)
    check.add_argument("names", nargs="*", metavar="NAME", help="only these objectives")
    check.add_argument("--file", type=Path, metavar="FILE", help="check this file instead")
    check.set_defaults(run=run_check)
    explain = _part(parts, "explain", "where an objective's budget went", EXPLAIN_EXAMPLES)
    explain.add_argument("name", metavar="NAME", help="the objective")
    explain.set_defaults(run=run_explain)


def _part(
    parts: Subparsers[argparse.ArgumentParser], name: str, help: str, examples: str
) -> argparse.ArgumentParser:
    command = parts.add_parser(
        name, help=help, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    answers.add_place(command)
    command.add_argument("--json", action="store_true", help="print the answer as JSON")
    return command


def run_list(arguments: argparse.Namespace) -> None:
    """Print every objective."""
    document = _ask(arguments)
    if arguments.json:
        _print_json(document)
        return
    from rich.console import Console

    from wattshed_collector.present.slo import print_list

    print_list(document["slos"], Console())


def run_check(arguments: argparse.Namespace) -> int:
    """Return 0 where nothing burns, 1 where something does, 2 where that cannot be told."""
    if arguments.file is not None:
        if arguments.names:
            raise InvalidInput("--file checks the whole file: name no objective", "usage")
        return _check_file(arguments)
    try:
        document = _ask(arguments)
    except InvalidInput:
        raise
    except CollectorError as error:
        print(f"wattshed: {error}", file=sys.stderr)
        return EXIT_UNKNOWN
    slos = _named(document["slos"], arguments.names)
    if arguments.json:
        _print_json({"slos": slos})
    else:
        for slo in slos:
            shown.say(f"{slo['slo']}: {slo['state']}{_rates(slo)}")
    return EXIT_BURNING if any(slo["is_burning"] for slo in slos) else 0


def run_explain(arguments: argparse.Namespace) -> None:
    """Print in words what became of one objective."""
    (slo,) = _ask(arguments, arguments.name)["slos"]
    if arguments.json:
        _print_json(slo)
        return
    from rich.console import Console

    from wattshed_collector.present.slo import print_explanation

    print_explanation(slo, Console())


def _check_file(arguments: argparse.Namespace) -> int:
    from wattshed_collector.slo import load

    try:
        slos = load(arguments.file)
    except ConfigError as error:
        if not arguments.json:
            raise
        _print_json({"file": str(arguments.file), "problems": list(error.problems)})
        return EXIT_UNKNOWN
    notes = [note for slo in slos for note in slo.notes()]
    if arguments.json:
        names = [slo.name for slo in slos]
        _print_json({"file": str(arguments.file), "problems": [], "notes": notes, "slos": names})
        return 0
    for note in notes:
        print(f"note: {note}")
    print(f"{arguments.file}: {len(slos)} objectives, nothing is wrong")
    return 0


def _named(slos: list[dict[str, Any]], names: list[str]) -> list[dict[str, Any]]:
    """Raises InvalidInput where there is none of some name."""
    known = {slo["slo"]: slo for slo in slos}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InvalidInput(f"no SLO is named {', '.join(map(repr, unknown))}", "slo")
    return [known[name] for name in names] if names else slos


def _rates(slo: dict[str, Any]) -> str:
    from wattshed_collector.slo_metrics import window

    found = [
        f"{pair['severity']}: {pair['burn_long']:.3g} over {window(pair['long_seconds'])} and "
        f"{pair['burn_short']:.3g} over {window(pair['short_seconds'])}, {pair['factor']:g} allowed"
        for pair in slo["burn"]
        if pair["is_burning"]
    ]
    return f" ({'; '.join(found)})" if found else ""


def _ask(arguments: argparse.Namespace, name: str = "") -> dict[str, Any]:
    if remote := answers.connect(arguments):
        whole = remote.whole("/v1/slo", "slos", {"name": name} if name else {})
        return {"slos": whole["slos"]}
    from wattshed_collector import slo_report

    with answers.existing(arguments.data) as (store, client):
        if not store.is_server:  # there, the collectors that share it keep the ledger
            with answers.computing(store, client) as ledger:
                ledger.run()
        return slo_report.build(client, name)


def _print_json(document: Any) -> None:
    print(json.dumps(document, indent=2, allow_nan=False))
