"""The demo fleet in a store of its own: the past that ``wattshed demo`` makes up, charged.

The engine takes one folder per process, so a module opens a copy of its own. What a board shows of
"now" is of the last quarter of an hour: a store that is older than some minutes is filled anew.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fixtures.stores import Stores

from wattshed_collector.ledger import Ledger, Policy
from wattshed_collector.store.client import Client, Store
from wattshed_collector.store.migrate import Layout
from wattshed_collector.store.write import Writer
from wattshed_exporter.config import Config
from wattshed_exporter.model import Batch
from wattshed_exporter.sources.simulate import SimulateSource
from wattshed_exporter.telemetry import Telemetry
from wattshed_exporter.worker import Clock, Worker

HISTORY_HOURS = 26.0
"""A day, and the hour before it in which counters are read for the first time."""
SEED = 7
FRESH_SECONDS = 480.0
KEEP_ALL = Layout(raw_days=0, minute_days=0)


@dataclass(frozen=True, slots=True)
class Fleet:
    """A store with the demo fleet in it. ``end`` is the minute in which its past ends, Unix s."""

    client: Client
    folder: Path
    end: int


class _Into:
    """An output that writes what the sampler hands it, as the collector's writer does."""

    name = "store"

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._written: list[Future[None]] = []

    def put(self, batch: Batch) -> None:
        self._written.append(self._writer.submit(batch))

    def ready(self) -> bool:
        return True

    def flush(self, seconds: float) -> bool:
        return True

    def close(self) -> None:
        """Wait until all is written. Raises what kept it from being so."""
        for written in self._written:
            written.result(120)


def fill(store: Store, now: float) -> None:
    """Write the fleet's history up to ``now`` and have the ledger charge it."""
    writer = Writer(store.client, window_seconds=0.0, share=1.0, mark_seconds=0.0)
    clock = Clock(now_ms=lambda: int(now * 1000))
    source = SimulateSource(HISTORY_HOURS, SEED, clock.now_ms)
    into = _Into(writer)
    worker = Worker(source, Config(), [into], Telemetry(), clock)
    while worker.step() == 0.0:
        pass
    worker.close()
    into.close()
    writer.close()
    client = store.client()
    Ledger(client, Policy(raw_days=0), lambda: now).run()
    client.close()


@pytest.fixture(scope="session")
def fleet_folder(
    stores: Stores, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], float]:
    """Return what lays the filled store into a folder, and gives the time at which its past ends.

    It is filled once for all workers of a run.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "fleet"
    shared.mkdir(exist_ok=True)

    def lay(folder: Path) -> float:
        with (shared / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            end = max((float(made.name) for made in shared.glob("1*")), default=0.0)
            if time.time() - end > FRESH_SECONDS:
                end = time.time()
                stores.prepare(shared / f"{end:f}", KEEP_ALL)
                store = Store(shared / f"{end:f}")
                fill(store, end)
                store.close()
        shutil.copytree(shared / f"{end:f}" / "chdb", folder / "chdb", symlinks=True)
        return end

    return lay


@pytest.fixture(scope="module")
def fleet(
    fleet_folder: Callable[[Path], float], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """The demo fleet."""
    folder = tmp_path_factory.mktemp("fleet")
    end = fleet_folder(folder)
    store = Store(folder)
    client = store.client(only_reads=True)
    yield Fleet(client, folder, int(end) // 60 * 60)
    client.close()
    store.close()
