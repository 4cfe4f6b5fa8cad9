"""What the collector says of itself: its metrics, and traces and metrics by the SDK."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from wattshed_collector.config import Config, Ledger, SelfReport
from wattshed_collector.own_energy import Look, OwnEnergy, share_joules
from wattshed_collector.redact import redacted
from wattshed_collector.self_watch import SelfWatch
from wattshed_collector.store.read import Reader
from wattshed_collector.telemetry import MOST_SENDERS, OTHERS, Telemetry
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick
from wattshed_exporter.outputs.protobuf import Encoder

if TYPE_CHECKING:
    from tests.collector.conftest import Bed, Running

Collect = Callable[[Config], AbstractContextManager["Running"]]


RECORDED = """
SELECT value FROM v_stack WHERE metric = 'wattshed_collector_ticks_total'
  AND labels['receiver'] = 'otlp' AND instance LIKE '%:0' AND value = 1
"""


class Backend(ThreadingHTTPServer):
    """Takes OTLP over HTTP and parses it with the stock messages."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []

    def spans(self) -> dict[str, Any]:
        return {
            span.name: span
            for request in self.traces
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }

    def instruments(self) -> dict[str, Any]:
        return {
            metric.name: metric
            for request in self.metrics
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


class _Handler(BaseHTTPRequestHandler):
    server: Backend

    def do_POST(self) -> None:
        import gzip

        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path == "/v1/traces":
            self.server.traces.append(ExportTraceServiceRequest.FromString(body))
        else:
            self.server.metrics.append(ExportMetricsServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def backend() -> Iterator[Backend]:
    with Backend() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def request(at_ms: int) -> bytes:
    return Encoder({"wattshed.node": "n"}, "0").request(
        Batch(
            devices=(Device("d", Kind.GPU, "n", "s"),),
            ticks=(Tick("d", at_ms, 1000, Method.COUNTER, 10.0),),
        )
    )


def test_spans_and_metrics_reach_an_otlp_backend(tmp_path: Path, collect: Collect) -> None:
    with backend() as told:
        config = Config(
            listen="127.0.0.1:0",
            data=str(tmp_path),
            ledger=Ledger(interval_seconds=0.2),
            telemetry=SelfReport(
                enabled=True,
                otlp_endpoint=f"http://127.0.0.1:{told.server_address[1]}",
                record_seconds=0.2,
            ),
        )
        with collect(config) as collector:
            assert collector.post(request(int(time.time() * 1000) - 3000)).status == 200
            ours = {"X-Wattshed-Self-Report": "1"}
            assert collector._ask("GET", "/v1/status", None, ours).status == 200
            deadline = time.monotonic() + 120
            while not collector.counter("ledger_runs_total", result="ok"):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            while not collector.rows(RECORDED):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        spans, metrics = told.spans(), told.instruments()
    whole = spans["POST /v1/metrics"]
    for part in ("parse", "queue"):
        assert spans[part].parent_span_id == whole.span_id
        assert spans[part].trace_id == whole.trace_id
    status = {a.key: a.value for a in whole.attributes}["http.response.status_code"]
    assert status.int_value == 200
    assert {"commit", "ledger.run"} <= spans.keys()
    assert "GET /v1/status" not in spans, "what reports of ours ask makes no span"
    (point,) = metrics["wattshed_collector_ticks_total"].sum.data_points
    assert point.as_double == 1.0
    assert {a.key: a.value.string_value for a in point.attributes} == {"receiver": "otlp"}
    (lag,) = metrics["wattshed_collector_lag_seconds"].histogram.data_points
    assert lag.count == 1
    assert 3.0 <= lag.sum < 60.0
    assert metrics["wattshed_collector_commit_seconds"].histogram.data_points[0].count >= 1


def test_its_metrics_may_go_to_itself_and_that_comes_to_rest(
    tmp_path: Path, collect: Collect
) -> None:
    """Our own receiver is a real one; nothing of a report makes another."""
    with collect(Config(listen="127.0.0.1:0", data=str(tmp_path / "a"))) as collector:
        telemetry = Telemetry()
        telemetry.count("ticks_total", 7, receiver="otlp")
        from wattshed_collector.self_report import reporting

        told = SelfReport(enabled=True, otlp_endpoint=collector.url, traces=False)
        with reporting(told) as report:
            assert report is not None
            report.mirror(telemetry)
        assert collector.counter("requests_total", receiver="otlp", code="200") == 1
        time.sleep(0.2)
        assert collector.counter("requests_total", receiver="otlp", code="200") == 1


def test_what_the_store_tells_of_itself(bed: Bed) -> None:
    bed.write(Batch((Device("d", Kind.GPU, "n", "s"),), (Tick("d", 1000, 1000, Method.COUNTER),)))
    telemetry, reader = Telemetry(), Reader(bed.store.client)
    watch = SelfWatch(reader, OwnEnergy("n"), telemetry)
    value = telemetry.registry.get_sample_value
    assert value("wattshed_collector_table_parts", {"table": "tick"}) is None
    watch.look(bed.client)
    assert value("wattshed_collector_table_parts", {"table": "tick"}) == 1
    assert value("wattshed_collector_table_rows", {"table": "tick"}) == 1
    assert (value("wattshed_collector_table_bytes", {"table": "tick"}) or 0) > 0
    assert value("wattshed_collector_ledger_dirty_hours") == 1
    assert value("wattshed_collector_ledger_settled_timestamp_seconds") is None, "nothing ran yet"
    assert value("wattshed_collector_energy_joules_total") is None, "no meter, no zero"
    reader.close()


def test_own_joules_are_its_part_of_the_busy_time(bed: Bed, tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    own = OwnEnergy("n", stat, cpu_seconds=iter((10.0, 11.0, 12.0)).__next__)
    package = Device("pkg", Kind.CPU, "n", "rapl")
    elsewhere = Device("other", Kind.CPU, "m", "rapl")
    now_ms = int(time.time() * 1000)

    def look(at: int, energy_uj: int, busy: int) -> float | None:
        stat.write_text(f"cpu  {busy} 0 0 999 5 0 0 0 0 0\n", encoding="ascii")
        at_ms = now_ms - 60_000 + at * 1000
        ticks = tuple(
            Tick(key, at_ms, 1000, Method.COUNTER, None, energy_uj) for key in ("pkg", "other")
        )
        bed.write(Batch((package, elsewhere), ticks))
        own.look(bed.client)
        return own.joules

    assert look(0, 1_000_000, 1000) is None
    # 40 J while CPUs were busy for 8 s, of which this process had 1 s.
    assert look(1, 41_000_000, 1800) == pytest.approx(5.0)
    stat.unlink()
    own.look(bed.client)
    assert own.joules == pytest.approx(5.0), "what was counted stays"


def test_a_counter_that_began_anew_or_stood_says_nothing() -> None:
    before = Look({"p": (100, None)}, 1.0, 10.0)
    assert share_joules(before, Look({"p": (100, None)}, 2.0, 20.0)) is None
    assert share_joules(before, Look({"p": (50, None)}, 2.0, 20.0)) is None
    assert share_joules(before, Look({"p": (200, 5)}, 2.0, 20.0)) is None
    assert share_joules(before, Look({"q": (200, None)}, 2.0, 20.0)) is None
    assert share_joules(before, Look({"p": (200, None)}, 2.0, 10.0)) is None


def test_names_of_senders_are_bounded() -> None:
    telemetry = Telemetry()
    for n in range(MOST_SENDERS + 50):
        telemetry.answered(f"s{n}", 3)
    value = telemetry.registry.get_sample_value
    name = "wattshed_collector_sender_requests_total"
    assert value(name, {"sender": "s0"}) == 1
    assert value(name, {"sender": OTHERS}) == 50
    assert value(name, {"sender": f"s{MOST_SENDERS}"}) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("at http://user:hunter2@host:8123/db", "at http://***@host:8123/db"),
        ("Authorization: Bearer wsd_abcdefgh123", "Authorization: Bearer ***"),
        ("basic dXNlcjpodW50ZXIy!", "basic ***!"),
        ("GET /?password=hunter2&x=1", "GET /?password=***&x=1"),
        ("the basic idea of a bearer", "the basic idea of a bearer"),
        (json.dumps({"url": "http://a:b@c"}), '{"url": "http://***@c"}'),
    ],
)
def test_secrets_do_not_reach_the_log(text: str, said: str) -> None:
    assert redacted(text) == said


@pytest.mark.parametrize(
    ("listen", "endpoint", "told"),
    [
        ("127.0.0.1:9740", "http://127.0.0.1:9740", 1),
        ("127.0.0.1:9740", "http://LOCALHOST:9740/otlp", 1),
        ("0.0.0.0:443", "https://[::1]", 1),
        ("gpu-1:9740", "http://gpu-1:9740", 1),
        ("127.0.0.1:9740", "http://127.0.0.1:4318", 0),
        ("gpu-1:9740", "http://127.0.0.1:9740", 0),
        ("127.0.0.1:9740", "http://gpu-1:9740", 0),
        ("127.0.0.1:9740", "", 0),
        ("127.0.0.1:9740", "http://127.0.0.1:port", 0),
    ],
)
def test_spans_are_not_sent_to_who_takes_none(listen: str, endpoint: str, told: int) -> None:
    report = SelfReport(enabled=True, otlp_endpoint=endpoint)
    assert len(report.sent_back(listen)) == told
    assert replace(report, traces=False).sent_back(listen) == []


@pytest.mark.parametrize("url", ["http://[::", "ftp://h", "http://u:p@h", "http://h:port"])
def test_an_endpoint_that_cannot_be_is_told(url: str) -> None:
    assert len(SelfReport(enabled=True, otlp_endpoint=url).problems()) == 1
