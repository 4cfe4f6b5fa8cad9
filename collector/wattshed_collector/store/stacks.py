"""Rows of requests that say the same things of other devices: made for all of them at once.

A request brings a hundred numbers and arrays have a fixed cost, so that to make the rows of one
request takes sixty times as long as its share of the rows of a thousand. Its numbers are checked
when they come, which is when the sender can be told; rows are made of them when they are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .frames import joined
from .insert import Frame
from .schema import TABLES

Places = NDArray[np.intp]


class Stacked(NamedTuple):
    """Rows of one table, and of which member of the group each is, shape (rows,), rising."""

    frame: Frame
    member: Places


class Shape(Protocol):
    """What numbers mean; those of one shape differ in nothing but their devices.

    ``ticks`` and ``details`` are how many a request has, ``rows`` are what they fill, and
    ``size_bytes`` is what those rows take in memory, as an estimate from above.
    """

    ticks: int
    details: int
    rows: int
    size_bytes: int

    def frames(self, group: Sequence[Numbers]) -> Sequence[Stacked]:
        """Return the rows of all members of a group."""


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """What one request brings, checked: no row of it can be refused any more.

    ``devices`` are their identities, shape (devices,), and ``words`` the numbers, shape (numbers,),
    both in the order of ``shape``. ``newest_ms`` is the latest event time among them.
    """

    shape: Shape
    devices: NDArray[np.uint64]
    words: NDArray[np.uint64]
    newest_ms: int

    def __len__(self) -> int:
        """Return the number of rows; a value that its column cannot hold adds one."""
        return self.shape.rows

    @property
    def size_bytes(self) -> int:
        return self.words.nbytes + self.shape.size_bytes

    def frames(self) -> tuple[Frame, ...]:
        """Return its rows."""
        return tuple(part.frame for part in self.shape.frames([self]))


Rows = Frame | Numbers


def spread(said: Iterable[Rows]) -> tuple[Frame, ...]:
    """Return all rows, those of numbers as well."""
    made: list[Frame] = []
    for rows in said:
        made += rows.frames() if isinstance(rows, Numbers) else (rows,)
    return tuple(made)


def by_table(said: Sequence[Rows]) -> list[Frame]:
    """Return all rows in the order in which they were said, one frame a table, dimensions first.

    Raises Permanent where a column is unknown, or lacking and never NULL.
    """
    parts: dict[str, list[Stacked]] = {table: [] for table in TABLES}
    groups: dict[Shape, list[int]] = {}
    for at, rows in enumerate(said):
        if isinstance(rows, Numbers):
            groups.setdefault(rows.shape, []).append(at)
        elif len(rows):
            parts[rows.table].append(Stacked(rows, np.full(len(rows), at, np.intp)))
    for shape, places in groups.items():
        members = [rows for at in places if isinstance(rows := said[at], Numbers)]
        where = np.array(places, np.intp)
        for frame, member in shape.frames(members):
            if len(frame):
                parts[frame.table].append(Stacked(frame, where[member]))
    return [_in_order(found) for found in parts.values() if found]


def _in_order(parts: Sequence[Stacked]) -> Frame:
    rows = joined([part.frame for part in parts])
    if len(parts) == 1:
        return rows
    member = np.concatenate([part.member for part in parts])
    if (member[1:] >= member[:-1]).all():
        return rows
    # Of two rows for one place in the store the later one counts.
    order = np.argsort(member, kind="stable")
    return Frame(rows.table, {name: column.at(order) for name, column in rows.columns.items()})
