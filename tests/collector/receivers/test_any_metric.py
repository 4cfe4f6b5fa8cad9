"""Metrics of any name, by OTLP in JSON and protobuf and by remote write: kept, bounded, found."""

from __future__ import annotations

import gzip
import http.client
import json
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cramjam
import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint
from tests.fixtures.prompb import request as write_request
from tests.fixtures.prompb import time_series

from wattshed_collector.config import Config, Ingest, Ledger, OtherMetrics
from wattshed_collector.normalise import otlp
from wattshed_collector.normalise.dialect import Sample, Series
from wattshed_collector.normalise.facts import Limits
from wattshed_collector.normalise.other import Other, labels_text
from wattshed_collector.receivers.others import Others, of_prometheus
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Method, Tick, Workload
from wattshed_exporter.outputs.protobuf import Encoder

if TYPE_CHECKING:
    from tests.collector.conftest import Answer, Running

NOW_MS = int(time.time() * 1000)
NANO = 10**6
JSON = "application/json"
MANUAL = Path(__file__).parents[3] / "docs" / "RECEIVING.md"
Document = dict[str, Any]


@pytest.fixture(scope="module")
def collector(
    tmp_path_factory: pytest.TempPathFactory,
    collect: Callable[[Config], AbstractContextManager[Running]],
) -> Iterator[Running]:
    config = Config(
        listen="127.0.0.1:0",
        data=str(tmp_path_factory.mktemp("store")),
        ledger=Ledger(interval_seconds=3600.0),
        ingest=Ingest(group_seconds=0.0, max_json_bytes=100_000),
        other_metrics=OtherMetrics(
            otlp=("*", "not_this"), prometheus=("node_load*", "vllm:*"), max_series=100
        ),
    )
    with collect(config) as running:
        yield running


def text(key: str, value: str) -> Document:
    return {"key": key, "value": {"stringValue": value}}


def number(value: float, ts_ms: int = NOW_MS, **labels: str) -> Document:
    told = [text(name.replace("__", "."), said) for name, said in labels.items()]
    return {"timeUnixNano": str(ts_ms * NANO), "asDouble": value, "attributes": told}


def document(*metrics: Document, **resource: str) -> Document:
    told = [text(name.replace("__", "."), said) for name, said in resource.items()]
    scope = {"scope": {"name": "x"}, "metrics": list(metrics)}
    return {"resourceMetrics": [{"resource": {"attributes": told}, "scopeMetrics": [scope]}]}


def send(collector: Running, said: Document, **headers: str) -> Answer:
    return collector.post(json.dumps(said).encode(), Content_Type=JSON, **headers)


def as_protobuf(said: Document) -> bytes:
    return json_format.ParseDict(said, ExportMetricsServiceRequest()).SerializeToString()


def found(collector: Running, metric: str) -> list[tuple[Any, ...]]:
    return collector.rows(
        "SELECT toUnixTimestamp64Milli(ts), labels, value, kind, unit FROM v_metric "
        f"WHERE metric = '{metric}' ORDER BY ts, labels"
    )


