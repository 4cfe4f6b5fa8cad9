"""A real embedded store for the tests, and the ledger written down once more in Python.

The engine takes one folder per process at a time. Modules that come one after the other share a
store, unless one leaves other tables behind, and each test starts from empty ones.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import math
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from queue import Queue
from typing import Any, TypeVar
from urllib.parse import urlsplit

import clickhouse_connect
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.fixtures.stores import Stores

from wattshed_collector.app import running
from wattshed_collector.config import Config
from wattshed_collector.ledger import Ledger, Policy
from wattshed_collector.store.client import Client, Store
from wattshed_collector.store.lease import Timing
from wattshed_collector.store.migrate import Layout
from wattshed_collector.store.rows import Ids, allocation_columns
from wattshed_collector.store.write import Writer
from wattshed_exporter.model import Allocation, Batch, Joules, Span, Tick, stable_id
from wattshed_exporter.split import DEFAULT_POLICY, charges, cut, spans, standing
from wattshed_exporter.split import Policy as SplitPolicy

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
FACTS = (
    "tick",
    "sample",
    "detail",
    "metric_sample",
    "device",
    "expected_idle",
    "workload",
    "allocation",
    "outcome",
    "quality",
    "quarantine",
    "factor",
    "grid",
    "grid_forecast",
    "site_zone",
    "decision",
    "advice",
    "advice_state",
    "device_told",
    "embodied",
)
DERIVED = (
    "latest",
    "device_limit",
    "device_work",
    "tick_hour",
    "dirty",
    "measured_1m",
    "charge_1m",
    "charge_1h",
    "ledger_state",
    "ledger_hour",
    "ledger_open",
    "policy",
    "lease",
    "activity_hour",
    "allocation_hour",
    "device_1d",
    "idle_hour",
    "outcome_1d",
    "outcome_1h",
    "outcome_1m",
    "outcome_kind",
    "outcome_reach",
    "piece",
    "power_hour",
    "reconcile_1h",
    "slo",
    "slo_1h",
    "slo_1m",
    "slo_member",
    "slo_reach",
    "tick_beside",
    "tick_day",
    "tree",
    "workload_1d",
    "workload_1h",
    "workload_1m",
    "workload_seen",
)
KEEP_ALL = Layout(raw_days=0, minute_days=0)
HELD = "SELECT DISTINCT table FROM system.parts WHERE database = currentDatabase() AND active"
"""Tables with rows; to empty the others would take half a millisecond each."""
MADE = """
SELECT count(), sum(cityHash64(database, name, create_table_query)) FROM system.tables
WHERE database NOT IN ('system', 'INFORMATION_SCHEMA', 'information_schema')
"""
"""What tables there are, and how they were made."""

K = TypeVar("K", bound=Hashable)

Charged = dict[tuple[int, int, int, str], tuple[float, float]]
"""Joules and seconds by time (Unix seconds), device, workload and class."""
Measured = dict[tuple[int, int, str, str], tuple[float | None, float]]
"""Joules and seconds by time (Unix seconds), device, method and reason."""


class Bed:
    """A migrated store and what the tests do with it."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        self.client: Client = self.store.client()
        self._given = {table for (table,) in self.client.rows(HELD)}

    def close(self) -> None:
        self.client.close()
        self.store.close()

    def clean(self) -> None:
        held = {table for (table,) in self.client.rows(HELD)}
        for table in held.intersection((*FACTS, *DERIVED)):
            self.client.command(f"TRUNCATE TABLE {table}")

    def renew(self) -> None:
        """Make it what it was when it was opened, whatever was done with it."""
        used, self.client = self.client, self.store.client()
        used.close()
        for table in {table for (table,) in self.client.rows(HELD)} - self._given:
            self.client.command(f"TRUNCATE TABLE {table}")

    def writer(self, **how: float) -> Writer:
        at_once: dict[str, Any] = {"window_seconds": 0.0, "share": 1.0, "mark_seconds": 0.0}
        return Writer(self.store.client, **{**at_once, **how})

    def write(self, *batches: Batch) -> None:
        """Write each batch durably, in order."""
        writer = self.writer()
        for batch in batches:
            writer.submit(batch).result(120)
        writer.close()

    def ledger(
        self, *, now: Callable[[], float] = time.time, raw_days: int = 0, **policy: Any
    ) -> Ledger:
        return Ledger(self.client, Policy(raw_days=raw_days, **policy), now)

    def say(self, *said: Allocation) -> None:
        """Write allocations past the collector, in the order in which they are said."""
        if said:
            self.client.insert("allocation", allocation_columns(said, Ids()))

    def charged(self, table: str = "charge_1m") -> Charged:
        """What the ledger charged, without what it cancelled."""
        rows = self.client.rows(
            "SELECT toUnixTimestamp(t), device_id, workload_id, class, joules, seconds "
            f"FROM {table} FINAL WHERE seconds != 0"
        )
        return {(t, d, w, str(c)): (joules, seconds) for t, d, w, c, joules, seconds in rows}

    def measured(self) -> Measured:
        rows = self.client.rows(
            "SELECT toUnixTimestamp(t), device_id, method, reason, joules, seconds "
            "FROM measured_1m FINAL WHERE seconds != 0"
        )
        return {(t, d, str(m), str(r)): (joules, seconds) for t, d, m, r, joules, seconds in rows}


