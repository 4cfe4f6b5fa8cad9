"""Numbers of many series at once to rows of tables, checked as ``facts`` checks one point.

Where numbers do not suit (one is out of bounds, readings meet in one row that were apart), ``Odd``
says that they are to be read point by point again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from operator import is_

import numpy as np

from wattshed_collector.normalise import Point
from wattshed_collector.normalise.facts import Normaliser, Rejected
from wattshed_collector.normalise.slots import Odd, Slot
from wattshed_collector.store.stacks import Numbers
from wattshed_exporter import semconv
from wattshed_exporter.model import Batch, Device

from .masks import Words
from .shapes import Shape

DEVICE_BYTES = 1500
SLOT_BYTES = 700


class Tables:
    """A shape with the devices of one sender.

    Args:
        slots: the series in the order in which they were said when the shape was found.

    Raises Odd where a device has two power limits: the later one counts.
    """

    def __init__(self, shape: Shape, slots: Sequence[Slot]) -> None:
        self.shape = shape
        self.devices = [slots[at].attributes for at in shape.describing]
        """Of each device that has ticks the attributes that it is first described with."""
        self.others = [slots[at] for at in shape.others]
        """The series of the last numbers, for which points are made."""
        limited = [
            slot.attributes.get("hw.id")
            for slot in self.others
            if slot.role.metric == semconv.POWER_LIMIT.otel
        ]
        if len(limited) > len(set(limited)):
            raise Odd("a limit is said twice")
        ids = {slot.device: slot.device_id for slot in slots}
        self._ids = np.array(list(ids.values()), np.uint64)
        things = len(ids) * DEVICE_BYTES + len(self.others) * SLOT_BYTES
        self.size_bytes = things + self._ids.nbytes
        """What it takes in memory beside the shape, as an estimate from above."""
        self._described = -1, Batch()
        """As of which edition, and what it was; replaced at once, because threads share it."""

    def described(self, normaliser: Normaliser) -> Batch:
        """Return a batch that only describes the devices: the last one where they are the same.

        Raises Odd where one of them is refused.
        """
        as_of, batch = self._described
        edition = normaliser.edition
        if edition != as_of:
            try:
                found = tuple(map(normaliser.device, self.devices))
            except Rejected as reason:
                raise Odd(str(reason)) from reason
            known = batch.devices
            if not (len(found) == len(known) and all(map(is_, found, known))):
                batch = Batch(devices=found)
            self._described = edition, batch
        return batch

    def numbers(self, words: Words, newest_ms: int) -> tuple[Numbers, ...]:
        """Return what fills rows of numbers that were checked."""
        if not self.shape.rows:
            return ()
        return (Numbers(self.shape, self._ids, words, newest_ms),)


def facts(
    tables: Tables,
    words: Words,
    normaliser: Normaliser,
    activities: Iterable[tuple[int, float]] = (),
) -> tuple[Batch, int, tuple[Numbers, ...]]:
    """Return what the words of a shape say, checked as a normaliser checks points: a batch, the
    latest event time in milliseconds, and what fills rows.

    ``activities`` are those of allocations, by place among ``tables.others``. Raises Odd.
    """
    first_ms, last_ms = tables.shape.check(words)
    if not normaliser.believes(first_ms, last_ms):
        raise Odd("a time that is not believed")
    described, numbers = tables.described(normaliser), tables.numbers(words, last_ms)
    if not tables.others:
        return described, last_ms, numbers
    devices = {device.key: device for device in described.devices}
    last = tables.shape.last(words)
    said = [slot.point(*told) for slot, told in zip(tables.others, last, strict=True)]
    for at, activity in activities:
        told = {**said[at].attributes, semconv.ALLOCATION_ACTIVITY_ATTRIBUTE: activity}
        said[at] = replace(said[at], attributes=told)
    news = [point for point in said if not _is_old(point, devices, normaliser)]
    if not news:
        return described, last_ms, numbers
    batch = normaliser.batch(news)
    devices.update((device.key, device) for device in batch.devices)
    return replace(batch, devices=tuple(devices.values())), last_ms, numbers


def _is_old(point: Point, devices: Mapping[str, Device], normaliser: Normaliser) -> bool:
    """Return whether a point repeats the power limit of a device that is described beside it."""
    if point.metric != semconv.POWER_LIMIT.otel or point.unit != semconv.POWER_LIMIT.unit:
        return False
    try:
        device = normaliser.device(point.attributes)
    except Rejected:
        return False
    return device.power_limit_watts == point.value and device is devices.get(device.key)
