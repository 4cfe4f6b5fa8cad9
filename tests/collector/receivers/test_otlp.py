"""The OTLP receiver of a running collector: what is good is kept, what is bad is named."""

from __future__ import annotations

import gzip
import re
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Metric,
    NumberDataPoint,
)

from wattshed_collector.config import Config, Ingest, Ledger
from wattshed_exporter.model import (
    Allocation,
    Batch,
    Device,
    Kind,
    Method,
    Outcome,
    Tick,
    Workload,
)
from wattshed_exporter.outputs.protobuf import Encoder

if TYPE_CHECKING:
    from tests.collector.conftest import Answer, Running

MIB = 2**20
LIMITS = Ingest(max_body_bytes=MIB, max_decoded_bytes=4 * MIB, group_seconds=0.0)
NOW_MS = int(time.time() * 1000)
CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": lambda body: zstandard.ZstdCompressor().compress(body),
    "identity": bytes,
}


@pytest.fixture(scope="module")
def running_one(
    tmp_path_factory: pytest.TempPathFactory,
    collect: Callable[[Config], AbstractContextManager[Running]],
) -> Iterator[Running]:
    config = Config(
        listen="127.0.0.1:0",
        data=str(tmp_path_factory.mktemp("store")),
        ingest=LIMITS,
        ledger=Ledger(interval_seconds=3600.0),
    )
    with collect(config) as collector:
        yield collector


@pytest.fixture
def collector(running_one: Running) -> Iterator[Running]:
    """The collector, which must still take good data after whatever the test did to it."""
    yield running_one
    assert running_one.get("/readyz").status == 200
    answer = running_one.post(good("after", 1))
    assert (answer.status, answer.body) == (200, b"")


def good(device: str, ticks: int, first_ms: int = NOW_MS - 60_000) -> bytes:
    return Encoder({"wattshed.node": "n"}, "0").request(
        Batch(
            devices=(Device(device, Kind.GPU, "n", "nvml"),),
            ticks=tuple(
                Tick(device, first_ms + i, 1000, Method.COUNTER, 10.0, i) for i in range(ticks)
            ),
        )
    )


def point(
    value: float | None, *, device: str = "", ts_ms: int = NOW_MS, start_ms: int = 0, **said: str
) -> NumberDataPoint:
    made = NumberDataPoint(time_unix_nano=ts_ms * 10**6, start_time_unix_nano=start_ms * 10**6)
    if value is not None:
        made.as_double = value
    for name, text in {"hw.id": device, **said}.items():
        if text:
            attribute = made.attributes.add(key=name.replace("__", "."))
            attribute.value.string_value = text
    return made


def gauge(name: str, unit: str, points: Iterable[NumberDataPoint]) -> Metric:
    metric = Metric(name=name, unit=unit)
    metric.gauge.data_points.extend(points)
    return metric


def total(name: str, unit: str, points: Iterable[NumberDataPoint], how: int = CUMULATIVE) -> Metric:
    metric = Metric(name=name, unit=unit)
    metric.sum.aggregation_temporality = how  # type: ignore[assignment]
    metric.sum.data_points.extend(points)
    return metric


def request(*metrics: Metric) -> bytes:
    made = ExportMetricsServiceRequest()
    made.resource_metrics.add().scope_metrics.add().metrics.extend(metrics)
    return made.SerializeToString()


def refusal(answer: Answer) -> tuple[int, str]:
    """How many points were refused and why, of an answer that took the others."""
    assert answer.status == 200
    partial = ExportMetricsServiceResponse.FromString(answer.body).partial_success
    return partial.rejected_data_points, partial.error_message


def message(answer: Answer) -> str:
    """The one field of the google.rpc.Status in a refusal."""
    assert answer.headers["Content-Type"] == "application/x-protobuf"
    assert answer.body[:1] == b"\x12"
    return re.sub(rb"^\x12(?:[\x80-\xff]+)?.", b"", answer.body, flags=re.DOTALL).decode()


