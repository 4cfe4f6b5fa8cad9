"""Pushing to a real HTTP server: delivery, outage, refusal, and never too much in memory."""

from __future__ import annotations

import gzip
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

from wattshed_exporter import config
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Method, Outcome, Tick, Workload
from wattshed_exporter.outputs.otlp import BATCH_TICKS, Otlp, pieces
from wattshed_exporter.telemetry import Telemetry

DEVICE = Device("d", Kind.GPU, "n", "test", "gpu0")
PARTIAL = ExportMetricsServiceResponse(
    partial_success=ExportMetricsPartialSuccess(rejected_data_points=1, error_message="no unit")
)
Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Collector:
    """Answers as told, then with 200; keeps what it accepted."""

    answers: list[Answer] = field(default_factory=list)
    accepted: list[ExportMetricsServiceRequest] = field(default_factory=list)
    seen: list[tuple[str, dict[str, str], int]] = field(default_factory=list)
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
                if status == 200:
                    request = ExportMetricsServiceRequest.FromString(gzip.decompress(body))
                    collector.accepted.append(request)
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


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    made.start()
    yield made
    made.stop()


Push = Callable[..., Otlp]


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
def push(collector: Collector, telemetry: Telemetry) -> Iterator[Push]:
    """Build outputs towards the collector that retry fast, and close them."""
    made: list[Otlp] = []

    def build(path: str = "", **more: object) -> Otlp:
        told = config.Otlp(endpoint=f"http://127.0.0.1:{collector.port}{path}")
        told = replace(told, **{"batch_seconds": 0.0, **more})  # type: ignore[arg-type]
        settings = config.Config(node="n", site="s", otlp=told)
        made.append(Otlp(settings, telemetry, first_backoff_seconds=0.02))
        return made[-1]

    yield build
    for output in made:
        output.close()


def ticks(*times: int) -> tuple[Tick, ...]:
    return tuple(Tick("d", ts, 1000, Method.COUNTER, 1.0, ts) for ts in times)


def counted(telemetry: Telemetry, result: str) -> float:
    return telemetry.value("wattshed_output_ticks_total", output="otlp", result=result)


def test_ticks_arrive_with_their_device_and_exporter(
    collector: Collector, push: Push, telemetry: Telemetry
) -> None:
    output = push(token="t0ken")
    output.put(Batch(devices=(DEVICE,), ticks=ticks(1000, 2000)))
    assert output.flush(5)
    assert collector.times() == [1000, 2000]
    ((path, headers, _),) = collector.seen
    assert path == "/v1/metrics"
    assert headers["Content-Type"] == "application/x-protobuf"
    assert headers["Authorization"] == "Bearer t0ken"
    (resource,) = collector.accepted[0].resource_metrics
    told = {a.key: a.value.string_value for a in resource.resource.attributes}
    assert told["service.name"] == "wattshed-exporter"
    assert (told["host.name"], told["wattshed.site"]) == ("n", "s")
    assert "wattshed.tier" not in told
    names = {a.key for a in collector.points("hw.power")[0].attributes}
    assert {"hw.id", "hw.type", "hw.name"} <= names
    assert counted(telemetry, "sent") == 2


def test_the_connection_is_kept(collector: Collector, push: Push) -> None:
    output = push("/otlp/")
    for ts in (1, 2, 3):
        output.put(Batch(ticks=ticks(ts)))
        assert output.flush(5)
    assert len({peer for _, _, peer in collector.seen}) == 1
    assert {path for path, _, _ in collector.seen} == {"/otlp/v1/metrics"}


def test_everything_but_ticks_is_sent_too(collector: Collector, push: Push) -> None:
    output = push()
    output.put(Batch(workloads=(Workload("w", "train"),)))
    output.put(Batch(allocations=(Allocation("d", "w", 0, 1000),)))
    output.put(Batch(outcomes=(Outcome("w", "step", 5, 1.0),)))
    assert output.flush(5)
    for name in ("wattshed.allocation.share", "wattshed.outcomes"):
        (point,) = collector.points(name)
        told = {a.key: a.value.string_value for a in point.attributes}
        assert told["wattshed.workload.name"] == "train"


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_the_collector_may_take_later_is_sent_again(
    collector: Collector, push: Push, telemetry: Telemetry, status: int
) -> None:
    collector.answers = [(status, {}, b""), (status, {"Retry-After": "0"}, b"")]
    output = push()
    output.put(Batch(ticks=ticks(1)))
    assert output.flush(5)
    assert (len(collector.seen), collector.times()) == (3, [1])
    assert (counted(telemetry, "sent"), counted(telemetry, "rejected")) == (1, 0)


