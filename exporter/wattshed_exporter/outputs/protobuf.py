"""OTLP metrics as protobuf bytes, written by hand: the node needs no protobuf library for it.

Only what the contract uses of opentelemetry/proto/metrics/v1/metrics.proto is here. The attributes
of a device do not change from tick to tick, so their bytes are made once and kept; a data point is
then three fixed-width numbers and a copy.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from wattshed_exporter.model import Allocation, Batch, Device, Method, Outcome, Tick, Workload
from wattshed_exporter.semconv import (
    ALLOCATION,
    ALLOCATION_METHOD_ATTRIBUTE,
    DEVICE_ATTRIBUTES,
    FLEET_METRICS,
    GAP,
    INTERVAL_ATTRIBUTE,
    OUTCOME_KIND_ATTRIBUTE,
    OUTCOME_SOURCE_ATTRIBUTE,
    OUTCOMES,
    REASON_ATTRIBUTE,
    TICK_METRICS,
    UNCERTAINTY_ATTRIBUTE,
    WORKLOAD_ATTRIBUTES,
    Metric,
    Type,
)

from . import tick_values

NANOS_PER_MS = 1_000_000
CUMULATIVE = 2
LIMIT = FLEET_METRICS[1]
LIMIT_EVERY_MS = 60_000
"""How often the power limit, which hardly ever changes, is repeated."""
WORKLOADS_KEPT = 10_000

# NumberDataPoint: start_time_unix_nano = 2, time_unix_nano = 3, as_double = 4, attributes = 7.
POINT = struct.Struct("<BQBd")
POINT_FROM = struct.Struct("<BQBQBd")
POINT_START, POINT_TIME, POINT_VALUE = 2 << 3 | 1, 3 << 3 | 1, 4 << 3 | 1
DOUBLE = struct.Struct("<d")
VARINT, LENGTH = 0, 2


def varint(number: int) -> bytes:
    """Encode a whole number; a negative one takes ten bytes, as in ``int64``."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def chunk(field: int, content: bytes) -> bytes:
    """Encode a field of bytes, text or a message."""
    return varint(field << 3 | LENGTH) + varint(len(content)) + content


def attribute(name: str, value: str | int | float, field: int) -> bytes:
    """Encode a ``KeyValue`` as the given field of its parent."""
    if isinstance(value, str):
        any_value = chunk(1, value.encode(errors="replace"))
    elif isinstance(value, int):
        any_value = varint(3 << 3 | VARINT) + varint(value)
    else:
        any_value = varint(4 << 3 | 1) + DOUBLE.pack(value)
    return chunk(field, chunk(1, name.encode()) + chunk(2, any_value))


def point(attributes: bytes, ts_ms: int, value: float, start_ms: int | None = None) -> bytes:
    """Encode a ``NumberDataPoint`` as a field of its gauge or sum; times are in milliseconds."""
    time, number = ts_ms * NANOS_PER_MS, float(value)
    if start_ms is None:
        head = POINT.pack(POINT_TIME, time, POINT_VALUE, number)
    else:
        since = start_ms * NANOS_PER_MS
        head = POINT_FROM.pack(POINT_START, since, POINT_TIME, time, POINT_VALUE, number)
    return chunk(1, head + attributes)


def metric(told: Metric, kind: Type, points: Iterable[bytes]) -> bytes:
    """Encode a ``Metric`` with its points as a field of ``ScopeMetrics``."""
    data = b"".join(points)
    if kind is Type.COUNTER:
        total = data + varint(2 << 3) + varint(CUMULATIVE) + varint(3 << 3) + varint(1)
        body = chunk(7, total)
    else:
        body = chunk(5, data)
    texts = (
        chunk(1, told.otel.encode()),
        chunk(2, told.help.encode()),
        chunk(3, told.unit.encode()),
    )
    return chunk(2, b"".join(texts) + body)


