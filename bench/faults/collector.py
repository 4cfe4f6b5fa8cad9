"""The collector as a process: started, asked, killed, and how much memory it took at most."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

START_S = 180.0
STOP_S = 60.0


class Collector:
    """A collector on ``data``, a folder or a URL, at a port of the loopback interface.

    ``log`` is where its standard error goes. What it is told by the environment is left out.
    """

    def __init__(self, data: str, port: int, log: Path, *flags: str) -> None:
        self.port = port
        self.peak_mb = 0.0
        command = [sys.executable, "-m", "wattshed_collector", "--data", data]
        command += ["--listen", f"127.0.0.1:{port}", "--log-level", "warning", *flags]
        with log.open("ab") as file:
            self.process = subprocess.Popen(command, stderr=file, env=_environment())

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def wait(self, seconds: float = START_S) -> bool:
        """Wait until it serves; return False where it ended or does not within the time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.is_alive:
            with suppress(OSError, HTTPException):
                self.get("/healthz")
                return True
            time.sleep(0.02)
        return False

    def get(self, path: str) -> bytes:
        """Ask it something. Raises OSError and HTTPException."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                raise OSError(f"{path}: {response.status}")
            return body
        finally:
            connection.close()

    def metric(self, name: str, **labels: str) -> float:
        """Return a value of /metrics, 0 where it was never counted."""
        told = "".join(rf'(?=[^}}]*\b{key}="{value}")' for key, value in labels.items())
        pattern = rf"^wattshed_collector_{name}(?:\{{{told}[^}}]*\}})? (\S+)$"
        found = re.findall(pattern, self.get("/metrics").decode(), re.M)
        return sum(map(float, found))

    def settled(self, since: float, seconds: float = 300.0) -> bool:
        """Wait for two runs of the ledger that began after ``since`` and left no hour dirty."""
        until, seen = time.monotonic() + seconds, set[float]()
        while time.monotonic() < until and self.is_alive:
            with suppress(OSError, HTTPException):
                state: dict[str, Any] = json.loads(self.get("/v1/ledger"))
                run = state["last_run"]
                if run and run["result"] == "ok" and run["at"] - run["seconds"] > since:
                    seen.add(run["at"])
                if len(seen) > 1 and not state["dirty_hours"]:
                    return True
            time.sleep(0.1)
        return False

    def end(self, number: int) -> int:
        """Send a signal and return the status with which it ended."""
        self.note_peak()
        self.process.send_signal(number)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def note_peak(self) -> None:
        """See how much memory was resident at most, in megabytes, code of the engine included."""
        with suppress(OSError):
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            if found := re.search(r"^VmHWM:\s+(\d+) kB", status, re.M):
                self.peak_mb = max(self.peak_mb, int(found[1]) * 1024 / 1e6)


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("WATTSHED_")}
