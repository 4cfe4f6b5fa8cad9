"""What a sender may write: points of devices and workloads that are another's are taken out.

Whose a device is, is told by its node and cluster as it was described last by somebody who may
describe it; so a device cannot be taken over by describing it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TypeVar

import numpy as np

from wattshed_collector.store.dimensions import describes
from wattshed_collector.store.insert import Frame
from wattshed_collector.store.stacks import Rows, spread
from wattshed_exporter.model import Batch, Device, Workload, stable_id

from .rules import Identity

NOT_YOURS = "not_yours"
MOST_KNOWN = 1_000_000
MOST_LEARNED = 50_000
DEVICE = "device_id"

T = TypeVar("T", Device, Workload)

Place = tuple[str, str]
"""Cluster and node of a device."""


@dataclass(frozen=True, slots=True)
class Mine:
    """What is left of a delivery."""

    batch: Batch
    frames: tuple[Rows, ...] = ()


class Tenancy:
    """Checks deliveries; remembers where devices and in which cluster workloads are.

    ``places`` and ``clusters`` are what the store knows at start; ``heard`` is told of each
    delivery what its sender may say.
    """

    def __init__(
        self,
        places: MutableMapping[str, Place] | None = None,
        clusters: MutableMapping[str, str] | None = None,
        heard: Callable[[Batch], None] = lambda batch: None,
    ) -> None:
        self._heard = heard
        self._places = {} if places is None else places
        self._clusters = {} if clusters is None else clusters
        self._left: dict[int, tuple[Batch, Batch]] = {}
        """By identity those that describe devices alone, and what of them its sender could write:
        what is the same again must be the same object again, for us below and for the store."""
        self._learned: dict[int, tuple[Batch, bool]] = {}
        """By identity those that describe devices alone, whether they move them, and would change
        nothing: who sends the same things again and again has the same object each time."""

    def check(self, who: Identity, batch: Batch, frames: Sequence[Rows] = ()) -> Mine:
        """Return what ``who`` may write, the rest counted in ``rejected`` as ``not_yours``."""
        if not who.bounded:
            self.learn(batch)
            return Mine(batch, tuple(frames))
        devices = [in_cluster(who, device) for device in batch.devices]
        workloads = [in_cluster(who, workload) for workload in batch.workloads]
        places = {d.key: (d.cluster, d.node) for d in devices}
        clusters = {w.key: w.cluster for w in workloads}
        mine = _Kept(
            {key for key in _named(batch) | places.keys() if self._owns(who, key, places)},
            {key for key in _runners(batch) if self._runs(who, key, clusters)},
        )
        told = replace(batch, devices=tuple(devices), workloads=tuple(workloads))
        left = self._as_before(batch, mine.batch(told))
        self.learn(left)
        kept, dropped = mine.frames(spread(frames))
        return Mine(_rejecting(left, dropped), kept)

    def _as_before(self, batch: Batch, left: Batch) -> Batch:
        """Return what is ``left`` of a batch, as the object that it was before if it is equal."""
        if left == batch:
            return batch
        if not describes(batch):
            return left
        known, before = self._left.get(id(batch), (left, left))
        if known is batch and before == left:
            return before
        if len(self._left) >= MOST_LEARNED:
            self._left.clear()
        self._left[id(batch)] = batch, left
        return left

    def _owns(self, who: Identity, key: str, said: Mapping[str, Place]) -> bool:
        """Return whether the device is ``who``'s, both as it is said now and as it was known."""
        told = [place for place in (said.get(key), self._places.get(key)) if place is not None]
        return bool(told) and all(place_allowed(who, place) for place in told)

    def _runs(self, who: Identity, key: str, said: Mapping[str, str]) -> bool:
        """Return whether the workload is ``who``'s; one of which nobody told anything is that of
        whoever is bound to no cluster."""
        told = [at for at in (said.get(key), self._clusters.get(key)) if at is not None]
        return all(cluster_allowed(who, at) for at in told) if told else not who.clusters

    def learn(self, batch: Batch, *, moves: bool = True) -> None:
        """Note where devices and workloads are, as somebody says who may say it.

        What ``moves`` nothing leaves what is known where it is. Full, it knows no more, and guards
        what it knows.
        """
        self._heard(batch)
        known = self._learned.get(id(batch))
        if known is not None and (known[1] or not moves):
            return
        full = len(self._places) + len(self._clusters) >= MOST_KNOWN
        for device in batch.devices:
            if moves if device.key in self._places else not full:
                self._place(device)
        for workload in batch.workloads:
            if workload.cluster and (moves if workload.key in self._clusters else not full):
                self._clusters[workload.key] = workload.cluster
        if describes(batch):
            if len(self._learned) >= MOST_LEARNED:
                self._learned.clear()
            self._learned[id(batch)] = batch, moves

    def _place(self, device: Device) -> None:
        place = device.cluster, device.node
        if self._places.get(device.key) != place:
            self._places[device.key] = place
            self._learned.clear()


