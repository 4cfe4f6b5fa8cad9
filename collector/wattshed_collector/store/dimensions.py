"""What changes slowly: devices, workloads and allocations are written only when they change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from wattshed_exporter.model import Allocation, Batch, Device, Workload

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class News:
    """What of some batches the store does not hold yet."""

    batch: Batch
    dirty_hours: frozenset[int]


class Dimensions:
    """Knows which devices, workloads and allocations were written, to write only what changed.

    It starts empty with every process; what it forgets is merely written once more.
    """

    def __init__(self) -> None:
        self._devices: dict[str, Device] = {}
        self._workloads: dict[str, Workload] = {}
        self._allocations: dict[tuple[str, str, int], Allocation] = {}

    def news(self, batches: Iterable[Batch]) -> News:
        merged = _merge(batches)
        allocations = [a for a in merged.allocations if self._allocations.get(_key(a)) != a]
        dirty = {hour for allocation in allocations for hour in self._hours(allocation)}
        fresh = replace(
            merged,
            devices=tuple(d for d in merged.devices if self._devices.get(d.key) != d),
            workloads=tuple(w for w in merged.workloads if self._workloads.get(w.key) != w),
            allocations=tuple(allocations),
        )
        return News(fresh, frozenset(dirty))

    def remember(self, batch: Batch) -> None:
        self._devices.update((device.key, device) for device in batch.devices)
        self._workloads.update((workload.key, workload) for workload in batch.workloads)
        for allocation in batch.allocations:
            known = self._allocations.get(_key(allocation))
            if known is None or known.end_ms <= allocation.end_ms:
                self._allocations[_key(allocation)] = allocation

    def _hours(self, allocation: Allocation) -> Iterable[int]:
        known = self._allocations.get(_key(allocation))
        grown = known is not None and known.share == allocation.share
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
        workloads=tuple({w.key: w for b in every for w in b.workloads}.values()),
        allocations=tuple(allocations.values()),
        outcomes=tuple(o for b in every for o in b.outcomes),
    )


def _key(allocation: Allocation) -> tuple[str, str, int]:
    return allocation.device, allocation.workload, allocation.start_ms
