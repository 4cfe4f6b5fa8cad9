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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import Device, Kind, Method, Reading

from . import Sample

if TYPE_CHECKING:
    from wattshed_exporter.config import Config
    from wattshed_exporter.config import Estimate as Settings

IDLE_WATTS_PER_CPU = 0.9
FULL_WATTS_PER_CPU = 3.8
UNCERTAINTY_RATIO = 0.5
MOST_DIGITS = 20


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Ticks since boot from ``/proc/stat``, and the number of logical CPUs that they cover.

    ``busy`` is user, nice, system, irq, softirq and steal; ``quiet`` is idle and iowait. Guest
    time is left out because the kernel counts it in user and nice as well.
    """

    busy: tuple[int, ...]
    quiet: tuple[int, ...]
    cpus: int


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


def read_cpu_times(path: Path) -> CpuTimes:
    """Parse the ``cpu`` lines of ``/proc/stat`` (Documentation/filesystems/proc.rst).

    Raises:
        SourceError: ``vanished``, ``permission``, ``io_error`` or ``malformed``.
    """
    try:
        lines = path.read_text("ascii").splitlines()
        total = next(line.split()[1:] for line in lines if line.startswith("cpu "))
        user, nice, system, idle, iowait, irq, softirq, *rest = map(_ticks, total)
    except FileNotFoundError as error:
        raise SourceError(f"{path} does not exist", "vanished") from error
    except PermissionError as error:
        raise SourceError(f"{path} may not be read", "permission") from error
    except OSError as error:
        raise SourceError(f"{path}: {error}", "io_error") from error
    except (ValueError, StopIteration) as error:
        raise SourceError(
            f"{path} holds no cpu line as the kernel writes it", "malformed"
        ) from error
    cpus = sum(line.startswith("cpu") for line in lines) - 1
    return CpuTimes((user, nice, system, irq, softirq, *rest[:1]), (idle, iowait), max(cpus, 1))


def utilization(last: CpuTimes, now: CpuTimes) -> float | None:
    """Return the busy share of the interval, None where no tick passed.

    So it is too where the kernel has begun to tell more or less. A counter that went backwards
    (iowait may, and a CPU that goes offline takes its ticks along) adds nothing.
    """
    if len(last.busy) != len(now.busy):
        return None
    busy = _passed(last.busy, now.busy)
    total = busy + _passed(last.quiet, now.quiet)
    return busy / total if total else None


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


def _ticks(text: str) -> int:
    if not text.isdecimal() or len(text) > MOST_DIGITS:
        raise ValueError(f"{text[:32]!r} is no number of ticks")
    return int(text)


def _passed(last: tuple[int, ...], now: tuple[int, ...]) -> int:
    return sum(max(0, after - before) for before, after in zip(last, now, strict=True))
