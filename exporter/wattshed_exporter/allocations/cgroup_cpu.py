"""CPU time of cgroups as claims on the meters of CPUs.

The activity of a holder on a meter is the CPU time that it used, over the time that passed on all
CPUs of that meter. A holder is taken to run on the CPUs that its cpuset gives it, and on all alike
where that says nothing. What the machine was busy beside all holders is ``unit:system``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from wattshed_exporter.model import Device, Kind, Overlap
from wattshed_exporter.sources.cpu_time import CpuTimes, packages, read_cpu_times, utilization

from . import Claim, Ref
from .cgroup_tree import Tree
from .cgroup_usage import CpuTime, given_cpus, holds_cpus

CPU_TIME = "cpu_time"
SYSTEM: Ref = "unit:system"
INSTEAD = (Kind.MODULE, Kind.BOARD, Kind.HOST)
"""Whose energy is split by CPU time where no meter measures CPUs, the nearest to them first."""
LEAST_CPUS = 0.001
"""A unit that uses less of one CPU counts as part of the system: a node has dozens of them."""
PACKAGE = re.compile(r"package-([0-9]{1,4})(?:[^0-9].*)?")
Cpus = frozenset[int]
NONE: Cpus = frozenset()


def cpu_meters(devices: Iterable[Device]) -> list[Device]:
    """Return the meters that CPU time splits: of CPUs, not inside of another, or else of more."""
    known = list(devices)
    for kinds in ((Kind.CPU,), *((kind,) for kind in INSTEAD)):
        found = [d for d in known if d.kind in kinds and d.overlap is not Overlap.INNER]
        if found:
            return found
    return []


class Processors:
    """What holders used of the CPUs since the last round.

    Args:
        procfs: where ``stat`` is.
        sysfs: where the topology of the CPUs is.
        clock: monotonic nanoseconds.
    """

    def __init__(self, tree: Tree, procfs: Path, sysfs: Path, clock: Callable[[], int]) -> None:
        self._tree = tree
        self._stat = procfs / "stat"
        self._clock = clock
        self._cpu_time = CpuTime(tree)
        self._packages = packages(sysfs)
        self._last: tuple[int, CpuTimes] | None = None

    def claims(self, devices: Sequence[Device]) -> Iterator[Claim]:
        """Yield what each holder used and holds of each meter; at first only what it holds.

        Raises:
            SourceError: ``/proc/stat`` cannot be read.
        """
        now_ns, times = self._clock(), read_cpu_times(self._stat)
        given, owned = self._cpusets(times.cpus)
        used_ns, total_ns = self._cpu_time.look()
        last, self._last = self._last, (now_ns, times)
        passed_ns = now_ns - last[0] if last else 0
        if last:
            busy = utilization(last[1], times) or 0.0
            rest_ns = busy * passed_ns * times.cpus - total_ns
            used_ns = _folded(used_ns, max(round(rest_ns), 0), LEAST_CPUS * passed_ns)
        for device, cpus in self._cpus(devices).items():
            size = len(cpus) or times.cpus
            for holder in sorted(used_ns.keys() | owned.keys()):
                part = _part(given.get(holder, NONE), cpus, len(self._online()))
                activity = part * used_ns.get(holder, 0) / (passed_ns * size) if passed_ns else None
                mine = owned.get(holder, NONE)
                share = len(mine & cpus if cpus else mine) / size
                if share or activity:
                    bounded = None if activity is None else min(activity, 1.0)
                    yield Claim(device, holder, min(share, 1.0), bounded, CPU_TIME)

    def _cpus(self, devices: Sequence[Device]) -> dict[str, Cpus]:
        """Return the CPUs of each meter; none where it, or one beside it, does not say."""
        if len(devices) > 1:
            found = [self._package(device) for device in devices]
            if all(found):
                return {device.key: cpus for device, cpus in zip(devices, found, strict=True)}
        return {device.key: NONE for device in devices}

    def _package(self, device: Device) -> Cpus:
        match = PACKAGE.fullmatch(device.name)
        return self._packages.get(int(match[1]), NONE) if match else NONE

    def _online(self) -> Cpus:
        return NONE.union(*self._packages.values())

    def _cpusets(self, online: int) -> tuple[dict[Ref, Cpus], dict[Ref, Cpus]]:
        """Return the CPUs that each holder may run on, where it is told, and those of its own.

        A CPU is its own if it was given to one pod of the class Guaranteed or one job and to
        nothing else: the kubelet's static policy gives the others what is left, by name as well.
        """
        given: dict[Ref, Cpus] = {}
        tenured: set[Ref] = set()
        times: Counter[int] = Counter()
        for group in self._tree.groups():
            cpus = given_cpus(self._tree, group) if holds_cpus(group) else NONE
            holder = group.place.holder
            # A pod that may run everywhere was given nothing; version 1 says so by all CPUs.
            if cpus and (len(cpus) < online or not holder.startswith("pod:")):
                given[holder] = given.get(holder, NONE) | cpus
                times.update(cpus)
                if group.place.tenured:
                    tenured.add(holder)
        owned = {h: frozenset(c for c in given[h] if times[c] == 1) for h in tenured}
        return given, {holder: cpus for holder, cpus in owned.items() if cpus}


def _part(given: Cpus, cpus: Cpus, online: int) -> float:
    """Return the part of a holder's CPU time that it spent on a meter's CPUs."""
    if not cpus:
        return 1.0
    return len(given & cpus) / len(given) if given else len(cpus) / max(online, 1)


def _folded(used_ns: Mapping[Ref, int], rest_ns: int, least_ns: float) -> dict[Ref, int]:
    """Return what was used, with the system's part and in it the units that hardly did anything."""
    kept = {
        holder: used
        for holder, used in used_ns.items()
        if used >= least_ns or not holder.startswith("unit:")
    }
    kept[SYSTEM] = rest_ns + sum(used_ns.values()) - sum(kept.values())
    return kept
