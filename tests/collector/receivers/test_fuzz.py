"""Whatever is sent to a receiver is taken or refused: nothing else is raised, nothing good beside
what is bad is lost, what was bad leaves nothing behind, and memory stays bounded."""

from __future__ import annotations

import gzip
import io
import json
import math
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC
from typing import Any

import cramjam
import pytest
import zstandard
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from tests.fixtures.mutate import spoiled_bytes, spoiled_json
from tests.fixtures.pages import dcgm
from tests.fixtures.prompb import request as write_request
from tests.fixtures.prompb import time_series

from wattshed_collector.errors import InvalidInput
from wattshed_collector.normalise import json_documents
from wattshed_collector.normalise.dialect import Origin, Sample, Series
from wattshed_collector.normalise.facts import Limits, Normaliser
from wattshed_collector.normalise.foreign import BY_METRIC, Foreign
from wattshed_collector.normalise.samples import samples
from wattshed_collector.receivers import body, history, sacct
from wattshed_collector.receivers.others import Others
from wattshed_collector.receivers.otlp_decoding import (
    UNREADABLE,
    Decoded,
    JsonDecoder,
    ProtobufDecoder,
)
from wattshed_collector.receivers.remote_write import RemoteWriteDecoder, decompress
from wattshed_collector.store.stacks import spread
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Method, Outcome, Tick, Workload
from wattshed_exporter.outputs.protobuf import Encoder

NOW_MS = int(time.time() * 1000)
NANO = 10**6
MIB = 2**20
FAST = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


class Receivers:
    """The decoders of a collector, fresh, without their server and store."""

    def __init__(self, whole_bytes: int = MIB) -> None:
        normaliser, foreign, telemetry = Normaliser(Limits()), Foreign(), Telemetry()
        others = Others(("*",), 1000, Limits())
        self.protobuf = ProtobufDecoder(normaliser, foreign, others, telemetry, whole_bytes)
        self.json = JsonDecoder(self.protobuf, MIB)
        self.written = RemoteWriteDecoder(normaliser, foreign, others, telemetry, 30.0)
        self._normaliser, self._foreign = normaliser, foreign

    def page(self, raw: bytes) -> Batch:
        """As a scraped page is read."""
        rejected: Counter[str] = Counter()
        try:
            said = samples(raw.decode(), NOW_MS, {}, BY_METRIC)
        except ValueError as error:
            raise InvalidInput(str(error), "malformed") from error
        found, _ = self._foreign.points(said, Origin("n1:9400"), rejected)
        return self._normaliser.batch(found, rejected)


@contextmanager
def refusable() -> Iterator[None]:
    with suppress(InvalidInput):
        yield


def good(device: str = "good") -> bytes:
    batch = Batch(
        devices=(Device(device, Kind.GPU, "n", "nvml", power_limit_watts=700.0),),
        ticks=(
            Tick(device, NOW_MS, 1000, Method.COUNTER, 12.5, 10**9, NOW_MS - 9, 0.5, 2**30, 40.0),
        ),
        workloads=(Workload("w", "llama", "inference"),),
        allocations=(Allocation(device, "w", NOW_MS - 1000, NOW_MS, 0.5),),
        outcomes=(Outcome("w", "token", NOW_MS, 1234.0, NOW_MS - 1000, "vllm"),),
    )
    return Encoder({"wattshed.node": "n", "service.name": "x"}, "0").request(batch)


