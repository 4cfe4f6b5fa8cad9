"""OTLP metrics (opentelemetry-proto): cut into bounded pieces, then to points.

Gauges and cumulative sums are points; of a metric that is not about energy a histogram or a summary
is its count and its sum. Delta sums are counted: they would have to be added up over restarts of
both sides, and every SDK can be told to send cumulative ones.
Source: https://opentelemetry.io/docs/specs/otel/metrics/data-model/
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import DecodeError
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
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from . import Attributes, Point, wire
from .other import COUNTER, GAUGE, Other, labels_text

NODE = "wattshed.node"
INHERITED = frozenset({NODE, "wattshed.site", "wattshed.tier", "wattshed.cluster"})
"""Resource attributes that a point takes over unless it says otherwise itself."""
IDENTIFYING = INHERITED | {
    "service.name",
    "service.namespace",
    "service.instance.id",
    "host.name",
    "container.name",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.node.name",
    "k8s.pod.name",
    "k8s.container.name",
    "deployment.environment.name",
}
"""Resource attributes that tell one series of any metric from another."""
CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
NOT_RECORDED = DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
DISTRIBUTIONS = frozenset({"histogram", "exponential_histogram", "summary"})
DATA_FIELDS = frozenset({5, 7, 9, 10, 11})
"""Fields of a metric that hold its points: gauge, sum, the histograms, summary."""
PIECE_BYTES = 1 << 16
"""A metric beyond is taken apart; what is parsed at once takes up to thirty times that."""
MOST_PARTS = wire.MOST_FIELDS
"""Points, or metrics, or scopes, of one request; an OpenTelemetry Collector sends 8,192 points."""

Scalar = str | float | int | bool


@dataclass(frozen=True, slots=True)
class Context:
    """What a resource says of all its points, and how it names the series of other metrics."""

    inherited: dict[str, Scalar]
    labels: dict[str, str]


def points(request: ExportMetricsServiceRequest, rejected: Counter[str]) -> Iterator[Point]:
    """Yield the number data points; what is not one is counted in ``rejected`` by reason."""
    for context, metric in metrics(request):
        yield from of_metric(metric, context.inherited, rejected)


def metrics(request: ExportMetricsServiceRequest) -> Iterator[tuple[Context, Metric]]:
    """Yield the metrics of a parsed request, each with what its resource says."""
    for resource in request.resource_metrics:
        context = _context(resource.resource)
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                yield context, metric


def pieces(raw: bytes, rejected: Counter[str]) -> Iterator[tuple[Context, Metric]]:
    """Yield the metrics of a request as sent, large ones in several pieces.

    Never much more than ``PIECE_BYTES`` are parsed at once. Raises DecodeError where the bytes are
    no request, and ``wire.TooMany``.
    """
    scopes, metrics, found = _Allowance(), _Allowance(), _Allowance()
    for resource_metrics in wire.messages(raw, 1):
        context = _context(_resource(resource_metrics))
        for scope in wire.messages(resource_metrics, 2):
            scopes.take(1)
            for metric in wire.messages(scope, 2):
                metrics.take(1)
                for piece in _pieces(metric, rejected):
                    parsed = Metric.FromString(piece)
                    found.take(count(parsed))
                    yield context, parsed


def of_metric(
    metric: Metric, inherited: dict[str, Scalar], rejected: Counter[str]
) -> Iterator[Point]:
    """Yield the points of a metric that is about energy."""
    for point in _numbers(metric, rejected, "unsupported_type"):
        yield Point(
            metric.name,
            metric.unit,
            _value(point),
            point.time_unix_nano // 1_000_000,
            {**inherited, **attributes(point)},
            point.start_time_unix_nano // 1_000_000,
        )


def others(metric: Metric, labels: dict[str, str], rejected: Counter[str]) -> Iterator[Other]:
    """Yield the samples of a metric that is not about energy."""
    kind = metric.WhichOneof("data")
    if kind in DISTRIBUTIONS:
        yield from _distribution(metric, labels, rejected)
        return
    told = COUNTER if kind == "sum" and metric.sum.is_monotonic else GAUGE
    for point in _numbers(metric, rejected, "no_data"):
        series = _labels(point.attributes, labels, rejected)
        if series is not None:
            ts_ms = point.time_unix_nano // 1_000_000
            yield Other(metric.name, series, ts_ms, _value(point), told, metric.unit)


def count(metric: Metric) -> int:
    """Return how many points a metric has; one that has no data counts as one."""
    kind = metric.WhichOneof("data")
    return len(getattr(metric, kind).data_points) if kind else 1


def is_distribution(metric: Metric) -> bool:
    return metric.WhichOneof("data") in DISTRIBUTIONS


class _Allowance:
    """How many of one thing a request may have."""

    def __init__(self) -> None:
        self._left = MOST_PARTS

    def take(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise wire.TooMany(
                f"the request has more than {MOST_PARTS} parts; send smaller batches"
            )


def _resource(resource_metrics: bytes) -> Resource:
    told = b"".join(wire.messages(resource_metrics, 1))
    if len(told) > PIECE_BYTES:
        raise DecodeError("a resource has more attributes than make sense")
    return Resource.FromString(told)


def _pieces(metric: bytes, rejected: Counter[str]) -> Iterator[bytes]:
    """Yield a metric, or metrics with its name and unit and some of its points each."""
    if len(metric) <= PIECE_BYTES:
        yield metric
        return
    told = list(wire.fields(metric))
    data = [field for field in told if _holds_points(field)]
    head = b"".join(metric[field.start : field.end] for field in told if not _holds_points(field))
    if len(data) != 1 or len(head) > PIECE_BYTES:
        raise DecodeError("a metric is longer than makes sense, beside its points")
    number, _, _, start, end = data[0]
    for portion in _portions(metric[start:end], rejected):
        yield head + wire.message(number, portion)


def _holds_points(field: wire.Field) -> bool:
    return field.kind == wire.MESSAGE and field.number in DATA_FIELDS


def _portions(data: bytes, rejected: Counter[str]) -> Iterator[bytes]:
    told = list(wire.fields(data))
    shared = b"".join(data[field.start : field.end] for field in told if field.number != 1)
    if len(shared) > PIECE_BYTES:
        raise DecodeError("a metric is longer than makes sense, beside its points")
    portion, size = [shared], 0
    for field in told:
        length = field.end - field.start
        if field.number != 1:
            continue
        if length > PIECE_BYTES:
            rejected["point_too_long"] += 1
            continue
        portion.append(data[field.start : field.end])
        size += length
        if size >= PIECE_BYTES:
            yield b"".join(portion)
            portion, size = [shared], 0
    if size:
        yield b"".join(portion)


def _numbers(metric: Metric, rejected: Counter[str], otherwise: str) -> Iterator[NumberDataPoint]:
    """Yield the points of a gauge or a cumulative sum that have a value; count all others."""
    kind = metric.WhichOneof("data")
    if kind == "gauge":
        found = metric.gauge.data_points
    elif kind == "sum" and metric.sum.aggregation_temporality == CUMULATIVE:
        found = metric.sum.data_points
    else:
        rejected["delta_temporality" if kind == "sum" else otherwise] += count(metric)
        return
    for point in found:
        if point.flags & NOT_RECORDED or point.WhichOneof("value") is None:
            rejected["no_recorded_value"] += 1
        else:
            yield point


def _distribution(
    metric: Metric, labels: dict[str, str], rejected: Counter[str]
) -> Iterator[Other]:
    kind = metric.WhichOneof("data") or ""
    data = getattr(metric, kind)
    if kind != "summary" and data.aggregation_temporality != CUMULATIVE:
        rejected["delta_temporality"] += count(metric)
        return
    for point in data.data_points:
        series = _labels(point.attributes, labels, rejected)
        if point.flags & NOT_RECORDED:
            rejected["no_recorded_value"] += 1
        elif series is not None:
            ts_ms = point.time_unix_nano // 1_000_000
            yield Other(f"{metric.name}_count", series, ts_ms, float(point.count), COUNTER, "1")
            if kind == "summary" or point.HasField("sum"):
                yield Other(f"{metric.name}_sum", series, ts_ms, point.sum, COUNTER, metric.unit)


def _labels(
    pairs: Iterable[KeyValue], inherited: dict[str, str], rejected: Counter[str]
) -> str | None:
    said = labels_text({**inherited, **{pair.key: _text(pair) for pair in pairs}})
    if said is None:
        rejected["labels_too_long"] += 1
    return said


def _text(pair: KeyValue) -> str:
    kind = pair.value.WhichOneof("value")
    if kind == "bool_value":
        return "true" if pair.value.bool_value else "false"
    if kind in ("array_value", "kvlist_value", "bytes_value"):
        return MessageToJson(pair.value, indent=None)
    return "" if kind is None else str(getattr(pair.value, kind))


def _value(point: NumberDataPoint) -> float:
    return float(point.as_int) if point.WhichOneof("value") == "as_int" else point.as_double


def attributes(point: NumberDataPoint) -> Attributes:
    """Return a point's own attributes; a value that is no scalar is ""."""
    return {pair.key: _scalar(pair) for pair in point.attributes}


def taken_over(pairs: Iterable[KeyValue]) -> dict[str, Scalar]:
    """Return what the points of a resource inherit from its attributes."""
    said = {pair.key: _scalar(pair) for pair in pairs}
    inherited = {key: value for key, value in said.items() if key in INHERITED}
    if NODE not in inherited and "host.name" in said:
        inherited[NODE] = said["host.name"]
    return inherited


def _context(resource: Resource) -> Context:
    pairs = resource.attributes
    texts = {pair.key: _text(pair) for pair in pairs if pair.key in IDENTIFYING}
    return Context(taken_over(pairs), texts)


def _scalar(pair: KeyValue) -> Scalar:
    kind = pair.value.WhichOneof("value")
    if kind in ("string_value", "double_value", "int_value", "bool_value"):
        value: Scalar = getattr(pair.value, kind)
        return value
    return ""
