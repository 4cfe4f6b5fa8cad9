"""Where the answers come from: a running collector over HTTP, or the store itself when none runs.

The embedded store belongs to one process at a time, so while a collector runs it is asked; it
leaves its address in the data folder.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from wattshed_collector import address, report
from wattshed_collector.api import outcome_pages
from wattshed_collector.api.outcome_pages import Page
from wattshed_collector.api.pages import MOST_ROWS
from wattshed_collector.api.window import window
from wattshed_collector.errors import InvalidInput, Permanent, Retryable, StoreError
from wattshed_collector.ledger import Ledger, NotLeader, Policy
from wattshed_collector.report import Report
from wattshed_collector.store import energy_carbon, lease, ledger_state, queries
from wattshed_collector.store.client import Client, Store
from wattshed_collector.store.migrate import Layout, await_migrated, migrate
from wattshed_collector.store.queries import Record

from . import access
from .access import Key, from_environment

DEFAULT_DATA = "wattshed-data"
ADVICE = "name a token with --token-file or WATTSHED_TOKEN (`wattshed token new` makes one)"
TIMEOUT_S = 60
WORK_TIMEOUT_S = 24 * 3600
REFUSED = (400, 413, 415)
BUSY = (429, 503)


class Answers(Protocol):
    """Answers for the window ``since`` .. ``until``, as people write them."""

    def report(self, since: str, until: str) -> Report: ...

    def energy(self, by: str, since: str, until: str, *, carbon: bool = False) -> list[Record]: ...

    def per_outcome(self, query: Mapping[str, str]) -> Page: ...


class Remote:
    """Asks a running collector; ``key`` is what is shown to it, None: what the environment says."""

    def __init__(self, url: str, key: Key | None = None) -> None:
        if not url.startswith(("http://", "https://")):
            raise InvalidInput(f"{url!r} is no URL such as http://127.0.0.1:9740", "url")
        self._url = url.rstrip("/")
        self._key = from_environment() if key is None else key
        self._context = self._key.context() if url.startswith("https://") else None

    def report(self, since: str, until: str) -> Report:
        return cast(Report, self.get("/v1/report", since=since, until=until))

    def energy(self, by: str, since: str, until: str, *, carbon: bool = False) -> list[Record]:
        more = {"carbon": "true"} if carbon else {}
        answer = self.get("/v1/energy", by=by, since=since, until=until, **more)
        return cast(list[Record], answer["rows"])

    def per_outcome(self, query: Mapping[str, str]) -> Page:
        """Return all pages of the parameters ``query`` as one."""
        return cast(Page, self.whole("/v1/outcomes", "rows", query))

    def whole(self, path: str, rows: str, query: Mapping[str, str]) -> Any:
        """Return all pages of an answer as one, whose list is named ``rows``."""
        asked = {**query, "limit": str(MOST_ROWS)}
        page = whole = self.get(path, **asked)
        while page["next"] is not None:
            page = self.get(path, **asked, after=page["next"])
            whole[rows] += page[rows]
        return {**whole, "next": None}

    def get(self, path: str, **query: str) -> Any:
        """Return the answer; raises InvalidInput where it is refused, and StoreError."""
        return self.ask(path, list(query.items()))

    def ask(self, path: str, query: Sequence[tuple[str, str]]) -> Any:
        """The same where a parameter may be repeated."""
        return self._ask(Request(f"{self._url}{path}?{urlencode(query)}"), TIMEOUT_S)

    def post(self, path: str, document: Any) -> Any:
        """Send a document and wait for the answer, however long the work takes."""
        body = json.dumps(document).encode()
        headers = {"Content-Type": "application/json"}
        return self._ask(Request(self._url + path, body, headers), WORK_TIMEOUT_S)

    def send(self, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        """POST bytes and return the answer's; raises Retryable where the same may work later."""
        return self._answer(Request(self._url + path, body, headers), WORK_TIMEOUT_S)

    def _ask(self, request: Request, timeout_seconds: float) -> Any:
        try:
            return json.loads(self._answer(request, timeout_seconds))
        except ValueError as error:
            raise StoreError(f"{self._url} is no collector: it does not answer in JSON") from error

    def _answer(self, request: Request, timeout_seconds: float) -> bytes:
        if self._key.token:
            # Where a redirect leads, the token does not go.
            request.add_unredirected_header("Authorization", f"Bearer {self._key.token}")
        try:
            with urlopen(request, timeout=timeout_seconds, context=self._context) as response:
                return bytes(response.read())
        except HTTPError as error:
            said = _said(error)
            if said and error.code in REFUSED:
                raise InvalidInput(said, "query") from error
            if error.code in (401, 403):
                raise StoreError(
                    f"{self._url} refuses: {said or error.reason}; {ADVICE}"
                ) from error
            if not said:
                said = f"{self._url} is no collector: it answers {error.code} {error.reason}"
            raise _kind(error.code)(said) from error
        except (OSError, HTTPException) as error:
            raise StoreError(
                f"no collector answers at {self._url} ({getattr(error, 'reason', error)}); "
                "start one with `wattshed up`, or name another with --url"
            ) from error


