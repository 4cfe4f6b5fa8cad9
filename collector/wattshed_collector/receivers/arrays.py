"""Numbers of many series at once to rows of tables, checked as ``facts`` checks one point.

Which number goes where was found out from one body that was read point by point; a later one with
the same series has the same places. Where its numbers do not suit (one is out of bounds, readings
meet in one row that were apart), ``Odd`` says that it is to be read point by point again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattshed_collector.normalise import Point
from wattshed_collector.normalise.facts import Normaliser, Rejected
from wattshed_collector.normalise.slots import Moved, Odd, Part, Slot
from wattshed_collector.store.insert import Column, Frame
from wattshed_collector.store.rows import FROZEN, labels_text
from wattshed_exporter import semconv
from wattshed_exporter.model import Batch, Detail, Device

Floats = NDArray[np.float64]
Times = NDArray[np.int64]
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Target:
    """The column of a tick's field: how many of its units are one base unit, and its type."""

    column: str
    factor: float
    dtype: type[np.generic]
    truncated: bool = False


TARGETS = {
    "power_watts": Target("power_uw", 1e6, np.uint64),
    "energy_joules": Target("energy_uj", 1e6, np.uint64),
    "utilization_ratio": Target("util_e4", 1e4, np.uint16),
    "memory_used_bytes": Target("mem_used_bytes", 1.0, np.uint64, truncated=True),
    "temperature_celsius": Target("temp_e1", 10.0, np.int16),
}
"""As ``store.rows.tick_columns`` has them; the tests hold the two against each other."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where the numbers of a column stand, and in which rows they go: None for all, in order."""

    target: Target
    place: slice
    rows: Places | None
    present: NDArray[np.bool_] | None


class Tables:
    """The rows of one layout.

    Args:
        slots: the series in the order in which they were said.
        ts_ms: their event times, as said when the layout was learned.

    ``order`` says in which order the methods want them. Raises Odd where two numbers are the same.
    """

    def __init__(self, slots: Sequence[Slot], ts_ms: Sequence[int]) -> None:
        parts: dict[Part, list[int]] = {part: [] for part in Part}
        for at, slot in enumerate(slots):
            parts[slot.part].append(at)
        ticking = sorted(parts[Part.TICK] + parts[Part.GAP])
        described = {slots[at].device: slots[at].attributes for at in reversed(ticking)}
        self.devices = list(described.values())
        """Of each device that has ticks the attributes that it is first described with."""
        # A device of which nothing but details is known must be named: one of them stays a point.
        unnamed = {slots[at].device: at for at in reversed(parts[Part.DETAIL])}
        named = [at for device, at in unnamed.items() if device not in described]
        parts[Part.OTHER] += named
        parts[Part.DETAIL] = [at for at in parts[Part.DETAIL] if at not in set(named)]
        self._ticks = _Ticks(slots, ts_ms, ticking) if ticking else None
        ticking = self._ticks.order if self._ticks else ticking
        order = [*ticking, *parts[Part.DETAIL], *parts[Part.OTHER]]
        self.order = np.array(order, np.intp)
        self.others = [slots[at] for at in parts[Part.OTHER]]
        """The series of the last numbers, for which the caller makes points."""
        self._rows = slice(len(ticking), len(ticking) + len(parts[Part.DETAIL]))
        self._details = [slots[at] for at in parts[Part.DETAIL]]
        self._samples = _samples(self._details)
        self._count = len(ticking) + len(parts[Part.DETAIL])
        columnar = [slots[at] for at in order[: self._count]]
        self._scale = _unless_all((slot.scale for slot in columnar), 1.0)
        self._least = np.array([slot.least for slot in columnar])
        self._largest = np.array([slot.largest for slot in columnar])

    def frames(self, ts_ms: Times, values: Floats, starts_ms: Times) -> tuple[Frame, ...]:
        """Return the rows, values in the units that were said. Raises Odd."""
        scaled = values[: self._count]
        if self._scale is not None:
            with np.errstate(all="ignore"):  # what overflows is out of bounds
                scaled = scaled * self._scale
        if not ((scaled >= self._least) & (scaled <= self._largest)).all():
            raise Odd("a number is out of bounds")
        made = []
        if self._ticks is not None:
            made.append(self._ticks.frame(ts_ms, scaled, starts_ms))
        if self._details:
            starts = starts_ms[self._rows]
            columns = {
                **self._samples,
                "ts": Column(ts_ms[self._rows]),
                "value": Column(scaled[self._rows]),
                "start_ts": Column(starts, starts != 0),
            }
            made.append(Frame("sample", columns))
        return tuple(made)


