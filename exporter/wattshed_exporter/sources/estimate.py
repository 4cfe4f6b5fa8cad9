"""CPU power estimated from utilisation, for machines without a meter.

``power = idle + (full - idle) * utilisation`` with the utilisation from procfs, averaged over the
time since the read before. Unless configured, idle and full are 0.9 W and 3.8 W per logical CPU:
the means of two RAPL sweeps published with codecarbon (MIT), energy / duration of each 30 s step.
The two-socket Xeon E5-2620 v3 (24 CPUs) takes 0.66 W idle and 4.70 W at >= 80 % load per CPU, the
EPYC 8024P (16 CPUs) 1.14 W and 2.98 W. The line misses single steps of these very sweeps by up to
39 %, because power is not linear in load, and other CPUs by an unknown amount: hence an
uncertainty of 50 % and ``method=estimated`` on every row. The machine's other parts are left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import Device, Kind, Method, Reading

from . import Sample
from .cpu_time import CpuTimes, read_cpu_times, utilization

if TYPE_CHECKING:
    from wattshed_exporter.config import Config
    from wattshed_exporter.config import Estimate as Settings

IDLE_WATTS_PER_CPU = 0.9
FULL_WATTS_PER_CPU = 3.8
UNCERTAINTY_RATIO = 0.5


class Estimate:
    """The whole CPU of this machine as one estimated device."""

    name = "estimate"

    def __init__(self, config: Config, clock: Callable[[], int] = time.time_ns) -> None:
        self.interval_seconds = config.interval_seconds
        self._config = config
        self._clock = clock
        self._stat = config.roots.procfs / "stat"
        self._key = f"{config.node}/estimate/cpu"
        self._watts: tuple[float, float] | None = None
        self._last: CpuTimes | None = None

    def discover(self) -> Sequence[Device]:
        """List the CPU.

        Raises:
            NoData: ``stat`` below ``config.roots.procfs`` cannot be read.
            SourceError: the configured power is lower when busy than when idle (``config``).
        """
        self._last = None
        try:
            times = read_cpu_times(self._stat)
        except SourceError as error:
            raise NoData(f"no CPU to estimate: {error}") from error
        self._watts = power_range(self._config.estimate, times.cpus)
        # Only now, because the exporter asks this module for its own energy at every start.
        from .rapl import cpu_model

        vendor, model = cpu_model(self._config.roots.procfs)
        return [
            Device(
                key=self._key,
                kind=Kind.CPU,
                node=self._config.node,
                source=self.name,
                name="cpu",
                vendor=vendor,
                model=model,
                site=self._config.site,
                tier=self._config.tier,
                cluster=self._config.cluster,
                scope="cpu",
                method=Method.ESTIMATED,
                uncertainty_ratio=UNCERTAINTY_RATIO,
            )
        ]

    def read(self) -> Sample:
        """Estimate the mean power in watts since the last read.

        Where that is not possible the reading is a gap: ``first_read`` (there is no interval yet),
        ``no_interval`` (the kernel has not counted since), ``vanished``, ``permission``,
        ``malformed`` or ``io_error``.

        Raises:
            DevicesChanged: nothing was discovered.
        """
        if self._watts is None:
            raise DevicesChanged("the CPU is not discovered")
        now_ms = self._clock() // 1_000_000
        last, self._last = self._last, None
        try:
            self._last = read_cpu_times(self._stat)
        except SourceError as error:
            return Sample([Reading(self._key, now_ms, gap=error.reason)])
        if last is None:
            return Sample([Reading(self._key, now_ms, gap="first_read")])
        ratio = utilization(last, self._last)
        if ratio is None:
            return Sample([Reading(self._key, now_ms, gap="no_interval")])
        idle, full = self._watts
        power = idle + (full - idle) * ratio
        return Sample([Reading(self._key, now_ms, power_watts=power, utilization_ratio=ratio)])

    def close(self) -> None:
        self._watts = self._last = None


def create(config: Config) -> Estimate:
    """Build the source; nothing is opened before ``discover``."""
    return Estimate(config)


def power_range(settings: Settings, cpus: int) -> tuple[float, float]:
    """Return watts when idle and when fully busy: as configured, else per logical CPU."""
    idle, full = settings.idle_watts, settings.max_watts
    if idle > 0 and 0 < full < idle:
        raise SourceError("estimate.max_watts is below estimate.idle_watts", "config")
    if full <= 0:
        full = max(cpus * FULL_WATTS_PER_CPU, idle)
    if idle <= 0:
        idle = min(cpus * IDLE_WATTS_PER_CPU, full)
    return idle, full
