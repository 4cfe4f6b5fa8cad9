"""Numbers of many series at once to rows of tables, checked as ``facts`` checks one point.

Which number goes where was found out from one body that was read point by point; a later one with
the same series has the same places. Where its numbers do not suit (one is out of bounds, readings
meet in one row that were apart), ``Odd`` says that it is to be read point by point again.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter, is_
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattshed_collector.normalise import Point
from wattshed_collector.normalise.facts import Normaliser, Rejected
from wattshed_collector.normalise.slots import Odd, Part, Slot
from wattshed_collector.store.insert import Column, Frame
from wattshed_collector.store.rows import FROZEN, labels_text
from wattshed_collector.store.schema import KINDS
from wattshed_collector.store.schema import TABLES as STORED
from wattshed_collector.store.wide import BY_KEY, MEANT, TABLE, WIDE, Wide
from wattshed_exporter import semconv
from wattshed_exporter.model import Batch, Detail, Device

from .grid import Grid, Times

FIELD = attrgetter("field")
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Target:
    """The column of a tick's field, and how many of its units are one base unit."""

    column: str
    factor: float
    truncated: bool = False


TARGETS = {
    "power_watts": Target("power_uw", 1e6),
    "energy_joules": Target("energy_uj", 1e6),
    "utilization_ratio": Target("util_e4", 1e4),
    "memory_used_bytes": Target("mem_used_bytes", 1.0, truncated=True),
    "temperature_celsius": Target("temp_e1", 10.0),
}
"""As ``store.rows.tick_columns`` has them; the tests hold the two against each other."""


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
        named = _named(slots, parts[Part.DETAIL], described)
        details = [at for at in parts[Part.DETAIL] if at not in named]
        wide = [at for at in details if _wide(slots[at]) is not None]
        narrow = [at for at in details if _wide(slots[at]) is None]
        self._ticks = _Ticks(slots, ts_ms, ticking) if ticking else None
        self._wide = _Wides(slots, ts_ms, wide) if wide else None
        ticking = self._ticks.grid.order if self._ticks else []
        wide = self._wide.grid.order if self._wide else []
        order = [*ticking, *wide, *narrow, *parts[Part.OTHER], *sorted(named)]
        self.order = np.array(order, np.intp)
        self.batch = Batch()
        """The last one that held nothing but the devices: mostly the same again."""
        self.others = [slots[at] for at in order[len(ticking) + len(details) :]]
        """The series of the last numbers, for which the caller makes points."""
        self._of_ticks = slice(len(ticking))
        self._of_wide = slice(len(ticking), len(ticking) + len(wide))
        self._of_narrow = slice(len(ticking) + len(wide), len(ticking) + len(details))
        self._narrow = _samples([slots[at] for at in narrow]) if narrow else None
        columnar = [slots[at] for at in order[: len(ticking) + len(details)]]
        self._scale = _unless_all((slot.scale for slot in columnar), 1.0)
        self._least = np.array([slot.least for slot in columnar])
        self._largest = np.array([slot.largest for slot in columnar])

    def described(self, devices: tuple[Device, ...]) -> Batch:
        """Return a batch that only describes devices: the last one where they are the same."""
        if not (
            len(devices) == len(self.batch.devices) and all(map(is_, devices, self.batch.devices))
        ):
            self.batch = Batch(devices=tuple({device.key: device for device in devices}.values()))
        return self.batch

    def frames(self, ts_ms: Times, values: Floats, starts_ms: Times) -> tuple[Frame, ...]:
        """Return the rows, values in the units that were said. Raises Odd."""
        scaled = values[: len(self._least)]
        if self._scale is not None:
            with np.errstate(all="ignore"):  # what overflows is out of bounds
                scaled = scaled * self._scale
        if np.count_nonzero((scaled >= self._least) & (scaled <= self._largest)) != len(scaled):
            raise Odd("a number is out of bounds")
        made: list[Frame] = []
        for part, place in ((self._ticks, self._of_ticks), (self._wide, self._of_wide)):
            if part is not None:
                made += part.frames(ts_ms[place], scaled[place], starts_ms[place])
        if self._narrow is not None:
            at = self._of_narrow
            made.append(_narrow(self._narrow, ts_ms[at], scaled[at], starts_ms[at]))
        return tuple(made)


def _named(
    slots: Sequence[Slot], details: Iterable[int], described: Container[str]
) -> frozenset[int]:
    """Return a detail of each device of which nothing else is known, which has to be named.

    One of them stays a point; of those that are no row together with others, if there is one.
    """
    found: dict[str, int] = {}
    for at in details:
        known = found.get(slots[at].device)
        if slots[at].device not in described and (
            known is None or (_wide(slots[known]) and not _wide(slots[at]))
        ):
            found[slots[at].device] = at
    return frozenset(found.values())


def _wide(slot: Slot) -> Wide | None:
    """Return the column of a detail that has one of its own."""
    return BY_KEY.get((slot.known.metric, slot.own)) if slot.known is not None else None


