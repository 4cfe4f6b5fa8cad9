"""How busy CPUs are, from the ticks that the kernel counts in ``/proc/stat``.

Source: Documentation/filesystems/proc.rst of the Linux kernel; which package a CPU belongs to is in
Documentation/admin-guide/cputopology.rst.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import sub
from pathlib import Path

from wattshed_exporter.errors import SourceError

from .sysfs import find_number, list_folder

TICKS = re.compile(r"[0-9]{1,20}(?: [0-9]{1,20}){6,15}")
"""User, nice, system, idle, iowait, irq, softirq, and what later kernels tell as well."""
CPU = re.compile(r"cpu([0-9]{1,6})")


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Ticks since boot from ``/proc/stat``, and the number of logical CPUs that they cover.

    ``busy`` is user, nice, system, irq, softirq and steal; ``quiet`` is idle and iowait. Guest
    time is left out because the kernel counts it in user and nice as well.
    """

    busy: tuple[int, ...]
    quiet: tuple[int, ...]
    cpus: int


def read_cpu_times(path: Path) -> CpuTimes:
    """Parse the line of all CPUs in ``/proc/stat``.

    Raises:
        SourceError: ``vanished``, ``permission``, ``io_error`` or ``malformed``.
    """
    first, *each = _cpu_lines(path)
    try:
        name, _, ticks = first.partition(" ")
        if name != "cpu":
            raise ValueError(f"{name!r} is not all CPUs")
        return _times(ticks, max(len(each), 1))
    except ValueError as error:
        raise _malformed(path) from error


def read_each_cpu(path: Path) -> dict[int, CpuTimes]:
    """Parse the line of each CPU in ``/proc/stat``, by its number; one that is offline has none.

    Raises:
        SourceError: as ``read_cpu_times``.
    """
    found = {}
    for line in _cpu_lines(path)[1:]:
        name, _, ticks = line.partition(" ")
        match = CPU.fullmatch(name)
        if match is None:
            raise _malformed(path)
        try:
            found[int(match[1])] = _times(ticks, 1)
        except ValueError as error:
            raise _malformed(path) from error
    return found


def utilization(last: CpuTimes, now: CpuTimes) -> float | None:
    """Return the busy share of the interval, None where no tick passed.

    So it is too where the kernel has begun to tell more or less. A counter that went backwards
    (iowait may, and a CPU that goes offline takes its ticks along) adds nothing.
    """
    return busy_share([(last, now)])


def busy_share(intervals: Iterable[tuple[CpuTimes, CpuTimes]]) -> float | None:
    """Return the busy share of all CPUs together, each by its ticks before and now."""
    busy = total = 0
    for last, now in intervals:
        if len(last.busy) != len(now.busy):
            return None
        worked = _passed(last.busy, now.busy)
        busy += worked
        total += worked + _passed(last.quiet, now.quiet)
    return busy / total if total else None


def packages(sysfs: Path) -> dict[int, frozenset[int]]:
    """Return the CPUs of each physical package; one that is offline or says nothing is in none."""
    found: dict[int, set[int]] = {}
    try:
        folders = list_folder(sysfs / "devices/system/cpu")
    except SourceError:
        return {}
    for folder in folders:
        if match := CPU.fullmatch(folder.name):
            package = find_number(folder / "topology/physical_package_id")
            if package is not None:
                found.setdefault(package, set()).add(int(match[1]))
    return {package: frozenset(cpus) for package, cpus in found.items()}


class PackageLoad:
    """How busy each physical package was between two looks.

    Args:
        procfs: where ``stat`` is.
        sysfs: where the topology of the CPUs is.
        numbers: the packages that are asked for.
    """

    def __init__(self, procfs: Path, sysfs: Path, numbers: Iterable[int]) -> None:
        self._stat = procfs / "stat"
        self._sysfs = sysfs
        self._numbers = frozenset(numbers)
        self._packages = packages(sysfs)
        self._whole: CpuTimes | None = None
        self._each: Mapping[int, CpuTimes] = {}

    def look(self) -> dict[int, float]:
        """Return the busy share of each package since the look before, where it is known.

        Of the only package of a machine that is the share of all its CPUs.
        """
        try:
            if len(self._numbers) == 1 and self._packages.keys() <= self._numbers:
                shares = dict.fromkeys(self._numbers, self._look_at_all())
            else:
                shares = self._look_at_each()
        except SourceError:
            self._whole, self._each = None, {}
            return {}
        return {number: share for number, share in shares.items() if share is not None}

    def _look_at_all(self) -> float | None:
        last, self._whole = self._whole, read_cpu_times(self._stat)
        return None if last is None else utilization(last, self._whole)

    def _look_at_each(self) -> dict[int, float | None]:
        last, now = self._each, read_each_cpu(self._stat)
        if last.keys() != now.keys():
            # A CPU that is offline has no place; one that comes back has one again.
            self._packages = packages(self._sysfs)
        self._each = now
        return {
            number: busy_share(
                (last[cpu], now[cpu])
                for cpu in self._packages.get(number, ())
                if cpu in last and cpu in now
            )
            for number in self._numbers
        }


def _cpu_lines(path: Path) -> list[str]:
    """Return the lines of CPUs, that of all of them first."""
    try:
        lines = path.read_text("ascii").splitlines()
    except FileNotFoundError as error:
        raise SourceError(f"{path} does not exist", "vanished") from error
    except PermissionError as error:
        raise SourceError(f"{path} may not be read", "permission") from error
    except OSError as error:
        raise SourceError(f"{path}: {error}", "io_error") from error
    except ValueError as error:
        raise _malformed(path) from error
    found = [line for line in lines if line.startswith("cpu")]
    if not found:
        raise _malformed(path)
    return found


def _times(ticks: str, cpus: int) -> CpuTimes:
    told = ticks.strip()
    if not TICKS.fullmatch(told):
        raise ValueError(f"{told[:32]!r} are no numbers of ticks")
    user, nice, system, idle, iowait, irq, softirq, *rest = map(int, told.split(" "))
    return CpuTimes((user, nice, system, irq, softirq, *rest[:1]), (idle, iowait), cpus)


def _malformed(path: Path) -> SourceError:
    return SourceError(f"{path} holds no cpu line as the kernel writes it", "malformed")


def _passed(last: tuple[int, ...], now: tuple[int, ...]) -> int:
    return sum([d for d in map(sub, now, last) if d > 0])
