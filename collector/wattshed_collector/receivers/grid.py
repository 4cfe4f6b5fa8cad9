"""Numbers of many series in rows and columns, where a row is what a device said at one instant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattshed_collector.normalise.slots import Moved, Odd, Slot
from wattshed_collector.store.insert import Column

Times = NDArray[np.int64]
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Span:
    """Where the numbers of a column stand, and in which rows they go: None for all, in order."""

    place: slice
    rows: Places | None
    present: NDArray[np.bool_] | None


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


def _span(at: int, rows: Sequence[int], count: int) -> Span:
    place = slice(at, at + len(rows))
    if len(rows) == count:
        return Span(place, None, None)
    present = np.zeros(count, np.bool_)
    present[rows] = True
    return Span(place, np.array(rows, np.intp), present)


class Grid:
    """Which numbers stand in which row and column, where a row is a device at an instant.

    Args:
        places: the numbers in the order in which they were said; ``column_of`` names their columns.
        columns: all columns, in the order in which numbers are wanted.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        ts_ms: Sequence[int],
        places: Iterable[int],
        column_of: Callable[[Slot], str],
        columns: Iterable[str],
    ) -> None:
        rows: dict[tuple[str, int], int] = {}
        self.first: list[Slot] = []
        """With what each row began."""
        self.cells: dict[str, dict[int, int]] = {name: {} for name in columns}
        """By column and row the place of the number."""
        for at in places:
            row = rows.setdefault((slots[at].device, ts_ms[at]), len(rows))
            if row == len(self.first):
                self.first.append(slots[at])
            if self.cells[column_of(slots[at])].setdefault(row, at) != at:
                raise Odd("a number is said twice")
        self.cells = {name: found for name, found in self.cells.items() if found}
        self.order = [found[row] for found in self.cells.values() for row in sorted(found)]
        row_of = [row for found in self.cells.values() for row in sorted(found)]
        where = {row: at for at, row in reversed(list(enumerate(row_of)))}
        self._row_of = np.array(row_of, np.intp)
        self._begins = np.array([where[row] for row in range(len(rows))], np.intp)
        self._pairs = _neighbours(rows)
        self.spans: dict[str, Span] = {}
        at = 0
        for name, found in self.cells.items():
            self.spans[name] = _span(at, sorted(found), len(rows))
            at += len(found)

    def times(self, ts_ms: Times) -> Times:
        """Return the time of each row. Raises Moved where numbers belong together otherwise."""
        row_ts = ts_ms[self._begins]
        if np.count_nonzero(row_ts[self._row_of] == ts_ms) != len(ts_ms):
            raise Moved("the parts of a reading have several times")
        if self._pairs is not None and not (row_ts[self._pairs[0]] < row_ts[self._pairs[1]]).all():
            raise Moved("readings come in another order")
        return row_ts

    def column(self, name: str, numbers: NDArray[Any]) -> Column:
        """Return a column of the numbers, given in the order of ``order``."""
        span = self.spans[name]
        said = numbers[span.place]
        if span.rows is None:
            return Column(said)
        return Column(self._spread(said, span.rows), span.present)

    def partly(self, name: str, numbers: NDArray[Any], said: NDArray[np.bool_]) -> Column:
        """Return a column of those numbers that are said."""
        span = self.spans[name]
        values, told = numbers[span.place], said[span.place]
        if span.rows is None:
            return Column(values, told)
        return Column(self._spread(values, span.rows), self._spread(told, span.rows))

    def _spread(self, said: NDArray[Any], rows: Places) -> NDArray[Any]:
        values = np.zeros(len(self.first), said.dtype)
        values[rows] = said
        return values
