"""Who used how much CPU, memory and GPU, by cgroup.

CPU time and memory in use become the activity of a holder on the meters of CPUs and DRAM; nobody
holds a CPU (share 0) but a pod or job that was given CPUs of its own. What is in no holder's cgroup
(the kernel's threads, interrupts, the root cgroup, units that hardly did anything) is told as well,
as ``unit:system``: among those of whom an activity is known the energy is split by it, and without
this one the containers would pay for the kernel.

A GPU's processes are found by their cgroup. Each claims an equal part of what others leave, by the
method ``process``: so a GPU that the kubelet, a container engine, Slurm or a file has granted is
held by whom it was granted to, whoever works on it, and one that nobody granted is held by those
that have a context on it.

Sources: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1 and filesystems/proc.rst of the kernel.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed_exporter.errors import SourceError
from wattshed_exporter.model import Kind, Overlap
from wattshed_exporter.sources.sysfs import read_file

from . import Claim, Meters, Ref, Told
from .cgroup_cpu import SYSTEM, Processors, cpu_meters
from .cgroup_paths import place_of
from .cgroup_tree import Tree, find_layout
from .cgroup_usage import working_sets

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

MEMORY, PROCESS = "memory", "process"
GONE: Ref = "unit:gone"
ABOUT = {
    SYSTEM: {"name": "system", "kind": "system"},
    GONE: {"name": "gone before it was seen", "kind": "system"},
}
MEMORY_FIELD = re.compile(rb"^(MemTotal|MemAvailable): +([0-9]{1,18}) kB$", re.M)


class Cgroup:
    """Implements ``Allocator``.

    Args:
        clock: monotonic nanoseconds.
    """

    name = "cgroup"

    def __init__(self, config: Config, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._roots = config.roots
        self._clock = clock
        self._tree: Tree | None = None
        self._processors: Processors | None = None
        self._places: dict[int, tuple[Ref, Ref]] = {}

    def read(self, meters: Meters) -> Told:
        """Walk the cgroups and ask them.

        Raises:
            NoData: there are no cgroups.
            SourceError: ``vanished``, ``permission``, ``io_error`` or ``malformed`` of procfs.
        """
        tree = self._tree = self._tree or Tree(find_layout(self._roots.cgroupfs))
        tree.walk()
        same = {g.place.container: g.place.holder for g in tree.groups() if g.begins_container}
        claims = [*self._cpu(tree, meters), *self._memory(tree, meters), *self._gpus(meters, same)]
        rejected = {"too_many_cgroups": tree.left_out} if tree.left_out else {}
        return Told(claims, ABOUT, same, rejected=rejected)

    def close(self) -> None:
        self._tree, self._processors, self._places = None, None, {}

    def _cpu(self, tree: Tree, meters: Meters) -> Iterator[Claim]:
        devices = cpu_meters(meters.devices.values())
        if not devices:
            self._processors = None
            return
        if self._processors is None:
            roots = self._roots
            self._processors = Processors(tree, roots.procfs, roots.sysfs, self._clock)
        yield from self._processors.claims(devices)

    def _memory(self, tree: Tree, meters: Meters) -> Iterator[Claim]:
        devices = [
            d
            for d in meters.devices.values()
            if d.kind is Kind.MEMORY and d.overlap is not Overlap.INNER
        ]
        used = working_sets(tree) if devices else None
        if used is None:
            return
        total, available = read_memory(self._roots.procfs)
        used[SYSTEM] = max(total - available - sum(used.values()), 0)
        for device in devices:
            for holder, held in used.items():
                if held:
                    yield Claim(device.key, holder, 0.0, min(held / total, 1.0), MEMORY)

    def _gpus(self, meters: Meters, same: dict[Ref, Ref]) -> Iterator[Claim]:
        """Yield a claim for each GPU and holder of processes; containers go to ``same``."""
        last, self._places = self._places, {}
        used: dict[tuple[str, Ref], float | None] = {}
        for use in meters.processes:
            place = self._places.get(use.pid) or self._place(use.pid) or last.get(use.pid)
            if place is not None:
                self._places[use.pid] = place
            holder, container = place or (GONE, "")
            if container:
                same.setdefault(container, holder)
            key = (use.device, holder)
            known, more = used.get(key), use.sm_ratio
            used[key] = known if more is None else (known or 0.0) + more
        for (device, holder), activity in used.items():
            whole = None if activity is None else min(activity, 1.0)
            if holder != GONE:
                yield Claim(device, holder, None, whole, PROCESS)
            elif whole:
                yield Claim(device, holder, 0.0, whole, PROCESS)

    def _place(self, pid: int) -> tuple[Ref, Ref] | None:
        try:
            text = read_file(self._roots.procfs / str(pid) / "cgroup").decode(errors="replace")
        except SourceError:
            return None
        place = place_of(text)
        return place.holder or SYSTEM, place.container


def create(config: Config) -> Cgroup:
    """Build the plug-in; nothing is opened before ``read``."""
    return Cgroup(config)


def read_memory(procfs: Path) -> tuple[int, int]:
    """Return bytes of all memory, and of what is free or can be freed, by ``/proc/meminfo``."""
    found = dict(MEMORY_FIELD.findall(read_file(procfs / "meminfo")))
    try:
        total, available = (int(found[name]) * 1024 for name in (b"MemTotal", b"MemAvailable"))
    except KeyError:
        raise SourceError(f"{procfs}/meminfo is malformed", "malformed") from None
    return max(total, 1), available