def facts(
    tables: Tables,
    ts_ms: Times,
    values: Floats,
    starts_ms: Times,
    normaliser: Normaliser,
    activities: Iterable[tuple[int, float]] = (),
) -> tuple[Batch, tuple[Frame, ...]]:
    """Return what numbers in the order of ``tables`` say, checked as a normaliser checks points.

    ``activities`` are those of allocations, by place among ``tables.others``. Raises Odd.
    """
    if not normaliser.believes(int(ts_ms.min()), int(ts_ms.max())):
        raise Odd("a time that is not believed")
    frames = tables.frames(ts_ms, values, starts_ms)
    try:
        found = [normaliser.device(attributes) for attributes in tables.devices]
    except Rejected as reason:
        raise Odd(str(reason)) from reason
    devices = {device.key: device for device in found}
    said = _others(tables, ts_ms, values, starts_ms)
    for at, activity in activities:
        told = {**said[at].attributes, semconv.ALLOCATION_ACTIVITY_ATTRIBUTE: activity}
        said[at] = replace(said[at], attributes=told)
    news = [point for point in said if not _is_old(point, devices, normaliser)]
    if not news:
        return Batch(devices=tuple(devices.values())), frames
    batch = normaliser.batch(news)
    devices.update((device.key, device) for device in batch.devices)
    return replace(batch, devices=tuple(devices.values())), frames


def _others(tables: Tables, ts_ms: Times, values: Floats, starts_ms: Times) -> list[Point]:
    if not tables.others:
        return []
    last = (array[-len(tables.others) :].tolist() for array in (values, ts_ms, starts_ms))
    return [slot.point(*numbers) for slot, *numbers in zip(tables.others, *last, strict=True)]


def _is_old(point: Point, devices: Mapping[str, Device], normaliser: Normaliser) -> bool:
    """Return whether a point repeats the power limit of a device that is described beside it."""
    if point.metric != semconv.POWER_LIMIT.otel or point.unit != semconv.POWER_LIMIT.unit:
        return False
    try:
        device = normaliser.device(point.attributes)
    except Rejected:
        return False
    return device.power_limit_watts == point.value and device is devices.get(device.key)


class _Ticks:
    """Which numbers of which readings are which rows of ``tick``."""

    def __init__(self, slots: Sequence[Slot], ts_ms: Sequence[int], places: Iterable[int]) -> None:
        rows: dict[tuple[str, int], int] = {}
        first: list[Slot] = []
        cells: dict[str, dict[int, int]] = {name: {} for name in (*TARGETS, "")}
        """By field and row the place of the number; gaps have no field."""
        for at in places:
            slot = slots[at]
            row = rows.setdefault((slot.device, ts_ms[at]), len(rows))
            if row == len(first):
                first.append(slot)
            if cells[slot.field].setdefault(row, at) != at:
                raise Odd("a number is said twice")
        self.order = [found[row] for found in cells.values() for row in sorted(found)]
        count = len(rows)
        self._factor = np.array(
            [TARGETS[slots[at].field].factor if slots[at].field else 1.0 for at in self.order]
        )
        row_of = [row for found in cells.values() for row in sorted(found)]
        self._row_of = np.array(row_of, np.intp)
        self._count = len(self.order)
        where = {row: at for at, row in reversed(list(enumerate(row_of)))}
        self._first = np.array([where[row] for row in range(count)], np.intp)
        self._pairs = _neighbours(rows)
        self._spans, at = [], 0
        for name, target in TARGETS.items():
            found = cells[name]
            self._spans.append(_span(target, at, sorted(found), count))
            at += len(found)
        self._spans = [span for span in self._spans if span.place.start < span.place.stop]
        reasons = {row: slots[at].reason for row, at in cells[""].items()}
        self._static = _static(first, reasons, cells["power_watts"])

    def frame(self, ts_ms: Times, scaled: Floats, starts_ms: Times) -> Frame:
        ts_ms, scaled = ts_ms[: self._count], scaled[: self._count]
        row_ts = ts_ms[self._first]
        if not (row_ts[self._row_of] == ts_ms).all():
            raise Moved("the parts of a reading have several times")
        if self._pairs is not None and not (row_ts[self._pairs[0]] < row_ts[self._pairs[1]]).all():
            raise Moved("readings come in another order")
        whole = np.rint(scaled * self._factor)
        columns: dict[str, Column] = {"ts": Column(row_ts), **self._static}
        for span in self._spans:
            numbers = scaled if span.target.truncated else whole
            columns[span.target.column] = _column(span, numbers, len(row_ts))
            if span.target.column == "energy_uj":
                columns["start_ts"] = _starts(span, starts_ms, len(row_ts))
        return Frame("tick", columns)


