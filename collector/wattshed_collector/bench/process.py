"""What a process costs, as the kernel counts it. Sources: clock_getcpuclockid(3), proc(5)."""

from __future__ import annotations

import time
from pathlib import Path

CLOCK_OF_PROCESS = 2
"""The kernel's number of the clock that counts what all threads ran, to the nanosecond."""


class Cost:
    """CPU seconds and memory of one process; raises OSError once it is gone."""

    def __init__(self, process: int, proc: Path = Path("/proc")) -> None:
        self._clock = ~process << 3 | CLOCK_OF_PROCESS
        self._status = proc / str(process) / "status"

    def cpu_seconds(self) -> float:
        """Return user and system time of all threads, also of those that have ended."""
        return time.clock_gettime(self._clock)

    def peak_bytes(self) -> int | None:
        """Return the largest resident memory so far, None where the kernel does not say."""
        for line in self._status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return None