def _kind(status: int) -> type[StoreError]:
    if status in BUSY:
        return Retryable
    return Permanent if 400 <= status < 500 else StoreError


def _said(error: HTTPError) -> str:
    """Return what a refusal says: our JSON, OTLP's google.rpc.Status with a message alone, or the
    plain text of a remote write."""
    try:
        raw = error.read()
        kind = error.headers.get("Content-Type", "")
        if error.code in REFUSED and kind.startswith("text/plain"):
            return str(raw.decode(errors="replace"))
        if raw.startswith(b"\x12"):
            return raw[2 if raw[1] < 0x80 else 3 :].decode(errors="replace")
        document = json.loads(raw)
        said = str(document["error"] if "error" in document else document["message"])
        each = "; ".join(map(str, document.get("problems", ())))
        return f"{said}: {each}" if each else said
    except (OSError, HTTPException, ValueError, LookupError, TypeError, AttributeError):
        return ""


class Local:
    """Asks a store that no collector has open."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def report(self, since: str, until: str) -> Report:
        return report.build(self._client, *window(since, until, time.time()))

    def energy(self, by: str, since: str, until: str, *, carbon: bool = False) -> list[Record]:
        span = window(since, until, time.time())
        found = queries.energy(self._client, by, *span)
        if not carbon:
            return found
        return energy_carbon.with_carbon(self._client, by, *span, found)

    def per_outcome(self, query: Mapping[str, str]) -> Page:
        question = outcome_pages.parse(list(query.items()), time.time())
        return outcome_pages.answer(self._client, replace(question, limit=0))


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add what every question needs: where to ask, and about which time."""
    command.add_argument(
        "--since",
        default="24h",
        metavar="TIME",
        help="length before the end such as 90m, 24h, 7d, or an instant such as "
        "2026-01-31T08:00Z (default: %(default)s)",
    )
    command.add_argument("--until", default="", metavar="TIME", help="end of the window (now)")
    add_place(command)


def add_place(command: argparse.ArgumentParser) -> None:
    """Add where to ask."""
    command.add_argument("--url", help="URL of a running collector")
    access.add_arguments(command)
    command.add_argument(
        "--data",
        default=os.environ.get("WATTSHED_COLLECTOR_DATA", DEFAULT_DATA),
        metavar="FOLDER",
        help="data folder; a collector that runs on it is found by itself (default: %(default)s)",
    )


@contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[Answers]:
    """Give the answers for the command line; raises StoreError where there is nothing to ask."""
    if remote := connect(arguments):
        yield remote
        return
    with existing(arguments.data) as (store, client):
        if not store.is_server:  # there, the collectors that share it keep the ledger
            with computing(store, client) as ledger:
                ledger.run()
        yield Local(client)


def connect(arguments: argparse.Namespace) -> Remote | None:
    """Return the collector to ask, with what it is to be shown; None where none runs."""
    url = arguments.url or address.find(Path(arguments.data))
    return Remote(url, access.key(arguments, url)) if url else None


def running(arguments: argparse.Namespace) -> Remote:
    """Return the collector to ask; raises StoreError where none runs."""
    if remote := connect(arguments):
        return remote
    raise StoreError(
        f"no collector runs on {arguments.data}; start one with `wattshed up`, "
        "or name another with --url"
    )


@contextmanager
def existing(data: str) -> Iterator[tuple[Store, Client]]:
    """Open the store that is there, up to date; raises StoreError where there is none."""
    store = _existing(data)
    try:
        client = store.client(session=True)
        if store.is_server:  # its layout is not ours to know: `wattshed migrate` does it
            await_migrated(store.client, wait=False, told=lambda _: None)
        else:
            migrate(client, Layout())
        yield store, client
    finally:
        store.close()


@contextmanager
def computing(store: Store, client: Client) -> Iterator[Ledger]:
    """Give the store's ledger; on a server it computes only while no collector leads."""
    if ledger_state.is_divided(client):
        raise StoreError("on a sharded cluster the leading collector computes: name it with --url")
    policy = Policy(
        raw_days=ledger_state.raw_days(client), raw_since=ledger_state.raw_since(client)
    )
    candidate = lease.candidate(store, client, ledger_state.LEASE)
    try:
        yield Ledger(client, policy, lease=candidate)
    except NotLeader:
        raise StoreError(
            "a collector computes on this store: name it with --url, and it does the work"
        ) from None
    finally:
        candidate.release()


def _existing(data: str) -> Store:
    if "://" not in data and not (Path(data) / "chdb").is_dir():
        raise StoreError(
            f"there is no data in {data}; start with `wattshed up`, or name a folder with --data"
        )
    return Store(data)
