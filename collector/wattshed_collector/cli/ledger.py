"""``wattshed ledger``: what the ledger does, and computing a part of the past again."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from . import answers
from .bars import Progressed, counted

Subparsers = argparse._SubParsersAction

POLL_SECONDS = 0.5
STATUS_EXAMPLE = "example: wattshed ledger status"
RECOMPUTE_EXAMPLES = """examples:
  wattshed ledger recompute --from 2026-01-31T00:00Z --to 2026-02-01T00:00Z --dry-run
  wattshed ledger recompute --from 7d --policy proportional --dry-run --json

The hours that the window touches are computed again from the raw readings, as far back as those are
kept. What changes is shown first; --dry-run stops there. With --policy or --idle-below the window
is charged by that from then on, also when late readings have it computed again."""


class Asked(Protocol):
    """Where the ledger is: in a running collector, or in the store."""

    def state(self) -> dict[str, Any]: ...

    def recompute(self, request: dict[str, Any], progress: Progressed) -> dict[str, Any]: ...


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add ``ledger status`` and ``ledger recompute``."""
    command = commands.add_parser("ledger", help="the ledger's state, and computing the past again")
    parts = command.add_subparsers(metavar="COMMAND", required=True)
    status = parts.add_parser("status", help="what the ledger does now", epilog=STATUS_EXAMPLE)
    answers.add_place(status)
    status.add_argument("--json", action="store_true", help="print the state as JSON")
    status.set_defaults(run=run_status)
    _register_recompute(parts)


def _register_recompute(parts: Subparsers[argparse.ArgumentParser]) -> None:
    recompute = parts.add_parser(
        "recompute",
        help="compute hours again from the raw readings",
        epilog=RECOMPUTE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    recompute.add_argument(
        "--from",
        dest="since",
        required=True,
        metavar="TIME",
        help="an instant such as 2026-01-31T08:00Z, or a length before the end such as 24h",
    )
    recompute.add_argument("--to", dest="until", default="", metavar="TIME", help="end (now)")
    recompute.add_argument(
        "--policy",
        choices=("holder", "proportional", "platform"),
        help="charge idling by this policy in the window",
    )
    recompute.add_argument(
        "--idle-below", type=float, metavar="RATIO", help="utilisation under which a device idles"
    )
    recompute.add_argument("--dry-run", action="store_true", help="show, and write nothing")
    recompute.add_argument("--json", action="store_true", help="print the difference as JSON")
    answers.add_place(recompute)
    recompute.set_defaults(run=run_recompute)


def run_status(arguments: argparse.Namespace) -> None:
    """Print the ledger's state."""
    with opened(arguments) as ledger:
        state = ledger.state()
    if arguments.json:
        print(json.dumps(state, indent=2, allow_nan=False))
        return
    from rich.console import Console

    from wattshed_collector.present.ledger import print_state

    print_state(state, Console())


def run_recompute(arguments: argparse.Namespace) -> None:
    """Show what changes; unless it is a dry run, write it."""
    request = {
        "from": arguments.since,
        "to": arguments.until,
        "policy": arguments.policy,
        "idle_below": arguments.idle_below,
        "dry_run": True,
    }
    with opened(arguments) as ledger:
        with counted("comparing") as progress:
            answer = ledger.recompute(request, progress)
        if not arguments.json:
            _print(answer)
        if not arguments.dry_run:
            # The same hours as were compared, whatever the clock says by now.
            request |= {"dry_run": False, "from": _instant(answer["start"])}
            request["to"] = _instant(answer["end"])
            with counted("computing") as progress:
                written = ledger.recompute(request, progress)
            answer["written"] = written["written"]
            print(f"computed {written['hours']} hours again", file=sys.stderr)
    if arguments.json:
        print(json.dumps(answer, indent=2, allow_nan=False))


def _instant(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _print(answer: dict[str, Any]) -> None:
    from rich.console import Console

    from wattshed_collector.present.ledger import print_changes

    print_changes(answer, Console())


@contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[Asked]:
    """Give the ledger of the running collector, or of the store where none runs."""
    if remote := answers.connect(arguments):
        yield RemoteLedger(remote)
        return
    with answers.existing(arguments.data) as (store, client):
        yield LocalLedger(store, client)


class RemoteLedger:
    """Asks a running collector."""

    def __init__(self, remote: answers.Remote) -> None:
        self._remote = remote

    def state(self) -> dict[str, Any]:
        return dict(self._remote.get("/v1/ledger"))

    def recompute(self, request: dict[str, Any], progress: Progressed) -> dict[str, Any]:
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(done, progress), daemon=True)
        watcher.start()
        try:
            return dict(self._remote.post("/v1/ledger/recompute", request))
        finally:
            done.set()
            watcher.join()

    def _watch(self, done: threading.Event, progress: Progressed) -> None:
        from wattshed_collector.errors import CollectorError

        while not done.wait(POLL_SECONDS):
            try:
                now = self._remote.get("/v1/ledger")["recomputing"]
            except CollectorError:
                continue  # whoever waits for the answer says what is wrong
            if now:
                progress(now["done"], now["hours"])


class LocalLedger:
    """Computes in a store that no collector has open."""

    def __init__(self, store: Any, client: Any) -> None:
        self._store = store
        self._client = client

    def state(self) -> dict[str, Any]:
        from wattshed_collector.api.ledger import state

        return {**state(self._client), "leads": False, "last_run": None, "recomputing": None}

    def recompute(self, request: dict[str, Any], progress: Progressed) -> dict[str, Any]:
        from wattshed_collector import recompute

        asked = recompute.parse(request, time.time())
        with answers.computing(self._store, self._client) as ledger:
            return dict(recompute.answer(ledger, asked, progress))
