"""Runs that could have waited: the cleanest start within a day with their devices free."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wattshed_collector.grid.series import Step, tidy
from wattshed_collector.grid.windows import best

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


def _shift(run: Run, g_per_kwh: Mapping[int, float], closed: Iterable[int]) -> Shift | None:
    shut = frozenset(closed)
    start, end = run.start_s, run.start_s + run.seconds + MOST_WAIT_S
    steps = _steps(range(start, end, HOUR_S), g_per_kwh, shut)
    plan = best(steps, run.seconds, start, end, interruptible=False)
    if plan is None or any(hour not in g_per_kwh for hour in run.joules):
        return None
    wait = plan.start_s - start
    now, then = (
        sum(joules / 3.6e6 * g_per_kwh[hour + late] for hour, joules in run.joules.items())
        for late in (0, wait)
    )
    return Shift(run, wait, now, then) if then < now else None


def _steps(
    hours: Sequence[int], g_per_kwh: Mapping[int, float], shut: frozenset[int]
) -> list[Step]:
    return tidy(
        Step(hour, hour + HOUR_S, g_per_kwh[hour])
        for hour in hours
        if hour in g_per_kwh and hour not in shut
    )


def _hours(shift: Shift) -> range:
    start = shift.run.start_s + shift.wait_s
    return range(start, start + shift.run.seconds, HOUR_S)
