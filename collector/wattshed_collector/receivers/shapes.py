"""What the numbers of a request are, whatever its devices: many senders have one shape in common.

Which number goes where was found out from one body that was read point by point; a later one with
the same series has the same places. The numbers of each are checked as ``facts`` checks one point;
rows are made of all members of a group at once, shape (members, numbers).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple
from weakref import WeakValueDictionary

import numpy as np

from wattshed_collector.normalise.slots import Moved, Odd, Part, Role, Slot
from wattshed_collector.store.stacks import Numbers, Stacked

from .grid import NANOS_PER_MS, Times
from .masks import Words
from .parts import Floats, Said, Ticks, Wides, column_of, labels, wide_of

WORST_BYTES = 64
"""What a number takes in rows at most, and what a row takes beside: a row of ``sample`` has 49."""


class Structure(NamedTuple):
    """All that makes a shape: by number its role, the device counted from 0, the rank of its time,
    whether it has a start, and whether it is an integer."""

    roles: tuple[Role, ...]
    devices: tuple[int, ...]
    ranks: tuple[int, ...]
    begun: tuple[bool, ...]
    whole: tuple[bool, ...]


def structure(
    slots: Sequence[Slot], ts_ms: Sequence[int], begun: Sequence[bool], whole: Sequence[bool]
) -> Structure:
    """Return the structure of series in the order in which they were said at those times."""
    known: dict[str, int] = {}
    rank = {ts: n for n, ts in enumerate(sorted(set(ts_ms)))}
    return Structure(
        tuple(slot.role for slot in slots),
        tuple(known.setdefault(slot.device, len(known)) for slot in slots),
        tuple(rank[ts] for ts in ts_ms),
        tuple(begun),
        tuple(whole),
    )


class Shapes:
    """The shapes that are in use; for one thread at a time."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[Structure, Shape] = WeakValueDictionary()

    def of(self, found: Structure) -> Shape:
        """Return the shape. Raises Odd where two numbers have one place."""
        shape = self._known.get(found)
        if shape is None:
            shape = self._known[found] = Shape(found)
        return shape


