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
NAMES = 23
"""Workloads of a team whose names come back."""

METRICS = (
    "gpu_power_watts",
    "gpu_energy_joules_total",
    "gpu_util_percent",
    "gpu_mem_util_percent",
    "gpu_mem_used_bytes",
    "gpu_mem_free_bytes",
    "gpu_temp_celsius",
    "gpu_mem_temp_celsius",
    "gpu_sm_clock_hz",
    "gpu_mem_clock_hz",
    "gpu_pcie_rx_bytes_total",
    "gpu_pcie_tx_bytes_total",
    "gpu_sm_active_ratio",
    "gpu_tensor_active_ratio",
    "gpu_power_limit_watts",
)
"""What a GPU says at each tick, in this order."""
MEMORY_BYTES = 85_520_809_984

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
    ``gained_joules`` is what each tick adds, ``utilization`` is 0..1.
    """

    index: int
    jobs: tuple[Job | None, ...]
    power_watts: Floats
    energy_joules: Floats
    gained_joules: Floats
    utilization: Floats
    more: dict[str, Floats]
    """The rest of ``METRICS``."""

    @property
    def values(self) -> dict[str, Floats]:
        """What is emitted, by metric."""
        measured = {
            "gpu_power_watts": self.power_watts,
            "gpu_energy_joules_total": self.energy_joules,
        }
        return {name: (measured | self.more)[name] for name in METRICS}


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
        energy = np.round(dice.uniform(1e6, 9e9, self.devices), 3)
        counters: list[Floats] = [energy]
        for _ in ("rx", "tx"):
            counters.append(dice.integers(1, 2**40, self.devices).astype(np.float64))
        for index in range(self.hours):
            yield self._hour(dice, index, tuple(node[index] for node in by_node), counters)

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
        counters: list[Floats],
    ) -> Hour:
        """Return the next hour; ``counters`` (energy, received, sent) are moved on to its end."""
        shape = (self.ticks, self.devices)
        base = np.repeat([job.load if job else 0.0 for job in jobs], self.gpus)
        act = np.repeat([1.0 if job else 0.0 for job in jobs], self.gpus)
        u = np.clip(base + dice.normal(0, 0.06, shape), 0, 1) * act
        pauses = np.arange(self.ticks) % 180 < 6
        u[np.ix_(pauses, act > 0)] = 0.05
        power = np.round(70 + 560 * u + dice.normal(0, 4, shape) * (0.2 + act), 3)
        gained = [power * self.step, *(np.round(u * rate * self.step) for rate in (2e9, 1.3e9))]
        energy, received, sent = (
            counter + np.cumsum(more, axis=0)
            for counter, more in zip(counters, gained, strict=True)
        )
        counters[:] = [energy[-1], received[-1], sent[-1]]
        drift = np.cumsum(dice.normal(0, 0.15, shape), axis=0)
        celsius = np.round(34 + 38 * u.mean(axis=0) + drift)
        tensor = np.maximum(0, np.round(0.45 * u + dice.normal(0, 0.01, shape) * act, 6))
        used = np.where(act > 0, 60e9 + 15e9 * base, 4e8) // 65536 * 65536
        held = np.broadcast_to(used, shape)
        more = {
            "gpu_util_percent": np.round(100 * u),
            "gpu_mem_util_percent": np.round(62 * u),
            "gpu_mem_used_bytes": held,
            "gpu_mem_free_bytes": MEMORY_BYTES - held,
            "gpu_temp_celsius": celsius,
            "gpu_mem_temp_celsius": celsius + 9,
            "gpu_sm_clock_hz": np.where(u > 0.9, 1755e6, np.where(act > 0, 1980e6, 345e6)),
            "gpu_mem_clock_hz": np.full(shape, 2619e6),
            "gpu_pcie_rx_bytes_total": received,
            "gpu_pcie_tx_bytes_total": sent,
            "gpu_sm_active_ratio": np.round(0.9 * u, 6),
            "gpu_tensor_active_ratio": tensor,
            "gpu_power_limit_watts": np.full(shape, 700.0),
        }
        return Hour(index, jobs, power, np.round(energy, 3), gained[0], u, more)
