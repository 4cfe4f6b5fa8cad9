"""The measurement: push, compute, ask, and look at the disk; then what follows for a fleet.

The collector is a process of its own on a temporary folder, and its CPU time is the kernel's count.
While frames are pushed the ledger may run as well: those stretches are left out, because its cost
is measured alone afterwards.
"""

from __future__ import annotations

import http.client
import itertools
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from wattshed_collector.children import Child, get, running, wait_for
from wattshed_collector.errors import StoreError
from wattshed_collector.store.client import Store

from .fleet import VALUES, Fleet, Frame
from .process import Cost

AT_A_TIME = 32
"""Requests under way: what some 10,000 GPUs send in the tenth of a second of a group commit."""
PORTION = 10 * AT_A_TIME
"""Requests between two looks at the clock."""
STOP_SECONDS = 30.0
TIMEOUT_S = 600
HOUR_S = 3600
RECOMPUTES = 30
"""The ledger runs once a minute, so a reading is computed 60 times at most, 30 on average."""
FILL = 0.5
"""Part of a core that the plan uses; the rest is for merges, peaks and questions."""
BUSY = (429, 503)
INTERVALS = (1, 10)
Progress = Callable[[str, int, int], None]
"""Told what is done, how much of it and of how much."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some of the pushing; times are Unix seconds."""

    start: float
    end: float
    cpu_seconds: float
    readings: int


@dataclass(frozen=True, slots=True)
class Ingest:
    """``counted_readings`` are those of stretches in which the ledger did not run."""

    readings: int
    counted_readings: int
    readings_per_second: float
    cpu_seconds_per_million_samples: float
    retries: int


@dataclass(frozen=True, slots=True)
class Asked:
    """One question; medians over its repeats."""

    name: str
    cpu_milliseconds: float
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Ledger:
    """What an hour of the fleet costs to compute, once."""

    hours: int
    cpu_seconds_per_hour: float
    seconds_per_hour: float


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that was measured."""

    gpus: int
    minutes: int
    step_seconds: int
    ingest: Ingest
    ledger: Ledger
    queries: list[Asked]
    disk_bytes_per_sample: float
    peak_memory_bytes: int | None
    gpus_per_core: dict[str, int]


def measure(fleet: Fleet, folder: Path, progress: Progress, repeats: int) -> Found:
    """Run a collector in ``folder`` and measure it; raises CollectorError where it fails.

    Each question is asked ``repeats`` times.
    """
    data = folder / "data"
    data.mkdir()
    flags = ["--data", str(data), "--listen", "127.0.0.1:0"]
    with ExitStack() as stack:
        child = stack.enter_context(
            running("collector", "wattshed_collector", flags, folder, STOP_SECONDS)
        )
        url, cost = wait_for(child, data), Cost(child.process.pid)
        progress("pushing", 0, fleet.readings)
        stretches, retries, runs = _push(fleet, url, cost, child, progress)
        progress("computing", 0, 1)
        ledger = _ledger(fleet, url, cost)
        runs.append(_last_run(url))
        progress("asking", 0, 1)
        queries = list(_queries(fleet, url, cost, repeats))
        peak = cost.peak_bytes()
    progress("merging", 0, 1)
    ingest = summed(stretches, runs, retries)
    return Found(
        fleet.gpus,
        fleet.minutes,
        fleet.step_s,
        ingest,
        ledger,
        queries,
        _disk(data) / VALUES,
        peak,
        sizes(ingest, ledger, fleet.readings / (fleet.minutes / 60)),
    )


class Sender:
    """Posts over one connection for each thread, each request until it is durable."""

    def __init__(self, url: str) -> None:
        self.retries = 0
        self._place = urlsplit(url)
        self._own = threading.local()

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        """Return the answer; raises StoreError where the request is refused for good."""
        connection = getattr(self._own, "connection", None)
        if connection is None:
            place = str(self._place.hostname), self._place.port
            connection = self._own.connection = http.client.HTTPConnection(*place, TIMEOUT_S)
        while True:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            said = bytes(response.read())
            if response.status == 200:
                return said
            if response.status not in BUSY:
                raise StoreError(f"{path} is refused: {response.status} {said[:200]!r}")
            self.retries += 1
            time.sleep(float(response.headers.get("Retry-After") or 1))

    def push(self, frame: Frame) -> None:
        """Send what a node read; raises StoreError where any of it is refused."""
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
        if said := self.post("/v1/metrics", frame.body, headers):
            raise StoreError(f"the collector refused readings: {said[:200]!r}")


def _push(
    fleet: Fleet, url: str, cost: Cost, child: Child, progress: Progress
) -> tuple[list[Stretch], int, list[tuple[float, float]]]:
    """Push everything; returns the stretches, how often it had to wait, and the ledger's runs."""
    sender, done = Sender(url), 0
    stretches: list[Stretch] = []
    runs: list[tuple[float, float]] = []
    frames = fleet.frames()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        while portion := list(itertools.islice(frames, PORTION)):
            child.check()
            start, cpu = time.time(), cost.cpu_seconds()
            list(pool.map(sender.push, portion))
            end, readings = time.time(), sum(frame.readings for frame in portion)
            stretches.append(Stretch(start, end, cost.cpu_seconds() - cpu, readings))
            runs.append(_last_run(url))
            done += readings
            progress("pushing", done, fleet.readings)
    return stretches, sender.retries, runs


