"""What a template writes is what is written point by point, and what the stock library writes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, NumberDataPoint

from wattshed_exporter.model import Batch, Detail, Device, Kind, Method, Tick
from wattshed_exporter.outputs.protobuf import (
    LAYOUT_TICKS,
    LAYOUTS_KEPT,
    ORDER,
    Encoder,
    grouped,
    rounds,
)
from wattshed_exporter.outputs.template import Spot, Template, write
from wattshed_exporter.semconv import (
    ALL_METRICS,
    DETAIL_ATTRIBUTES,
    DETAIL_LABELS,
    DETAIL_METRICS,
    HOST_NAMES,
    Type,
)

KINDS = (Kind.GPU, Kind.CPU, Kind.HOST)
DEVICES = tuple(
    Device(f"n/{kind}", kind, "n", "test", f"{kind}0", uncertainty_ratio=0.05) for kind in KINDS
)
TIMES = st.integers(1, 2**43)  # a time of zero means none, and the library leaves it out
VALUES = st.floats(allow_infinity=True, allow_nan=False) | st.integers(-(2**40), 2**40)

spots = st.builds(
    Spot,
    st.sampled_from(["a", "b", "c"]),
    st.binary(max_size=300),
    st.integers(0, 3),
    st.integers(4, 7),
    st.none() | st.integers(0, 3),
)
ticks = st.builds(
    Tick,
    st.sampled_from([*(d.key for d in DEVICES), "stranger"]),
    TIMES,
    st.sampled_from([1000, 60_000]),
    st.sampled_from(Method),
    st.none() | st.floats(0, 1e6) | st.integers(0, 1000),
    st.none() | st.integers(0, 2**62),
    st.none() | TIMES,
    st.none() | st.floats(0, 1),
    st.none() | st.integers(0, 2**50),
    st.none() | st.floats(-50, 200),
    st.sampled_from(["", "", "deadline"]),
)


@st.composite
def details(draw: st.DrawFn) -> Detail:
    told = DETAIL_METRICS[draw(st.sampled_from(sorted(DETAIL_METRICS)))]
    own = len(told.labels) - len(DETAIL_LABELS)
    attributes = tuple(draw(st.sampled_from(["", "tx", "é"])) for _ in range(own))
    device = draw(st.sampled_from(DEVICES)).key
    start_ms = draw(st.none() | TIMES)
    return Detail(device, told.prometheus, draw(TIMES), draw(VALUES), attributes, start_ms)


def encoder() -> Encoder:
    made = Encoder({"wattshed.node": "n"}, "1")
    made.request(Batch(devices=DEVICES))
    return made


def parse(data: bytes) -> dict[str, Metric]:
    request = ExportMetricsServiceRequest.FromString(data)
    (resource,) = request.resource_metrics
    (scope,) = resource.scope_metrics
    assert len({m.name for m in scope.metrics}) == len(scope.metrics)
    return {m.name: m for m in scope.metrics}


def points(metric: Metric) -> Sequence[NumberDataPoint]:
    return (*metric.gauge.data_points, *metric.sum.data_points)


def said(point: NumberDataPoint) -> dict[str, str]:
    return {a.key: a.value.string_value for a in point.attributes}


@given(
    st.lists(spots, min_size=1, max_size=12),
    st.lists(st.lists(st.integers(0, 2**63), min_size=4, max_size=4), min_size=1, max_size=3),
    st.lists(VALUES, min_size=4, max_size=4),
)
def test_a_template_writes_what_is_written_point_by_point(
    layout: list[Spot], times: list[list[int]], values: list[float]
) -> None:
    template = Template(layout, 8)
    for row in times:
        numbers = [*row, *values]
        made = template.fill(numbers)
        assert {name: bytes(part) for name, part in made.items()} == write(layout, numbers)
        assert all(len(part) == len(bytes(part)) for part in made.values())


@given(st.lists(st.lists(ticks | details(), max_size=8), min_size=1, max_size=4))
def test_any_request_is_byte_for_byte_the_stock_librarys(
    reads: list[list[Tick | Detail]],
) -> None:
    batches = [
        Batch(
            ticks=tuple(x for x in read if isinstance(x, Tick)),
            details=tuple(x for x in read if isinstance(x, Detail)),
        )
        for read in reads
    ]
    encode = encoder()
    first = encode.request(*batches)
    again = ExportMetricsServiceRequest.FromString(first)
    assert again.SerializeToString(deterministic=True) == first
    # The second time layouts are known, the third time they are templates.
    assert encode.request(*batches) == first
    assert encode.request(*batches) == first
    assert b"".join(encode.pieces(*batches)) == first


@given(st.lists(ticks, min_size=1, max_size=6), st.lists(ticks, max_size=6))
def test_no_point_is_lost_or_made_up(now: list[Tick], later: list[Tick]) -> None:
    encode = encoder()
    for _ in range(3):
        metrics = parse(encode.request(Batch(ticks=tuple(now)), Batch(ticks=tuple(later))))
        for name in ("hw.energy", "hw.power"):
            found = [
                p for n in (name, HOST_NAMES[name]) if n in metrics for p in points(metrics[n])
            ]
            field = "energy_uj" if name == "hw.energy" else "power_watts"
            expected = sorted(
                (t.ts_ms * 1_000_000, t.device)
                for t in (*now, *later)
                if getattr(t, field) is not None
            )
            assert sorted((p.time_unix_nano, said(p)["hw.id"]) for p in found) == expected


def test_host_totals_are_under_their_own_names_only() -> None:
    encode = encoder()
    for _ in range(3):
        every = tuple(Tick(d.key, 5, 1000, Method.COUNTER, 1.5, 7, 1) for d in DEVICES)
        metrics = parse(encode.request(Batch(ticks=every)))
        for name, host_name in HOST_NAMES.items():
            assert [said(p)["hw.type"] for p in points(metrics[name])] == ["gpu", "cpu"]
            (host,) = points(metrics[host_name])
            assert said(host)["hw.type"] == "host"
            assert metrics[host_name].unit == metrics[name].unit
            assert metrics[host_name].WhichOneof("data") == metrics[name].WhichOneof("data")


@pytest.mark.parametrize("name", sorted(DETAIL_METRICS))
def test_a_detail_is_a_point_with_the_device_and_its_own_labels(name: str) -> None:
    told = DETAIL_METRICS[name]
    own = told.labels[len(DETAIL_LABELS) :]
    otel = {a.label: a.otel for a in DETAIL_ATTRIBUTES}
    detail = Detail("n/gpu", name, 7, 2.5, tuple(f"the {label}" for label in own), 3)
    encode = encoder()
    for _ in range(3):
        (metric,) = parse(encode.request(Batch(details=(detail,)))).values()
        assert (metric.name, metric.unit, metric.description) == (told.otel, told.unit, told.help)
        (point,) = points(metric)
        assert said(point) == {"hw.id": "n/gpu", **{otel[lab]: f"the {lab}" for lab in own}}
        assert (point.time_unix_nano, point.as_double) == (7_000_000, 2.5)
        counts = told.type is Type.COUNTER
        assert (metric.WhichOneof("data") == "sum") == counts
        assert metric.sum.is_monotonic == counts
        assert point.start_time_unix_nano == (3_000_000 if counts else 0)


def test_an_unknown_start_of_a_detail_is_not_told() -> None:
    detail = Detail("n/gpu", "wattshed_ecc_errors_total", 7, 1.0, ("corrected",))
    (metric,) = parse(encoder().request(Batch(details=(detail,)))).values()
    assert points(metric)[0].start_time_unix_nano == 0


def test_a_detail_of_no_known_metric_leaves_the_others_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    good = Detail("n/gpu", "wattshed_contexts", 7, 1.0)
    encode = encoder()
    for _ in range(3):
        body = encode.request(Batch(details=(replace(good, metric="wattshed_unheard_of"), good)))
        assert list(parse(body)) == ["wattshed.contexts"]
    assert "wattshed_unheard_of is no metric of the contract" in caplog.text


def test_a_changed_device_makes_the_layouts_anew() -> None:
    encode = encoder()
    tick = Tick("n/gpu", 5, 1000, Method.COUNTER, 1.5)
    for _ in range(3):
        encode.request(Batch(ticks=(tick,)))
    moved = replace(DEVICES[0], site="hall-2")
    metrics = parse(encode.request(Batch(devices=(moved,), ticks=(tick,))))
    assert said(points(metrics["hw.power"])[0])["wattshed.site"] == "hall-2"


def test_layouts_that_never_come_back_are_forgotten() -> None:
    encode = encoder()
    for interval_ms in range(1, 3 * LAYOUTS_KEPT):
        tick = Tick("n/gpu", 5, interval_ms, Method.COUNTER, 1.5)
        for _ in range(3):
            metrics = parse(encode.request(Batch(ticks=(tick,))))
            (point,) = points(metrics["hw.power"])
            told = {a.key: a.value.int_value for a in point.attributes}
            assert told["wattshed.interval_ms"] == interval_ms
    assert len(encode._layouts._known) == LAYOUTS_KEPT


def test_a_time_before_1970_is_refused_by_a_template_too() -> None:
    encode = encoder()
    tick = Tick("n/gpu", 5, 1000, Method.COUNTER, 1.5)
    for _ in range(3):
        encode.request(Batch(ticks=(tick,)))
    with pytest.raises(struct.error):
        encode.request(Batch(ticks=(replace(tick, ts_ms=-1),)))


def test_rounds_are_cut_where_a_device_comes_again() -> None:
    a, b = (Tick(key, 1, 1, Method.COUNTER) for key in "ab")
    assert list(rounds(())) == []
    assert list(rounds((a, b))) == [(a, b)]
    assert list(rounds((a, b, b, a, a))) == [(a, b), (b, a), (a,)]


def test_rounds_of_the_same_devices_are_one_layout_up_to_a_bound() -> None:
    def read(device: str, ts_ms: int) -> Tick:
        return Tick(device, ts_ms, 1000, Method.COUNTER, 1.0)

    ours = [Batch(ticks=(read("a", n), read("b", n))) for n in range(LAYOUT_TICKS)]
    other = [Batch(ticks=(read("c", n),)) for n in range(3)]
    parts = list(grouped([*other, *ours]))
    assert sorted(map(len, parts)) == [3, LAYOUT_TICKS, LAYOUT_TICKS]
    assert {t for part in parts for t in part} == {t for b in (*ours, *other) for t in b.ticks}
    for part in parts:
        assert [t.ts_ms for t in part] == sorted(t.ts_ms for t in part)
    wide = tuple(read(f"d{n}", 1) for n in range(2 * LAYOUT_TICKS))
    assert list(map(len, grouped([Batch(ticks=wide), Batch(ticks=wide)]))) == [len(wide)] * 2


def test_every_otlp_name_is_one_metric() -> None:
    pushed = [m for m in ALL_METRICS if m.otel]
    assert len({m.otel for m in pushed}) == len(pushed)
    assert {m.otel for m in pushed} == ORDER.keys() - set(HOST_NAMES.values())
