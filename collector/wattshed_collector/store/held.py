"""Which hours an allocation changes: what the store holds of it, against what is said now.

An allocation that runs on is said again every few seconds, and only what it grew by is news. What
was said last of each device and workload is therefore remembered; the rest is asked of the store,
by primary key. Windows (allocations with an activity) are neither: each is said once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from wattshed_exporter.model import Allocation

from .client import Client
from .rows import Ids

HOUR_MS = 3_600_000
REMEMBERED = 50_000
ASKED_AT_ONCE = 2000

Key = tuple[int, int, int]
"""Device, workload and start in Unix milliseconds: what makes an allocation itself."""


@dataclass(frozen=True, slots=True)
class Held:
    """What is said of an allocation beside its key."""

    revision: int
    end_ms: int
    share: float
    activity: float | None
    method: str

    @property
    def version(self) -> tuple[int, int]:
        """Of two with one key the higher one counts."""
        return self.revision, self.end_ms

    @property
    def weight(self) -> tuple[float, float | None]:
        return self.share, self.activity


Stored = Callable[[Sequence[Key]], dict[Key, Held] | None]
"""Says what the store holds of some keys; those it does not know are absent. None: nobody can tell
now, because the store is away or has not been given all that it is to have."""

STORED = """
SELECT device_id, workload_id, toUnixTimestamp64Milli(start_ts) AS start,
       revision, toUnixTimestamp64Milli(end_ts), share, activity, method
FROM allocation FINAL
WHERE toUnixTimestamp(toStartOfHour(start_ts)) IN {hours:Array(UInt32)}
  AND device_id IN {devices:Array(UInt64)}
  AND (device_id, workload_id, start) IN
      arrayZip({devices:Array(UInt64)}, {workloads:Array(UInt64)}, {starts:Array(Int64)})
"""


def stored(client: Client, keys: Sequence[Key]) -> dict[Key, Held]:
    """Ask the store, in portions."""
    found: dict[Key, Held] = {}
    for at in range(0, len(keys), ASKED_AT_ONCE):
        portion = keys[at : at + ASKED_AT_ONCE]
        asked = {
            "hours": sorted({start // HOUR_MS * 3600 for _, _, start in portion}),
            "devices": [device for device, _, _ in portion],
            "workloads": [workload for _, workload, _ in portion],
            "starts": [start for _, _, start in portion],
        }
        for device, workload, start, *told in client.rows(STORED, asked):
            found[device, workload, start] = Held(*told)
    return found


def changed_hours(start_ms: int, before: Held | None, after: Held) -> range:
    """Return the hours (Unix seconds) whose charges can differ when ``after`` takes over."""
    if before is None:
        return _hours(start_ms, after.end_ms)
    if before.version > after.version:
        return range(0)
    ends = sorted((before.end_ms, after.end_ms))
    return _hours(ends[0] if before.weight == after.weight else start_ms, ends[1])


def _hours(lo_ms: int, hi_ms: int) -> range:
    if hi_ms <= lo_ms:
        return range(0)
    return range(lo_ms // HOUR_MS * 3600, -(-hi_ms // HOUR_MS) * 3600, 3600)


def _joined(spans: Iterable[range]) -> Iterator[int]:
    """Give the hours of all ``spans``, each once, however many of them last a year."""
    reached = 0
    for span in sorted(spans, key=lambda span: span.start):
        yield from range(max(span.start, reached), span.stop, 3600)
        reached = max(reached, span.stop)


@dataclass(frozen=True, slots=True)
class Changes:
    """What of some allocations is to be written, and the hours (Unix seconds) that they touch."""

    allocations: tuple[Allocation, ...]
    hours: frozenset[int]


class Holdings:
    """Remembers the running allocations, of each device and workload the one that began last."""

    def __init__(
        self, ids: Ids, limit: int = REMEMBERED, now: Callable[[], float] = time.time
    ) -> None:
        self._ids = ids
        self._limit = limit
        self._now = now
        self._running: dict[tuple[int, int], tuple[int, Held]] = {}

    def __len__(self) -> int:
        return len(self._running)

    def changes(self, allocations: Iterable[Allocation], stored: Stored) -> Changes:
        """Compare with what is known; each key may come once (``latest``)."""
        said = [(self._key(a), held(a), a) for a in allocations]
        known = {key: self._remembered(key, now) for key, now, _ in said}
        asked = [key for key, now, _ in said if known[key] is None and not _is_new_window(now)]
        told = stored(asked) if asked else {}
        known.update(told or {})
        untold = frozenset(asked if told is None else ())
        news, spans = [], set[range]()
        for key, now, allocation in said:
            before = known[key]
            if key in untold and now.revision:
                spans.add(self._at_most(key[2], now))
            if before is not None and (before == now or before.version > now.version):
                continue
            news.append(allocation)
            spans.add(changed_hours(key[2], before, now))
        return Changes(tuple(news), frozenset(_joined(spans)))

    def remember(self, allocations: Iterable[Allocation]) -> None:
        for allocation in allocations:
            device, workload, start_ms = self._key(allocation)
            began, _ = self._running.get((device, workload), (start_ms, None))
            if began > start_ms or (allocation.activity is not None and began != start_ms):
                continue
            # Taken out and put in again, so that what is said no more is forgotten first.
            self._running.pop((device, workload), None)
            if allocation.activity is None:
                self._running[device, workload] = start_ms, held(allocation)
        while len(self._running) > self._limit:
            del self._running[next(iter(self._running))]

    def _at_most(self, start_ms: int, now: Held) -> range:
        """Return each hour that a correction may change, whatever it corrects.

        Beyond the hour that runs there are no readings yet; those mark their hours as they come.
        """
        return _hours(start_ms, max(now.end_ms, round(self._now() * 1000) + HOUR_MS))

    def _key(self, allocation: Allocation) -> Key:
        return self._ids[allocation.device], self._ids[allocation.workload], allocation.start_ms

    def _remembered(self, key: Key, now: Held) -> Held | None:
        """Return what is known without asking; a correction is always asked about."""
        began, known = self._running.get(key[:2], (0, None))
        if known is None or began != key[2] or known.revision != now.revision:
            return None
        return None if now.activity is not None else known


def _is_new_window(now: Held) -> bool:
    """Return whether what it may replace cannot reach beyond it, except where it counts itself."""
    return now.activity is not None and now.revision == 0


def held(allocation: Allocation) -> Held:
    return Held(
        allocation.revision,
        allocation.end_ms,
        allocation.share,
        allocation.activity,
        allocation.method,
    )


def latest(allocations: Iterable[Allocation]) -> list[Allocation]:
    """Return of each key the allocation that counts: of two equal versions the later one."""
    found: dict[tuple[str, str, int], Allocation] = {}
    for allocation in allocations:
        key = allocation.device, allocation.workload, allocation.start_ms
        known = found.get(key)
        if known is None or held(known).version <= held(allocation).version:
            found[key] = allocation
    return list(found.values())