def _neighbours(rows: Mapping[tuple[str, int], int]) -> tuple[Places, Places] | None:
    """Return which row of a device comes before which, None where each device has only one."""
    by_device: dict[str, list[int]] = {}
    for (device, _), row in sorted(rows.items()):
        by_device.setdefault(device, []).append(row)
    found = [pair for own in by_device.values() for pair in pairwise(own)]
    if not found:
        return None
    before, after = zip(*found, strict=True)
    return np.array(before, np.intp), np.array(after, np.intp)


def _span(target: Target, at: int, rows: Sequence[int], count: int) -> Span:
    place = slice(at, at + len(rows))
    if len(rows) == count:
        return Span(target, place, None, None)
    present = np.zeros(count, np.bool_)
    present[rows] = True
    return Span(target, place, np.array(rows, np.intp), present)


def _column(span: Span, numbers: Floats, count: int) -> Column:
    said = numbers[span.place].astype(span.target.dtype)
    if span.rows is None:
        return Column(said)
    values = np.zeros(count, span.target.dtype)
    values[span.rows] = said
    return Column(values, span.present)


def _starts(span: Span, starts_ms: Times, count: int) -> Column:
    said = starts_ms[span.place]
    if span.rows is None:
        return Column(said, said != 0)
    values = np.zeros(count, np.int64)
    values[span.rows] = said
    return Column(values, values != 0)


def _static(
    first: Sequence[Slot], reasons: Mapping[int, str], powered: Mapping[int, int]
) -> dict[str, Column]:
    """Return what no number says; ``first`` is the point that each row began with."""
    static = {
        "device_id": Column(np.array([slot.device_id for slot in first], np.uint64)),
        "interval_ms": Column(np.array([slot.interval_ms for slot in first], np.uint32)),
        "method": Column(np.array([slot.method for slot in first], object)),
    }
    if reasons:
        rows = range(len(first))
        gone = [row in reasons and (row in powered or reasons[row] == FROZEN) for row in rows]
        told = np.array([row in reasons for row in rows], np.bool_)
        static["gap"] = Column(np.array([reasons.get(row, "") for row in rows], object), told)
        static["withdrawn"] = Column(np.ones(len(first), np.uint8), np.array(gone, np.bool_))
    return static


def _samples(details: Sequence[Slot]) -> dict[str, Column]:
    said = [
        Detail(slot.device, slot.known.metric, 0, 0.0, slot.own)
        for slot in details
        if slot.known is not None
    ]
    return {
        "device_id": Column(np.array([slot.device_id for slot in details], np.uint64)),
        "metric": Column(np.array([detail.metric for detail in said], object)),
        "labels": Column(np.array([labels_text(detail) for detail in said], object)),
    }


def _unless_all(values: Iterable[float], plain: float) -> NDArray[Any] | None:
    found = np.array(list(values))
    return None if (found == plain).all() else found
