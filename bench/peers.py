"""VictoriaMetrics and Prometheus as they come, in scratch folders, and what they answer."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

from bench.exporter.processes import free_port, running
from bench.exporter.usage import cpu_seconds

PATIENCE_SECONDS = 60.0
TIMEOUT_SECONDS = 600.0
MERGING_SECONDS = 3.0

NATURAL = "increase(gpu_energy_joules_total[{window}])"
QUERIES = {
    "increase": NATURAL,
    "rate x step": "sum_over_time(rate(gpu_energy_joules_total[1m])[{window}:1m]) * 60",
    "power x step": "sum_over_time(gpu_power_watts[{window}]) * {step}",
}
"""The form that dashboards use, and the better ones."""


@dataclass(frozen=True)
class Answer:
    """Joules by the values of the labels that were asked for, and what it cost."""

    joules: dict[tuple[str, ...], float]
    wall_ms: float
    cpu_ms: float


@dataclass(frozen=True)
class Peer:
    """A running server of one kind: where it is, and where it keeps what it was sent."""

    name: str
    version: str
    pid: int
    port: int
    write: str
    folder: Path

    def send(self, frame: bytes) -> None:
        """Send one request; raises RuntimeError where it is not taken."""
        headers = {
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "snappy",
            "X-Prometheus-Remote-Write-Version": "0.1.0",
        }
        status, said = _ask(self.port, "POST", self.write, frame, headers)
        if status not in (200, 204):
            raise RuntimeError(f"{self.name} refuses samples with {status}: {said[:200]!r}")

    def ask(self, query: str, labels: tuple[str, ...], at: int) -> Answer:
        """Sum ``query`` by ``labels`` at the Unix time ``at``."""
        text = f"sum by ({', '.join(labels)}) ({query})"
        asked = urlencode({"query": text, "time": at, "nocache": 1, "timeout": "600s"})
        began, cpu = time.perf_counter(), cpu_seconds(self.pid)
        status, said = _ask(self.port, "GET", f"/api/v1/query?{asked}")
        wall, used = time.perf_counter() - began, cpu_seconds(self.pid) - cpu
        if status != 200:
            raise RuntimeError(f"{self.name} does not answer {text!r}: {said[:300]!r}")
        found = {
            tuple(row["metric"].get(label, "") for label in labels): float(row["value"][1])
            for row in json.loads(said)["data"]["result"]
        }
        return Answer(found, wall * 1e3, used * 1e3)

    @property
    def disk_bytes(self) -> int:
        """What its folder takes, in blocks of the file system."""
        return sum(f.stat().st_blocks * 512 for f in self.folder.rglob("*") if f.is_file())


@contextlib.contextmanager
def victoria_metrics(folder: Path, scraped: str = "") -> Iterator[Peer | None]:
    """Run VictoriaMetrics until the block ends; None where it is not installed.

    ``scraped`` is a configuration in the format of Prometheus that says what to pull.
    """
    found = shutil.which("victoria-metrics")
    if found is None:
        yield None
        return
    port, data = free_port(), folder / "victoria-metrics"
    command = [found, f"-storageDataPath={data}", f"-httpListenAddr=127.0.0.1:{port}"]
    command += ["-retentionPeriod=100y", "-search.latencyOffset=0s", "-search.disableCache"]
    command += ["-search.maxQueryDuration=600s", "-loggerLevel=ERROR"]
    if scraped:
        config = folder / "promscrape.yml"
        config.write_text(scraped)
        command.append(f"-promscrape.config={config}")
    with running(command) as process:
        _wait(port, "/health")
        yield Peer("VictoriaMetrics", _version(found), process.pid, port, "/api/v1/write", data)


@contextlib.contextmanager
def prometheus(folder: Path, scraped: str = "global: {}\n") -> Iterator[Peer | None]:
    """Run Prometheus until the block ends; None where it is not installed."""
    found = shutil.which("prometheus")
    if found is None:
        yield None
        return
    port, data = free_port(), folder / "prometheus"
    config = folder / "prometheus.yml"
    config.write_text(scraped)
    command = [found, f"--config.file={config}", f"--storage.tsdb.path={data}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver"]
    command += ["--web.enable-admin-api"]
    command += ["--storage.tsdb.retention.time=100y", "--query.timeout=600s"]
    command += ["--query.max-samples=500000000", "--log.level=error"]
    with running(command) as process:
        _wait(port, "/-/ready")
        yield Peer("Prometheus", _version(found), process.pid, port, "/api/v1/write", data)


def flush(peer: Peer) -> None:
    """Have VictoriaMetrics show what it was sent; Prometheus does at once."""
    if peer.name == "VictoriaMetrics":
        _ask(peer.port, "GET", "/internal/force_flush")


def merge(peer: Peer) -> None:
    """Have VictoriaMetrics merge all that it has, and wait until its folder stops shrinking."""
    _ask(peer.port, "GET", "/internal/force_merge")
    before = -1
    while before != peer.disk_bytes:
        before = peer.disk_bytes
        time.sleep(MERGING_SECONDS)


def snapshot_bytes(peer: Peer) -> int:
    """Have Prometheus write everything as blocks, and return what those take without its WAL."""
    status, said = _ask(peer.port, "POST", "/api/v1/admin/tsdb/snapshot")
    if status != 200:
        raise RuntimeError(f"{peer.name} makes no snapshot: {said[:200]!r}")
    blocks = peer.folder / "snapshots" / json.loads(said)["data"]["name"]
    size = sum(f.stat().st_blocks * 512 for f in blocks.rglob("*") if f.is_file())
    shutil.rmtree(blocks)
    return int(size)


def _version(program: str) -> str:
    """Return what the program or else the package that it came in says; "?" where neither does."""
    dpkg = ["dpkg-query", "--showformat=${Version}", "--show", Path(program).name]
    for command in ([program, "--version"], dpkg):
        with contextlib.suppress(OSError):
            said = subprocess.run(command, capture_output=True, text=True, check=False)
            found = re.search(r"\d+\.\d+\.\d+", said.stdout + said.stderr)
            if found:
                return found[0]
    return "?"


def _wait(port: int, path: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            if _ask(port, "GET", path)[0] == 200:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nothing answers at port {port}")


def _ask(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
