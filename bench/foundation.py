"""Measure what runs on one machine: start-up, memory, CPU and disk, printed as a table.

``make bench`` starts the real `wattshed up` in a throw-away folder, waits until the page has data,
lets it settle and reads each process' CPU time and memory from /proc over a window. Peers of the
same kind run beside it where they are installed. Nothing here is a test; nothing passes or fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """CPU seconds used so far; resident memory in bytes, and the part of it that is no file.

    The rest are clean pages of mapped libraries. How many of those the kernel maps depends on how
    the files lie in its cache: after an installation in the same boot it is more than later.
    """

    cpu_seconds: float
    rss_bytes: int
    own_bytes: int


def usage(pid: int) -> Usage:
    stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    memory = Path(f"/proc/{pid}/smaps_rollup").read_text()
    rss, own = (re.search(rf"^{key}:\s+(\d+) kB", memory, re.M) for key in ("Rss", "Anonymous"))
    return Usage(
        (int(stat[11]) + int(stat[12])) / TICKS_PER_SECOND,
        int(rss[1]) * 1024 if rss else 0,
        int(own[1]) * 1024 if own else 0,
    )


def child(parent: int, module: str) -> int:
    """Return the pid of the child of ``parent`` that runs ``module``."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if int(stat[1]) == parent and module in command:
                return int(entry.name)
    raise RuntimeError(f"no child runs {module}")


def get(url: str) -> dict[str, object] | None:
    try:
        with urlopen(url, timeout=5) as response:
            answer: dict[str, object] = json.load(response)
            return answer
    except OSError:
        return None


def wait_for_data(url: str, started: float) -> float:
    """Return the seconds from ``started`` until the report holds energy."""
    while time.monotonic() - started < 120:
        report = get(f"{url}/v1/report?since=1h")
        if report and float(str(report["total_joules"])) > 0:
            return time.monotonic() - started
        time.sleep(0.2)
    raise RuntimeError("no data after 120 s")


def node_exporter() -> subprocess.Popen[bytes] | None:
    """Start the peer with its default collectors, if it is installed."""
    binary = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
    if binary is None:
        return None
    return subprocess.Popen(
        [binary, "--web.listen-address=127.0.0.1:19410", "--log.level=error"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settle", type=float, default=60, help="seconds before the window")
    parser.add_argument("--window", type=float, default=60, help="seconds that are measured")
    options = parser.parse_args()
    peer = node_exporter()
    with tempfile.TemporaryDirectory(prefix="wattshed-bench-") as folder:
        started = time.monotonic()
        command = [str(Path(sys.executable).parent / "wattshed"), "up", "--data", folder]
        command += ["--listen", "127.0.0.1:19740", "--exporter-listen", "127.0.0.1:19741"]
        up = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            seconds = wait_for_data("http://127.0.0.1:19740", started)
            print(f"{'wattshed up to a report with data':<40}{seconds:>9.1f} s")
            time.sleep(options.settle)
            pids = {
                "exporter at 1 Hz": child(up.pid, "wattshed_exporter"),
                "collector, idle (1 device at 1 Hz)": child(up.pid, "wattshed_collector"),
            }
            if peer is not None:
                pids["node_exporter, not scraped"] = peer.pid
            report(pids, options.window)
        finally:
            stopping = time.monotonic()
            up.send_signal(signal.SIGINT)
            up.wait(10)
            print(f"{'Ctrl-C to stopped':<40}{time.monotonic() - stopping:>9.1f} s")
            if peer is not None:
                peer.terminate()
                peer.wait()


def report(pids: dict[str, int], window: float) -> None:
    """Print CPU and memory of each process over ``window`` seconds."""
    before = {name: usage(pid) for name, pid in pids.items()}
    time.sleep(window)
    title = f"over {window:g} s"
    print(f"\n{title:<40}{'% of a core':>12}{'RSS MB':>10}{'own MB':>10}")
    for name, pid in pids.items():
        after = usage(pid)
        share = (after.cpu_seconds - before[name].cpu_seconds) / window * 100
        print(
            f"{name:<40}{share:>12.2f}{after.rss_bytes / 1e6:>10.1f}{after.own_bytes / 1e6:>10.1f}"
        )
    print()


if __name__ == "__main__":
    main()