def _last_run(url: str) -> tuple[float, float]:
    """Return when the ledger last ran, (0, 0) where it has not yet."""
    run = (get(url, "/v1/ledger") or {}).get("last_run")
    return (run["at"] - run["seconds"], run["at"]) if run else (0.0, 0.0)


def summed(
    stretches: Sequence[Stretch], runs: Sequence[tuple[float, float]], retries: int
) -> Ingest:
    """Add up the stretches in which the ledger did not run, or all where it always did."""
    alone = [
        s for s in stretches if not any(start < s.end and s.start < end for start, end in runs)
    ]
    counted = alone or list(stretches)
    samples = sum(s.readings for s in counted) * VALUES
    seconds = sum(s.end - s.start for s in stretches)
    readings = sum(s.readings for s in stretches)
    return Ingest(
        readings,
        samples // VALUES if alone else 0,
        readings / seconds,
        sum(s.cpu_seconds for s in counted) / samples * 1e6,
        retries,
    )


def _ledger(fleet: Fleet, url: str, cost: Cost) -> Ledger:
    first = fleet.start_ms // 1000
    hours = -(-fleet.minutes // 60)
    body = json.dumps({"from": _iso(first), "to": _iso(first + hours * HOUR_S)}).encode()
    sender, known = Sender(url), 0
    cpu = seconds = 0.0
    while known < hours:  # until its first run after the last push the ledger knows of fewer
        cpu, start = cost.cpu_seconds(), time.perf_counter()
        said = sender.post("/v1/ledger/recompute", body, {"Content-Type": "application/json"})
        cpu, seconds = cost.cpu_seconds() - cpu, time.perf_counter() - start
        known = json.loads(said)["hours"]
        if known < hours:
            time.sleep(0.2)
    return Ledger(known, cpu / known, seconds / known)


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _queries(fleet: Fleet, url: str, cost: Cost, repeats: int) -> Iterator[Asked]:
    until = fleet.start_ms // 1000 + fleet.minutes * 60
    since = fleet.start_ms // 1000
    for name, path, more in (
        ("energy by workload", "/v1/energy", {"by": "workload"}),
        ("energy by team", "/v1/energy", {"by": "team"}),
        ("energy by device", "/v1/energy", {"by": "device"}),
        ("whole report", "/v1/report", {}),
        ("fleet power now", "/v1/status", {}),
    ):
        wall: list[float] = []
        cpu = cost.cpu_seconds()
        for n in range(repeats):
            # A report is kept for some seconds: another window is another report.
            query = urlencode({**more, "since": _iso(since - n), "until": _iso(until)})
            start = time.perf_counter()
            if get(url, f"{path}?{query}") is None:
                raise StoreError(f"the collector does not answer {path}")
            wall.append((time.perf_counter() - start) * 1000)
        spent = (cost.cpu_seconds() - cpu) / repeats * 1000
        yield Asked(name, spent, statistics.median(wall))


def _disk(data: Path) -> float:
    """Return bytes on disk per reading, once its parts are merged."""
    store = Store(data)
    try:
        client = store.client()
        client.command("OPTIMIZE TABLE tick FINAL")
        rows: list[tuple[Any, ...]] = client.rows(
            "SELECT sum(bytes_on_disk), sum(rows) FROM system.parts "
            "WHERE active AND database = currentDatabase() AND table = 'tick'"
        )
    finally:
        store.close()
    size, count = rows[0]
    return float(size) / int(count)


def sizes(ingest: Ingest, ledger: Ledger, readings_per_hour: float) -> dict[str, int]:
    """Return how many GPUs half of a core carries, by seconds between readings.

    What the ledger costs for a fleet of no size counts for each reading as well, so that a small
    fleet makes for a low figure.
    """
    each = ingest.cpu_seconds_per_million_samples / 1e6 * VALUES
    each += ledger.cpu_seconds_per_hour / readings_per_hour * RECOMPUTES
    return {f"{seconds} s": int(FILL * seconds / each) for seconds in INTERVALS}