def place_allowed(who: Identity, place: Place) -> bool:
    """Return whether ``who`` may write of devices in this cluster and on this node."""
    cluster, node = place
    return cluster_allowed(who, cluster) and (not who.nodes or _any(node, who.nodes))


def cluster_allowed(who: Identity, cluster: str) -> bool:
    """Return whether ``who`` may write of things in this cluster."""
    return not who.clusters or _any(cluster, who.clusters)


def in_cluster(who: Identity, thing: T) -> T:
    """Return the thing in the one cluster of ``who`` where it names none."""
    if thing.cluster or len(who.clusters) != 1 or set(who.clusters[0]) & set("*?["):
        return thing
    return replace(thing, cluster=who.clusters[0])


def _any(name: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def _rejecting(batch: Batch, count: int) -> Batch:
    if not count:
        return batch
    known = batch.rejected.get(NOT_YOURS, 0)
    return replace(batch, rejected={**batch.rejected, NOT_YOURS: known + count})


@dataclass(frozen=True, slots=True)
class _Kept:
    """Keys of the devices and workloads that may be written."""

    devices: set[str]
    workloads: set[str]

    def batch(self, batch: Batch) -> Batch:
        """Return the batch without what is not kept; facts that go are counted."""
        devices, workloads = self.devices, self.workloads
        left = replace(
            batch,
            devices=tuple(d for d in batch.devices if d.key in devices),
            workloads=tuple(w for w in batch.workloads if w.key in workloads),
            ticks=tuple(t for t in batch.ticks if t.device in devices),
            details=tuple(d for d in batch.details if d.device in devices),
            allocations=tuple(
                a for a in batch.allocations if a.device in devices and a.workload in workloads
            ),
            outcomes=tuple(o for o in batch.outcomes if o.workload in workloads),
            quarantine=tuple(d for d in batch.quarantine if d.allocation.device in devices),
        )
        return _rejecting(left, _facts(batch) - _facts(left))

    def frames(self, frames: Iterable[Frame]) -> tuple[tuple[Frame, ...], int]:
        """Return the frames' rows of kept devices, and how many rows went.

        Rows that are of no device (``metric_sample``) hold who sent them, so they are anybody's.
        """
        allowed = np.array(sorted(stable_id(key) for key in self.devices), dtype=np.uint64)
        kept, dropped = [], 0
        for frame in frames:
            if DEVICE not in frame.columns:
                kept.append(frame)
                continue
            rows = np.isin(frame.columns[DEVICE].values, allowed)
            dropped += int(len(rows) - rows.sum())
            if rows.all():
                kept.append(frame)
            elif rows.any():
                columns = {name: column.at(rows) for name, column in frame.columns.items()}
                kept.append(Frame(frame.table, columns))
        return tuple(kept), dropped


def _named(batch: Batch) -> set[str]:
    said = {
        fact.device for facts in (batch.ticks, batch.details, batch.allocations) for fact in facts
    }
    return said | {doubtful.allocation.device for doubtful in batch.quarantine}


def _runners(batch: Batch) -> set[str]:
    said = {fact.workload for facts in (batch.allocations, batch.outcomes) for fact in facts}
    return said | {workload.key for workload in batch.workloads}


def _facts(batch: Batch) -> int:
    facts = batch.ticks, batch.details, batch.allocations, batch.outcomes, batch.quarantine
    return sum(map(len, facts))
