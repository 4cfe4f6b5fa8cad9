"""The rows of ``tick`` and of ``detail`` of many requests of one shape at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattshed_collector.normalise.slots import Role
from wattshed_collector.store.insert import Column, Frame
from wattshed_collector.store.rows import FROZEN, labels_text
from wattshed_collector.store.schema import KINDS
from wattshed_collector.store.schema import TABLES as STORED
from wattshed_collector.store.stacks import Stacked
from wattshed_collector.store.wide import BY_KEY, MEANT, TABLE, WIDE, Wide
from wattshed_exporter.model import Detail

from .grid import NANOS_PER_MS, Grid, Places, Times

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


@dataclass(frozen=True, slots=True)
class Said:
    """Numbers of one part of each member, shape (members, numbers): times in nanoseconds, values in
    base units, starts in milliseconds; ``devices`` are the identities, shape (members, devices)."""

    times: NDArray[np.uint64]
    scaled: Floats
    starts_ms: Times
    devices: NDArray[np.uint64]

    def rows(self, places: Places, owners: Places) -> tuple[dict[str, Column], Places]:
        """Return time and device of rows, given a number and the device of each, and their member.

        All numbers of a row have the same time.
        """
        ts_ms = (self.times[:, places] // NANOS_PER_MS).view(np.int64)
        told = {
            "ts": Column(ts_ms.reshape(-1)),
            "device_id": Column(self.devices[:, owners].reshape(-1)),
        }
        return told, np.repeat(np.arange(len(self.times)), len(places))

    def samples(
        self, labels: Sequence[NDArray[Any]], owners: Places, which: NDArray[np.bool_] | None
    ) -> Stacked:
        """Return rows of ``sample``, of all numbers or those of ``which``."""
        shape = self.times.shape
        member, at = np.nonzero(np.ones(shape, np.bool_) if which is None else which)
        starts_ms = self.starts_ms[member, at]
        columns = {
            "device_id": Column(self.devices[member, owners[at]]),
            "metric": Column(labels[0][at]),
            "labels": Column(labels[1][at]),
            "ts": Column((self.times[member, at] // NANOS_PER_MS).view(np.int64)),
            "value": Column(self.scaled[member, at]),
            "start_ts": Column(starts_ms, starts_ms != 0),
        }
        return Stacked(Frame("sample", columns), member)


class Ticks:
    """The rows of ``tick``."""

    def __init__(
        self,
        roles: Sequence[Role],
        devices: Sequence[int],
        ranks: Sequence[int],
        places: Iterable[int],
    ) -> None:
        self.grid = Grid(roles, devices, ranks, places, FIELD, (*TARGETS, ""))
        fields = [roles[at].field for at in self.grid.order]
        self._factor = np.array([TARGETS[name].factor if name else 1.0 for name in fields])
        gaps = self.grid.cells.get("", {})
        reasons = {row: roles[at].reason for row, at in gaps.items()}
        powered = self.grid.cells.get("power_watts", {})
        first = [roles[at] for at in self.grid.first]
        self._static = _static(first, reasons, powered)
        self._begins = np.array(self.grid.begins, np.intp)
        self._owners = np.array([devices[at] for at in self.grid.first], np.intp)

    def frames(self, said: Said) -> Iterator[Stacked]:
        grid = self.grid
        columns, member = said.rows(self._begins, self._owners)
        columns |= {name: _tiled(column, len(said.times)) for name, column in self._static.items()}
        whole = np.rint(said.scaled * self._factor)
        for field in grid.spans:
            if not field:
                continue
            target = TARGETS[field]
            # Whole numbers still as floats: they become the column's type once for all members.
            numbers = np.trunc(said.scaled) if target.truncated else whole
            columns[target.column] = grid.column(field, numbers)
            if field == "energy_joules":
                columns["start_ts"] = grid.partly(field, said.starts_ms, said.starts_ms != 0)
        yield Stacked(Frame("tick", columns), member)


class Wides:
    """The rows of ``detail``, and of ``sample`` what their columns cannot hold."""

    def __init__(
        self,
        roles: Sequence[Role],
        devices: Sequence[int],
        ranks: Sequence[int],
        places: Iterable[int],
    ) -> None:
        names = [wide.column for wide in WIDE]
        self.grid = Grid(roles, devices, ranks, places, lambda role: column_of(role).column, names)
        said = [roles[at] for at in self.grid.order]
        wides = [column_of(role) for role in said]
        self._columns = [wide for wide in WIDE if wide.column in self.grid.spans]
        self._scale = np.array([float(wide.scale) for wide in wides])
        bounds = [np.iinfo(_dtype(wide)) for wide in wides]
        self._least = np.array([float(bound.min) for bound in bounds])
        self._largest = np.array([float(bound.max) for bound in bounds])
        self._labels = labels(said)
        self._begins = np.array(self.grid.begins, np.intp)
        self._owners = np.array([devices[at] for at in self.grid.first], np.intp)
        self._each = np.array([devices[at] for at in self.grid.order], np.intp)

    def frames(self, said: Said) -> Iterator[Stacked]:
        columns, member = said.rows(self._begins, self._owners)
        whole, holds = self._whole(said.scaled)
        all_held = np.count_nonzero(holds) == holds.size
        if not all_held:
            whole = np.where(holds, whole, 0.0)
        for wide in self._columns:
            name = wide.column
            columns[name] = (
                self.grid.column(name, whole) if all_held else self.grid.partly(name, whole, holds)
            )
        if np.count_nonzero(said.starts_ms):
            begun = holds & (said.starts_ms != 0)
            for wide in self._columns:
                if wide.start_column and begun.any():
                    name = wide.column
                    columns[wide.start_column] = self.grid.partly(name, said.starts_ms, begun)
        yield Stacked(Frame("detail", columns), member)
        if not all_held:
            yield said.samples(self._labels, self._each, ~holds)

    def _whole(self, scaled: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Do what ``Wide.scaled`` does, for all columns at once."""
        whole = np.rint(scaled * self._scale)
        holds = np.abs(whole / self._scale - scaled) <= MEANT * np.abs(scaled)
        holds &= (whole >= self._least) & (whole < self._largest)
        holds &= ~(np.signbit(scaled) & (whole == 0))
        return whole, holds


