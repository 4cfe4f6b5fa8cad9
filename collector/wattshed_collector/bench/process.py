"""What a process costs, as the kernel counts it. Source: proc(5)."""

from __future__ import annotations

import os
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
USER, SYSTEM = 11, 12
"""Places of utime and stime behind the name of the program in /proc/PID/stat."""


class Cost:
    """CPU seconds and memory of one process; raises OSError once it is gone."""

    def __init__(self, process: int, proc: Path = Path("/proc")) -> None:
        self._folder = proc / str(process)

    def cpu_seconds(self) -> float:
        """Return user and system time of all threads, in steps of a hundredth."""
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[USER]) + int(fields[SYSTEM])) / TICKS_PER_S

    def peak_bytes(self) -> int | None:
        """Return the largest resident memory so far, None where the kernel does not say."""
        for line in (self._folder / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return None
