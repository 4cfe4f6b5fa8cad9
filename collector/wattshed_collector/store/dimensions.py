"""What changes slowly: devices, workloads and allocations are written only when they change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from wattshed_exporter.model import Batch, Device, Workload

from .held import Holdings, Stored, latest
from .rows import WORKLOAD_TEXT, Ids

WORKLOADS = 200_000
"""How many are remembered: each job of years may be one."""
SETTLED = 50_000


@dataclass(frozen=True, slots=True)
class News:
    """What of some batches the store does not hold yet."""

    batch: Batch
    dirty_hours: frozenset[int]
    undescribed: frozenset[str]
    """Keys of devices of which details or allocations are known and nothing else, so far."""
    unnamed: frozenset[str]
    """Keys of workloads of which allocations or outcomes are known and nothing else, so far."""
    descriptions: tuple[Batch, ...] = ()
    """The batches that do nothing but describe devices."""


class Dimensions:
    """Knows which devices, workloads and allocations were written, to write only what changed.

    Devices and workloads that it forgets with the process are merely written once more.
    """

    def __init__(self, ids: Ids) -> None:
        self._devices: dict[str, Device] = {}
        self._undescribed: set[str] = set()
        self._workloads: dict[str, Workload] = {}
        self._unnamed: set[str] = set()
        self._holdings = Holdings(ids)
        self._settled: dict[int, Batch] = {}
        """By identity those whose descriptions are what the store holds: who sends the same things
        again and again has the same object each time."""

    def news(self, batches: Iterable[Batch], stored: Stored) -> News:
        """Compare with what is known; ``stored`` is asked for allocations that are not."""
        every = list(batches)
        unsettled = [batch for batch in every if id(batch) not in self._settled]
        # What is settled counts again where it comes after something else.
        said = merged(unsettled if all(map(self._holds, unsettled)) else every)
        changes = self._holdings.changes(said.allocations, stored)
        fresh = replace(
            said,
            devices=tuple(d for d in said.devices if _is_new(self._devices.get(d.key), d)),
            workloads=self._described_workloads(said.workloads),
            allocations=changes.allocations,
        )
        return News(
            fresh,
            changes.hours,
            self._undescribed_of(said),
            self._unnamed_of(said),
            tuple(filter(describes, unsettled)),
        )

    def remember(self, news: News) -> None:
        batch = news.batch
        if batch.devices or len(self._settled) >= SETTLED:
            self._settled.clear()
        else:
            self._settled.update((id(b), b) for b in news.descriptions if self._holds(b))
        self._undescribed |= news.undescribed
        self._devices.update((device.key, device) for device in batch.devices)
        if len(self._workloads) + len(self._unnamed) > WORKLOADS:
            self._workloads.clear()
            self._unnamed.clear()
        self._unnamed |= news.unnamed
        self._workloads.update((workload.key, workload) for workload in batch.workloads)
        self._holdings.remember(batch.allocations)

    def _described_workloads(self, told: Iterable[Workload]) -> tuple[Workload, ...]:
        """Return what is news of workloads: several may describe one, each with what it knows."""
        found: dict[str, Workload] = {}
        for workload in told:
            if not _is_bare(workload):
                known = found.get(workload.key) or self._workloads.get(workload.key)
                found[workload.key] = _completed(workload, known)
        return tuple(w for w in found.values() if self._workloads.get(w.key) != w)

    def _holds(self, batch: Batch) -> bool:
        return not any(_is_new(self._devices.get(d.key), d) for d in batch.devices)

    def _undescribed_of(self, batch: Batch) -> frozenset[str]:
        described = {device.key for device in batch.devices}
        keys = {fact.device for kind in (batch.details, batch.allocations) for fact in kind}
        keys -= described | self._undescribed
        return frozenset(key for key in keys if key not in self._devices)

    def _unnamed_of(self, batch: Batch) -> frozenset[str]:
        named = {workload.key for workload in batch.workloads if not _is_bare(workload)}
        keys = {fact.workload for kind in (batch.allocations, batch.outcomes) for fact in kind}
        keys |= {workload.key for workload in batch.workloads}
        keys -= named | self._unnamed
        return frozenset(key for key in keys if key not in self._workloads)


def _is_bare(workload: Workload) -> bool:
    """Return whether a description says nothing but the key."""
    return workload == Workload(workload.key, workload.key)


def _completed(workload: Workload, known: Workload | None) -> Workload:
    """Return a description with what it leaves open as it was known: a name that is the key, and
    every empty text."""
    if known is None:
        return workload
    said = {name: getattr(workload, name) or getattr(known, name) for name in WORKLOAD_TEXT}
    if workload.name == workload.key:
        said["name"] = known.name
    return Workload(**said)


def describes(batch: Batch) -> bool:
    """Return whether a batch does nothing but describe devices."""
    return batch == Batch(devices=batch.devices)


def _is_new(known: Device | None, device: Device) -> bool:
    # Mostly it is the same object, and to compare the fields of two takes a while.
    return known is not device and known != device


def merged(batches: Iterable[Batch]) -> Batch:
    """Return what several batches say, in their order, as one; not what of them was rejected."""
    every = list(batches)
    return Batch(
        devices=tuple({d.key: d for b in every for d in b.devices}.values()),
        ticks=tuple(t for b in every for t in b.ticks),
        details=tuple(d for b in every for d in b.details),
        workloads=tuple(w for b in every for w in b.workloads),
        allocations=tuple(latest(a for b in every for a in b.allocations)),
        outcomes=tuple(o for b in every for o in b.outcomes),
        quarantine=tuple(q for b in every for q in b.quarantine),
    )
