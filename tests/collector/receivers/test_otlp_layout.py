"""Whatever way a body is read, it ends in the same rows and the same rejections."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric
from tests.fixtures.facts import facts

from wattshed_collector.errors import InvalidInput
from wattshed_collector.normalise.facts import Limits, Normaliser
from wattshed_collector.normalise.foreign import Foreign
from wattshed_collector.receivers.others import Others
from wattshed_collector.receivers.otlp_decoding import Decoded, ProtobufDecoder
from wattshed_collector.receivers.otlp_layout import LayoutDecoder, Way
from wattshed_collector.receivers.shelves import Layouts
from wattshed_collector.store.stacks import spread
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter import semconv
from wattshed_exporter.model import Allocation, Batch, Detail, Device, Kind, Method, Tick, Workload
from wattshed_exporter.outputs.protobuf import Encoder

NOW_S = 1_763_856_000
BASE_MS = NOW_S * 1000 - 600_000
CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
METRICS = (
    ("hw.energy", "J", "sum"),
    ("hw.energy", "kW.h", "sum"),
    ("hw.power", "W", "gauge"),
    ("hw.power", "mW", "gauge"),
    ("hw.host.power", "W", "gauge"),
    ("wattshed.device.utilization", "1", "gauge"),
    ("hw.gpu.utilization", "%", "gauge"),
    ("hw.gpu.memory.usage", "By", "gauge"),
    ("hw.temperature", "Cel", "gauge"),
    ("hw.temperature", "K", "gauge"),
    (semconv.GAP.otel, "1", "gauge"),
    (semconv.POWER_LIMIT.otel, "W", "gauge"),
    ("wattshed.clock", "MHz", "gauge"),
    ("hw.errors", "{error}", "sum"),
    ("hw.errors", "{error}", "delta"),
    ("hw.gpu.io", "By", "sum"),
    ("wattshed.sm.activity", "1", "gauge"),
    ("wattshed.activity.time", "s", "sum"),
    (semconv.ALLOCATION.otel, "1", "gauge"),
    (semconv.OUTCOMES.otel, "1", "sum"),
    ("somebody.else", "1", "gauge"),
)
GOOD = (0.0, 0.25, 0.97, 1.0, 0.5000001)
ODD = (math.nan, math.inf, -1.0, -0.0, 1e300, 1e19, 3.5, 412.5)
DEVICES: tuple[dict[str, Any], ...] = (
    {"hw.id": "n1/gpu0", "hw.type": "gpu", "wattshed.interval_ms": 1000},
    {"hw.id": "n1/gpu1", "hw.type": "gpu", "wattshed.method": "integral"},
    {"hw.id": "n1/host", "hw.type": "host", "wattshed.uncertainty": 0.05},
    {"hw.id": "n1/bad", "hw.type": "spaceship"},
    {"hw.id": "n1/slow", "hw.type": "gpu", "wattshed.interval_ms": -5},
    {"hw.type": "gpu"},
)
OWN: tuple[dict[str, Any], ...] = (
    {},
    {"wattshed.domain": "sm"},
    {"wattshed.reason": "counter_frozen"},
    {"wattshed.reason": "timeout"},
    {"wattshed.link": "pcie", "network.io.direction": "transmit"},
    {"wattshed.link": "pcie", "network.io.direction": "receive"},
    {semconv.WORKLOAD_ATTRIBUTES[0].otel: "w1", semconv.OUTCOME_KIND_ATTRIBUTE: "token"},
)


@dataclass(frozen=True)
class Series:
    """What is fixed about a point of a test."""

    metric: tuple[str, str, str]
    attributes: dict[str, Any]
    read: int
    begun: bool
    whole: bool
    unsaid: bool = False


@dataclass(frozen=True)
class Numbers:
    value: float
    late_ms: int
    start_ms: int
    activity: float


series = st.builds(
    Series,
    st.sampled_from(METRICS),
    st.builds(
        lambda device, own: {**device, **own},
        st.one_of(st.sampled_from(DEVICES[:3]), st.sampled_from(DEVICES)),
        st.sampled_from(OWN),
    ),
    st.integers(0, 2),
    st.booleans(),
    st.booleans(),
    st.sampled_from((False,) * 30 + (True,)),
)
numbers = st.builds(
    Numbers,
    st.one_of(st.sampled_from(GOOD), st.sampled_from(GOOD), st.sampled_from(GOOD + ODD)),
    st.sampled_from((0,) * 12 + (1, 1000, 10_000_000, -(10**12))),
    st.sampled_from((0, BASE_MS - 1000, BASE_MS - 5000)),
    st.sampled_from((0.0, 0.5, 1.0)),
)


def told(pairs: dict[str, Any]) -> list[KeyValue]:
    made = []
    for key, value in pairs.items():
        pair = KeyValue(key=key)
        name = {str: "string_value", int: "int_value", float: "double_value"}[type(value)]
        setattr(pair.value, name, value)
        made.append(pair)
    return made


def body(
    layout: Sequence[Series], said: Sequence[Numbers], at_ms: int = BASE_MS, host: str = "n1"
) -> bytes:
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.extend(told({"host.name": host, "wattshed.site": "hall-2"}))
    scope = resource.scope_metrics.add()
    scope.scope.name = "test"
    made: dict[tuple[str, str, str], Metric] = {}
    for one, number in zip(layout, said, strict=False):
        metric = made.get(one.metric)
        if metric is None:
            metric = made[one.metric] = scope.metrics.add()
            metric.name, metric.unit, kind = one.metric
            if kind != "gauge":
                metric.sum.aggregation_temporality = CUMULATIVE if kind == "sum" else DELTA
        data = metric.gauge if one.metric[2] == "gauge" else metric.sum
        point = data.data_points.add()
        point.time_unix_nano = max(0, at_ms + one.read * 1000 + number.late_ms) * 1_000_000
        if one.begun:
            point.start_time_unix_nano = number.start_ms * 1_000_000
        if one.whole and math.isfinite(number.value) and abs(number.value) < 2**62:
            point.as_int = int(number.value)
        else:
            point.as_double = number.value
        point.flags = int(one.unsaid)
        attributes = dict(one.attributes)
        if one.metric[0] == semconv.ALLOCATION.otel:
            attributes[semconv.ALLOCATION_ACTIVITY_ATTRIBUTE] = number.activity
        point.attributes.extend(told(attributes))
    return request.SerializeToString()


class Both:
    """A decoder that knows layouts, over one that does not, and the way that each body went."""

    def __init__(self, layouts: Layouts | None = None) -> None:
        self.telemetry = Telemetry()
        normaliser = Normaliser(Limits(), lambda: float(NOW_S))
        foreign, others = Foreign(), Others(("*",), 1000, Limits(), lambda: float(NOW_S))
        self.parser = ProtobufDecoder(normaliser, foreign, others, self.telemetry)
        self._decoder = LayoutDecoder(normaliser, foreign, self.parser, self.telemetry, layouts)

    def decode(self, raw: bytes) -> Decoded:
        found = self._decoder.at_once(raw)  # as the receiver does
        return self._decoder.decode(raw, "") if found is None else found

    def way(self, raw: bytes) -> Way:
        before = self._ways()
        self.decode(raw)
        (way,) = {way for way, count in self._ways().items() if count > before[way]}
        return way

    def _ways(self) -> dict[Way, float]:
        name = "wattshed_collector_bodies_total"
        asked = self.telemetry.registry.get_sample_value
        return {way: asked(name, {"receiver": "otlp", "way": way}) or 0.0 for way in Way}


def long_way(reader: Both, raw: bytes) -> dict[str, Any] | str:
    try:
        return facts(*reader.parser.decode(raw, ""))
    except InvalidInput as error:
        return error.reason


def short_way(reader: Both, raw: bytes) -> dict[str, Any] | str:
    try:
        return facts(*reader.decode(raw))
    except InvalidInput as error:
        return error.reason


def ticks(said: Decoded) -> int:
    batch, rows = said
    return len(batch.ticks) + sum(len(part) for part in spread(rows) if part.table == "tick")


class TestEqual:
    @settings(max_examples=50, deadline=None)
    @given(st.data())
    def test_bodies_of_one_layout(self, data: st.DataObject) -> None:
        layout = data.draw(st.lists(series, min_size=1, max_size=12))
        fast, slow = Both(), Both()
        for number in range(4):
            said = data.draw(st.lists(numbers, min_size=len(layout), max_size=len(layout)))
            raw = body(layout, said, BASE_MS + 5000 * number)
            assert short_way(fast, raw) == long_way(slow, raw)

    @settings(max_examples=50, deadline=None)
    @given(st.data())
    def test_bodies_with_bytes_changed(self, data: st.DataObject) -> None:
        layout = data.draw(st.lists(series, min_size=1, max_size=6))
        said = data.draw(st.lists(numbers, min_size=len(layout), max_size=len(layout)))
        raw = body(layout, said)
        fast, slow = Both(), Both()
        for _ in range(3):
            assert short_way(fast, raw) == long_way(slow, raw)
        for _ in range(5):
            at = data.draw(st.integers(0, len(raw) - 1))
            new = data.draw(st.binary(max_size=2))
            broken = raw[:at] + new + raw[at + len(new) :]
            cut = broken[: data.draw(st.integers(0, len(raw)))] if at % 5 == 0 else broken
            assert short_way(fast, cut) == long_way(slow, cut)

    def test_every_number_of_a_real_frame_may_change(self) -> None:
        fast, slow = Both(), Both()
        bodies = frames(6)
        ways = []
        for raw in bodies:
            ways.append(fast.way(raw))
            assert short_way(fast, raw) == long_way(slow, raw)
        assert ways[-3:] == [Way.LAYOUT] * 3


def frames(count: int, reads: int = 3) -> list[bytes]:
    """Return requests of our own exporter, one after the other."""
    devices = [
        Device(f"n1/gpu{n}", Kind.GPU, "n1", "nvml", model="H100", power_limit_watts=700.0)
        for n in range(4)
    ]
    encoder = Encoder({"host.name": "n1"}, "0")
    made = []
    for number in range(count):
        first_ms = BASE_MS + number * 5000
        ticks = tuple(
            Tick(
                *(device.key, first_ms + read * 1000, 1000, Method.COUNTER, 400.123456 + at),
                *(10**12 + number * 7 + at, BASE_MS - 1, 0.97 - 0.01 * at, 10**10 + number),
                61.55,
            )
            for read in range(reads)
            for at, device in enumerate(devices)
        )
        details = tuple(
            Detail(key, "wattshed_clock_hertz", first_ms, 1.98e9 - number, ("sm",))
            for key in ("n1/gpu0", "n1/exporter")
        )
        used = Allocation("n1/gpu0", "w", first_ms - 5000, first_ms, 0.0, "cgroup", number / 10, 0)
        batch = Batch(
            devices=tuple(devices) if not number else (),
            ticks=ticks,
            details=details,
            workloads=(Workload("w", "w"),) if not number else (),
            allocations=(used,),
        )
        made.append(encoder.request(batch))
    return made


def kept_size(raw: bytes) -> int:
    """Return what the layout of a body takes."""
    layouts = Layouts()
    reader = Both(layouts)
    for _ in range(2):
        reader.decode(raw)
    return layouts.size


class TestLayouts:
    def test_a_number_that_is_none_goes_the_long_way_and_is_counted(self) -> None:
        reader = Both()
        layout = [Series(METRICS[2], DEVICES[0], read, False, False) for read in range(3)]
        good = [Numbers(412.5, 0, 0, 0.0)] * 3
        ways = [reader.way(body(layout, good)) for _ in range(3)]
        assert ways == [Way.SCANNED, Way.LAYOUT, Way.LAYOUT]
        odd = body(layout, [replace(good[0], value=math.nan), *good[1:]])
        assert reader.way(odd) == Way.PARSED
        said = reader.decode(odd)
        assert (said[0].rejected, ticks(said)) == ({"not_finite": 1}, 2)
        assert reader.way(body(layout, good)) == Way.LAYOUT

    def test_readings_that_meet_are_learned_anew(self) -> None:
        reader = Both()
        layout = [Series(METRICS[n], DEVICES[0], 0, False, False) for n in (2, 5)]
        apart = [Numbers(0.5, 0, 0, 0.0), Numbers(0.5, 1, 0, 0.0)]
        together = [Numbers(0.5, 0, 0, 0.0)] * 2
        assert [reader.way(body(layout, apart)) for _ in range(3)][2] == Way.LAYOUT
        assert ticks(reader.decode(body(layout, apart))) == 2
        assert [reader.way(body(layout, together)) for _ in range(3)][2] == Way.LAYOUT
        assert ticks(reader.decode(body(layout, together))) == 1

    def test_what_is_of_use_is_not_pushed_out(self) -> None:
        clock = [0.0]
        layout = [Series(METRICS[2], DEVICES[0], 0, False, False)]
        bodies = [body(layout, [Numbers(1.0, 0, 0, 0.0)], host=f"n{n:04}") for n in range(50)]
        size = kept_size(bodies[0])
        layouts = Layouts(10 * size, lambda: clock[0])
        reader = Both(layouts)

        def ways(which: Sequence[bytes]) -> list[Way]:
            return [reader.way(raw) for raw in which]

        told = [ways(bodies) for _ in range(3)]
        assert told[2] == [Way.LAYOUT] * 10 + [Way.SCANNED] * 40
        assert layouts.size == 10 * size
        clock[0] = 1000.0
        ways(bodies[40:])
        assert ways(bodies[40:]) == [Way.LAYOUT] * 10

    def test_ones_that_never_come_back_are_not_kept(self) -> None:
        layouts = Layouts()
        reader = Both(layouts)
        for n in range(20):
            layout = [Series(METRICS[2], {"hw.id": f"n1/{n}"}, 0, False, False)]
            reader.decode(body(layout, [Numbers(1.0, 0, 0, 0.0)]))
        assert layouts.size == 0

    def test_a_length_beyond_the_body_is_malformed(self) -> None:
        raw = frames(1)[0]
        reader = Both()
        assert short_way(reader, raw[:-1]) == long_way(Both(), raw[:-1]) == "malformed"
        assert short_way(reader, struct.pack("<BI", 0x0A, 2**32 - 1)) == "malformed"