class Shape:
    """The rows of a structure. ``words`` of a member are the times of its numbers in nanoseconds,
    the numbers, and the starts of those that have one, in nanoseconds.

    ``order`` says in which order numbers are wanted, ``starts`` which of them, in that order, have
    a start. Raises Odd where two numbers have one place.
    """

    def __init__(self, found: Structure) -> None:
        roles, devices, ranks, *_ = found
        parts: dict[Part, list[int]] = {part: [] for part in Part}
        for at, role in enumerate(roles):
            parts[role.part].append(at)
        ticking = sorted(parts[Part.TICK] + parts[Part.GAP])
        first = {devices[at]: at for at in reversed(ticking)}
        self.describing = list(first.values())
        """Of each device that has ticks the number that it is first described with."""
        _refuse_twice(found, parts[Part.DETAIL])
        named = _named(found, parts[Part.DETAIL], set(first))
        told = [at for at in parts[Part.DETAIL] if at not in named]
        wide = [at for at in told if wide_of(roles[at]) is not None]
        narrow = [at for at in told if wide_of(roles[at]) is None]
        self._ticks = Ticks(roles, devices, ranks, ticking)
        self._wide = Wides(roles, devices, ranks, wide)
        grids = self._ticks.grid, self._wide.grid
        columnar = [*grids[0].order, *grids[1].order, *narrow]
        others = [*parts[Part.OTHER], *sorted(named)]
        self.order = np.array([*columnar, *others], np.intp)
        self.others = others
        """The last numbers, for which points are made."""
        self.ticks, self.details = len(grids[0].first), len(told)
        self.rows = self.ticks + len(grids[1].first) + len(narrow)
        self.size_bytes = WORST_BYTES * (len(roles) + self.rows)
        self._count, self._columnar = len(roles), len(columnar)
        cut = len(grids[0].order), len(grids[0].order) + len(grids[1].order)
        self._of = slice(0, cut[0]), slice(*cut), slice(cut[1], self._columnar)
        self._narrow = [roles[at] for at in narrow]
        self._owners = np.array([devices[at] for at in narrow], np.intp)
        self._labels = labels([roles[at] for at in narrow])
        self._in_time(found)
        self._in_bounds(found, columnar)

    def _in_time(self, found: Structure) -> None:
        ticks, wide = self._ticks.grid, self._wide.grid
        rows, numbers = len(ticks.first), len(ticks.order)
        self._row_of = np.array([*ticks.row_of, *(rows + row for row in wide.row_of)], np.intp)
        self._begins = np.array([*ticks.begins, *(numbers + at for at in wide.begins)], np.intp)
        pairs = [*ticks.pairs, *((rows + a, rows + b) for a, b in wide.pairs)]
        self._pairs = np.array(pairs, np.intp).reshape(-1, 2).T
        self._at_once = not pairs

    def _in_bounds(self, found: Structure, columnar: Sequence[int]) -> None:
        roles, order = found.roles, self.order.tolist()
        scale = np.array([roles[at].scale for at in columnar])
        self._scale = None if (scale == 1.0).all() else scale
        self._least = np.array([roles[at].least for at in columnar])
        self._largest = np.array([roles[at].largest for at in columnar])
        self._integers = np.flatnonzero(np.array(found.whole, np.bool_)[order])
        self.starts = np.flatnonzero(np.array(found.begun, np.bool_)[order])
        wide = self._of[1]
        uncounted = [
            wide.start <= at < wide.stop and not column_of(roles[order[at]]).start_column
            for at in self.starts.tolist()
        ]
        self._stray = 2 * self._count + np.flatnonzero(np.array(uncounted, np.bool_))

    def words(self, ts_ms: Times, values: Floats, starts_ms: Times) -> Words:
        """Return numbers, in the order in which they were said, as words; all have a start or 0."""
        order = self.order
        told = starts_ms[order][self.starts]
        times = (np.concatenate((ts_ms[order], told)) * NANOS_PER_MS).view(np.uint64)
        said = values[order].view(np.uint64)
        return np.concatenate((times[: self._count], said, times[self._count :]))

    def check(self, words: Words) -> tuple[int, int]:
        """Return the first and the last time in milliseconds. Raises Odd where a number is out of
        bounds, Moved where numbers belong together otherwise."""
        columnar, count = self._columnar, self._count
        scaled = self._scaled(words[count : 2 * count])
        if np.count_nonzero((scaled >= self._least) & (scaled <= self._largest)) != columnar:
            raise Odd("a number is out of bounds")
        if len(self._stray) and (words[self._stray] >= NANOS_PER_MS).any():
            raise Odd("a gauge with a start")
        times = words[:count]
        if self._at_once and np.count_nonzero(times == times[:1]) == count:
            only = int(times[0]) // NANOS_PER_MS
            return only, only
        ts_ms = times // NANOS_PER_MS
        row_ts = ts_ms[self._begins]
        if np.count_nonzero(row_ts[self._row_of] == ts_ms[: len(self._row_of)]) != len(
            self._row_of
        ):
            raise Moved("the parts of a reading have several times")
        if not self._at_once and not (row_ts[self._pairs[0]] < row_ts[self._pairs[1]]).all():
            raise Moved("readings come in another order")
        return int(ts_ms.min()), int(ts_ms.max())

    def last(self, words: Words) -> list[tuple[float, int, int]]:
        """Return value, time and start (ms) of each of ``others``, in the units that were said."""
        if not self.others:
            return []
        first = self._count - len(self.others)
        values = self._values(words[self._count : 2 * self._count])[first:].tolist()
        times = (words[first : self._count] // NANOS_PER_MS).tolist()
        starts = self._starts(words[None])[0, first:].tolist()
        return list(zip(values, times, starts, strict=True))

    def frames(self, group: Sequence[Numbers]) -> list[Stacked]:
        """Return the rows of all members."""
        words = np.concatenate([member.words for member in group]).reshape(len(group), -1)
        devices = np.concatenate([member.devices for member in group]).reshape(len(group), -1)
        count = self._count
        scaled = self._scaled(words[:, count : 2 * count])
        starts_ms = self._starts(words)
        made: list[Stacked] = []
        for part, place in ((self._ticks, self._of[0]), (self._wide, self._of[1])):
            if part.grid.first:
                said = Said(words[:, place], scaled[:, place], starts_ms[:, place], devices)
                made += part.frames(said)
        if self._narrow:
            place = self._of[2]
            said = Said(words[:, place], scaled[:, place], starts_ms[:, place], devices)
            made.append(said.samples(self._labels, self._owners, None))
        return made

    def _values(self, words: Words) -> Floats:
        values = words.view(np.float64)
        if len(self._integers):
            values = values.copy()
            values[..., self._integers] = words.view(np.int64)[..., self._integers]
        return values

    def _scaled(self, words: Words) -> Floats:
        values = self._values(words)[..., : self._columnar]
        if self._scale is None:
            return values
        with np.errstate(all="ignore"):  # what overflows is out of bounds
            scaled: Floats = values * self._scale
        return scaled

    def _starts(self, words: Words) -> Times:
        starts_ms = np.zeros((len(words), self._count), np.int64)
        starts_ms[:, self.starts] = (
            words[:, 2 * self._count :][:, : len(self.starts)] // NANOS_PER_MS
        )
        return starts_ms


def _refuse_twice(found: Structure, details: Iterable[int]) -> None:
    """Raise Odd where a detail is said twice: which of them counts is told by their order, and one
    of them may be named."""
    told = set()
    for at in details:
        role = found.roles[at]
        metric = role.known.metric if role.known is not None else ""
        key = found.devices[at], found.ranks[at], metric, role.own
        if key in told:
            raise Odd("a detail is said twice")
        told.add(key)


def _named(found: Structure, details: Iterable[int], described: Container[int]) -> frozenset[int]:
    """Return a detail of each device of which nothing else is known, which has to be named.

    One of them stays a point; of those that are no row together with others, if there is one.
    """
    known: dict[int, int] = {}
    for at in details:
        device = found.devices[at]
        other = known.get(device)
        if device not in described and (
            other is None or (wide_of(found.roles[other]) and not wide_of(found.roles[at]))
        ):
            known[device] = at
    return frozenset(known.values())