def stored(collector: Running, device: str) -> list[tuple[object, ...]]:
    return collector.rows(
        "SELECT toUnixTimestamp64Milli(ts), power_uw, energy_uj, util_e4, temp_e1, ifNull(gap, '') "
        "FROM tick FINAL INNER JOIN device FINAL USING (device_id) "
        f"WHERE key = '{device}' ORDER BY ts"
    )


class TestGood:
    def test_everything_that_our_exporter_says_arrives(self, collector: Running) -> None:
        at = NOW_MS - 5000
        device = Device("all", Kind.GPU, "n", "nvml", power_limit_watts=700.0)
        batch = Batch(
            devices=(device,),
            ticks=(
                Tick("all", at, 1000, Method.COUNTER, 12.5, 10**15 + 1, at - 9, 0.5, 2**30, -3.5),
                Tick("all", at + 1000, 1000, Method.COUNTER, gap="deadline"),
            ),
            workloads=(Workload("w", "llama", "inference", team="x"),),
            allocations=(Allocation("all", "w", at - 1000, at, 0.5),),
            outcomes=(Outcome("w", "token", at, 1234.0, at - 1000, "vllm"),),
        )
        body = Encoder({"wattshed.node": "n", "wattshed.site": "here"}, "0").request(batch)
        assert collector.post(body).body == b""
        assert stored(collector, "all") == [
            (at, 12_500_000, 10**15 + 1, 5000, -35, ""),
            (at + 1000, None, None, None, None, "deadline"),
        ]
        rows = collector.rows(
            "SELECT site, node, power_limit_watts FROM device FINAL WHERE key = 'all'"
        )
        assert rows == [("here", "n", 700.0)]
        rows = collector.rows(
            "SELECT a.share, w.name, w.team, o.total FROM allocation AS a "
            "INNER JOIN workload AS w USING (workload_id) INNER JOIN outcome AS o USING workload_id"
        )
        assert rows == [(0.5, "llama", "x", 1234.0)]

    def test_the_power_limit_stays_known_though_it_is_said_seldom(self, collector: Running) -> None:
        device = Device("lim", Kind.GPU, "n", "nvml", power_limit_watts=450.0)
        encoder = Encoder({"wattshed.node": "n"}, "0")
        for n in range(3):
            tick = Tick("lim", NOW_MS + n, 1000, Method.COUNTER, 1.0, gap="")
            assert collector.post(encoder.request(Batch(devices=(device,), ticks=(tick,)))).status
        rows = collector.rows("SELECT power_limit_watts FROM device FINAL WHERE key = 'lim'")
        assert rows == [(450.0,)]

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "identity", "GZIP"])
    def test_compressed(self, collector: Running, encoding: str) -> None:
        body = good(f"c-{encoding}", 7)
        packed = PACKERS[encoding.lower()](body)
        assert collector.post(packed, Content_Encoding=encoding).status == 200
        assert len(stored(collector, f"c-{encoding}")) == 7

    @pytest.mark.parametrize("encoding", ["gzip", "zstd"])
    def test_compressed_in_two_pieces(self, collector: Running, encoding: str) -> None:
        pack = PACKERS[encoding]
        body = good(f"two-{encoding}", 9)
        packed = pack(body[:50]) + pack(body[50:])
        assert collector.post(packed, Content_Encoding=encoding).status == 200
        assert len(stored(collector, f"two-{encoding}")) == 9

    def test_units_become_base_units(self, collector: Running) -> None:
        body = request(
            gauge("hw.power", "kW", [point(1.5, device="u")]),
            total("hw.energy", "kW.h", [point(2.0, device="u")]),
            gauge("hw.gpu.utilization", "%", [point(50.0, device="u")]),
        )
        assert refusal(collector.post(body)) == (0, "")
        assert stored(collector, "u") == [
            (NOW_MS, 1_500_000_000, 7_200_000_000_000, 5000, None, "")
        ]

    def test_sending_again_changes_nothing(self, collector: Running) -> None:
        for _ in range(3):
            assert collector.post(good("again", 5)).status == 200
        assert len(stored(collector, "again")) == 5

    def test_an_empty_request_is_fine(self, collector: Running) -> None:
        assert collector.post(b"").status == 200
        assert collector.post(gzip.compress(b""), Content_Encoding="gzip").status == 200


