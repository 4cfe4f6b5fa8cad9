"""Keeps objectives: takes a changed file into force, and their state ready for scrapes.

A file that is broken when it changes leaves in force what was, and is told once. A change counts
when two looks find it the same: half of a file may lack an objective. The store is asked on the
reader's own thread, at most every half minute, and not at all where nobody scrapes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from wattshed_exporter.errors import ConfigError

from . import slo, slo_metrics
from .errors import CollectorError
from .slo_metrics import COUNTERS, Exposed, Snapshot
from .store import slo_definitions, slo_queries
from .store.client import Client
from .store.read import Reader
from .telemetry import Labels, Telemetry

log = logging.getLogger(__name__)

FILE_SECONDS = 5.0
LOOK_SECONDS = 30.0
HOUR_S = 3600
LATE_S = 48 * HOUR_S
"""How late something may come and still be counted."""

Stamp = tuple[int, int, int] | None
Key = tuple[str, str, int]


class SloFileWatch:
    """What the file said last; ``file`` None: nothing is ever to be done."""

    def __init__(self, file: Path | None, telemetry: Telemetry) -> None:
        self._file = file
        self._telemetry = telemetry
        self._seen: Stamp = None
        self._changing: Stamp = None
        self._wanted: Sequence[slo.Slo] | None = self._read(file) if file is not None else None

    def refresh(self) -> None:
        """Read the file where it changed and is the same at two looks."""
        if self._file is None:
            return
        now = _stamp(self._file)
        is_settled, self._changing = now == self._changing, now
        if now != self._seen and is_settled:
            found = self._read(self._file)
            self._wanted = self._wanted if found is None else found

    def apply(self, client: Client) -> None:
        """Put into force what was read since the last time. Raises StoreError."""
        wanted = self._wanted
        if wanted is None:
            return
        changed = slo_definitions.adopt(client, wanted, time.time())
        if changed:
            log.info("objectives changed: %s", ", ".join(changed))
        self._telemetry.set("slo_definitions", len(wanted))
        if self._wanted is wanted:
            self._wanted = None

    @property
    def is_waiting(self) -> bool:
        return self._wanted is not None

    def _read(self, file: Path) -> Sequence[slo.Slo] | None:
        self._seen = _stamp(file)
        try:
            found = slo.load(file)
        except ConfigError as error:
            self._telemetry.set("slo_file_valid", 0)
            log.error("objectives stay as they were: %s", "; ".join(error.problems))
            return None
        self._telemetry.set("slo_file_valid", 1)
        for note in (note for one in found for note in one.notes()):
            log.warning("%s", note)
        return found


class Counted:
    """Sums since the start that never fall, also where late readings make an hour less.

    What is older than ``LATE_S`` is added once and not looked at any more.
    """

    def __init__(self) -> None:
        self._since: int | None = None
        self._done: dict[Key, tuple[float, ...]] = {}
        self._shown: dict[Key, tuple[float, ...]] = {}

    def look(self, client: Client, settled: int) -> dict[Labels, Sequence[float]]:
        """Return the counters by objective and owner, in the order of ``COUNTERS``."""
        until = settled // HOUR_S * HOUR_S + HOUR_S
        since = self._since if self._since is not None else until - HOUR_S
        late = max(since, until - LATE_S)
        if late > since:
            self._done = _added(self._done, slo_queries.sums(client, since, late))
        self._since = late
        found = _added(self._done, slo_queries.sums(client, late, until))
        zero = (0.0,) * len(COUNTERS)
        self._shown = {
            key: tuple(map(max, values, self._shown.get(key, zero)))
            for key, values in found.items()
        }
        newest: dict[tuple[str, str], Key] = {}
        for key in sorted(self._shown, key=lambda key: key[2]):
            newest[key[0], key[1]] = key
        return {of: self._shown[key] for of, key in newest.items()}


class SloWatch:
    """``keep`` looks now and then until it is cancelled."""

    def __init__(
        self,
        reader: Reader,
        file: SloFileWatch,
        exposed: Exposed,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._file = file
        self._exposed = exposed
        self._clock = clock
        self._counted = Counted()
        self._next_look = 0.0

    async def keep(self) -> None:
        """Look now and then."""
        while True:
            await self.once()
            await asyncio.sleep(FILE_SECONDS)

    async def once(self) -> None:
        """Take a changed file into force; ask for the state of all where somebody scrapes."""
        try:
            await asyncio.to_thread(self._file.refresh)
            if self._file.is_waiting:
                await self._reader.ask(self._file.apply)
            if self._exposed.was_asked and self._clock() >= self._next_look:
                self._next_look = self._clock() + LOOK_SECONDS
                self._exposed.was_asked = False
                self._exposed.snapshot = await self._reader.ask(self._look)
        except CollectorError as error:
            self._exposed.snapshot = Snapshot()
            log.warning("the store does not tell of objectives: %s", error)

    def _look(self, client: Client) -> Snapshot:
        defined = slo_queries.defined(client)
        if not defined:
            return Snapshot()
        rows = slo_queries.burn(client)
        counters = self._counted.look(client, slo_queries.settled(client))
        return Snapshot(slo_metrics.gauges(rows, defined), counters)


def _added(
    a: Mapping[Key, tuple[float, ...]], b: Mapping[Key, tuple[float, ...]]
) -> dict[Key, tuple[float, ...]]:
    zero = (0.0,) * len(COUNTERS)
    return {
        key: tuple(x + y for x, y in zip(a.get(key, zero), b.get(key, zero), strict=True))
        for key in {**a, **b}
    }


def _stamp(file: Path) -> Stamp:
    try:
        told = file.stat()
    except (OSError, ValueError):
        return None
    return told.st_ino, told.st_size, told.st_mtime_ns
