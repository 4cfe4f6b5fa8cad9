"""Our OTLP frames are read back by the stock parser."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric

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
from wattshed_exporter.outputs.protobuf import WORKLOADS_KEPT, Encoder
from wattshed_exporter.outputs.wire import attribute, rejected_points, varint
from wattshed_exporter.semconv import TICK_METRICS

GPU = Device(
    "n1/nvml/GPU-1", Kind.GPU, "n1", "nvml", "gpu0", "NVIDIA", "H100 é", scope="gpu",
    uncertainty_ratio=0.05, power_limit_watts=700.0,
)  # fmt: skip
TICK = Tick(
    GPU.key, 1_763_856_000_123, 1000, Method.COUNTER, 412.5, 9_876_543_210_123,
    1_763_800_000_000, 0.97, 85_520_809_984, 61.0,
)  # fmt: skip
JOB = Workload("c1/job/7", "train", "training", team="nlp")
Attributes = dict[str, str | float | int]


def encoder() -> Encoder:
    return Encoder({"service.name": "wattshed-exporter", "wattshed.site": ""}, "1.2.3")


def parse(data: bytes) -> dict[str, Metric]:
    request = ExportMetricsServiceRequest.FromString(data)
    (resource,) = request.resource_metrics
    (scope,) = resource.scope_metrics
    assert len({m.name for m in scope.metrics}) == len(scope.metrics)
    return {m.name: m for m in scope.metrics}


def attributes(pairs: object) -> Attributes:
    found: Attributes = {}
    for pair in pairs:  # type: ignore[attr-defined]
        assert isinstance(pair, KeyValue)
        which = pair.value.WhichOneof("value")
        assert which is not None
        found[pair.key] = getattr(pair.value, which)
    return found


def test_a_tick_becomes_one_point_of_each_metric_that_it_has() -> None:
    metrics = parse(encoder().request(Batch(devices=(GPU,), ticks=(TICK,))))
    energy = metrics["hw.energy"]
    assert (energy.unit, energy.description) == ("J", TICK_METRICS[0].help)
    assert energy.sum.is_monotonic
    assert energy.sum.aggregation_temporality == (
        AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    )
    (point,) = energy.sum.data_points
    assert point.as_double == 9876543.210123
    assert point.time_unix_nano == 1_763_856_000_123_000_000
    assert point.start_time_unix_nano == 1_763_800_000_000_000_000
    assert attributes(point.attributes) == {
        "hw.id": "n1/nvml/GPU-1", "hw.type": "gpu", "wattshed.node": "n1", "hw.name": "gpu0",
        "hw.vendor": "NVIDIA", "hw.model": "H100 é", "wattshed.scope": "gpu",
        "wattshed.source": "nvml", "wattshed.method": "counter", "wattshed.uncertainty": 0.05,
        "wattshed.interval_ms": 1000,
    }  # fmt: skip
    gauges = {
        name: m.gauge.data_points[0].as_double
        for name, m in metrics.items()
        if m.WhichOneof("data") == "gauge"
    }
    assert gauges == {
        "hw.power": 412.5, "wattshed.device.utilization": 0.97,
        "hw.gpu.memory.usage": 85_520_809_984, "hw.temperature": 61.0,
        "wattshed.device.power.limit": 700.0,
    }  # fmt: skip
    assert metrics["hw.power"].gauge.data_points[0].start_time_unix_nano == 0


def test_the_resource_and_the_scope_say_who_speaks() -> None:
    request = ExportMetricsServiceRequest.FromString(encoder().request(Batch(ticks=(TICK,))))
    (resource,) = request.resource_metrics
    assert attributes(resource.resource.attributes) == {"service.name": "wattshed-exporter"}
    scope = resource.scope_metrics[0].scope
    assert (scope.name, scope.version) == ("wattshed-exporter", "1.2.3")


def test_the_method_is_that_of_the_tick_and_of_a_gap_that_of_the_device() -> None:
    ticks = (
        replace(TICK, method=Method.INTEGRAL),
        Tick(GPU.key, 5, 1000, Method.UNKNOWN, utilization_ratio=0.5, gap="deadline"),
    )
    metrics = parse(encoder().request(Batch(devices=(GPU,), ticks=ticks)))
    (power,) = metrics["hw.power"].gauge.data_points
    assert attributes(power.attributes)["wattshed.method"] == "integral"
    (gap,) = metrics["wattshed.gap"].gauge.data_points
    told = attributes(gap.attributes)
    assert (gap.as_double, told["wattshed.reason"], told["wattshed.method"]) == (
        1.0, "deadline", "counter",
    )  # fmt: skip
    assert len(metrics["wattshed.device.utilization"].gauge.data_points) == 2
    assert len(metrics["hw.energy"].sum.data_points) == 1


def test_an_unknown_start_is_not_told() -> None:
    metrics = parse(encoder().request(Batch(ticks=(replace(TICK, start_ms=None),))))
    (point,) = metrics["hw.energy"].sum.data_points
    assert point.start_time_unix_nano == 0
    assert attributes(point.attributes) == {"hw.id": GPU.key}


def test_the_power_limit_is_repeated_once_a_minute_and_when_it_changes() -> None:
    encode = encoder()

    def limits(ts_ms: int, *devices: Device) -> list[float]:
        metrics = parse(encode.request(Batch(devices, (replace(TICK, ts_ms=ts_ms),))))
        found = metrics.get("wattshed.device.power.limit")
        return [p.as_double for p in found.gauge.data_points] if found else []

    assert limits(0, GPU) == [700.0]
    assert limits(59_999) == []
    assert limits(60_000) == [700.0]
    assert limits(61_000, replace(GPU, power_limit_watts=350.0)) == [350.0]


def test_energy_that_is_taken_back_is_a_reason_beside_power() -> None:
    frozen = replace(TICK, energy_uj=None, start_ms=None, gap="counter_frozen")
    metrics = parse(encoder().request(Batch((GPU,), (frozen,))))
    assert "hw.energy" not in metrics
    (power,) = metrics["hw.power"].gauge.data_points
    (gap,) = metrics["wattshed.gap"].gauge.data_points
    assert gap.time_unix_nano == power.time_unix_nano
    assert attributes(gap.attributes) == {
        **attributes(power.attributes),
        "wattshed.reason": "counter_frozen",
    }
    assert "wattshed.device.power.limit" in metrics


def test_a_device_that_changed_is_told_as_it_is_now() -> None:
    encode = encoder()
    encode.request(Batch((GPU,), (TICK,)))
    metrics = parse(encode.request(Batch((replace(GPU, site="moved"),), (TICK,))))
    (point,) = metrics["hw.power"].gauge.data_points
    assert attributes(point.attributes)["wattshed.site"] == "moved"


def test_allocations_and_outcomes_carry_their_workload() -> None:
    batch = Batch(
        workloads=(JOB,),
        allocations=(Allocation(GPU.key, JOB.key, 1000, 5000, 0.5, "slurm"),),
        outcomes=(
            Outcome(JOB.key, "token", 6000, 1234.0, 1000, "vllm"),
            Outcome("stranger", "step", 6000, 1.0),
        ),
    )
    metrics = parse(encoder().request(batch))
    (share,) = metrics["wattshed.allocation.share"].gauge.data_points
    assert (share.as_double, share.start_time_unix_nano, share.time_unix_nano) == (
        0.5, 1_000_000_000, 5_000_000_000,
    )  # fmt: skip
    workload = {
        "wattshed.workload.id": "c1/job/7", "wattshed.workload.name": "train",
        "wattshed.workload.kind": "training", "wattshed.team": "nlp",
    }  # fmt: skip
    assert attributes(share.attributes) == {
        **workload, "hw.id": GPU.key, "wattshed.allocation.method": "slurm",
    }  # fmt: skip
    outcomes = metrics["wattshed.outcomes"]
    assert outcomes.sum.is_monotonic
    known, stranger = outcomes.sum.data_points
    assert attributes(known.attributes) == {
        **workload, "wattshed.outcome": "token", "wattshed.outcome.source": "vllm",
    }  # fmt: skip
    assert (known.as_double, known.start_time_unix_nano) == (1234.0, 1_000_000_000)
    assert attributes(stranger.attributes) == {
        "wattshed.workload.id": "stranger", "wattshed.outcome": "step",
    }  # fmt: skip


def test_workloads_are_not_kept_for_ever() -> None:
    encode = encoder()
    many = tuple(Workload(f"w{i}", f"name{i}") for i in range(WORKLOADS_KEPT))
    encode.request(Batch(workloads=(JOB,)))
    encode.request(Batch(workloads=many))
    outcomes = (Outcome(JOB.key, "step", 1, 1.0), Outcome("w5", "step", 1, 1.0))
    metrics = parse(encode.request(Batch(outcomes=outcomes)))
    old, new = metrics["wattshed.outcomes"].sum.data_points
    assert "wattshed.workload.name" not in attributes(old.attributes)
    assert attributes(new.attributes)["wattshed.workload.name"] == "name5"


def test_a_device_that_says_nothing_for_long_is_not_kept_and_one_that_speaks_is() -> None:
    now = [0.0]
    encode = Encoder({}, "0", lambda: now[0])
    slow = replace(GPU, key="slow")
    encode.request(Batch((GPU, slow, replace(GPU, key="gone")), ()))

    def said(key: str, interval_ms: int = 1000) -> Attributes:
        tick = replace(TICK, device=key, interval_ms=interval_ms)
        (point,) = parse(encode.request(Batch(ticks=(tick,))))["hw.power"].gauge.data_points
        return attributes(point.attributes)

    assert "hw.vendor" in said("slow", 1_800_000)
    for _ in range(8):
        now[0] += 600.0
        assert "hw.vendor" in said(GPU.key)
    assert "hw.vendor" in said("gone"), "ten reads of the slow one are five hours"
    for _ in range(40):
        now[0] += 600.0
        assert "hw.vendor" in said(GPU.key)
    assert "hw.vendor" not in said("gone")
    assert "hw.vendor" not in said("slow")
    encode.request(Batch((replace(GPU, key="gone"),), ()))
    assert "hw.vendor" in said("gone")


@given(
    st.text(min_size=1), st.text() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
)
def test_any_attribute_reads_back(name: str, value: str | int | float) -> None:
    data = attribute(name, value, 7)
    tag_and_length = 1 + len(varint(len(data) - 2 if len(data) < 130 else len(data) - 3))
    assert attributes([KeyValue.FromString(data[tag_and_length:])]) == {name: value}


@given(
    st.integers(0, 2**40),
    st.none() | st.floats(0, 1e6),
    st.none() | st.integers(0, 2**50),  # microjoules that joules as a double hold exactly
    st.none() | st.integers(0, 2**40),
)
def test_any_tick_reads_back(
    ts_ms: int, watts: float | None, energy_uj: int | None, start_ms: int | None
) -> None:
    tick = Tick(GPU.key, ts_ms, 1000, Method.COUNTER, watts, energy_uj, start_ms)
    metrics = parse(encoder().request(Batch((GPU,), (tick,))))
    assert ("hw.power" in metrics) == (watts is not None)
    if energy_uj is not None:
        (point,) = metrics["hw.energy"].sum.data_points
        assert round(point.as_double * 1e6) == energy_uj
        assert point.start_time_unix_nano == (start_ms or 0) * 1_000_000
        assert point.time_unix_nano == ts_ms * 1_000_000


def test_text_that_is_no_unicode_does_not_stop_the_rest() -> None:
    assert KeyValue.FromString(attribute("n", "a\udcff", 7)[2:]).value.string_value == "a?"


def test_rejections_are_read_from_the_response() -> None:
    partial = ExportMetricsPartialSuccess(rejected_data_points=300, error_message="unit é")
    response = ExportMetricsServiceResponse(partial_success=partial)
    assert rejected_points(response.SerializeToString()) == (300, "unit é")
    assert rejected_points(b"") == (0, "")


@pytest.mark.parametrize("data", [b"<html>no", b"\x0a\xff", b"\x0a\x05\x08", b"\xff" * 30])
def test_a_response_that_is_none_rejects_nothing(data: bytes) -> None:
    assert rejected_points(data) == (0, "")
