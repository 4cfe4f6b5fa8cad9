"""What the kernel says of this process, under the names that Prometheus' clients agree on.

Names and texts: "Writing client libraries", process metrics. Source: /proc/<pid>/stat, limits and
fd in proc(5). A part that cannot be read is left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

Said = tuple[str, str, float]
"""Name without ``_total``, help and value."""
CPU_SECONDS = "process_cpu_seconds"
"""The only counter among them."""
PAGE_BYTES, TICKS = os.sysconf("SC_PAGE_SIZE"), float(os.sysconf("SC_CLK_TCK"))


def process(procfs: Path = Path("/proc")) -> Iterator[Said]:
    """Yield bytes, seconds and open files of this process, in the order of prometheus-client."""
    try:
        boot_seconds = _boot_seconds(procfs)
        after_name = (procfs / "self/stat").read_bytes().rpartition(b")")[2].split()
        user, system, started, memory, pages = (int(after_name[n]) for n in (11, 12, 19, 20, 21))
    except (OSError, ValueError, IndexError):
        return
    yield "process_virtual_memory_bytes", "Virtual memory size in bytes.", float(memory)
    yield "process_resident_memory_bytes", "Resident memory size in bytes.", pages * PAGE_BYTES
    yield (
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        started / TICKS + boot_seconds,
    )
    yield (
        CPU_SECONDS,
        "Total user and system CPU time spent in seconds.",
        user / TICKS + system / TICKS,
    )
    try:
        files = len(os.listdir(procfs / "self/fd"))
        most = _most_files((procfs / "self/limits").read_bytes())
    except (OSError, ValueError, IndexError):
        return
    yield "process_open_fds", "Number of open file descriptors.", float(files)
    yield "process_max_fds", "Maximum number of open file descriptors.", most


def _boot_seconds(procfs: Path) -> float:
    with (procfs / "stat").open("rb") as lines:
        return next(float(line.split()[1]) for line in lines if line.startswith(b"btime "))


def _most_files(limits: bytes) -> float:
    line = limits[limits.index(b"Max open files") :]
    return float(line.split(maxsplit=4)[3].replace(b"unlimited", b"inf"))
