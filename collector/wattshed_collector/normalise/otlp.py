"""OTLP metrics (opentelemetry-proto) to points: gauges and cumulative sums, anything else counted.

Source: https://opentelemetry.io/docs/specs/otel/metrics/data-model/
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    DataPointFlags,
    Metric,
    NumberDataPoint,
)

from . import Attributes, Point

NODE = "wattshed.node"
INHERITED = frozenset({NODE, "wattshed.site", "wattshed.tier", "wattshed.cluster"})
"""Resource attributes that a point takes over unless it says otherwise itself."""


def points(request: ExportMetricsServiceRequest, rejected: Counter[str]) -> Iterator[Point]:
    """Yield the number data points; what is not one is counted in ``rejected`` by reason."""
    for resource in request.resource_metrics:
        inherited = taken_over(resource.resource.attributes)
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                yield from _of_metric(metric, inherited, rejected)


def _of_metric(
    metric: Metric, inherited: dict[str, str | float | int | bool], rejected: Counter[str]
) -> Iterator[Point]:
    kind = metric.WhichOneof("data")
    if kind == "gauge":
        data_points = metric.gauge.data_points
    elif kind == "sum" and (
        metric.sum.aggregation_temporality
        == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    ):
        data_points = metric.sum.data_points
    else:
        rejected["delta_temporality" if kind == "sum" else "unsupported_type"] += _count(metric)
        return
    for point in data_points:
        if (
            point.flags & DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
            or point.WhichOneof("value") is None
        ):
            rejected["no_recorded_value"] += 1
            continue
        yield Point(
            metric.name,
            metric.unit,
            _value(point),
            point.time_unix_nano // 1_000_000,
            {**inherited, **attributes(point)},
            point.start_time_unix_nano // 1_000_000,
        )


def _value(point: NumberDataPoint) -> float:
    return float(point.as_int) if point.WhichOneof("value") == "as_int" else point.as_double


def attributes(point: NumberDataPoint) -> Attributes:
    """Return a point's own attributes; a value that is no scalar is ""."""
    return {pair.key: _scalar(pair) for pair in point.attributes}


def taken_over(pairs: object) -> dict[str, str | float | int | bool]:
    """Return what the points of a resource inherit from its attributes."""
    said = {pair.key: _scalar(pair) for pair in pairs}  # type: ignore[attr-defined]
    inherited = {key: value for key, value in said.items() if key in INHERITED}
    if NODE not in inherited and "host.name" in said:
        inherited[NODE] = said["host.name"]
    return inherited


def _scalar(pair: KeyValue) -> str | float | int | bool:
    kind = pair.value.WhichOneof("value")
    if kind in ("string_value", "double_value", "int_value", "bool_value"):
        value: str | float | int | bool = getattr(pair.value, kind)
        return value
    return ""


def _count(metric: Metric) -> int:
    kind = metric.WhichOneof("data")
    return len(getattr(metric, kind).data_points) if kind else 1