class Beds:
    """Gives one module after another a bed: the same, where it is as it was at first.

    To open a store takes half a second, and who wants another one calls ``stores.let_go``.
    """

    def __init__(self, stores: Stores, folder: Callable[[], Path]) -> None:
        self._stores, self._folder = stores, folder
        self._bed: Bed | None = None
        self._made: list[tuple[Any, ...]] = []

    def take(self) -> Bed:
        if self._stores.kept and self._bed is not None:
            self._stores.kept.clear()
            self._bed.renew()
            return self._bed
        folder = self._folder()
        self._stores.prepare(folder, KEEP_ALL, by_link=True)
        self._bed = Bed(folder)
        self._made = self._bed.client.rows(MADE)
        return self._bed

    def give_back(self, bed: Bed) -> None:
        if bed.client.rows(MADE) == self._made:
            self._stores.kept.append(bed.close)
        else:
            bed.close()


@pytest.fixture(scope="session")
def beds(stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beds]:
    yield Beds(stores, lambda: tmp_path_factory.mktemp("store"))
    stores.let_go()


@pytest.fixture(scope="module")
def shared_bed(beds: Beds) -> Iterator[Bed]:
    bed = beds.take()
    yield bed
    beds.give_back(bed)


@pytest.fixture
def bed(shared_bed: Bed) -> Bed:
    shared_bed.clean()
    return shared_bed