def test_retry_after_is_honoured(collector: Collector, push: Push) -> None:
    collector.answers = [(429, {"Retry-After": "1"}, b"")]
    output = push()
    began = time.monotonic()
    output.put(Batch(ticks=ticks(1)))
    assert output.flush(5)
    assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize("status", [400, 404, 413, 500, 301])
def test_what_the_collector_never_takes_is_counted_and_the_next_is_sent(
    collector: Collector,
    push: Push,
    telemetry: Telemetry,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    collector.answers = [(status, {}, b"bad unit\nof energy"), (status, {}, b"again")]
    output = push()
    for ts in (1, 2, 3):
        output.put(Batch(ticks=ticks(ts)))
        assert output.flush(5)
    assert collector.times() == [3]
    assert (counted(telemetry, "rejected"), counted(telemetry, "sent")) == (2, 1)
    said = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert said == [f"the collector refused a batch for good: {status} bad unit of energy"]


def test_points_rejected_by_a_partial_success_are_counted(
    collector: Collector, push: Push, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    collector.answers = [(200, {}, PARTIAL.SerializeToString())]
    output = push()
    output.put(Batch(ticks=ticks(1, 2, 3)))
    assert output.flush(5)
    assert (counted(telemetry, "rejected"), counted(telemetry, "sent")) == (1, 2)
    assert "rejected 1 data points: no unit" in caplog.text


def test_nothing_is_lost_in_an_outage(
    collector: Collector, push: Push, telemetry: Telemetry
) -> None:
    output = push()
    output.put(Batch(devices=(DEVICE,), ticks=ticks(1)))
    assert output.flush(5)
    collector.stop()
    for ts in (2, 3, 4):
        output.put(Batch(ticks=ticks(ts)))
    assert not output.flush(0.1)
    collector.start()
    assert output.flush(5)
    assert sorted(set(collector.times())) == [1, 2, 3, 4]
    assert counted(telemetry, "sent") == 4


def test_batches_are_gathered_up_to_a_size(collector: Collector, push: Push) -> None:
    output = push(batch_seconds=30.0)
    for ts in range(3):
        output.put(Batch(ticks=ticks(ts)))
    assert collector.seen == []
    output.put(Batch(ticks=ticks(*range(10, 10 + 2 * BATCH_TICKS))))
    assert output.flush(10)
    sizes = [len(r.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points)
             for r in collector.accepted]  # fmt: skip
    assert sizes == [3, BATCH_TICKS, BATCH_TICKS]


def test_close_sends_what_waits(collector: Collector, push: Push, telemetry: Telemetry) -> None:
    output = push(batch_seconds=60.0)
    output.put(Batch(ticks=ticks(1, 2)))
    output.close()
    assert collector.times() == [1, 2]
    assert counted(telemetry, "sent") == 2


def test_close_gives_up_in_time_and_counts_what_it_could_not_send(
    collector: Collector, push: Push, telemetry: Telemetry
) -> None:
    collector.answers = [(503, {"Retry-After": "60"}, b"")] * 50
    output = push(batch_seconds=0.0)
    output.put(Batch(ticks=ticks(1)))
    while not collector.seen:
        time.sleep(0.001)
    output.put(Batch(ticks=ticks(2, 3)))
    began = time.monotonic()
    output.close()
    assert time.monotonic() - began < 2.5
    assert len(collector.seen) <= 3  # not hammered on the way out
    assert counted(telemetry, "dropped") == 3


def test_a_batch_that_cannot_be_encoded_does_not_stop_the_others(
    collector: Collector, push: Push, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    output = push()
    output.put(Batch(ticks=ticks(-1)))  # before 1970: not a time that OTLP can carry
    assert output.flush(5)
    output.put(Batch(ticks=ticks(1)))
    assert output.flush(5)
    assert collector.times() == [1]
    assert counted(telemetry, "rejected") == 1
    assert "could not be sent" in caplog.text


def test_a_big_batch_is_cut_and_nothing_is_lost() -> None:
    many = ticks(*range(2 * BATCH_TICKS + 1))
    held = tuple(Allocation("d", "w", i, i + 1) for i in range(BATCH_TICKS + 1))
    parts = list(pieces(Batch(ticks=many, allocations=held, outcomes=(Outcome("w", "k", 1, 1.0),))))
    assert tuple(t for p in parts for t in p.ticks) == many
    assert tuple(a for p in parts for a in p.allocations) == held
    assert sum(len(p.outcomes) for p in parts) == 1
    assert max(len(p.ticks) + len(p.allocations) for p in parts) <= BATCH_TICKS
    assert list(pieces(Batch(devices=(DEVICE,)))) == []
