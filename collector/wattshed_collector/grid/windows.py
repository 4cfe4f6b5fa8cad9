"""The cheapest time for a job of known length before a deadline, exactly.

Cost is linear between the edges of steps, so the best window begins or ends at one (or at the edge
of what is allowed); these are all that is looked at. A job that may be interrupted takes the
cheapest seconds. What is not known is never chosen. See Wiesner et al., "Let's Wait Awhile",
Middleware 2021.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .series import Step, clip, mean


@dataclass(frozen=True, slots=True)
class Plan:
    """When to run: ``pieces`` are [start, end), Unix seconds, in order.

    ``mean`` is that of what the job then uses, ``mean_at_once`` that of running at the earliest
    time without a break, None where that is not known; both in the unit of the steps.
    """

    pieces: tuple[tuple[int, int], ...]
    mean: float
    mean_at_once: float | None

    @property
    def start_s(self) -> int:
        return self.pieces[0][0]

    @property
    def saved_ratio(self) -> float | None:
        """What waiting saves of running at once; None where that is not known or is not above 0."""
        if self.mean_at_once is None or self.mean_at_once <= 0:
            return None
        return 1 - self.mean / self.mean_at_once


def best(
    steps: Sequence[Step], run_s: int, earliest_s: int, deadline_s: int, *, interruptible: bool
) -> Plan | None:
    """Return the earliest of the cheapest plans within [earliest_s, deadline_s).

    ``steps`` are tidy. None: nowhere is enough known for the length ``run_s`` (seconds, above 0).
    """
    known = [s for s in clip(steps, earliest_s, deadline_s) if s.value is not None]
    pieces = _cheapest_seconds(known, run_s) if interruptible else _cheapest_window(known, run_s)
    if not pieces:
        return None
    at_once = mean(steps, earliest_s, earliest_s + run_s).value
    total = sum(_cost(known, start, end) for start, end in pieces)
    return Plan(tuple(pieces), total / run_s, at_once)


def _cheapest_window(known: Sequence[Step], run_s: int) -> list[tuple[int, int]]:
    found: tuple[float, int] | None = None
    for stretch in _stretches(known):
        for cost, start in _windows(stretch, run_s):
            # The same cost by another way of adding is no reason to wait.
            if found is None or cost < found[0] - 1e-9 * abs(found[0]):
                found = (cost, start)
    return [(found[1], found[1] + run_s)] if found else []


def _windows(stretch: Sequence[Step], run_s: int) -> Iterator[tuple[float, int]]:
    edges = [stretch[0].start_s, *(step.end_s for step in stretch)]
    sums = [0.0, *itertools.accumulate((s.value or 0.0) * (s.end_s - s.start_s) for s in stretch)]

    def until(at: int) -> float:
        index = min(bisect.bisect_right(edges, at) - 1, len(stretch) - 1)
        return sums[index] + (stretch[index].value or 0.0) * (at - edges[index])

    last = edges[-1] - run_s
    starts = {at for edge in edges for at in (edge, edge - run_s) if edges[0] <= at <= last}
    for start in sorted(starts):
        yield until(start + run_s) - until(start), start


def _cheapest_seconds(known: Sequence[Step], run_s: int) -> list[tuple[int, int]]:
    left = run_s
    taken: list[tuple[int, int]] = []
    for step in sorted(known, key=lambda step: (step.value, step.start_s)):
        length = min(left, step.end_s - step.start_s)
        taken.append((step.start_s, step.start_s + length))
        left -= length
        if not left:
            return _joined(sorted(taken))
    return []


def _joined(pieces: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, end in pieces:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _stretches(known: Sequence[Step]) -> Iterator[list[Step]]:
    stretch: list[Step] = []
    for step in known:
        if stretch and stretch[-1].end_s != step.start_s:
            yield stretch
            stretch = []
        stretch.append(step)
    if stretch:
        yield stretch


def _cost(known: Sequence[Step], start_s: int, end_s: int) -> float:
    inside = clip(known, start_s, end_s)
    return sum((step.value or 0.0) * (step.end_s - step.start_s) for step in inside)
