"""What the generator itself says to each question, and how far an answer is from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.fleetgen import IDLE, Fleet, Hour, Job

Key = tuple[object, ...]
Values = dict[Key, float]

WATCHED = 5
"""The GPU of which the power is asked."""
LEAST = 50
NOBODY = (None, "", "none", IDLE)
"""What nobody's energy is called: by ours, by the fleet's labels of team and workload."""


def name(told: object) -> str:
    """Return a team or workload, "" for nobody, whoever says it."""
    return "" if told in NOBODY else str(told)


def error(found: Mapping[Key, float], true: Mapping[Key, float]) -> float:
    """Return the sum of all deviations in parts of the whole; what is missing counts as 0."""
    keys = {*found, *true}
    off = sum(abs(found.get(key, 0.0) - true.get(key, 0.0)) for key in keys)
    return off / max(sum(map(abs, true.values())), 1e-12)


@dataclass
class Truth:
    """Sums of a main set and the days before it, by what the questions ask for.

    Joules are what the counters gained; watts of a minute are the mean of what it gained.
    """

    fleet: Fleet
    now: Values = field(default_factory=dict)
    workloads: Values = field(default_factory=lambda: defaultdict(float))
    teams_day: Values = field(default_factory=lambda: defaultdict(float))
    idle: Values = field(default_factory=lambda: defaultdict(float))
    teams: Values = field(default_factory=lambda: defaultdict(float))
    minutes: Values = field(default_factory=lambda: defaultdict(float))
    device: Values = field(default_factory=dict)
    _busy: NDArray[np.float64] | None = None
    _hours: int = 0
    _readings: dict[int, list[float]] = field(default_factory=dict)

    def before(self, hour: Hour) -> None:
        """Count an hour of the days before."""
        self._charge(hour, (self.teams,))

    def add(self, hour: Hour) -> None:
        """Count an hour of the main set."""
        fleet = self.fleet
        self._charge(hour, (self.teams, self.teams_day))
        for job, gained in by_holder(fleet, hour):
            self.workloads[(name(job and job.workload),)] += gained
            if job is None:
                self.idle[("",)] += gained
        used = hour.more["gpu_util_percent"].mean(axis=0) / 100
        self._busy = used if self._busy is None else self._busy + used
        self._hours += 1
        self._watch(hour)
        teams = team_columns(fleet, hour)
        if hour.index == fleet.hours - 1:
            self.now = {(t,): float(hour.power_watts[-1, at].sum()) for t, at in teams.items()}
        minutes = 60 // fleet.step
        begin = fleet.start + hour.index * 3600
        for team, at in teams.items():
            watts = hour.gained_joules[:, at].sum(axis=1).reshape(-1, minutes).sum(axis=1) / 60
            self.minutes |= {(begin + m * 60, team): float(value) for m, value in enumerate(watts)}

    def answers(self) -> dict[str, Values]:
        """Return what is true by the name of its question."""
        return {
            "q1": self.now,
            "q2": self.workloads,
            "q3": self.least_used,
            "q3b": self.idle,
            "q4a": self.teams_day,
            "q4": self.teams,
            "q5": self.minutes,
            "q6": self.device,
        }

    def _charge(self, hour: Hour, sums: Sequence[Values]) -> None:
        for job, gained in by_holder(self.fleet, hour):
            for each in sums:
                each[(name(job and job.team),)] += gained

    def _watch(self, hour: Hour) -> None:
        """Note the mean of the readings that bear a time of each minute."""
        begin = self.fleet.start + hour.index * 3600
        times = begin + (np.arange(self.fleet.ticks) + 1) * self.fleet.step
        minutes = times // 60 * 60
        power = hour.power_watts[:, WATCHED]
        for minute in np.unique(minutes).tolist():
            if minute < self.fleet.end:
                self._readings.setdefault(minute, []).extend(power[minutes == minute].tolist())
                self.device[(minute,)] = float(np.mean(self._readings[minute]))

    @property
    def least_used(self) -> Values:
        """The GPUs of lowest mean utilisation, 0..1."""
        busy = self._busy if self._busy is not None else np.zeros(0)
        mean = busy / max(self._hours, 1)
        lowest = np.argsort(mean, kind="stable")[:LEAST].tolist()
        return {(self.fleet.keys[gpu],): float(mean[gpu]) for gpu in lowest}


def by_holder(fleet: Fleet, hour: Hour) -> list[tuple[Job | None, float]]:
    """Return the joules that each node gained in an hour, with the job that held it."""
    gained = hour.gained_joules.sum(axis=0).reshape(fleet.nodes, fleet.gpus).sum(axis=1)
    return list(zip(hour.jobs, gained.tolist(), strict=True))


def team_columns(fleet: Fleet, hour: Hour) -> dict[str, NDArray[np.int64]]:
    """Return the GPUs of each team in an hour; "" has those that nobody holds."""
    teams = np.repeat([name(job and job.team) for job in hour.jobs], fleet.gpus)
    return {str(team): np.flatnonzero(teams == team) for team in np.unique(teams)}