class TestJson:
    def test_says_the_same_as_protobuf(self, collector: Running) -> None:
        at = NOW_MS - 5000
        device = Device("js", Kind.GPU, "n", "nvml", power_limit_watts=700.0)
        tick = Tick("js", at, 1000, Method.COUNTER, 12.5, 10**15 + 1, at - 9, 0.5, 2**30, -3.5)
        raw = Encoder({"wattshed.node": "n"}, "0").request(Batch((device,), (tick,)))
        said = json_format.MessageToDict(ExportMetricsServiceRequest.FromString(raw))
        rows = "SELECT * EXCEPT (ingested_at) FROM tick FINAL"
        answer = send(collector, said)
        assert (answer.status, answer.json) == (200, {})
        assert answer.headers["Content-Type"].startswith(JSON)
        in_json = collector.rows(rows)
        assert len(in_json) == 1
        assert collector.post(raw).status == 200
        assert collector.rows(rows) == in_json

    def test_names_as_in_the_proto_numbers_as_numbers_enumerations_as_names(
        self, collector: Running
    ) -> None:
        point = {"time_unix_nano": NOW_MS * NANO, "as_int": 7, "attributes": [text("a", "b")]}
        total = {
            "data_points": [point],
            "aggregation_temporality": "AGGREGATION_TEMPORALITY_CUMULATIVE",
            "is_monotonic": True,
        }
        metric = {"name": "snake", "sum": total, "invented": {"deeply": ["unknown"]}}
        said = {"resource_metrics": [{"scope_metrics": [{"metrics": [metric]}]}], "x": 1}
        assert send(collector, said).json == {}
        assert found(collector, "snake") == [(NOW_MS, {"a": "b"}, 7.0, "counter", "")]

    def test_exemplars_that_name_spans_in_hexadecimal_are_passed_over(
        self, collector: Running
    ) -> None:
        point = {
            **number(1.0),
            "exemplars": [{"traceId": "5b8efff798038103d269b633813fc60", "x": 1}],
        }
        assert (
            send(collector, document({"name": "ex", "gauge": {"dataPoints": [point]}})).json == {}
        )
        assert len(found(collector, "ex")) == 1

    def test_partial_success(self, collector: Running) -> None:
        points = [number(-1.0, hw__id="neg"), number(5.0, hw__id="pos")]
        power = {"name": "hw.power", "unit": "W", "gauge": {"dataPoints": points}}
        body = gzip.compress(json.dumps(document(power)).encode())
        answer = collector.post(body, Content_Type=JSON, Content_Encoding="gzip")
        assert answer.json == {
            "partialSuccess": {"rejectedDataPoints": "1", "errorMessage": "rejected 1 negative"}
        }

    @pytest.mark.parametrize(
        "body",
        [
            *(b"", b"[]", b"7", b"{", b"\xff", b"[" * 50_000, b'{"resourceMetrics": 7}'),
            b'{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "\\ud800"}]}]}]}',
            b'{"resourceMetrics": [null]}',
            b'{"resourceMetrics": [{"schemaUrl": 7}]}',
            json.dumps(
                document({"name": "large", "gauge": {"dataPoints": [number(10**400)]}})
            ).encode(),
        ],
    )
    def test_what_is_no_request_is_told_in_json(self, collector: Running, body: bytes) -> None:
        answer = collector.post(body, Content_Type=JSON)
        assert answer.status == 400
        assert answer.headers["Content-Type"].startswith(JSON)
        assert "is not an OTLP ExportMetricsServiceRequest in JSON" in answer.json["message"]

    def test_a_document_that_would_take_too_much_memory(self, collector: Running) -> None:
        answer = collector.post(b"[" + b"{}," * 40_000 + b"{}]", Content_Type=JSON)
        assert answer.status == 413
        assert answer.json["message"].endswith("send smaller batches, or protobuf")