class TestBadPoints:
    """Each beside a good point of the same device and instant, which must be kept."""

    @pytest.mark.parametrize(
        ("reason", "metric"),
        [
            ("future_timestamp", lambda d: gauge(
                "hw.power", "W", [point(1.0, device=d, ts_ms=NOW_MS + 2 * 86_400_000)])),
            ("too_old", lambda d: gauge(
                "hw.power", "W", [point(1.0, device=d, ts_ms=NOW_MS - 31 * 86_400_000)])),
            ("no_timestamp", lambda d: gauge("hw.power", "W", [point(1.0, device=d, ts_ms=0)])),
            ("not_finite", lambda d: gauge("hw.power", "W", [point(float("nan"), device=d)])),
            ("not_finite", lambda d: gauge("hw.power", "W", [point(float("inf"), device=d)])),
            ("negative", lambda d: total("hw.energy", "J", [point(-1.0, device=d)])),
            ("negative", lambda d: gauge("hw.power", "W", [point(-0.1, device=d)])),
            ("out_of_range", lambda d: gauge("hw.power", "W", [point(1e300, device=d)])),
            ("out_of_range", lambda d: gauge(
                "wattshed.device.utilization", "1", [point(1.5, device=d)])),
            ("out_of_range", lambda d: gauge(
                "hw.temperature", "Cel", [point(-5000.0, device=d)])),
            ("unknown_unit", lambda d: gauge("hw.power", "hp", [point(1.0, device=d)])),
            ("unknown_unit", lambda d: gauge("hw.temperature", "K", [point(300.0, device=d)])),
            ("no_device", lambda d: gauge("hw.power", "W", [point(1.0)])),
            ("bad_attribute", lambda d: gauge(
                "hw.power", "W", [point(1.0, device=d, hw__type="teapot")])),
            ("bad_attribute", lambda d: gauge(
                "hw.power", "W",
                [point(1.0, device=d, ts_ms=NOW_MS + 1, wattshed__interval_ms="soon")])),
            ("bad_attribute", lambda d: gauge(
                "hw.power", "W",
                [point(1.0, device=d, ts_ms=NOW_MS + 1, wattshed__interval_ms="-5")])),
            ("bad_attribute", lambda d: gauge(
                "hw.power", "W", [point(1.0, device=d, wattshed__uncertainty="nan")])),
            ("no_recorded_value", lambda d: gauge("hw.power", "W", [point(None, device=d)])),
            ("delta_temporality", lambda d: total(
                "hw.energy", "J", [point(1.0, device=d)], DELTA)),
            ("no_start", lambda d: gauge(
                "wattshed.allocation.share", "1", [point(1.0, device=d)])),
            ("no_workload", lambda d: gauge(
                "wattshed.allocation.share", "1", [point(1.0, device=d, start_ms=1)])),
            ("no_outcome_kind", lambda d: total("wattshed.outcomes", "{outcome}", [point(1.0)])),
            ("out_of_range", lambda d: total(
                "wattshed.outcomes", "{outcome}", [point(1e300, wattshed__outcome="token")])),
        ],
    )  # fmt: skip
    def test_is_named_and_counted(
        self, collector: Running, reason: str, metric: Callable[[str], Metric]
    ) -> None:
        device = f"bad-{time.monotonic_ns()}"
        before = collector.counter("rejected_total", receiver="otlp", reason=reason)
        kept = gauge("hw.temperature", "Cel", [point(40.0, device=device)])
        answer = collector.post(request(kept, metric(device)))
        assert refusal(answer) == (1, f"rejected 1 {reason}")
        assert stored(collector, device) == [(NOW_MS, None, None, None, 400, "")]
        assert collector.counter("rejected_total", receiver="otlp", reason=reason) == before + 1

    def test_what_is_no_number_is_counted_by_its_points(self, collector: Running) -> None:
        odd = Metric(name="hw.energy", unit="J")
        odd.histogram.data_points.add(count=1, time_unix_nano=NOW_MS * 10**6)
        odd.histogram.data_points.add(count=1, time_unix_nano=NOW_MS * 10**6)
        answer = collector.post(request(odd, Metric(name="hw.power", unit="W")))
        assert refusal(answer) == (3, "rejected 3 unsupported_type")

    def test_all_reasons_are_told_at_once(self, collector: Running) -> None:
        points = [point(float("nan"), device="x"), point(-1.0, device="x"), point(1.0)] * 2
        answer = collector.post(request(gauge("hw.power", "W", points)))
        assert refusal(answer) == (6, "rejected 2 negative, 2 no_device, 2 not_finite")

    def test_an_allocation_in_doubt_is_named_and_kept(self, collector: Running) -> None:
        said = {"device": "odd", "wattshed__workload__id": "w", "start_ms": NOW_MS - 1000}
        before = collector.counter(
            "quarantined_total", receiver="otlp", reason="share_out_of_range"
        )
        answer = collector.post(
            request(gauge("wattshed.allocation.share", "1", [point(7.5, **said)]))  # type: ignore[arg-type]
        )
        assert refusal(answer) == (0, "quarantined 1 share_out_of_range")
        rows = collector.rows("SELECT device, workload, share, start_ms, reason FROM quarantine")
        assert rows == [("odd", "w", 7.5, NOW_MS - 1000, "share_out_of_range")]
        after = collector.counter("quarantined_total", receiver="otlp", reason="share_out_of_range")
        assert after == before + 1
        assert collector.rows("SELECT count() FROM allocation WHERE share > 1") == [(0,)]

    def test_a_bad_power_costs_the_tick_its_power_only(self, collector: Running) -> None:
        body = request(
            gauge("hw.power", "W", [point(float("nan"), device="half")]),
            total("hw.energy", "J", [point(5.0, device="half")]),
        )
        assert refusal(collector.post(body)) == (1, "rejected 1 not_finite")
        assert stored(collector, "half") == [(NOW_MS, None, 5_000_000, None, None, "")]


