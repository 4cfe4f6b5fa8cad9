"""What a round of the plug-in ``cgroup`` costs with 200 real cgroups: 100 pods of a container each.

Needs root, and cgroups that it may make: ``python bench/cgroup.py``. What it made it removes.
"""

from __future__ import annotations

import time
from pathlib import Path

from wattshed_exporter.allocations import Meters
from wattshed_exporter.allocations.cgroup import Cgroup, create
from wattshed_exporter.allocations.cgroup_tree import find_layout
from wattshed_exporter.config import Config
from wattshed_exporter.model import Device, Kind

PODS = 100
ROUNDS = 50


def main() -> None:
    """Print the best and the median round, with a meter of CPUs and with one of memory besides."""
    config = Config(node="bench")
    layout = find_layout(config.roots.cgroupfs)
    tops = {Path(root) for root in (layout.cpu, layout.memory, layout.cpuset) if root is not None}
    made: list[Path] = []
    try:
        for top in tops:
            made += _pods(top / "kubepods.slice")
        for kinds in ((Kind.CPU,), (Kind.CPU, Kind.MEMORY)):
            meters = Meters(0, {k.value: Device(k.value, k, "bench", "bench") for k in kinds})
            times = _measure(create(config), meters)
            best, median = times[0] * 1e3, times[ROUNDS // 2] * 1e3
            print(f"{2 * PODS} cgroups, {'+'.join(kinds)}: {best:.1f} ms, median {median:.1f} ms")
    finally:
        for folder in reversed(made):
            folder.rmdir()


def _pods(top: Path) -> list[Path]:
    made = [top]
    for number in range(PODS):
        pod = top / f"kubepods-pod{number:08x}_0000_4000_8000_000000000000.slice"
        made += [pod, pod / f"cri-containerd-{number:064x}.scope"]
    for folder in made:
        folder.mkdir()
    return made


def _measure(cgroup: Cgroup, meters: Meters) -> list[float]:
    """Return seconds of CPU of each round but the first, the shortest first."""
    cgroup.read(meters)
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        cgroup.read(meters)
        times.append(time.process_time() - began)
    return sorted(times)


if __name__ == "__main__":
    main()
