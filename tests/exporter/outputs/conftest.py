"""A collector over real HTTP that answers as told, and outputs that push to it."""

from __future__ import annotations

import gzip
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

from wattshed_exporter import config
from wattshed_exporter.model import Device, Kind, Method, Tick
from wattshed_exporter.outputs.otlp import Otlp
from wattshed_exporter.telemetry import Telemetry

DEVICE = Device("d", Kind.GPU, "n", "test", "gpu0")
PARTIAL = ExportMetricsServiceResponse(
    partial_success=ExportMetricsPartialSuccess(rejected_data_points=1, error_message="no unit")
)
Answer = tuple[int, dict[str, str], bytes]
SILENT, GONE = 0, 1


@dataclass
class Collector:
    """Answers as told, then with 200; keeps what it accepted."""

    answers: list[Answer] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    accepted: list[ExportMetricsServiceRequest] = field(default_factory=list)
    seen: list[tuple[str, dict[str, str], int]] = field(default_factory=list)
    breaks_on: set[int] = field(default_factory=set)
    """Times of ticks over which it fails with 500, as often as it did so in ``broken``."""
    broken: int = 0
    refuses: set[int] = field(default_factory=set)
    """Times of ticks for which it answers 400."""
    most_bytes: int = 1 << 30
    """It answers 413 to what is larger."""
    port: int = 0
    _server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if collector._server is None:  # stopped: hang up on whoever is still connected
                    self.close_connection = True
                    return
                peer = self.client_address[1]
                collector.seen.append((self.path, dict(self.headers), peer))
                status, headers, said = (
                    collector.answers.pop(0) if collector.answers else (200, {}, b"")
                )
                if collector.breaks_on.intersection(times_of(body)):
                    collector.broken += 1
                    status = 500
                if collector.refuses.intersection(times_of(body)):
                    status = 400
                if len(body) > collector.most_bytes:
                    status = 413
                if status == SILENT:  # half a connection: what was sent is thrown away
                    self.close_connection = True
                    return
                if status in (200, GONE):
                    collector.bodies.append(body)
                    request = ExportMetricsServiceRequest.FromString(gzip.decompress(body))
                    collector.accepted.append(request)
                if status == GONE:  # taken, but the answer never arrives
                    self.close_connection = True
                    return
                time.sleep(float(headers.pop("Slow", 0)))
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(said))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def is_up(self) -> bool:
        return self._server is not None

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def points(self, name: str) -> list[NumberDataPoint]:
        return [
            point
            for request in self.accepted
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in (*metric.gauge.data_points, *metric.sum.data_points)
        ]

    def times(self) -> list[int]:
        return [point.time_unix_nano // 1_000_000 for point in self.points("hw.power")]


def times_of(body: bytes) -> list[int]:
    """The times of the ticks in one request."""
    one = Collector(accepted=[ExportMetricsServiceRequest.FromString(gzip.decompress(body))])
    return one.times()


def apart(accepted: Iterable[ExportMetricsServiceRequest]) -> set[bytes]:
    """Return what each of the exporter's requests said, however many of them came as one."""
    return {
        gzip.compress(
            ExportMetricsServiceRequest(resource_metrics=[said]).SerializeToString(), mtime=0
        )
        for request in accepted
        for said in request.resource_metrics
    }


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    made.start()
    yield made
    made.stop()


Push = Callable[..., Otlp]


def soon(least: float, most: float) -> float:
    return random.uniform(least, min(most, 0.03))


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
def push(collector: Collector, telemetry: Telemetry) -> Iterator[Push]:
    """Build outputs towards the collector that retry fast, and close them."""
    made: list[Otlp] = []

    def build(path: str = "", state_dir: Path | None = None, **more: object) -> Otlp:
        told = config.Otlp(endpoint=f"http://127.0.0.1:{collector.port}{path}")
        told = replace(told, **{"batch_seconds": 0.0, **more})  # type: ignore[arg-type]
        settings = config.Config(node="n", site="s", otlp=told, state_dir=state_dir)
        made.append(Otlp(settings, telemetry, jitter=soon))
        return made[-1]

    yield build
    for output in made:
        output.close()


def ticks(*times: int) -> tuple[Tick, ...]:
    return tuple(Tick("d", ts, 1000, Method.COUNTER, 1.0, ts) for ts in times)


def counted(telemetry: Telemetry, result: str) -> float:
    return telemetry.value("wattshed_output_ticks_total", output="otlp", result=result)


def until(what: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.002)


def waiting(telemetry: Telemetry) -> float:
    return telemetry.value("wattshed_spool_bodies", output="otlp")


@pytest.fixture(params=["memory", "disk"])
def state_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "state" if request.param == "disk" else None
