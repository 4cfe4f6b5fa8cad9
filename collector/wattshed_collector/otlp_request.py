"""A batch as an OTLP request, for a collector that has the store open.

The opposite of ``normalise.otlp``: what this writes becomes the same batch there. Devices and
workloads are attributes of each point, so a request stands for itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, NumberDataPoint

from wattshed_exporter import semconv
from wattshed_exporter.model import Allocation, Batch, Device, Outcome, Tick, Workload

from .normalise import Point

CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
TICK_METRICS = tuple(metric for metric in semconv.TICK_METRICS if metric.otel)


class Requests:
    """Makes requests; remembers devices and workloads that earlier batches brought."""

    def __init__(self) -> None:
        self._devices: dict[str, Device] = {}
        self._workloads: dict[str, Workload] = {}
        self._limits: dict[str, float] = {}

    def request(self, batch: Batch) -> ExportMetricsServiceRequest:
        """Return ticks, allocations and outcomes of a batch, with what they refer to."""
        self._devices.update((device.key, device) for device in batch.devices)
        self._workloads.update((workload.key, workload) for workload in batch.workloads)
        request = ExportMetricsServiceRequest()
        metrics = request.resource_metrics.add().scope_metrics.add().metrics
        counters = {m.otel for m in (*TICK_METRICS, semconv.OUTCOMES) if m.type == "counter"}
        found: dict[tuple[str, str], Any] = {}
        for point in self._points(batch):
            points = found.get((point.metric, point.unit))
            if points is None:
                metric = metrics.add(name=point.metric, unit=point.unit)
                if point.metric in counters:
                    metric.sum.is_monotonic = True
                    metric.sum.aggregation_temporality = CUMULATIVE
                    points = metric.sum.data_points
                else:
                    points = metric.gauge.data_points
                found[point.metric, point.unit] = points
            points.append(_data_point(point))
        return request

    def _points(self, batch: Batch) -> Iterator[Point]:
        for tick in batch.ticks:
            yield from self._tick(tick)
        for allocation in batch.allocations:
            yield self._allocation(allocation)
        for outcome in batch.outcomes:
            yield self._outcome(outcome)

    def _tick(self, tick: Tick) -> Iterator[Point]:
        device = self._devices[tick.device]
        attributes: dict[str, Any] = _said(device, semconv.DEVICE_ATTRIBUTES)
        attributes[_OTEL["method"]] = str(tick.method)
        attributes[semconv.INTERVAL_ATTRIBUTE] = tick.interval_ms
        if device.uncertainty_ratio is not None:
            attributes[semconv.UNCERTAINTY_ATTRIBUTE] = device.uncertainty_ratio
        limit = device.power_limit_watts
        if limit is not None and self._limits.get(device.key) != limit:
            self._limits[device.key] = limit
            metric = semconv.POWER_LIMIT
            yield Point(metric.otel, metric.unit, limit, tick.ts_ms, attributes)
        for metric in TICK_METRICS:
            value = _value(tick, metric.field)
            if value is not None:
                start = tick.start_ms or 0 if metric.field == "energy_joules" else 0
                yield Point(metric.otel, metric.unit, value, tick.ts_ms, attributes, start)
        if tick.gap:
            told = {**attributes, semconv.REASON_ATTRIBUTE: tick.gap}
            yield Point(semconv.GAP.otel, semconv.GAP.unit, 1.0, tick.ts_ms, told)

    def _allocation(self, allocation: Allocation) -> Point:
        told: dict[str, Any] = self._workload(allocation.workload)
        told["hw.id"] = allocation.device
        told[semconv.ALLOCATION_METHOD_ATTRIBUTE] = allocation.method
        told[semconv.ALLOCATION_REVISION_ATTRIBUTE] = allocation.revision
        if allocation.activity is not None:
            told[semconv.ALLOCATION_ACTIVITY_ATTRIBUTE] = allocation.activity
        metric, share = semconv.ALLOCATION, allocation.share
        return Point(metric.otel, metric.unit, share, allocation.end_ms, told, allocation.start_ms)

    def _outcome(self, outcome: Outcome) -> Point:
        told: dict[str, Any] = self._workload(outcome.workload)
        told[semconv.OUTCOME_KIND_ATTRIBUTE] = outcome.kind
        told[semconv.OUTCOME_SOURCE_ATTRIBUTE] = outcome.source
        if outcome.model:
            told[semconv.OUTCOME_MODEL_ATTRIBUTE] = outcome.model
        metric, start = semconv.OUTCOMES, outcome.start_ms or 0
        return Point(metric.otel, metric.unit, outcome.total, outcome.ts_ms, told, start)

    def _workload(self, key: str) -> dict[str, str]:
        return _said(self._workloads[key], semconv.WORKLOAD_ATTRIBUTES)


_OTEL = {attribute.name: attribute.otel for attribute in semconv.DEVICE_ATTRIBUTES}


def _said(thing: Device | Workload, table: Iterable[semconv.Attribute]) -> dict[str, str]:
    told = {attribute.otel: str(getattr(thing, attribute.name)) for attribute in table}
    return {name: text for name, text in told.items() if text}


def _value(tick: Tick, name: str) -> float | None:
    if name == "energy_joules":
        return None if tick.energy_uj is None else tick.energy_uj / 1e6
    value: float | None = getattr(tick, name)
    return value


def _data_point(point: Point) -> NumberDataPoint:
    return NumberDataPoint(
        as_double=point.value,
        time_unix_nano=point.ts_ms * 1_000_000,
        start_time_unix_nano=point.start_ms * 1_000_000,
        attributes=[_pair(name, value) for name, value in point.attributes.items() if value != ""],
    )


def _pair(name: str, value: object) -> KeyValue:
    pair = KeyValue(key=name)
    if isinstance(value, str):
        pair.value.string_value = value
    elif isinstance(value, int):
        pair.value.int_value = value
    else:
        pair.value.double_value = value  # type: ignore[assignment]
    return pair