class TestOtlp:
    def test_gauges_and_sums_with_what_identifies_their_resource(self, collector: Running) -> None:
        fans = {"name": "hw.fan.speed", "unit": "rpm", "gauge": {"dataPoints": [number(1200.5)]}}
        total = {
            "dataPoints": [number(7.0, a="b")],
            "aggregationTemporality": 2,
            "isMonotonic": True,
        }
        served = {"name": "served", "unit": "{request}", "sum": total}
        resource = {"service__name": "llm", "host__name": "n1", "process__pid": "77"}
        body = as_protobuf(document(fans, served, **resource))
        for _ in range(2):
            answer = collector.post(body)
            assert (answer.status, answer.body) == (200, b"")
        named = {"service.name": "llm", "host.name": "n1"}
        assert found(collector, "hw.fan.speed") == [(NOW_MS, named, 1200.5, "gauge", "rpm")]
        assert found(collector, "served") == [
            (NOW_MS, {**named, "a": "b"}, 7.0, "counter", "{request}")
        ]

    def test_of_a_histogram_and_a_summary_count_and_sum_are_kept(self, collector: Running) -> None:
        at = str(NOW_MS * NANO)
        spread = {"timeUnixNano": at, "count": "9", "sum": 4.5, "bucketCounts": ["9"]}
        bare = {"timeUnixNano": at, "count": 3, "attributes": [text("of", "bare")]}
        kinds: dict[str, Document] = {
            "h": {"histogram": {"dataPoints": [spread, bare], "aggregationTemporality": 2}},
            "e": {"exponentialHistogram": {"dataPoints": [spread], "aggregationTemporality": 2}},
            "s": {"summary": {"dataPoints": [{"timeUnixNano": at, "count": "9", "sum": 4.5}]}},
        }
        before = collector.counter("simplified_total", receiver="otlp")
        metrics = [{"name": name, "unit": "s", **data} for name, data in kinds.items()]
        assert send(collector, document(*metrics)).json == {}
        for name in kinds:
            assert (NOW_MS, {}, 9.0, "counter", "1") in found(collector, f"{name}_count")
            assert found(collector, f"{name}_sum") == [(NOW_MS, {}, 4.5, "counter", "s")]
        assert len(found(collector, "h_count")) == 2
        assert collector.counter("simplified_total", receiver="otlp") == before + 4

    @pytest.mark.parametrize(
        ("reason", "metric"),
        [
            ("delta_temporality", {"sum": {"dataPoints": [number(1.0)]}}),
            ("delta_temporality", {"histogram": {"dataPoints": [{"count": 1}]}}),
            ("no_data", {}),
            ("no_recorded_value", {"gauge": {"dataPoints": [{"timeUnixNano": "1"}]}}),
            ("not_finite", {"gauge": {"dataPoints": [number(math.nan)]}}),
            ("no_timestamp", {"gauge": {"dataPoints": [number(1.0, 0)]}}),
            ("future_timestamp", {"gauge": {"dataPoints": [number(1.0, NOW_MS + 10**9)]}}),
            ("too_old", {"gauge": {"dataPoints": [number(1.0, NOW_MS - 31 * 86_400_000)]}}),
            ("labels_too_long", {"gauge": {"dataPoints": [number(1.0, long="x" * 2000)]}}),
            ("bad_name", {"name": "n" * 300, "gauge": {"dataPoints": [number(1.0)]}}),
        ],
    )  # fmt: skip
    def test_a_bad_point_is_named_and_leaves_its_neighbour_alone(
        self, collector: Running, reason: str, metric: Document
    ) -> None:
        name = f"beside.{time.monotonic_ns()}"
        kept = {"name": name, "gauge": {"dataPoints": [number(1.0)]}}
        answer = send(collector, document(kept, {"name": "bad", **metric}))
        assert answer.json["partialSuccess"] == {
            "rejectedDataPoints": "1",
            "errorMessage": f"rejected 1 {reason}",
        }
        assert len(found(collector, name)) == 1
        assert found(collector, "bad") == []

    def test_labels_of_any_type_tell_series_apart(self, collector: Running) -> None:
        values: list[Document] = [
            {"arrayValue": {"values": [{"intValue": "1"}]}},
            {"boolValue": True},
            {"intValue": "5"},
        ]
        points = [{**number(1.0), "attributes": [{"key": "k", "value": v}]} for v in values]
        assert (
            send(collector, document({"name": "typed", "gauge": {"dataPoints": points}})).json == {}
        )
        labels = {row[1]["k"] for row in found(collector, "typed")}
        assert labels == {'{"arrayValue": {"values": [{"intValue": "1"}]}}', "true", "5"}

    def test_a_metric_larger_than_a_piece_is_whole(self, collector: Running) -> None:
        points = [number(float(n), NOW_MS - n, host="n") for n in range(3000)]
        huge = {**number(1.0), "attributes": [text("long", "x" * 70_000)]}
        total = {"dataPoints": [*points, *[huge] * 14], "aggregationTemporality": 2}
        body = as_protobuf(document({"name": "large", "unit": "By", "sum": total}))
        assert len(body) > 2**20
        answer = collector.post(body)
        assert b"rejected 14 point_too_long" in answer.body
        rows = found(collector, "large")
        assert sorted(row[2] for row in rows) == [float(n) for n in range(3000)]
        assert {(row[3], row[4]) for row in rows} == {("gauge", "By")}


