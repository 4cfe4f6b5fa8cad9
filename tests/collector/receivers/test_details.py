"""Details on their way in, over OTLP and by scrape: the same rows, and an answer to who asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from wattshed_collector.config import Config, Ledger, Scrape
from wattshed_exporter import semconv
from wattshed_exporter.model import Detail

if TYPE_CHECKING:
    from tests.collector.conftest import Running

NOW_MS = int(time.time() * 1000)
OTEL = {attribute.label: attribute.otel for attribute in semconv.PUSHED_ATTRIBUTES}
CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
Collect = Callable[[Config], AbstractContextManager["Running"]]


def every_detail(device: str) -> list[Detail]:
    """One detail of each metric of the contract; the counters of activity began at 0.5 s."""
    return [
        Detail(
            device,
            name,
            NOW_MS,
            0.5,
            tuple(f"{label} 1" for label in metric.own),
            500 if metric.own == ("class",) else None,
        )
        for name, metric in semconv.DETAIL_METRICS.items()
    ]


def pushed(details: list[Detail]) -> bytes:
    """An OTLP request by the stock library."""
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    for detail in details:
        known = semconv.PUSHED_DETAILS[detail.metric]
        metric = metrics.add(name=known.otel, unit=known.unit)
        if known.type is semconv.Type.COUNTER:
            metric.sum.aggregation_temporality = CUMULATIVE
            point = metric.sum.data_points.add()
        else:
            point = metric.gauge.data_points.add()
        point.time_unix_nano, point.as_double = detail.ts_ms * 10**6, detail.value
        point.start_time_unix_nano = (detail.start_ms or 0) * 10**6
        said = dict(zip((OTEL[label] for label in known.own), detail.attributes, strict=True))
        for key, value in {"hw.id": detail.device, **said}.items():
            point.attributes.add(key=key).value.string_value = value
    return request.SerializeToString()


def page(details: list[Detail]) -> str:
    lines = []
    for detail in details:
        known = semconv.DETAIL_METRICS[detail.metric]
        said = dict(zip(known.own, detail.attributes, strict=True))
        labels = {"device": detail.device, "node": "n", "name": "gpu0", **said}
        inside = ",".join(f'{label}="{value}"' for label, value in labels.items())
        lines += [f"# TYPE {known.prometheus} {known.type}"]
        lines += [f"{known.prometheus}{{{inside}}} {detail.value}"]
    for device in {detail.device for detail in details}:
        lines += [f'wattshed_reading_timestamp_seconds{{device="{device}"}} {NOW_MS / 1000}']
    return "\n".join([*lines, ""])


def rows(collector: Running, device: str) -> list[tuple[object, ...]]:
    return collector.rows(
        "SELECT metric, labels, toUnixTimestamp64Milli(ts), value, start_ts FROM v_sample "
        f"WHERE device = '{device}' ORDER BY metric, labels"
    )


class Exporter(BaseHTTPRequestHandler):
    """A page of /metrics with every detail of one device."""

    def do_GET(self) -> None:
        body = page(every_detail("both")).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Exporter) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/metrics"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def collector(
    tmp_path_factory: pytest.TempPathFactory, collect: Collect, target: str
) -> Iterator[Running]:
    config = Config(
        listen="127.0.0.1:0",
        data=str(tmp_path_factory.mktemp("store")),
        ledger=Ledger(interval_seconds=3600.0),
        scrape=Scrape(targets=(target,), interval_seconds=0.5),
    )
    with collect(config) as running:
        yield running


def test_every_detail_is_taken_once_however_often_it_is_sent(collector: Running) -> None:
    body = pushed(every_detail("again"))
    before = collector.counter("details_total", receiver="otlp")
    for _ in range(3):
        answer = collector.post(body)
        assert (answer.status, answer.body) == (200, b"")
    assert len(rows(collector, "again")) == len(semconv.DETAIL_METRICS)
    told = collector.counter("details_total", receiver="otlp") - before
    assert told == 3 * len(semconv.DETAIL_METRICS)


def test_a_bad_one_is_named_and_the_good_ones_are_kept(collector: Running) -> None:
    good, bad = every_detail("half")[:2]
    answer = collector.post(pushed([good, Detail("half", bad.metric, NOW_MS, -1.0, ("min",))]))
    partial = ExportMetricsServiceResponse.FromString(answer.body).partial_success
    assert (partial.rejected_data_points, partial.error_message) == (1, "rejected 1 negative")
    assert [row[0] for row in rows(collector, "half")] == [good.metric]


def test_what_an_exporter_says_of_itself_is_kept(collector: Running) -> None:
    exporters = semconv.PUSHED_DETAILS.keys() - semconv.DETAIL_METRICS.keys()
    health = [
        Detail("n/exporter", name, NOW_MS, 1e9, semconv.PUSHED_DETAILS[name].own, NOW_MS - 1000)
        for name in sorted(exporters)
    ]
    answer = collector.post(pushed(health))
    assert (answer.status, answer.body) == (200, b"")
    kept = {str(row[0]): row[1] for row in rows(collector, "n/exporter")}
    assert kept.keys() == exporters
    assert kept["wattshed_output_ticks_total"] == '{"output":"output","result":"result"}'
    found = collector.rows(
        "SELECT DISTINCT device, kind, node FROM v_sample WHERE device = 'n/exporter'"
    )
    assert found == [("n/exporter", "", "")]


def test_who_asks_is_told_the_newest(collector: Running) -> None:
    now_ms = int(time.time() * 1000)
    clock = Detail("asked", "wattshed_clock_hertz", now_ms, 1.98e9, ("sm",))
    assert collector.post(pushed([clock])).status == 200
    answer = collector.get("/v1/details?device=asked")
    assert answer.json == {
        "device": "asked",
        "rows": [
            {
                "metric": "wattshed_clock_hertz",
                "labels": {"domain": "sm"},
                "value": 1.98e9,
                "ts": now_ms / 1000,
            }
        ],
    }


def test_pulled_is_the_same_as_pushed(collector: Running) -> None:
    deadline = time.monotonic() + 120
    while not (pulled := rows(collector, "both")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(pulled) == len(semconv.DETAIL_METRICS)
    assert collector.post(pushed(every_detail("both"))).status == 200
    assert rows(collector, "both") == pulled
    assert sum(start is not None for *_, start in pulled) == 2
    assert collector.counter("details_total", receiver="scrape") >= len(pulled)
    labels = [labels for name, labels in collector.health() if name.endswith("_rejected_total")]
    assert not [told for told in labels if ("receiver", "scrape") in told]


def test_the_collector_says_how_its_target_is(collector: Running, target: str) -> None:
    (told,) = collector.get("/v1/targets").json["targets"]
    assert (told["url"], told["job"]) == (target, "targets")
    assert told["health"] in ("up", "unknown")
