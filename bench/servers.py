"""Our collector as a process, as an operator runs it, and what a server costs meanwhile."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from bench.exporter.processes import free_port, running
from bench.exporter.usage import cpu_seconds, memory

PATIENCE_SECONDS = 60.0
SAMPLE_SECONDS = 0.25


@dataclass(frozen=True)
class Collector:
    """A running collector on a folder of its own."""

    pid: int
    port: int
    folder: Path
    name: str = "wattshed"


@contextmanager
def collector(folder: Path, *flags: str) -> Iterator[Collector]:
    """Run the collector on ``folder`` until the block ends; it keeps rows for ever."""
    port = free_port()
    command = [sys.executable, "-m", "wattshed_collector", "--data", str(folder)]
    command += ["--listen", f"127.0.0.1:{port}", "--log-level", "error"]
    command += ["--retention.raw-days", "0", "--retention.minute-days", "0", *flags]
    with running(command) as process:
        until = time.monotonic() + PATIENCE_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{command} does not answer (status {process.poll()})")
            time.sleep(0.05)
        yield Collector(process.pid, port, folder)


def _answers(port: int) -> bool:
    with suppress(OSError):
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        finally:
            connection.close()
    return False


class Meter:
    """CPU seconds and the highest resident memory (MB) of a process within a block."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.cpu_seconds = 0.0
        self.wall_seconds = 0.0
        self.peak_mb = 0.0

    def __enter__(self) -> Meter:
        self._cpu, self._began = cpu_seconds(self._pid), time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.cpu_seconds = cpu_seconds(self._pid) - self._cpu
        self.wall_seconds = time.perf_counter() - self._began
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.peak_mb = max(self.peak_mb, memory(self._pid).rss)
            if self._stop.wait(SAMPLE_SECONDS):
                return