def foreign_metrics() -> bytes:
    at = str(NOW_MS * NANO)
    point = {
        "timeUnixNano": at,
        "asInt": "3",
        "attributes": [{"key": "a", "value": {"boolValue": True}}],
    }
    spread = {"timeUnixNano": at, "count": "2", "sum": 1.0, "bucketCounts": ["2"]}
    metrics = [
        {"name": "fan", "unit": "rpm", "gauge": {"dataPoints": [point]}},
        {"name": "served", "sum": {"dataPoints": [point], "aggregationTemporality": 2}},
        {"name": "spread", "histogram": {"dataPoints": [spread], "aggregationTemporality": 2}},
    ]
    said = {"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]}
    return json_format.ParseDict(said, ExportMetricsServiceRequest()).SerializeToString()


def as_json(raw: bytes) -> Any:
    return json_format.MessageToDict(ExportMetricsServiceRequest.FromString(raw))


def written(device: str = "GPU-good", value: float = 71.5) -> bytes:
    series = Series("DCGM_FI_DEV_POWER_USAGE", {"instance": "n1:9400", "UUID": device})
    other = Series("node_load1", {"instance": "n1:9100"})
    return write_request([time_series(Sample(s, value, NOW_MS)) for s in (series, other)])


GOOD, OTHER, WRITTEN = good(), foreign_metrics(), written()
PAGE = dcgm("GPU-a", 300, NOW_MS, pod="a", namespace="ml").encode()
ALLOCATION = {"device": "d", "workload": {"key": "w", "team": "x"}, "start": NOW_MS // 1000 - 60,
              "end": NOW_MS // 1000, "share": 0.5, "activity": 0.5, "revision": 1}  # fmt: skip
FACTOR = {"kind": "pue", "site": "oslo", "start": 1_768_471_200, "value": 1.2, "unit": "1"}
JOB = {"id": "7", "name": "n", "user": "u", "account": "a", "partition": "p", "cluster": "c",
       "nodes": ["n1"], "start_ms": 1, "end_ms": 2, "gpus": 1}  # fmt: skip
SACCT = (
    b"JobIDRaw|JobName|User|Account|Partition|Cluster|AllocTRES|NodeList|Start|End\n"
    b"7|t|ada|phys|gpu|alpha|cpu=4,gres/gpu=2|n[1-2]|2026-01-01T00:00:00|2026-01-01T01:00:00\n"
)


def sound(decoded: Decoded) -> Decoded:
    """Check that what was taken can be stored: finite, in range, timed."""
    batch, frames = decoded
    for tick in batch.ticks:
        assert tick.ts_ms > 0
        assert tick.power_watts is None or 0 <= tick.power_watts <= 1.8e10
        assert tick.energy_uj is None or 0 <= tick.energy_uj < 2**64
    for detail in batch.details:
        assert math.isfinite(detail.value)
    for frame in spread(frames):
        assert {len(column.values) for column in frame.columns.values()} == {len(frame)}
        assert all(math.isfinite(value) for value in frame.columns["value"].values)
        assert all(0 < ts_ms < NOW_MS + 10**9 for ts_ms in frame.columns["ts"].values)
        for labels in frame.columns["labels"].values:
            assert isinstance(json.loads(labels), dict)
    assert all(count > 0 for count in batch.rejected.values())
    return decoded


def rows(decoded: Decoded) -> list[list[Any]]:
    """What the frames of a request say, in order."""
    found = []
    for frame in spread(decoded[1]):
        columns = [frame.columns[name].values.tolist() for name in sorted(frame.columns)]
        found.append(sorted(zip(*columns, strict=True)))
    return found


class TestOtlp:
    @FAST
    @given(spoiled_bytes([GOOD, OTHER, GOOD + OTHER]))
    def test_spoiled_protobuf(self, raw: bytes) -> None:
        said: list[Decoded] = []
        for whole_bytes in (0, MIB):
            receivers = Receivers(whole_bytes)
            with refusable():
                said.append(sound(receivers.protobuf.decode(raw, "")))
            self.check_nothing_is_left_behind(receivers)
        if len(said) == 2:
            assert said[0][0] == said[1][0]
            assert rows(said[0]) == rows(said[1])

    @FAST
    @given(spoiled_json([as_json(GOOD), as_json(OTHER)]))
    def test_spoiled_json(self, document: Any) -> None:
        receivers = Receivers()
        with refusable():
            sound(receivers.json.decode(json.dumps(document).encode(), ""))
        self.check_nothing_is_left_behind(receivers)

    @FAST
    @given(spoiled_bytes([json.dumps(as_json(OTHER)).encode()]))
    def test_spoiled_text_of_json(self, raw: bytes) -> None:
        with refusable():
            sound(Receivers().json.decode(raw, ""))

    def check_nothing_is_left_behind(self, receivers: Receivers) -> None:
        batch, _ = receivers.protobuf.decode(good("after"), "")
        assert [tick.power_watts for tick in batch.ticks] == [12.5]
        assert batch.rejected == {}

    @FAST
    @given(spoiled_json([as_json(OTHER)]))
    def test_both_encodings_say_the_same(self, document: Any) -> None:
        try:
            message = json_format.ParseDict(document, ExportMetricsServiceRequest())
        except UNREADABLE:
            return
        in_json = Receivers().json.decode(json_format.MessageToJson(message).encode(), "")
        in_protobuf = Receivers(whole_bytes=0).protobuf.decode(message.SerializeToString(), "")
        assert rows(in_json) == rows(in_protobuf)
        assert in_json[0] == in_protobuf[0]

    @FAST
    @given(spoiled_json([as_json(OTHER)["resourceMetrics"][0]]), st.booleans())
    def test_what_is_good_is_kept_beside_what_can_be_read(self, odd: Any, first: bool) -> None:
        try:
            beside = json_format.ParseDict(
                {"resourceMetrics": [odd]}, ExportMetricsServiceRequest()
            ).SerializeToString()
        except UNREADABLE:
            return
        raw = GOOD + beside if first else beside + GOOD
        batch, _ = sound(Receivers().protobuf.decode(raw, ""))
        assert (NOW_MS, 12.5) in [
            (t.ts_ms, t.power_watts) for t in batch.ticks if t.device == "good"
        ]
        assert [a.share for a in batch.allocations] == [0.5]


class TestRemoteWrite:
    @FAST
    @given(spoiled_bytes([WRITTEN]))
    def test_spoiled(self, raw: bytes) -> None:
        receivers = Receivers()
        with refusable():
            sound(receivers.written.decode(raw, ""))
        batch, _ = receivers.written.decode(written("GPU-after"), "")
        assert "GPU-after" in {tick.device for tick in batch.ticks}

    @FAST
    @given(spoiled_bytes([bytes(cramjam.snappy.compress_raw(WRITTEN))]))
    def test_spoiled_snappy(self, raw: bytes) -> None:
        with refusable():
            assert len(decompress(raw, MIB)) <= MIB

    @FAST
    @given(st.lists(st.floats(width=64), max_size=5), st.integers(-(2**63), 2**63 - 1))
    def test_what_is_good_is_kept_beside_any_value_at_any_time(
        self, values: list[float], ts_ms: int
    ) -> None:
        series = Series("DCGM_FI_DEV_POWER_USAGE", {"instance": "n1:9400", "UUID": "GPU-odd"})
        odd = write_request([time_series(Sample(series, value, ts_ms)) for value in values])
        batch, frames = sound(Receivers().written.decode(odd + WRITTEN, ""))
        assert [t.power_watts for t in batch.ticks if t.device == "GPU-good"] == [71.5]
        assert sum(map(len, frames)) == 1


class TestTexts:
    @FAST
    @given(spoiled_bytes([PAGE]))
    def test_a_spoiled_page(self, raw: bytes) -> None:
        with refusable():
            sound((Receivers().page(raw), ()))

    @FAST
    @given(spoiled_bytes([SACCT, json.dumps({"jobs": [{"job_id": 7, "nodes": "n1"}]}).encode()]))
    def test_spoiled_accounting(self, raw: bytes) -> None:
        with refusable():
            for job in sacct.Reader(io.BytesIO(raw), UTC):
                assert job.end_ms is None or job.start_ms <= job.end_ms

    @FAST
    @given(
        st.sampled_from([json_documents.allocations, json_documents.factors, history.load]),
        spoiled_json([[ALLOCATION], [FACTOR], [JOB], [JOB, ALLOCATION]])
        .map(lambda said: json.dumps(said).encode())
        .flatmap(lambda raw: st.just(raw) | spoiled_bytes([raw])),
    )
    def test_spoiled_documents(self, load: Callable[[bytes], object], raw: bytes) -> None:
        with refusable():
            assert load(raw) is not None


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(GOOD)),
        ("deflate", zlib.compress(GOOD)),
        ("zstd", zstandard.ZstdCompressor().compress(GOOD)),
    ],
)
@FAST
@given(data=st.data())
def test_a_spoiled_compression(encoding: str, packed: bytes, data: st.DataObject) -> None:
    raw = data.draw(spoiled_bytes([packed, packed + packed]))
    with refusable():
        assert len(body.decode(raw, encoding, 4096)) <= 4096


