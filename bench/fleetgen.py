"""A synthetic fleet of GPUs with job churn: the same bits for the same arguments, everywhere.

All draws come from one numpy generator, in a fixed order, so that another implementation of the
same text gives the same fleet. Each job holds a whole node for whole hours; label sets come back on
the same GPUs, and idle hours lie in between. A counter gains in each step what its power says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

TEAMS = ("vision", "nlp", "search", "ads", "infra", "robotics", "speech", "research")
IDLE = "idle"
MEMORY_BYTES = 85_520_809_984
POWER_LIMIT_WATTS = 700.0
NAMES = 23
"""Workloads of a team whose names come back."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Job:
    """``load`` is its mean utilisation; it holds ``node`` during hours [first, last)."""

    team: str
    workload: str
    pod: str
    load: float
    node: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of every GPU; arrays have shape (ticks, GPUs). ``jobs`` is by node, None: idle.

    ``power_watts`` and ``energy_joules`` (the counter) are rounded to three decimals as emitted,
    ``gained_joules`` is what each tick adds, ``utilization`` is 0..1. The others are as emitted:
    whole percents, degrees, bytes (counters of a link grow) and hertz; ratios have six decimals.
    """

    index: int
    jobs: tuple[Job | None, ...]
    power_watts: Floats
    energy_joules: Floats
    gained_joules: Floats
    utilization: Floats
    utilization_percent: Floats
    memory_utilization_percent: Floats
    memory_used_bytes: Floats
    temperature_celsius: Floats
    memory_temperature_celsius: Floats
    sm_clock_hertz: Floats
    memory_clock_hertz: Floats
    received_bytes: Floats
    transmitted_bytes: Floats
    sm_active_ratio: Floats
    tensor_active_ratio: Floats


@dataclass(frozen=True, slots=True)
class Counters:
    """What the counters of all GPUs show, shape (GPUs,)."""

    energy_joules: Floats
    received_bytes: Floats
    transmitted_bytes: Floats


@dataclass(frozen=True)
class Fleet:
    """``end`` in Unix seconds; the fleet begins ``hours`` before it. ``step`` in seconds."""

    nodes: int = 40
    gpus: int = 8
    hours: int = 24
    step: int = 10
    seed: int = 7
    end: int = 1_763_856_000

    @property
    def start(self) -> int:
        return self.end - self.hours * 3600

    @property
    def devices(self) -> int:
        return self.nodes * self.gpus

    @property
    def ticks(self) -> int:
        """Ticks of an hour."""
        return 3600 // self.step

    @cached_property
    def keys(self) -> list[str]:
        """The UUID of each GPU."""
        return [
            f"GPU-{g:08x}-{g * 7919 & 0xFFFF:04x}-4c1e-9f00-{g * 2654435761 & 0xFFFFFFFFFFFF:012x}"
            for g in range(self.devices)
        ]

    @property
    def jobs(self) -> list[Job]:
        return self._jobs(np.random.default_rng(self.seed))

    def each_hour(self) -> Iterator[Hour]:
        """Give the hours in order."""
        dice = np.random.default_rng(self.seed)
        by_node: list[list[Job | None]] = [[None] * self.hours for _ in range(self.nodes)]
        for job in self._jobs(dice):
            for held in range(job.first, min(job.last, self.hours)):
                by_node[job.node][held] = job
        counters = Counters(
            np.round(dice.uniform(1e6, 9e9, self.devices), 3),
            *(dice.integers(1, 2**40, self.devices).astype(float) for _ in ("rx", "tx")),
        )
        for index in range(self.hours):
            jobs_now = tuple(node[index] for node in by_node)
            hour, counters = self._hour(dice, index, jobs_now, counters)
            yield hour

    def _jobs(self, dice: np.random.Generator) -> list[Job]:
        jobs: list[Job] = []
        for node in range(self.nodes):
            hour = 0
            while hour < self.hours:
                lasts = int(dice.integers(2, 7))
                number = len(jobs)
                team = TEAMS[int(dice.integers(8))]
                load = float(dice.uniform(0.35, 0.98))
                workload = f"{team}-train-{number % NAMES}"
                pod = f"{workload}-{number:06x}"
                jobs.append(Job(team, workload, pod, load, node, hour, hour + lasts))
                hour += lasts + int(dice.integers(0, 2))
        return jobs

    def _hour(
        self,
        dice: np.random.Generator,
        index: int,
        jobs: tuple[Job | None, ...],
        before: Counters,
    ) -> tuple[Hour, Counters]:
        shape = (self.ticks, self.devices)
        base = np.repeat([job.load if job else 0.0 for job in jobs], self.gpus)
        act = np.repeat([1.0 if job else 0.0 for job in jobs], self.gpus)
        u = np.clip(base + dice.normal(0, 0.06, shape), 0, 1) * act
        pauses = np.arange(self.ticks) % 180 < 6
        u[np.ix_(pauses, act > 0)] = 0.05
        power = np.round(70 + 560 * u + dice.normal(0, 4, shape) * (0.2 + act), 3)
        warmth = np.cumsum(dice.normal(0, 0.15, shape), axis=0)
        temperature = np.round(34 + 38 * u.mean(axis=0) + warmth)
        tensor = np.maximum(0, np.round(0.45 * u + dice.normal(0, 0.01, shape) * act, 6))
        gained = power * self.step
        energy = before.energy_joules + np.cumsum(gained, axis=0)
        received = before.received_bytes + np.cumsum(np.round(u * 2e9 * self.step), axis=0)
        sent = before.transmitted_bytes + np.cumsum(np.round(u * 1.3e9 * self.step), axis=0)
        used = np.where(act > 0, 60e9 + 15e9 * base, 4e8) // 65536 * 65536
        hour = Hour(
            index,
            jobs,
            power,
            np.round(energy, 3),
            gained,
            u,
            np.round(100 * u),
            np.round(62 * u),
            np.broadcast_to(used, shape),
            temperature,
            temperature + 9,
            np.where(u > 0.9, 1755e6, np.where(act > 0, 1980e6, 345e6)),
            np.full(shape, 2619e6),
            received,
            sent,
            np.round(0.9 * u, 6),
            tensor,
        )
        return hour, Counters(energy[-1], received[-1], sent[-1])
