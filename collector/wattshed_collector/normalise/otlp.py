"""OTLP metrics (opentelemetry-proto): cut into bounded pieces, then to points.

Gauges and cumulative sums are points; of a metric that is not about energy a histogram or a summary
is its count and its sum. Delta sums are counted: they would have to be added up over restarts of
both sides, and every SDK can be told to send cumulative ones.
Source: https://opentelemetry.io/docs/specs/otel/metrics/data-model/
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    DataPointFlags,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    SummaryDataPoint,
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
"""Points, or metrics, of one request; an OpenTelemetry Collector sends 8,192 points."""
MOST_SCOPES = 20_000
"""Resources and scopes of one request."""

ENTRY_BYTES = 200
"""What an entry of a dictionary takes beside its bytes."""
WHOLE_BYTES = 1 << 20
"""A request up to this size is parsed at once."""

Scalar = str | float | int | bool
DataPoint = NumberDataPoint | HistogramDataPoint | ExponentialHistogramDataPoint | SummaryDataPoint
Naming = Callable[[DataPoint], str | None]
BESIDE_ATTRIBUTES = {
    kind: tuple(field.name for field in kind.DESCRIPTOR.fields if field.name != "attributes")
    for kind in (
        NumberDataPoint,
        HistogramDataPoint,
        ExponentialHistogramDataPoint,
        SummaryDataPoint,
    )
}


@dataclass(frozen=True, slots=True)
class Context:
    """What a resource says of all its points, and how it names the series of other metrics."""

    inherited: dict[str, Scalar]
    labels: dict[str, str]

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        return tuple(sorted(self.labels.items()))


class SeriesNames:
    """Remembers the labels of series by the bytes of their attributes: most come again and again.

    May be used by several threads: who loses a race writes the same once more.
    """

    def __init__(self, most_bytes: int = 32 << 20) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._known: dict[tuple[tuple[str, str], ...], dict[bytes, str | None]] = {}

    def of(self, context: Context) -> Callable[[DataPoint], str | None]:
        """Return what names the series of a resource: a JSON object, None where it is too long.

        What it is given loses its times, values and all else that is not an attribute.
        """
        key = context.key
        known = self._known.get(key)
        if known is None:
            self._make_room(sum(len(name) + len(text) for name, text in key))
            known = self._known.setdefault(key, {})

        def name(point: DataPoint) -> str | None:
            clear: Callable[[Any], None] = point.ClearField
            for field in BESIDE_ATTRIBUTES[type(point)]:
                clear(field)
            raw = point.SerializeToString()
            if raw in known:
                return known[raw]
            pairs = {pair.key: text_of(pair) for pair in point.attributes}
            said = labels_text({**context.labels, **pairs})
            self._make_room(len(raw) + len(said or ""))
            known[raw] = said
            return said

        return name

    def _make_room(self, size: int) -> None:
        self._bytes += ENTRY_BYTES + size
        if self._bytes > self._most_bytes:
            # Who is in the middle of a request keeps what it works with.
            self._known = {}
            self._bytes = 0


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


def pieces(
    raw: bytes, rejected: Counter[str], whole_bytes: int = WHOLE_BYTES
) -> Iterator[tuple[Context, Metric]]:
    """Yield the metrics of a request as sent, large ones in several pieces.

    Of more than ``whole_bytes`` not much more than ``PIECE_BYTES`` are parsed at once. Raises
    DecodeError where the bytes are no request, and ``wire.TooMany``.
    """
    if len(raw) <= whole_bytes:
        yield from metrics(ExportMetricsServiceRequest.FromString(raw))
        return
    scopes, named, found = _Allowance(MOST_SCOPES), _Allowance(MOST_PARTS), _Allowance(MOST_PARTS)
    for resource_metrics in wire.messages(raw, 1):
        scopes.take(1)
        context = _context(_resource(resource_metrics))
        for scope in wire.messages(resource_metrics, 2):
            scopes.take(1)
            for metric in wire.messages(scope, 2):
                named.take(1)
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
            value_of(point),
            point.time_unix_nano // 1_000_000,
            {**inherited, **attributes(point)},
            point.start_time_unix_nano // 1_000_000,
        )


def others(metric: Metric, name: Naming, rejected: Counter[str]) -> Iterator[Other]:
    """Yield the samples of a metric that is not about energy; ``name`` is of ``SeriesNames``."""
    kind = metric.WhichOneof("data")
    if kind in DISTRIBUTIONS:
        yield from _distribution(metric, name, rejected)
        return
    told = COUNTER if kind == "sum" and metric.sum.is_monotonic else GAUGE
    metric_name, unit = metric.name, metric.unit
    for point in _numbers(metric, rejected, "no_data"):
        ts_ms, value = point.time_unix_nano // 1_000_000, value_of(point)
        series = name(point)
        if series is None:
            rejected["labels_too_long"] += 1
        else:
            yield Other(metric_name, series, ts_ms, value, told, unit)


def count(metric: Metric) -> int:
    """Return how many points a metric has; one that has no data counts as one."""
    kind = metric.WhichOneof("data")
    return len(getattr(metric, kind).data_points) if kind else 1


def is_distribution(metric: Metric) -> bool:
    return metric.WhichOneof("data") in DISTRIBUTIONS


class _Allowance:
    """How many of one thing a request may have."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0

    def take(self, amount: int) -> None:
        self._taken += amount
        if self._taken > self._most:
            raise wire.TooMany(
                f"the request has more than {self._most} parts; send smaller batches"
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


def _distribution(metric: Metric, name: Naming, rejected: Counter[str]) -> Iterator[Other]:
    kind = metric.WhichOneof("data") or ""
    data = getattr(metric, kind)
    if kind != "summary" and data.aggregation_temporality != CUMULATIVE:
        rejected["delta_temporality"] += count(metric)
        return
    for point in data.data_points:
        if point.flags & NOT_RECORDED:
            rejected["no_recorded_value"] += 1
            continue
        ts_ms, number, total = point.time_unix_nano // 1_000_000, float(point.count), point.sum
        has_sum = kind == "summary" or point.HasField("sum")
        series = name(point)
        if series is None:
            rejected["labels_too_long"] += 1
            continue
        yield Other(f"{metric.name}_count", series, ts_ms, number, COUNTER, "1")
        if has_sum:
            yield Other(f"{metric.name}_sum", series, ts_ms, total, COUNTER, metric.unit)


def text_of(pair: KeyValue) -> str:
    kind = pair.value.WhichOneof("value")
    if kind == "bool_value":
        return "true" if pair.value.bool_value else "false"
    if kind in ("array_value", "kvlist_value", "bytes_value"):
        return MessageToJson(pair.value, indent=None)
    return "" if kind is None else str(getattr(pair.value, kind))


def value_of(point: NumberDataPoint) -> float:
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
    texts = {pair.key: text_of(pair) for pair in pairs if pair.key in IDENTIFYING}
    return Context(taken_over(pairs), texts)


def _scalar(pair: KeyValue) -> Scalar:
    kind = pair.value.WhichOneof("value")
    if kind in ("string_value", "double_value", "int_value", "bool_value"):
        value: Scalar = getattr(pair.value, kind)
        return value
    return ""
