"""The processes that are compared: ours, the peers, the floors in C, and a sink for what is pushed.

The GPUs are the compiled stand-in for NVML of the tests, so the driver's own time is not in any
number; the C sampler calls the same stand-in.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FAKE_NVML = ROOT / "tests/fixtures/nvml"
PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.001


@dataclass(frozen=True)
class Tools:
    """What was compiled for this run, and the peer where it is installed."""

    nvml: Path
    sampler: Path
    floor: Path
    node_exporter: str | None


@dataclass(frozen=True)
class Server:
    """A process that serves /metrics on a port of the loopback interface."""

    name: str
    process: subprocess.Popen[bytes]
    port: int

    @property
    def pid(self) -> int:
        return self.process.pid


def build(folder: Path) -> Tools:
    """Compile the stand-in and the C programs; raise ``SystemExit`` without a compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise SystemExit("bench.exporter: a C compiler is needed (gcc or cc)")
    nvml = folder / "nvml"
    nvml.mkdir()
    library = nvml / "libnvidia-ml.so.1"
    shared = ["-O2", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1"]
    parts = map(str, sorted(FAKE_NVML.glob("*.c")))
    subprocess.run([compiler, *shared, "-o", str(library), *parts], check=True)
    for name in ("sampler", "floor"):
        source = HERE / f"{name}.c"
        subprocess.run([compiler, "-O2", "-o", str(folder / name), str(source), "-ldl"], check=True)
    found = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
    return Tools(nvml, folder / "sampler", folder / "floor", found)


def version(binary: str | None) -> str:
    """Return the peer's version as it says it, or that it is absent."""
    if binary is None:
        return "absent"
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)
    return (said.stdout or said.stderr).partition("\n")[0].split("(")[0].strip()


def environment(tools: Tools, gpus: int, more: Mapping[str, str] | None = None) -> dict[str, str]:
    left_out = ("WATTSHED_", "FAKE_NVML_", "PYTHONDONTWRITEBYTECODE")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
    fake = {"LD_LIBRARY_PATH": str(tools.nvml), "FAKE_NVML_COUNT": str(gpus)}
    # What pip has installed is compiled, so what runs here is as well.
    compiled = {"PYTHONPYCACHEPREFIX": str(tools.nvml.parent / "compiled")}
    return {**clean, **fake, **compiled, **(more or {})}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def running(
    command: Sequence[str], environ: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command, its output thrown away, until the block ends."""
    process = subprocess.Popen(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def ours(
    name: str, tools: Tools, *flags: str, gpus: int = 8, environ: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run the exporter on the stand-in's GPUs until the block ends; it serves data by then."""
    port = free_port()
    command = [sys.executable, "-m", "wattshed_exporter", "--sources=nvml", "--log-level=error"]
    command += [f"--web.listen-address=127.0.0.1:{port}", *flags]
    with running(command, environment(tools, gpus, environ)) as process:
        wait_for(process, port, b"wattshed_power_watts{")
        yield Server(name, process, port)


@contextlib.contextmanager
def node_exporter(name: str, tools: Tools) -> Iterator[Server | None]:
    """Run the peer with its default collectors; None where it is not installed."""
    if tools.node_exporter is None:
        yield None
        return
    port = free_port()
    listen = f"--web.listen-address=127.0.0.1:{port}"
    with running([tools.node_exporter, listen, "--log.level=error"]) as process:
        wait_for(process, port, b"node_cpu_seconds_total{")
        yield Server(name, process, port)


def wait_for(process: subprocess.Popen[bytes], port: int, said: bytes) -> float:
    """Wait for the first answer of /metrics that holds ``said``; return when it was had."""
    until = time.perf_counter() + PATIENCE_SECONDS
    while time.perf_counter() < until and process.poll() is None:
        with contextlib.suppress(OSError, HTTPException):
            if said in fetch(port):
                return time.perf_counter()
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"{process.args!r} does not serve data (status {process.poll()})")


def fetch(port: int) -> bytes:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        return answer.read() if answer.status == 200 else b""
    finally:
        connection.close()


class _Sink(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: standard error belongs to the progress."""


@contextlib.contextmanager
def sink() -> Iterator[str]:
    """Accept whatever is pushed, as an OTLP collector that keeps nothing; yield its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