class Encoder:
    """Encodes batches of one exporter; keeps what it heard of devices and workloads.

    Args:
        resource: attributes of the exporter; empty ones are left out.
        version: of the exporter.
    """

    def __init__(self, resource: dict[str, str], version: str) -> None:
        told = (attribute(name, value, 1) for name, value in resource.items() if value)
        self._resource = chunk(1, b"".join(told))
        self._scope = chunk(1, chunk(1, b"wattshed-exporter") + chunk(2, version.encode()))
        self._devices: dict[str, Device] = {}
        self._workloads: dict[str, bytes] = {}
        self._attributes: dict[tuple[str, Method, int], bytes] = {}
        self._limit_ms: dict[str, int] = {}

    def request(self, batch: Batch) -> bytes:
        """Return an ``ExportMetricsServiceRequest`` that holds everything in a batch."""
        for device in batch.devices:
            self._learn_device(device)
        for workload in batch.workloads:
            self._learn_workload(workload)
        metrics = b"".join(self._metrics(batch))
        return chunk(1, self._resource + chunk(2, self._scope + metrics))

    def _metrics(self, batch: Batch) -> Iterator[bytes]:
        yield from self._tick_metrics(batch.ticks)
        limits = list(self._limits(batch.ticks))
        gaps = [self._gap(tick) for tick in batch.ticks if tick.gap]
        shares = [self._share(allocation) for allocation in batch.allocations]
        totals = [self._outcome(outcome) for outcome in batch.outcomes]
        for told, kind, points in (
            (LIMIT, Type.GAUGE, limits),
            (GAP, Type.GAUGE, gaps),
            (ALLOCATION, Type.GAUGE, shares),
            (OUTCOMES, Type.COUNTER, totals),
        ):
            if points:
                yield metric(told, kind, points)

    def _tick_metrics(self, ticks: Iterable[Tick]) -> Iterator[bytes]:
        points: list[list[bytes]] = [[] for _ in TICK_METRICS]
        for tick in ticks:
            attributes = self._tick_attributes(tick)
            for told, into, value in zip(TICK_METRICS, points, tick_values(tick), strict=True):
                if value is not None and told.otel:
                    start_ms = tick.start_ms if told.type is Type.COUNTER else None
                    into.append(point(attributes, tick.ts_ms, value, start_ms))
        for told, into in zip(TICK_METRICS, points, strict=True):
            if into:
                yield metric(told, told.type, into)

    def _tick_attributes(self, tick: Tick) -> bytes:
        key = (tick.device, tick.method, tick.interval_ms)
        known = self._attributes.get(key)
        if known is None:
            known = self._attributes[key] = b"".join(self._describe(tick))
        return known

    def _describe(self, tick: Tick) -> Iterator[bytes]:
        device = self._devices.get(tick.device)
        if device is None:
            yield attribute(DEVICE_ATTRIBUTES[0].otel, tick.device, 7)
            return
        for told in DEVICE_ATTRIBUTES:
            value = str(getattr(device, told.name))
            if told.name == "method" and tick.method is not Method.UNKNOWN:
                value = str(tick.method)
            if value:
                yield attribute(told.otel, value, 7)
        if device.uncertainty_ratio is not None:
            yield attribute(UNCERTAINTY_ATTRIBUTE, float(device.uncertainty_ratio), 7)
        yield attribute(INTERVAL_ATTRIBUTE, tick.interval_ms, 7)

    def _limits(self, ticks: Iterable[Tick]) -> Iterator[bytes]:
        for tick in ticks:
            device = self._devices.get(tick.device)
            if device is None or device.power_limit_watts is None or tick.gap:
                continue
            last_ms = self._limit_ms.get(tick.device)
            if last_ms is None or abs(tick.ts_ms - last_ms) >= LIMIT_EVERY_MS:
                self._limit_ms[tick.device] = tick.ts_ms
                yield point(self._tick_attributes(tick), tick.ts_ms, device.power_limit_watts)

    def _gap(self, tick: Tick) -> bytes:
        reason = attribute(REASON_ATTRIBUTE, tick.gap, 7)
        return point(self._tick_attributes(tick) + reason, tick.ts_ms, 1.0)

    def _share(self, held: Allocation) -> bytes:
        attributes = attribute(DEVICE_ATTRIBUTES[0].otel, held.device, 7)
        attributes += self._workload(held.workload)
        if held.method:
            attributes += attribute(ALLOCATION_METHOD_ATTRIBUTE, held.method, 7)
        return point(attributes, held.end_ms, held.share, held.start_ms)

    def _outcome(self, outcome: Outcome) -> bytes:
        attributes = self._workload(outcome.workload)
        attributes += attribute(OUTCOME_KIND_ATTRIBUTE, outcome.kind, 7)
        if outcome.source:
            attributes += attribute(OUTCOME_SOURCE_ATTRIBUTE, outcome.source, 7)
        return point(attributes, outcome.ts_ms, outcome.total, outcome.start_ms)

    def _workload(self, key: str) -> bytes:
        return self._workloads.get(key) or attribute(WORKLOAD_ATTRIBUTES[0].otel, key, 7)

    def _learn_device(self, device: Device) -> None:
        if self._devices.get(device.key) == device:
            return
        self._devices[device.key] = device
        self._limit_ms.pop(device.key, None)
        self._attributes = {k: v for k, v in self._attributes.items() if k[0] != device.key}

    def _learn_workload(self, workload: Workload) -> None:
        told = ((a.otel, getattr(workload, a.name)) for a in WORKLOAD_ATTRIBUTES)
        self._workloads.pop(workload.key, None)
        self._workloads[workload.key] = b"".join(attribute(n, v, 7) for n, v in told if v)
        if len(self._workloads) > WORKLOADS_KEPT:
            del self._workloads[next(iter(self._workloads))]


def rejected_points(response: bytes) -> tuple[int, str]:
    """Return how many points the receiver rejected and why, from its response.

    Reads ``ExportMetricsServiceResponse.partial_success``; anything else counts as no rejection.
    """
    try:
        for field, content in _fields(response):
            if field == 1 and isinstance(content, bytes):
                inner = dict(_fields(content))
                count, why = inner.get(1, 0), inner.get(2, b"")
                if isinstance(count, int) and isinstance(why, bytes):
                    return count, why.decode(errors="replace")
    except (IndexError, ValueError):
        pass
    return 0, ""


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, at = _read_varint(data, at)
        if tag & 7 == VARINT:
            yield tag >> 3, number
        elif tag & 7 == LENGTH:
            yield tag >> 3, data[at : at + number]
            at += number
        else:
            raise ValueError(f"wire type {tag & 7} is not in this message")


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
