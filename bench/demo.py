"""How long ``wattshed demo`` takes until its day of history is charged, and what that costs.

Runs the real command in a throw-away folder; its processes' CPU time is read from /proc at the
moment at which the report accounts for the whole day without a residual.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.foundation import get, usage

PAGE = "127.0.0.1:19742"
PATIENCE_SECONDS = 240.0
PAUSE_SECONDS = 3.0
"""Between two looks: each is as dear as to take in an hour of the day."""
METERS = 40
"""Of the fleet that must be accounted for over nearly the whole time."""


def children(parent: int) -> dict[str, int]:
    """Return the processes that ``parent`` has started, by what they run."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                words = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if int(stat[1]) == parent:
                name = "fleet" if "simulate" in words else words[2].removeprefix("wattshed_")
                found[name] = int(entry.name)
    return found


def is_charged(report: dict[str, Any] | None, hours: float) -> bool:
    """Return whether the report holds the history, and each of its joules was given to somebody."""
    if not report:
        return False
    quality = report["quality"]
    known = quality["known_seconds"] > (hours - 1) * 3600 * METERS
    return bool(known and quality["residual_worst_ratio"] <= 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wattshed-bench-") as folder:
        started = time.monotonic()
        command = [sys.executable, "-m", "wattshed_collector.cli", "demo", "--data", folder]
        command += ["--listen", PAGE, "--exporter-listen", "127.0.0.1:19743"]
        command += ["--history-hours", f"{options.hours:g}"]
        demo = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            url = f"http://{PAGE}/v1/report?since={options.hours:g}h"
            while not is_charged(get(url), options.hours):
                if time.monotonic() - started > PATIENCE_SECONDS:
                    raise RuntimeError(f"not charged after {PATIENCE_SECONDS:g} s")
                time.sleep(PAUSE_SECONDS)
            print(f"{'until the history is charged':<32}{time.monotonic() - started:>8.1f} s")
            for name, pid in sorted(children(demo.pid).items()):
                print(f"{'CPU of the ' + name:<32}{usage(pid).cpu_seconds:>8.1f} s")
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait(15)


if __name__ == "__main__":
    main()