class TestBadRequests:
    def refused(self, collector: Running, answer: Answer, status: int, reason: str) -> str:
        assert answer.status == status
        assert collector.counter("rejected_total", receiver="otlp", reason=reason) > 0
        assert collector.counter("requests_total", receiver="otlp", code=str(status)) > 0
        return message(answer)

    @pytest.mark.parametrize("body", [b"\xff\xff\xff", b"hello", b"\x0a\x05abc", b'{"a": 1}'])
    def test_what_is_no_protobuf(self, collector: Running, body: bytes) -> None:
        told = self.refused(collector, collector.post(body), 400, "malformed")
        assert told == "the body is not an OTLP ExportMetricsServiceRequest"

    @pytest.mark.parametrize("kind", ["application/xml", "text/plain", ""])
    def test_another_content_type(self, collector: Running, kind: str) -> None:
        answer = collector.post(good("x", 1), Content_Type=kind)
        told = self.refused(collector, answer, 415, "content_type")
        assert told.endswith("send application/x-protobuf or application/json")

    @pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "lz4"])
    def test_another_encoding(self, collector: Running, encoding: str) -> None:
        answer = collector.post(good("x", 1), Content_Encoding=encoding)
        told = self.refused(collector, answer, 415, "unknown_encoding")
        assert told == f"content encoding '{encoding}' is not read here; send gzip, zstd or none"

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
    @pytest.mark.parametrize("end", [0, 1, 10, -1, -5])
    def test_cut_off(self, collector: Running, encoding: str, end: int) -> None:
        body = good("cut", 200)
        packed = PACKERS[encoding](body)
        answer = collector.post(packed[:end], Content_Encoding=encoding)
        told = self.refused(collector, answer, 400, "malformed")
        assert "ends early" in told or "not valid" in told
        assert stored(collector, "cut") == []

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
    def test_damaged(self, collector: Running, encoding: str) -> None:
        answer = collector.post(b"this is not compressed", Content_Encoding=encoding)
        assert "is not valid" in self.refused(collector, answer, 400, "malformed")

    def test_other_methods_and_paths(self, collector: Running) -> None:
        assert collector.get("/v1/metrics").status == 405
        assert collector.get("/v1/nothing").status == 404


