"""Values over time that come in steps of unequal length, with holes where nothing is known."""

from __future__ import annotations

import bisect
import heapq
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Step:
    """``value`` holds in [start_s, end_s), Unix seconds; None: known to be unknown."""

    start_s: int
    end_s: int
    value: float | None
    is_estimated: bool | None = None
    """As its source says; None: it does not say."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over time. ``value`` is None where any part of the time is not known."""

    value: float | None
    known_s: int
    estimated_s: int


def tidy(steps: Iterable[Step]) -> list[Step]:
    """Return the steps by time without overlaps and without empty ones.

    Where several speak of one instant the one that starts last counts, and of those that start
    together the one that comes later in ``steps``: who speaks of an hour means more by it than who
    speaks of the day, and ends where he says.
    """
    return _laid(sorted(steps, key=_start))


def layered(*layers: Sequence[Step]) -> list[Step]:
    """Return tidy layers as one: at each instant the last layer counts that knows a value."""
    return _laid([step for layer in layers for step in layer if step.value is not None])


def under(steps: Sequence[Step], over: Sequence[Step]) -> list[Step]:
    """Return tidy ``steps`` with nothing known where one of the tidy steps ``over`` lies."""
    return _laid([*steps, *(replace(step, value=None) for step in over)])


def _laid(said: Sequence[Step]) -> list[Step]:
    """Return what is seen of ``said`` where each lies upon those before it."""
    said = [step for step in said if step.end_s > step.start_s]
    if all(a.end_s <= b.start_s for a, b in itertools.pairwise(said)):
        return said
    made: list[Step] = []
    for index, start, end in uppermost([(step.start_s, step.end_s) for step in said]):
        piece = replace(said[index], start_s=start, end_s=end)
        if made and made[-1] == replace(piece, start_s=made[-1].start_s, end_s=start):
            made[-1] = replace(piece, start_s=made[-1].start_s)
        else:
            made.append(piece)
    return made


def usual_length(starts: Sequence[int], default_s: int) -> int:
    """Return for how long a value holds of which nobody says when it ends, in seconds.

    That is the longest of the distances between ascending ``starts`` that come again: at least
    twice, and one of twenty times. Where none does it is the median, the lower one of two. So a
    tariff may have days and nights, and a hole in a series of hours stays one.
    """
    gaps = sorted(b - a for a, b in itertools.pairwise(starts) if b > a)
    if not gaps:
        return default_s
    counted = Counter(gaps)
    least = max(2, -(-len(gaps) // 20))
    again = [gap for gap, count in counted.items() if count >= least]
    return max(again, default=gaps[(len(gaps) - 1) // 2])


def clip(steps: Sequence[Step], start_s: int, end_s: int) -> list[Step]:
    """Return what of tidy ``steps`` lies in [start_s, end_s)."""
    first = max(0, bisect.bisect_right(steps, start_s, key=_start) - 1)
    last = bisect.bisect_left(steps, end_s, key=_start)
    cut = (
        replace(step, start_s=max(step.start_s, start_s), end_s=min(step.end_s, end_s))
        for step in steps[first:last]
    )
    return [step for step in cut if step.end_s > step.start_s]


def mean(steps: Sequence[Step], start_s: int, end_s: int) -> Mean:
    """Return the mean of tidy ``steps`` over [start_s, end_s), weighted by how long each held."""
    inside = [step for step in clip(steps, start_s, end_s) if step.value is not None]
    known = sum(step.end_s - step.start_s for step in inside)
    estimated = sum(step.end_s - step.start_s for step in inside if step.is_estimated)
    if not known or known < end_s - start_s:
        return Mean(None, known, estimated)
    total = math.fsum((s.value or 0.0) * (s.end_s - s.start_s) for s in inside)
    return Mean(total / known, known, estimated)


def uppermost(spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Give between two edges the last of ``spans`` that covers the time: (index, start, end)."""
    coming = sorted(range(len(spans)), key=lambda index: -spans[index][0])
    open_: list[int] = []  # negative, so that the last one comes first
    edges = sorted({edge for span in spans for edge in span})
    for start, end in itertools.pairwise(edges):
        while coming and spans[coming[-1]][0] <= start:
            heapq.heappush(open_, -coming.pop())
        while open_ and spans[-open_[0]][1] <= start:
            heapq.heappop(open_)
        if open_:
            yield -open_[0], start, end


def _start(step: Step) -> int:
    return step.start_s
