"""An exporter with a backlog and nothing else: sends it for a while and says what that took.

A process of its own that imports nothing but the exporter, so that its memory is that of one.
"""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from pathlib import Path

from wattshed_exporter.config import Config, Otlp
from wattshed_exporter.outputs import otlp
from wattshed_exporter.spool import Memory
from wattshed_exporter.spool_disk import Disk
from wattshed_exporter.telemetry import Telemetry

SPOOL_BYTES = 1 << 30
OPEN_SECONDS = 60.0
"""Within which what was kept is found."""


def main(url: str, state: Path, most_seconds: float) -> None:
    """Send until nothing is left, or for so many seconds."""
    telemetry = Telemetry()
    idle = cpu_seconds()
    began = time.monotonic()
    output = otlp.Otlp(Config(node="n", otlp=Otlp(endpoint=url), state_dir=state), telemetry)
    found, seconds = False, 0.0
    while seconds < (most_seconds if found else OPEN_SECONDS):
        time.sleep(0.05)
        seconds = time.monotonic() - began
        waiting = telemetry.value("wattshed_spool_bodies", output="otlp")
        if found and not waiting:
            break
        found = found or waiting > 0
    cpu, peak = cpu_seconds() - idle, peak_mb()
    output.close()
    told = {"left": left(state), "seconds": seconds, "cpu": cpu, "peak": peak}
    print(json.dumps(told))


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_mb() -> float:
    """Return how much memory was resident at most; what ``getrusage`` says is of the parent too."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    return int(found[1]) * 1024 / 1e6 if found else float("nan")


def spool(state: Path) -> Disk:
    """Return the spool of an exporter in its state_dir, opened."""
    store = Disk(state / "spool", SPOOL_BYTES, Memory(1 << 24, lost), lost)
    store.open()
    return store


def left(state: Path) -> int:
    """Return how many requests an exporter has left."""
    store = spool(state)
    try:
        return store.level().bodies
    finally:
        store.close()


def lost(*told: object) -> None:
    """Say what a store lost, which none of these may."""
    raise RuntimeError(f"the spool lost something: {told}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
