"""What changes slowly: devices, workloads and allocations are written only when they change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from wattshed_exporter.model import Allocation, Batch, Device, Workload

from .client import Client
from .rows import Ids

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class News:
    """What of some batches the store does not hold yet."""

    batch: Batch
    dirty_hours: frozenset[int]
    undescribed: frozenset[str]
    """Keys of devices of which details are known and nothing else, so far."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the store says of an allocation beside its key."""

    end_ms: int
    share: float
    method: str
    activity: float | None = None


RECENT = """
SELECT device_id, workload_id, toUnixTimestamp64Milli(start_ts), toUnixTimestamp64Milli(end_ts),
       share, method, activity
FROM allocation FINAL WHERE end_ts > now() - INTERVAL 7 DAY
"""


class Dimensions:
    """Knows which devices, workloads and allocations were written, to write only what changed.

    Devices and workloads that it forgets with the process are merely written once more. Recent
    allocations it learns from the store, because one that is news has all of its hours recomputed.
    """

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._devices: dict[str, Device] = {}
        self._undescribed: set[str] = set()
        self._workloads: dict[str, Workload] = {}
        self._allocations: dict[tuple[int, int, int], Held] = {}

    def learn(self, client: Client) -> None:
        """Take over what the store knows."""
        for device, workload, start_ms, end_ms, share, method, activity in client.rows(RECENT):
            held = Held(end_ms, share, str(method), activity)
            self._allocations[device, workload, start_ms] = held

    def news(self, batches: Iterable[Batch]) -> News:
        merged = _merge(batches)
        allocations = [a for a in merged.allocations if self._known(a) != _held(a)]
        dirty = {hour for allocation in allocations for hour in self._hours(allocation)}
        fresh = replace(
            merged,
            devices=tuple(d for d in merged.devices if self._devices.get(d.key) != d),
            workloads=tuple(w for w in merged.workloads if self._workloads.get(w.key) != w),
            allocations=tuple(allocations),
        )
        return News(fresh, frozenset(dirty), self._unnamed(merged))

    def remember(self, news: News) -> None:
        batch = news.batch
        self._undescribed |= news.undescribed
        self._devices.update((device.key, device) for device in batch.devices)
        self._workloads.update((workload.key, workload) for workload in batch.workloads)
        for allocation in batch.allocations:
            known = self._known(allocation)
            if known is None or known.end_ms <= allocation.end_ms:
                self._allocations[self._id(allocation)] = _held(allocation)

    def _unnamed(self, batch: Batch) -> frozenset[str]:
        described = {device.key for device in batch.devices}
        keys = {detail.device for detail in batch.details} - described - self._undescribed
        return frozenset(key for key in keys if key not in self._devices)

    def _id(self, allocation: Allocation) -> tuple[int, int, int]:
        return self._ids[allocation.device], self._ids[allocation.workload], allocation.start_ms

    def _known(self, allocation: Allocation) -> Held | None:
        return self._allocations.get(self._id(allocation))

    def _hours(self, allocation: Allocation) -> Iterable[int]:
        known = self._known(allocation)
        grown = (
            known is not None
            and known.end_ms < allocation.end_ms
            and (known.share, known.activity) == (allocation.share, allocation.activity)
        )
        start = known.end_ms if grown and known is not None else allocation.start_ms
        first = min(start, allocation.end_ms) // HOUR_MS
        return (hour * 3600 for hour in range(first, (allocation.end_ms - 1) // HOUR_MS + 1))


def _merge(batches: Iterable[Batch]) -> Batch:
    every = list(batches)
    allocations: dict[tuple[str, str, int], Allocation] = {}
    for batch in every:
        for allocation in batch.allocations:
            known = allocations.get(_key(allocation))
            if known is None or known.end_ms <= allocation.end_ms:
                allocations[_key(allocation)] = allocation
    return Batch(
        devices=tuple({d.key: d for b in every for d in b.devices}.values()),
        ticks=tuple(t for b in every for t in b.ticks),
        details=tuple(d for b in every for d in b.details),
        workloads=tuple({w.key: w for b in every for w in b.workloads}.values()),
        allocations=tuple(allocations.values()),
        outcomes=tuple(o for b in every for o in b.outcomes),
    )


def _key(allocation: Allocation) -> tuple[str, str, int]:
    return allocation.device, allocation.workload, allocation.start_ms


def _held(allocation: Allocation) -> Held:
    return Held(allocation.end_ms, allocation.share, allocation.method, allocation.activity)
