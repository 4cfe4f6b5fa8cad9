"""Values over time that come in steps of unequal length, with holes where nothing is known."""

from __future__ import annotations

import bisect
import heapq
import itertools
import math
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

    Where two speak of the same time, the one that comes later in ``steps`` counts.
    """
    said = [step for step in steps if step.end_s > step.start_s]
    if all(a.end_s <= b.start_s for a, b in itertools.pairwise(said)):
        return said
    made: list[Step] = []
    for index, start, end in _swept(said):
        piece = replace(said[index], start_s=start, end_s=end)
        if made and made[-1] == replace(piece, start_s=made[-1].start_s, end_s=start):
            made[-1] = replace(piece, start_s=made[-1].start_s)
        else:
            made.append(piece)
    return made


def until_next(points: Sequence[tuple[int, float | None]], end_s: int, most_s: int) -> list[Step]:
    """Return instants as steps that hold until the next one, but never longer than ``most_s``: a
    source that fell silent is not believed for ever."""
    known = sorted(dict(points).items())
    ends = [*(start for start, _ in known[1:]), end_s]
    return [
        Step(start, min(end, start + most_s), value)
        for (start, value), end in zip(known, ends, strict=True)
        if end > start
    ]


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


def _swept(said: Sequence[Step]) -> Iterator[tuple[int, int, int]]:
    """Give between any two edges the last step that covers the time: (index, start, end)."""
    coming = sorted(range(len(said)), key=lambda index: -said[index].start_s)
    open_: list[int] = []  # negative, so that the last one comes first
    edges = sorted({edge for step in said for edge in (step.start_s, step.end_s)})
    for start, end in itertools.pairwise(edges):
        while coming and said[coming[-1]].start_s <= start:
            heapq.heappush(open_, -coming.pop())
        while open_ and said[-open_[0]].end_s <= start:
            heapq.heappop(open_)
        if open_:
            yield -open_[0], start, end


def _start(step: Step) -> int:
    return step.start_s
