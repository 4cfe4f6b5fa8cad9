"""Runs that could have waited: by what was known when they began, measured by what came.

What a wait would have saved is counted by the intensity that the hours then had, so that a choice
that went wrong counts against the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate

from .outlook import HOUR_S, Outlook
from .runs import MOST_WAIT_S, Run

LEAST_RATIO = 0.05
"""Of what a run was expected to emit; for less nobody waits."""


@dataclass(frozen=True, slots=True)
class Shift:
    """``run`` begun ``wait_s`` later: grams as it ran and as it would have run.

    ``hoped_g_per_kwh`` is how much cleaner each kilowatt hour was expected to be.
    """

    run: Run
    wait_s: int
    grams: float
    grams_then: float
    hoped_g_per_kwh: float

    @property
    def saved_grams(self) -> float:
        return self.grams - self.grams_then

    @property
    def hours(self) -> range:
        """Hours, Unix seconds, in which it would have run."""
        start = self.run.start_s + self.wait_s
        return range(start, start + self.run.hours * HOUR_S, HOUR_S)


def shifts(runs: Iterable[Run], outlook: Outlook) -> list[Shift]:
    """Return the shifts that were worth it as it was expected, the most hopeful first.

    No two take the same device in the same hour, and none takes one that another run gave up.
    """
    wished = [wish for run in runs if (wish := _shift(run, outlook, run.others)) is not None]
    wished.sort(key=lambda s: (-s.hoped_g_per_kwh * s.run.hours, s.run.workload, s.run.start_s))
    taken: dict[int, set[int]] = defaultdict(set)
    kept = []
    for wish in wished:
        before = set().union(*(taken[device] for device in wish.run.devices))
        shift: Shift | None = wish
        if before.intersection(wish.hours):
            shift = _shift(wish.run, outlook, wish.run.others | before)
        if shift is not None:
            kept.append(shift)
            for device in shift.run.devices:
                taken[device].update(shift.hours)
    return kept


def _shift(run: Run, outlook: Outlook, closed: frozenset[int]) -> Shift | None:
    """Return the wait that is expected to be the cleanest, the earliest of those alike."""
    start, length = run.start_s, run.hours
    profile = outlook.expected(start)
    if None in profile:
        return None
    hours = range(start, start + length * HOUR_S + MOST_WAIT_S, HOUR_S)
    sums = [0.0, *accumulate(profile[at // HOUR_S % 24] or 0.0 for at in hours)]
    shut = [0, *accumulate(at in closed or at not in outlook.known for at in hours)]
    now = sums[length]
    waits = range(1, len(hours) - length + 1)
    free = (wait for wait in waits if shut[wait + length] == shut[wait])
    then, wait = min(((sums[at + length] - sums[at], at) for at in free), default=(now, 0))
    # The same by another way of adding is no reason to wait.
    if then > now * (1 - LEAST_RATIO) or any(at not in outlook.known for at in run.facility_joules):
        return None
    grams = _grams(run.facility_joules, outlook.known, 0)
    later = _grams(run.facility_joules, outlook.known, wait * HOUR_S)
    return Shift(run, wait * HOUR_S, grams, later, (now - then) / length)


def _grams(joules: Mapping[int, float], g_per_kwh: Mapping[int, float], wait_s: int) -> float:
    return sum(each / 3.6e6 * g_per_kwh[at + wait_s] for at, each in joules.items())