def wide_of(role: Role) -> Wide | None:
    """Return the column of a detail that has one of its own."""
    return BY_KEY.get((role.known.metric, role.own)) if role.known is not None else None


def column_of(role: Role) -> Wide:
    """Return the column of a detail that has one."""
    wide = wide_of(role)
    assert wide is not None
    return wide


def labels(details: Sequence[Role]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return names and labels of details as rows of ``sample`` have them."""
    said = [Detail("", role.known.metric, 0, 0.0, role.own) for role in details if role.known]
    texts = [labels_text(detail) for detail in said]
    return np.array([detail.metric for detail in said], object), np.array(texts, object)


def _dtype(wide: Wide) -> np.dtype[Any]:
    dtype = KINDS[STORED[TABLE][wide.column]].dtype
    assert dtype is not None
    return dtype


def _static(
    first: Sequence[Role], reasons: Mapping[int, str], powered: Mapping[int, int]
) -> dict[str, Column]:
    """Return what no number says; ``first`` is the role that each row began with."""
    static = {
        "interval_ms": Column(np.array([role.interval_ms for role in first], np.uint32)),
        "method": Column(np.array([role.method for role in first], object)),
    }
    if reasons:
        rows = range(len(first))
        gone = [row in reasons and (row in powered or reasons[row] == FROZEN) for row in rows]
        told = np.array([row in reasons for row in rows], np.bool_)
        static["gap"] = Column(np.array([reasons.get(row, "") for row in rows], object), told)
        static["withdrawn"] = Column(np.ones(len(first), np.uint8), np.array(gone, np.bool_))
    return static


def _tiled(column: Column, members: int) -> Column:
    present = column.present
    return Column(
        np.tile(column.values, members), None if present is None else np.tile(present, members)
    )