def _narrow(static: Mapping[str, Column], ts_ms: Times, values: Floats, starts_ms: Times) -> Frame:
    told = {
        "ts": Column(ts_ms),
        "value": Column(values),
        "start_ts": Column(starts_ms, starts_ms != 0),
    }
    return Frame("sample", {**static, **told})


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
    if not normaliser.believes(int(np.minimum.reduce(ts_ms)), int(np.maximum.reduce(ts_ms))):
        raise Odd("a time that is not believed")
    frames = tables.frames(ts_ms, values, starts_ms)
    try:
        found = tuple(map(normaliser.device, tables.devices))
    except Rejected as reason:
        raise Odd(str(reason)) from reason
    if not tables.others:
        return tables.described(found), frames
    devices = {device.key: device for device in found}
    said = _others(tables, ts_ms, values, starts_ms)
    for at, activity in activities:
        told = {**said[at].attributes, semconv.ALLOCATION_ACTIVITY_ATTRIBUTE: activity}
        said[at] = replace(said[at], attributes=told)
    news = [point for point in said if not _is_old(point, devices, normaliser)]
    if not news:
        return tables.described(found), frames
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
    """The rows of ``tick``."""

    def __init__(self, slots: Sequence[Slot], ts_ms: Sequence[int], places: Iterable[int]) -> None:
        self.grid = Grid(slots, ts_ms, places, FIELD, (*TARGETS, ""))
        fields = [slots[at].field for at in self.grid.order]
        self._factor = np.array([TARGETS[name].factor if name else 1.0 for name in fields])
        gaps = self.grid.cells.get("", {})
        reasons = {row: slots[at].reason for row, at in gaps.items()}
        powered = self.grid.cells.get("power_watts", {})
        self._static = _static(self.grid.first, reasons, powered)

    def frames(self, ts_ms: Times, scaled: Floats, starts_ms: Times) -> Iterator[Frame]:
        grid = self.grid
        columns: dict[str, Column] = {"ts": Column(grid.times(ts_ms)), **self._static}
        whole = np.rint(scaled * self._factor)
        for field in grid.spans:
            if not field:
                continue
            target = TARGETS[field]
            # Whole numbers still as floats: they become the column's type once for all bodies.
            numbers = np.trunc(scaled) if target.truncated else whole
            columns[target.column] = grid.column(field, numbers)
            if field == "energy_joules":
                columns["start_ts"] = grid.partly(field, starts_ms, starts_ms != 0)
        yield Frame("tick", columns)


class _Wides:
    """The rows of ``detail``, and of ``sample`` what their columns cannot hold."""

    def __init__(self, slots: Sequence[Slot], ts_ms: Sequence[int], places: Iterable[int]) -> None:
        names = [wide.column for wide in WIDE]
        self.grid = Grid(slots, ts_ms, places, lambda slot: _column_of(slot).column, names)
        said = [slots[at] for at in self.grid.order]
        wides = [_column_of(slot) for slot in said]
        self._columns = [wide for wide in WIDE if wide.column in self.grid.spans]
        self._scale = np.array([float(wide.scale) for wide in wides])
        bounds = [np.iinfo(_dtype(wide)) for wide in wides]
        self._least = np.array([float(bound.min) for bound in bounds])
        self._largest = np.array([float(bound.max) for bound in bounds])
        self._uncounted = np.array([not wide.start_column for wide in wides], np.bool_)
        self._samples = _samples(said)
        devices = [slot.device_id for slot in self.grid.first]
        self._devices = Column(np.array(devices, np.uint64))

    def frames(self, ts_ms: Times, scaled: Floats, starts_ms: Times) -> Iterator[Frame]:
        begins = np.count_nonzero(starts_ms) > 0
        if begins and starts_ms[self._uncounted].any():
            raise Odd("a gauge with a start")
        columns = {"ts": Column(self.grid.times(ts_ms)), "device_id": self._devices}
        # As ``Wide.scaled`` does it, for all columns at once.
        whole = np.rint(scaled * self._scale)
        holds = np.abs(whole / self._scale - scaled) <= MEANT * np.abs(scaled)
        holds &= (whole >= self._least) & (whole < self._largest)
        holds &= ~(np.signbit(scaled) & (whole == 0))
        all_held = np.count_nonzero(holds) == len(holds)
        if not all_held:
            whole = np.where(holds, whole, 0.0)
        for wide in self._columns:
            name = wide.column
            columns[name] = (
                self.grid.column(name, whole) if all_held else self.grid.partly(name, whole, holds)
            )
        if begins:
            begun = holds & (starts_ms != 0)
            for wide in self._columns:
                if wide.start_column and begun.any():
                    name = wide.column
                    columns[wide.start_column] = self.grid.partly(name, starts_ms, begun)
        yield Frame("detail", columns)
        if not all_held:
            rest = {name: Column(column.values[~holds]) for name, column in self._samples.items()}
            yield _narrow(rest, ts_ms[~holds], scaled[~holds], starts_ms[~holds])


def _column_of(slot: Slot) -> Wide:
    wide = _wide(slot)
    assert wide is not None
    return wide


def _dtype(wide: Wide) -> np.dtype[Any]:
    dtype = KINDS[STORED[TABLE][wide.column]].dtype
    assert dtype is not None
    return dtype


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