BOMB = """
import resource
from tests.collector.receivers.test_fuzz import MIB, Receivers
from wattshed_collector.errors import InvalidInput
from wattshed_collector.normalise.wire import message

def at(path, inside):
    for number in reversed(path):
        inside = message(number, inside)
    return inside

EMPTY, COUNT = b"\\x0a\\x00", 8 * MIB
bombs = [
    EMPTY * COUNT,
    at([1, 1], EMPTY * COUNT),
    at([1, 2], b"\\x12\\x00" * COUNT),
    at([1, 2, 2, 5], EMPTY * COUNT),
    at([1, 2, 2, 5, 1], b"\\x3a\\x00" * COUNT),
]
receivers = Receivers()
for bomb in bombs:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        batch, frames = receivers.protobuf.decode(bomb, "")
        said = sum(batch.rejected.values())
    except InvalidInput as error:
        said = error.reason
    print(said, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_messages_of_nothing_but_empty_messages_take_no_memory() -> None:
    """Sixteen megabytes, of which the stock parser makes five hundred, at every depth."""
    told = subprocess.run([sys.executable, "-c", BOMB], capture_output=True, text=True, check=True)
    lines = [line.split() for line in told.stdout.splitlines()]
    assert len(lines) == 5
    assert {said for said, *_ in lines} <= {"too_many_parts", "malformed", "1"}
    # A copy of the body at each of five levels, and the fields of a quarter of a million.
    assert max(int(kib) for *_, kib in lines) < 160 * 1024