class Reference:
    """What the ledger must say of some ticks and allocations, by ``wattshed_exporter.split``.

    ``idle_watts`` is what each device draws while it idles, by device and hour (Unix seconds).
    """

    def __init__(
        self,
        ticks: Iterable[Tick],
        allocations: Iterable[Allocation] = (),
        policy: SplitPolicy = DEFAULT_POLICY,
        idle_watts: Mapping[tuple[str, int], float] | None = None,
    ) -> None:
        held: dict[str, list[Allocation]] = {}
        for allocation in allocations:
            held.setdefault(allocation.device, []).append(allocation)
        self._policy, self._idle_watts = policy, idle_watts or {}
        self.measured: Measured = {}
        self.minutes: Charged = {}
        for span in spans(ticks):
            owners = held.get(span.device, [])
            for piece in _pieces(span, owners):
                self._measure(piece)
                self._charge(piece, owners)

    def _measure(self, piece: Span) -> None:
        minute = piece.start_ms // MINUTE_MS * 60
        key = minute, stable_id(piece.device), str(piece.method), piece.reason
        joules, known = self.measured.get(key, (None, 0.0))
        if piece.joules is not None:
            joules = (joules or 0.0) + piece.joules
        self.measured[key] = joules, known + _seconds(piece)

    def _charge(self, piece: Span, owners: Sequence[Allocation]) -> None:
        if piece.joules is None:
            return
        minute, seconds = piece.start_ms // MINUTE_MS * 60, _seconds(piece)
        watts = self._idle_watts.get((piece.device, minute // 3600 * 3600))
        # Seconds go the way of the joules: a piece of one watt is charged its seconds.
        timed = replace(piece, joules=Joules(seconds), power_watts=None)
        idle_part = watts
        if watts is not None:
            idle = watts * seconds
            idle_part = 1.0 if idle >= piece.joules else idle / piece.joules
        times = {
            (c.workload, c.charge_class): float(c.joules)
            for c in charges(timed, owners, self._policy, idle_part)
        }
        for charge in charges(piece, owners, self._policy, watts):
            workload = stable_id(charge.workload) if charge.workload else 0
            where = minute, stable_id(piece.device), workload, str(charge.charge_class)
            paid, lasted = self.minutes.get(where, (0.0, 0.0))
            more = times.get((charge.workload, charge.charge_class), 0.0)
            self.minutes[where] = paid + charge.joules, lasted + more

    @property
    def hours(self) -> Charged:
        found: Charged = {}
        for (t, device, workload, name), (joules, seconds) in self.minutes.items():
            key = t - t % 3600, device, workload, name
            paid, lasted = found.get(key, (0.0, 0.0))
            found[key] = paid + joules, lasted + seconds
        return found


def _pieces(span: Span, owners: Iterable[Allocation]) -> Iterator[Span]:
    """A span cut at minutes and at every edge of an allocation."""
    edges = {
        edge
        for held in standing(owners)
        for edge in (held.start_ms, held.end_ms)
        if held.end_ms > held.start_ms and (held.share > 0 or held.activity is not None)
    }
    edges.update(range(span.start_ms // MINUTE_MS * MINUTE_MS, span.end_ms, MINUTE_MS))
    inner = sorted(edge for edge in edges if span.start_ms < edge < span.end_ms)
    for start_ms, end_ms in pairwise([span.start_ms, *inner, span.end_ms]):
        yield cut(span, start_ms, end_ms)


def _seconds(piece: Span) -> float:
    return (piece.end_ms - piece.start_ms) / 1000


def differences(
    found: Mapping[K, tuple[float | None, float]],
    expected: Mapping[K, tuple[float | None, float]],
    *,
    ratio: float = 1e-9,
) -> list[str]:
    """Return where two ledgers differ, as sentences; a charge of nothing may be absent."""
    sentences = []
    for key in sorted({*found, *expected}, key=str):
        ours, theirs = found.get(key, (0.0, 0.0)), expected.get(key, (0.0, 0.0))
        if not all(_same(a, b, ratio) for a, b in zip(ours, theirs, strict=True)):
            sentences.append(f"{key}: {ours} should be {theirs}")
    return sentences


def _same(a: float | None, b: float | None, ratio: float) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=ratio, abs_tol=1e-9)


@pytest.fixture(scope="session")
def reference() -> type[Reference]:
    return Reference


@pytest.fixture(scope="session")
def differ() -> Callable[..., list[str]]:
    return differences


@dataclass(frozen=True, slots=True)
class Answer:
    """What the collector answered to one request."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Running:
    """A collector that runs in this process, spoken to over HTTP."""

    def __init__(self, config: Config, url: str) -> None:
        self.config = config
        self.url = url
        self.host, self.port = str(urlsplit(url).hostname), int(urlsplit(url).port or 0)

    def get(self, path: str) -> Answer:
        return self._ask("GET", path, None, {})

    def post(self, body: bytes, **headers: str) -> Answer:
        """Send an OTLP request; a header's name is written with ``_`` for ``-``."""
        told = {"Content-Type": "application/x-protobuf"}
        told.update((name.replace("_", "-"), value) for name, value in headers.items())
        return self._ask("POST", "/v1/metrics", body, told)

    def send(self, path: str, body: bytes) -> Answer:
        """Post a JSON document."""
        return self._ask("POST", path, body, {"Content-Type": "application/json"})

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def health(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """The samples of /metrics by name and labels."""
        families = text_string_to_metric_families(self.get("/metrics").body.decode())
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    def counter(self, name: str, **labels: str) -> float:
        key = f"wattshed_collector_{name}", frozenset(labels.items())
        return self.health().get(key, 0.0)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the store, beside the collector."""
        path = str(Path(self.config.data) / "chdb")
        connection = clickhouse_connect.get_client(interface="chdb", path=path)
        client = Client(connection)
        try:
            return client.rows(sql)
        finally:
            client.close()


@contextmanager
def collecting(config: Config, timing: Timing | None = None) -> Iterator[Running]:
    """Run a collector on a thread of its own for the length of the block.

    ``timing`` is that of its lease, where its store is a server.
    """
    urls: Queue[str | BaseException] = Queue()
    stop: list[Callable[[], object]] = []

    async def run() -> None:
        done = asyncio.Event()
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(done.set))
        try:
            async with running(config, timing=timing) as url:
                urls.put(url)
                await done.wait()
        except BaseException as error:
            urls.put(error)

    before = set(threading.enumerate())
    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    said = urls.get(timeout=120)
    if isinstance(said, BaseException):
        thread.join()
        raise said
    try:
        yield Running(config, said)
    finally:
        stop[0]()
        thread.join(120)
        # On a busy machine a thread may outlive the stop, and the engine takes no other folder
        # until it has hung up.
        for left in set(threading.enumerate()) - before:
            if left.name.startswith(("writer", "ledger", "reader")):
                left.join(120)
        if not urls.empty():
            raise RuntimeError("the collector did not stop cleanly") from urls.get()  # type: ignore[misc]


@pytest.fixture(scope="session")
def collect(stores: Stores) -> Callable[[Config], AbstractContextManager[Running]]:
    def collect(config: Config) -> AbstractContextManager[Running]:
        kept = config.retention
        if "://" not in config.data:
            layout = Layout("", kept.raw_days, kept.minute_days)
            stores.prepare(Path(config.data), layout, by_link=True)
        return collecting(config)

    return collect
