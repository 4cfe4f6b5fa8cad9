"""``wattshed expected-idle``: whose idleness wakes nobody, and until when."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from wattshed_collector.api.window import length_seconds
from wattshed_collector.errors import StoreError

from . import access, answers, shown

Subparsers = argparse._SubParsersAction

ADD_EXAMPLES = """examples:
  wattshed expected-idle add --workload chat-standby --for 14d --reason "warm standby of chat"
  wattshed expected-idle add --node gpu-17 --until 2026-08-01T06:00:00Z --reason maintenance

What is idle and matches all that is named pages nobody until then. It is counted as waste."""
LIST_EXAMPLE = "example: wattshed expected-idle list --all --json"
END_EXAMPLE = "example: wattshed expected-idle end 3f9c21aa"
MATCHED = ("workload", "team", "node")


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add ``expected-idle add``, ``list`` and ``end``."""
    command = commands.add_parser(
        "expected-idle", help="whose idleness wakes nobody: add, list, end"
    )
    parts = command.add_subparsers(metavar="COMMAND", required=True)
    add = _part(parts, "add", "say that idleness is expected", ADD_EXAMPLES)
    for name in MATCHED:
        add.add_argument(f"--{name}", default="", metavar="NAME", help=f"only of this {name}")
    span = add.add_mutually_exclusive_group(required=True)
    span.add_argument("--until", metavar="TIME", help="such as 2026-01-31T08:00:00Z")
    span.add_argument("--for", dest="length", metavar="LENGTH", help="such as 8h or 14d")
    add.add_argument("--reason", required=True, metavar="TEXT", help="such as warm-standby")
    add.set_defaults(run=run_add)
    listed = _part(parts, "list", "what is expected, and what it draws", LIST_EXAMPLE)
    listed.add_argument("--all", action="store_true", help="also what has ended")
    listed.set_defaults(run=run_list)
    end = _part(parts, "end", "have an entry end now", END_EXAMPLE)
    end.add_argument("id", metavar="ID", help="as list shows it")
    end.set_defaults(run=run_end)


def _part(
    parts: Subparsers[argparse.ArgumentParser], name: str, help: str, epilog: str
) -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    command = parts.add_parser(name, help=help, epilog=epilog, formatter_class=raw)
    answers.add_place(command)
    command.add_argument("--json", action="store_true", help="print the answer as JSON")
    return command


def run_add(arguments: argparse.Namespace) -> None:
    """Say it, and print under which id."""
    until = arguments.until or time.time() + length_seconds(arguments.length, "for")
    document = {name: getattr(arguments, name) for name in MATCHED if getattr(arguments, name)}
    document |= {"until": until, "reason": arguments.reason, "by": access.user()}
    (made,) = _remote(arguments).post("/v1/expected-idle", document)["ids"]
    print(json.dumps({"id": made}) if arguments.json else f"expected under {made}")


def run_list(arguments: argparse.Namespace) -> None:
    """Print entries, the one that ends first on top."""
    told = {"all": "1"} if arguments.all else {}
    entries = _remote(arguments).get("/v1/expected-idle", **told)["entries"]
    if arguments.json:
        print(json.dumps(entries, indent=2, allow_nan=False))
    elif not entries:
        print("nothing is expected")
    else:
        _print(entries)


def run_end(arguments: argparse.Namespace) -> None:
    """End it."""
    _remote(arguments).post("/v1/expected-idle", {"id": arguments.id, "until": None})
    print(json.dumps({"id": arguments.id}) if arguments.json else f"{arguments.id} ended")


def _remote(arguments: argparse.Namespace) -> answers.Remote:
    remote = answers.connect(arguments)
    if remote is None:
        raise StoreError(f"no collector runs on {arguments.data}: name one by --url")
    return remote


def _print(entries: list[dict[str, Any]]) -> None:
    titles = ("id", "state", "of", "until", "idle W", "reason", "by")
    shown.table(titles, map(_cells, entries), ("idle W",))


def _cells(entry: dict[str, Any]) -> tuple[str, ...]:
    of = ", ".join(f"{name} {entry[name]}" for name in MATCHED if entry[name])
    until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(entry["until_s"]))
    cells = (entry["id"], entry["state"], of, until, f"{entry['idle_watts']:.0f}")
    return (*cells, entry["reason"], entry["said_by"])