UNPACK = """
import pathlib, resource, sys
from wattshed_collector.receivers import body

def peak_kib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

sent = pathlib.Path(sys.argv[1]).read_bytes()
before = peak_kib()
try:
    body.decode(sent, sys.argv[2], int(sys.argv[3]))
except body.TooLarge as error:
    print(error.reason, before, peak_kib())
"""


def bomb(encoding: str) -> bytes:
    """256 MiB of nothing, packed into no more than may be sent."""
    size = 256
    if encoding == "gzip":
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        made = b"".join(packer.compress(bytes(MIB)) for _ in range(size)) + packer.flush()
    else:
        stream = zstandard.ZstdCompressor().compressobj()
        made = b"".join(stream.compress(bytes(MIB)) for _ in range(size)) + stream.flush()
    assert len(made) < LIMITS.max_body_bytes * 2
    return made[: LIMITS.max_body_bytes]


class TestTooMuch:
    @pytest.mark.parametrize("encoding", ["gzip", "zstd"])
    def test_a_bomb_is_refused(self, collector: Running, encoding: str) -> None:
        answer = collector.post(bomb(encoding), Content_Encoding=encoding)
        assert answer.status == 413
        limit = LIMITS.max_decoded_bytes
        assert message(answer) == (
            f"the decompressed body has {limit + 1} bytes or more, the limit is {limit}; "
            "send smaller batches"
        )
        assert collector.counter("rejected_total", receiver="otlp", reason="decoded_too_large")

    @pytest.mark.parametrize("encoding", ["gzip", "zstd"])
    def test_a_bomb_is_not_unpacked(self, encoding: str, tmp_path: Path) -> None:
        body = tmp_path / "body"
        body.write_bytes(bomb(encoding))
        # In a process of its own: here the engine's threads take and give back memory meanwhile.
        made = subprocess.run(
            [sys.executable, "-c", UNPACK, body, encoding, str(LIMITS.max_decoded_bytes)],
            capture_output=True,
            text=True,
            check=True,
        )
        reason, before, after = made.stdout.split()
        assert reason == "decoded_too_large"
        assert (int(after) - int(before)) * 1024 < 64 * MIB

    def test_a_declared_gigabyte_is_refused_before_it_is_sent(self, collector: Running) -> None:
        status, sent = self.stream(collector, b"Content-Length: 1073741824\r\n\r\n", chunked=False)
        assert status == 413
        assert sent < 2 * MIB

    def test_an_endless_body_is_cut(self, collector: Running) -> None:
        status, sent = self.stream(collector, b"Transfer-Encoding: chunked\r\n\r\n", chunked=True)
        assert status == 413
        assert sent < 32 * MIB
        assert collector.counter("rejected_total", receiver="otlp", reason="body_too_large")

    def stream(self, collector: Running, header: bytes, *, chunked: bool) -> tuple[int, int]:
        """Send until there is an answer; return its status and the bytes sent."""
        piece = bytes(64 * 1024)
        framed = b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece
        sent = 0
        with socket.create_connection((collector.host, collector.port), timeout=120) as peer:
            peer.sendall(
                b"POST /v1/metrics HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/x-protobuf\r\n" + header
            )
            peer.settimeout(0.02)
            while sent < 2**30:
                try:
                    answer = peer.recv(4096)
                except TimeoutError:
                    peer.settimeout(120)
                    peer.sendall(framed)
                    peer.settimeout(0.02)
                    sent += len(framed)
                else:
                    return int(answer.split()[1]), sent
        return 0, sent

    @pytest.mark.parametrize(
        "rest",
        [
            b"Content-Length: 9999\r\n\r\nhalf",
            b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        ],
    )
    def test_a_body_that_breaks_off_is_counted_and_not_logged(
        self, collector: Running, rest: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        before = collector.counter("requests_total", receiver="otlp", code="400")
        with socket.create_connection((collector.host, collector.port)) as peer:
            peer.sendall(
                b"POST /v1/metrics HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/x-protobuf\r\n" + rest
            )
        deadline = time.monotonic() + 120
        while collector.counter("requests_total", receiver="otlp", code="400") == before:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert collector.counter("rejected_total", receiver="otlp", reason="broken_off")
        assert caplog.records == []
