"""CPU time and memory of a running process, read from the kernel."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

CPUCLOCK_SCHED = 2
"""The kernel's number for the clock that counts scheduled time (include/linux/posix-timers.h)."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes (1e6 bytes): resident, the proportional share of it, and what is this process' own.

    Source: ``/proc/<pid>/smaps_rollup``, Documentation/filesystems/proc.rst.
    """

    rss: float
    pss: float
    uss: float


def cpu_seconds(pid: int) -> float:
    """Return CPU seconds of a process so far, ended threads included, in nanosecond steps.

    ``/proc/<pid>/stat`` counts in steps of 10 ms, too coarse for 0.1 % of a core, and
    ``/proc/<pid>/task/*/schedstat`` forgets threads that have ended. The clock identifier is made
    as ``clock_getcpuclockid(3)`` makes it.
    """
    return time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED)


def memory(pid: int) -> Memory:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kib = {key: int(value) for key, value in re.findall(r"^(\w+):\s+(\d+) kB", text, re.M)}
    own = kib["Private_Clean"] + kib["Private_Dirty"]
    return Memory(*(round(k * 1024 / 1e6, 2) for k in (kib["Rss"], kib["Pss"], own)))
