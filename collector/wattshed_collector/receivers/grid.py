"""Numbers of many series in rows and columns, where a row is what a device said at one instant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattshed_collector.normalise.slots import Odd, Role
from wattshed_collector.store.insert import Column

NANOS_PER_MS = 1_000_000
Times = NDArray[np.int64]
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Span:
    """Where the numbers of a column stand, and in which rows they go: None for all, in order."""

    place: slice
    rows: Places | None
    present: NDArray[np.bool_] | None


def _neighbours(rows: Mapping[tuple[int, int], int]) -> list[tuple[int, int]]:
    """Return which row of a device comes before which."""
    by_device: dict[int, list[int]] = {}
    for (device, _), row in sorted(rows.items()):
        by_device.setdefault(device, []).append(row)
    return [pair for own in by_device.values() for pair in pairwise(own)]


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
        roles: what the numbers are.
        devices: of which device each is, counted from 0.
        ts: when each is said, in any unit.
        places: the numbers in the order in which they were said; ``column_of`` names their columns.
        columns: all columns, in the order in which numbers are wanted.

    Raises Odd where two numbers have one place.
    """

    def __init__(
        self,
        roles: Sequence[Role],
        devices: Sequence[int],
        ts: Sequence[int],
        places: Iterable[int],
        column_of: Callable[[Role], str],
        columns: Iterable[str],
    ) -> None:
        rows: dict[tuple[int, int], int] = {}
        self.first: list[int] = []
        """With which number each row began."""
        self.cells: dict[str, dict[int, int]] = {name: {} for name in columns}
        """By column and row the place of the number."""
        for at in places:
            row = rows.setdefault((devices[at], ts[at]), len(rows))
            if row == len(self.first):
                self.first.append(at)
            if self.cells[column_of(roles[at])].setdefault(row, at) != at:
                raise Odd("a number is said twice")
        self.cells = {name: found for name, found in self.cells.items() if found}
        self.order = [found[row] for found in self.cells.values() for row in sorted(found)]
        self.row_of = [row for found in self.cells.values() for row in sorted(found)]
        where = {row: at for at, row in reversed(list(enumerate(self.row_of)))}
        self.begins = [where[row] for row in range(len(rows))]
        """The place in ``order`` of a number of each row."""
        self.pairs = _neighbours(rows)
        """Rows of one device that follow each other."""
        self.spans: dict[str, Span] = {}
        at = 0
        for name, found in self.cells.items():
            self.spans[name] = _span(at, sorted(found), len(rows))
            at += len(found)

    def column(self, name: str, numbers: NDArray[Any]) -> Column:
        """Return a column of numbers, shape (members, numbers), in the order of ``order``."""
        span = self.spans[name]
        said = numbers[:, span.place]
        if span.rows is None or span.present is None:
            return Column(said.reshape(-1))
        return Column(self._spread(said, span.rows), np.tile(span.present, len(said)))

    def partly(self, name: str, numbers: NDArray[Any], said: NDArray[np.bool_]) -> Column:
        """Return a column of those numbers that are said."""
        span = self.spans[name]
        values, told = numbers[:, span.place], said[:, span.place]
        if span.rows is None:
            return Column(values.reshape(-1), told.reshape(-1))
        return Column(self._spread(values, span.rows), self._spread(told, span.rows))

    def _spread(self, said: NDArray[Any], rows: Places) -> NDArray[Any]:
        values = np.zeros((len(said), len(self.first)), said.dtype)
        values[:, rows] = said
        return values.reshape(-1)
