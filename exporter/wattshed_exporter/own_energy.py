"""The exporter's own energy: its CPU seconds times the watts that one more busy CPU takes.

Where the CPU packages have meters, those watts are a slope of this machine: between now and the
interval of lowest power seen so far, the difference of the packages' mean power over that of the
busy CPUs (counted by ``/proc/uptime``, Documentation/filesystems/proc.rst). Where there is no
meter, or the two intervals differ by less than a tenth of the CPUs, so that the slope would
mostly be noise, it is the slope of the model in ``sources/estimate.py``. What memory and devices
take on the exporter's behalf is left out. It is worked out when somebody asks: there is no thread.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .model import MICRO, Kind, Method, Overlap
from .sources.estimate import power_range

if TYPE_CHECKING:
    from .config import Config
    from .outputs import Snapshot

MEASURED = frozenset({Method.COUNTER, Method.INTEGRAL})
LEAST_SECONDS = 1.0
LEAST_LOAD_RATIO = 0.1

Energies = dict[tuple[str, int | None], tuple[int, int]]
"""Microjoules and milliseconds by device and the start of its counter."""


@dataclass(frozen=True, slots=True)
class Load:
    """Mean power of the CPU packages and mean number of busy CPUs over one interval."""

    watts: float
    busy: float


class OwnEnergy:
    """Counts the joules of this process.

    Args:
        config: for the model's range of power and the mount point of procfs.
        snapshot: the latest of every device.
        cpu_seconds: CPU time of this process so far, of all its threads.
        cpus: number of logical CPUs.
    """

    def __init__(
        self,
        config: Config,
        snapshot: Callable[[], Snapshot],
        *,
        cpu_seconds: Callable[[], float] = time.process_time,
        cpus: int = os.cpu_count() or 1,
    ) -> None:
        idle, full = power_range(config.estimate, cpus)
        self._model_watts = (full - idle) / cpus
        self._uptime = config.roots.procfs / "uptime"
        self._snapshot = snapshot
        self._cpu_seconds = cpu_seconds
        self._cpus = cpus
        self._lock = threading.Lock()
        self._spent = self._joules = 0.0
        self._last: tuple[tuple[float, float], Energies] | None = None
        self._lowest: Load | None = None
        self._slope: float | None = None

    def joules(self) -> float:
        """Return the joules since the process started; never less than before."""
        with self._lock:
            spent = self._cpu_seconds()
            self._look()
            self._joules += max(0.0, spent - self._spent) * self.watts_per_cpu
            self._spent = spent
            return self._joules

    @property
    def watts_per_cpu(self) -> float:
        """Watts that one more busy CPU takes, as they count now."""
        return self._model_watts if self._slope is None else self._slope

    def _look(self) -> None:
        """Take the interval since the last look into account, if it is long enough."""
        times, energies = self._times(), energies_of(self._snapshot())
        if times is None or not energies:
            self._last = self._slope = None
            return
        if self._last is not None and times[0] - self._last[0][0] < LEAST_SECONDS:
            return
        load = self._load(times, energies)
        self._last = (times, energies)
        self._slope = None if load is None else self._slope_to(load)

    def _times(self) -> tuple[float, float] | None:
        try:
            up, idle = map(float, self._uptime.read_text("ascii").split()[:2])
        except (OSError, ValueError):
            return None
        return up, idle

    def _load(self, times: tuple[float, float], energies: Energies) -> Load | None:
        if self._last is None:
            return None
        (up, idle), before = self._last
        watts = mean_watts(before, energies)
        if watts is None:
            return None
        return Load(watts, self._cpus - (times[1] - idle) / (times[0] - up))

    def _slope_to(self, load: Load) -> float | None:
        if self._lowest is None or load.watts < self._lowest.watts:
            self._lowest = load
        more = load.busy - self._lowest.busy
        if more < LEAST_LOAD_RATIO * self._cpus:
            return None
        return (load.watts - self._lowest.watts) / more


def energies_of(snapshot: Snapshot) -> Energies:
    """Return what the meters of CPU packages have counted; parts of a package are left out."""
    return {
        (device.key, tick.start_ms): (tick.energy_uj, tick.ts_ms)
        for device in snapshot.devices
        if device.kind is Kind.CPU and device.method in MEASURED and device.overlap is Overlap.NONE
        if (tick := snapshot.ticks.get(device.key)) is not None and tick.energy_uj is not None
    }


def mean_watts(before: Energies, after: Energies) -> float | None:
    """Return the mean power between two looks, None where a counter is missing or did not move."""
    if before.keys() != after.keys():
        return None
    watts = 0.0
    for key, (energy_uj, ts_ms) in after.items():
        was_uj, was_ms = before[key]
        if ts_ms <= was_ms or energy_uj < was_uj:
            return None
        watts += (energy_uj - was_uj) / MICRO / ((ts_ms - was_ms) / 1000)
    return watts
