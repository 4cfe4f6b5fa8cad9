"""Runs that could have waited: the cleanest start within a day with their devices free."""

from __future__ import annotations

import math
import operator
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

HOUR_S = 3600
MOST_WAIT_S = 24 * HOUR_S


@dataclass(frozen=True, slots=True)
class Run:
    """A run in full hours, without a break: facility ``joules`` by hour (Unix seconds).

    ``others`` are hours in which somebody else held one of its ``devices``.
    """

    workload: str
    devices: tuple[int, ...]
    joules: Mapping[int, float]
    others: frozenset[int]

    @property
    def start_s(self) -> int:
        return min(self.joules)

    @property
    def seconds(self) -> int:
        return max(self.joules) + HOUR_S - self.start_s


@dataclass(frozen=True, slots=True)
class Shift:
    """``run`` begun ``wait_s`` later: grams as it ran and as it would have run."""

    run: Run
    wait_s: int
    grams: float
    grams_then: float

    @property
    def saved_grams(self) -> float:
        return self.grams - self.grams_then


def shifts(runs: Iterable[Run], g_per_kwh: Mapping[int, float]) -> list[Shift]:
    """Return the shifts that save anything, the largest first, by the intensity of each hour.

    No two take the same device in the same hour, and none takes one that another run gave up.
    """
    wished = [shift for run in runs if (shift := _shift(run, g_per_kwh, run.others)) is not None]
    wished.sort(key=lambda shift: (-shift.saved_grams, shift.run.workload, shift.run.start_s))
    taken: dict[int, set[int]] = defaultdict(set)
    kept = []
    for wish in wished:
        before = set().union(*(taken[device] for device in wish.run.devices))
        shift = (
            _shift(wish.run, g_per_kwh, wish.run.others | before)
            if before.intersection(_hours(wish))
            else wish
        )
        if shift is not None:
            kept.append(shift)
            for device in shift.run.devices:
                taken[device].update(_hours(shift))
    return kept


def _shift(run: Run, g_per_kwh: Mapping[int, float], closed: Container[int]) -> Shift | None:
    """Return the cheapest of all waits of full hours, the earliest of those alike."""
    start, length = run.start_s, run.seconds // HOUR_S
    hours = range(start, start + run.seconds + MOST_WAIT_S, HOUR_S)
    kwh = [run.joules.get(hour, 0.0) / 3.6e6 for hour in hours[:length]]
    own = [grams for hour in hours[:length] if (grams := g_per_kwh.get(hour)) is not None]
    free = [None if hour in closed else g_per_kwh.get(hour) for hour in hours]
    costs = ((_grams(kwh, window), wait) for wait, window in _windows(free, length) if wait)
    then, wait = min(costs, default=(math.inf, 0))
    now = _grams(kwh, own)
    # The same grams by another way of adding are no reason to wait.
    if len(own) < length or then >= now * (1 - 1e-9):
        return None
    return Shift(run, wait * HOUR_S, now, then)


def _windows(values: Sequence[float | None], length: int) -> Iterator[tuple[int, Sequence[float]]]:
    """Give each run of ``length`` known values, and where it begins."""
    known: list[float] = []
    for at, value in enumerate(values):
        if value is None:
            known.clear()
            continue
        known.append(value)
        if len(known) >= length:
            yield at + 1 - length, known[-length:]


def _grams(kwh: Sequence[float], g_per_kwh: Sequence[float]) -> float:
    total: float = sum(map(operator.mul, kwh, g_per_kwh))
    return total


def _hours(shift: Shift) -> range:
    start = shift.run.start_s + shift.wait_s
    return range(start, start + shift.run.seconds, HOUR_S)