class TestRemoteWrite:
    def write(self, collector: Running, *samples: Sample) -> int:
        body = bytes(cramjam.snappy.compress_raw(write_request([time_series(s) for s in samples])))
        connection = http.client.HTTPConnection(collector.host, collector.port, timeout=120)
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
        try:
            connection.request("POST", "/api/v1/write", body, headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def test_only_what_is_named_is_kept(self, collector: Running) -> None:
        before = collector.counter("ignored_total", receiver="remote_write")
        kept = Series("node_load1", {"instance": "n1:9100", "replica": "a"})
        colon = Series("vllm:" + "q" * 130, {})
        samples = Sample(kept, 0.5, NOW_MS), Sample(colon, 3.0, NOW_MS)
        other = Sample(Series("up", {}), 1.0, NOW_MS)
        assert self.write(collector, *samples, other) == 204
        assert found(collector, "node_load1") == [(NOW_MS, {"instance": "n1:9100"}, 0.5, "", "")]
        assert len(found(collector, colon.name)) == 1
        assert found(collector, "up") == []
        assert collector.counter("ignored_total", receiver="remote_write") == before + 1
        assert collector.counter("other_samples_total", receiver="remote_write") == 2

    def test_in_any_order_and_again_is_each_once(self, collector: Running) -> None:
        series = Series("node_load5", {"instance": "n1"})
        order = [NOW_MS, NOW_MS - 2000, NOW_MS - 1000, NOW_MS, NOW_MS - 2000]
        for ts_ms in order:
            assert self.write(collector, Sample(series, float(ts_ms), ts_ms)) == 204
        times = [row[0] for row in found(collector, "node_load5")]
        assert times == [NOW_MS - 2000, NOW_MS - 1000, NOW_MS]

    def test_version_2_is_refused_by_its_header_alone(self, collector: Running) -> None:
        connection = http.client.HTTPConnection(collector.host, collector.port, timeout=120)
        headers = {
            "Content-Type": "application/x-protobuf",
            "X-Prometheus-Remote-Write-Version": "2.0.0",
        }
        connection.request("POST", "/api/v1/write", b"", headers)
        assert connection.getresponse().status == 415
        connection.close()


class TestAsked:
    def test_names_and_samples(self, collector: Running) -> None:
        at = NOW_MS - 60_000
        points = [number(float(n), at + n, host__name=f"n{n}") for n in range(2)]
        send(
            collector, document({"name": "asked/for", "unit": "1", "gauge": {"dataPoints": points}})
        )
        names = collector.get("/v1/metric-names").json["rows"]
        assert [row for row in names if row["metric"] == "asked/for"] == [
            {"metric": "asked/for", "kind": "gauge", "unit": "1", "series": 2,
             "newest": (at + 1) / 1000}
        ]  # fmt: skip
        answer = collector.get("/v1/samples/asked%2Ffor?since=1h").json
        assert answer["is_complete"]
        assert answer["rows"] == [
            {"ts": (at + n) / 1000, "labels": {"host.name": f"n{n}"}, "value": float(n),
             "sender": ""}
            for n in (1, 0)
        ]  # fmt: skip
        assert collector.get("/v1/samples/asked?since=never").status == 400


class TestOutcomes:
    """Counters of serving engines, forwarded: outcomes of a pod that its node's exporter knows."""

    KEY = "k8s/c1/uid-7"

    def outcomes(self, collector: Running, metric_source: str) -> list[tuple[Any, ...]]:
        return collector.rows(
            "SELECT w.key, w.team, o.kind, o.total, toUnixTimestamp64Milli(o.start_ts) "
            "FROM outcome AS o FINAL INNER JOIN (SELECT * FROM workload FINAL) AS w "
            "ON w.workload_id = o.workload_id "
            f"WHERE o.source LIKE '{metric_source}%' ORDER BY o.kind"
        )

    def hold(self, collector: Running) -> None:
        workload = Workload(
            self.KEY, "chat", "pod", instance="chat-0", namespace="ml", team="nlp", cluster="c1"
        )
        held = Allocation("GPU-7", self.KEY, NOW_MS - 60_000, NOW_MS)
        device = Device("GPU-7", Kind.GPU, "n", "nvml", cluster="c1")
        batch = Batch((device,), workloads=(workload,), allocations=(held,))
        assert collector.post(Encoder({"wattshed.node": "n"}, "0").request(batch)).status == 200

    def test_by_otlp(self, collector: Running) -> None:
        self.hold(collector)
        point = {**number(90, model_name="m"), "startTimeUnixNano": str((NOW_MS - 5000) * NANO)}
        histogram = {"timeUnixNano": str(NOW_MS * NANO), "count": "7", "sum": 88.0}
        metrics = (
            {
                "name": "vllm:generation_tokens",
                "sum": {"dataPoints": [point], "aggregationTemporality": 2, "isMonotonic": True},
            },
            {
                "name": "tgi_request_generated_tokens",
                "histogram": {"dataPoints": [histogram], "aggregationTemporality": 2},
            },
        )
        pod = {"k8s__pod__name": "chat-0", "k8s__namespace__name": "ml"}
        said = document(*metrics, service__instance__id="o:1", **pod)
        assert collector.post(as_protobuf(said)).status == 200
        assert self.outcomes(collector, "vllm o:1") == [
            (self.KEY, "nlp", "token_out", 90.0, NOW_MS - 5000)
        ]
        assert self.outcomes(collector, "tgi o:1") == [(self.KEY, "nlp", "token_out", 88.0, None)]
        # Kept as it is all the same.
        assert found(collector, "vllm:generation_tokens")[0][2] == 90.0
        assert found(collector, "tgi_request_generated_tokens_sum")[0][2] == 88.0

    def test_by_remote_write(self, collector: Running) -> None:
        self.hold(collector)
        labels = {"instance": "w:1", "pod": "chat-0", "namespace": "ml", "model_name": "m"}
        counter = Series("sglang:generation_tokens_total", labels)
        kept = Series("vllm:generation_tokens_total", labels)
        samples = Sample(counter, 90.0, NOW_MS), Sample(kept, 91.0, NOW_MS)
        assert TestRemoteWrite().write(collector, *samples) == 204
        sglang = self.outcomes(collector, "sglang w:1")
        assert sglang == [(self.KEY, "nlp", "token_out", 90.0, None)]
        assert found(collector, kept.name)[0][2] == 91.0

    def test_whose_nobody_knows_is_counted(self, collector: Running) -> None:
        told = {"receiver": "remote_write", "reason": "no_workload"}
        sample = Sample(Series("sglang:generation_tokens_total", {}), 90.0, NOW_MS)
        assert TestRemoteWrite().write(collector, sample) == 204
        assert collector.counter("rejected_total", **told) == 1
        caveats = {"server": "tgi", "caveat": "cached_included"}
        assert not collector.counter("outcome_caveats_total", **caveats)
        labels = {"instance": "t:1", "pod": "other-0", "namespace": "ml"}
        for n in range(5):
            prompt = Sample(Series("tgi_request_input_length_sum", labels), n, NOW_MS + n)
            assert TestRemoteWrite().write(collector, prompt) == 204
        assert collector.counter("outcome_caveats_total", **caveats) > 0


def test_the_sql_of_the_manual_works(collector: Running) -> None:
    fan = {"name": "hw.fan.speed", "gauge": {"dataPoints": [number(900.0, NOW_MS - 1000)]}}
    assert send(collector, document(fan, host__name="manual")).status == 200
    (sql,) = re.findall(r"```sql\n(.*?)```", MANUAL.read_text(encoding="utf-8"), re.DOTALL)
    assert ("manual", 900.0) in [row[1:] for row in collector.rows(sql)]


def others(*keep: str, max_series: int = 2, now: Callable[[], float] = time.time) -> Others:
    return Others(keep, max_series, Limits(), now)


def test_a_sender_can_only_have_so_many_series_and_costs_the_others_none() -> None:
    kept = others("*")
    rejected: Counter[str] = Counter()
    samples = [Other("m", f'{{"user":"{n}"}}', NOW_MS, 1.0) for n in range(5)]
    (frame,) = kept.frame(samples, "greedy", rejected)
    assert (len(frame), rejected) == (2, {"too_many_series": 3})
    (frame,) = kept.frame(samples[:2], "greedy", rejected)
    assert (len(frame), rejected) == (2, {"too_many_series": 3})
    (frame,) = kept.frame(samples[3:], "modest", rejected)
    assert (len(frame), rejected) == (2, {"too_many_series": 3})
    assert frame.columns["sender"].values.tolist() == ["modest"] * 2


def test_in_the_next_hour_it_may_have_others() -> None:
    at = [NOW_MS / 1000]
    kept = others("*", now=lambda: at[0])
    rejected: Counter[str] = Counter()
    for hour in range(3):
        samples = [Other("m", f'{{"job":"{hour}-{n}"}}', NOW_MS, 1.0) for n in range(2)]
        assert len(kept.frame(samples, "", rejected)[0]) == 2
        at[0] += 3600
    assert rejected == {}


@pytest.mark.parametrize(
    ("globs", "metric", "wanted"),
    [
        (("*",), "anything", True),
        ((), "anything", False),
        (("node_load?", "vllm:*"), "node_load5", True),
        (("node_load?", "vllm:*"), "node_load15", False),
        (("Node*",), "node_load5", False),
    ],
)
def test_globs(globs: tuple[str, ...], metric: str, *, wanted: bool) -> None:
    kept = others(*globs)
    assert [kept.wants(metric) for _ in range(2)] == [wanted] * 2


def test_names_of_series_are_remembered_within_bounds() -> None:
    names = otlp.SeriesNames(most_bytes=10_000)
    context = otlp.Context({}, {"host.name": "n"})
    for n in range(500):
        point = json_format.ParseDict(number(float(n), user=str(n % 250)), NumberDataPoint())
        assert names.of(context)(point) == f'{{"host.name":"n","user":"{n % 250}"}}'
        assert sum(len(known) for known in names._known.values()) < 50


def test_labels_are_written_one_way_and_bounded() -> None:
    assert labels_text({"b": "1", "a": "µ", "empty": ""}) == '{"a":"µ","b":"1"}'
    assert labels_text({"a": "x" * 1025}) is None
    assert labels_text({"x" * 257: "a"}) is None
    assert labels_text({str(n): "a" for n in range(65)}) is None
    assert labels_text({str(n): "x" * 900 for n in range(5)}) is None


def test_a_series_with_labels_too_long_is_counted_by_its_samples() -> None:
    rejected: Counter[str] = Counter()
    long = Series("m", {"a": "x" * 2000})
    samples = [Sample(long, 1.0, 1), Sample(long, 2.0, 2), Sample(Series("m", {}), 3.0, 3)]
    assert [said.value for said in of_prometheus(samples, rejected)] == [3.0]
    assert rejected == {"labels_too_long": 2}
