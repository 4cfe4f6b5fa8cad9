"""OTLP metrics as protobuf bytes, written by hand: the node needs no protobuf library for it.

What the devices of one read have in common from read to read is their layout: which device, which
metric, which labels, what is None. A layout that was seen before becomes a ``Template``, so that
only times and values are written; see bench/push.py for what that costs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter

from wattshed_exporter.model import (
    MICRO,
    Allocation,
    Batch,
    Detail,
    Device,
    Kind,
    Method,
    Outcome,
    Tick,
    Workload,
)
from wattshed_exporter.semconv import (
    ALLOCATION,
    ALLOCATION_ACTIVITY_ATTRIBUTE,
    ALLOCATION_METHOD_ATTRIBUTE,
    ALLOCATION_REVISION_ATTRIBUTE,
    DEVICE_ATTRIBUTES,
    GAP,
    HOST_NAMES,
    INTERVAL_ATTRIBUTE,
    OUTCOME_KIND_ATTRIBUTE,
    OUTCOME_MODEL_ATTRIBUTE,
    OUTCOME_SOURCE_ATTRIBUTE,
    OUTCOMES,
    POWER_LIMIT,
    PUSHED_ATTRIBUTES,
    PUSHED_DETAILS,
    REASON_ATTRIBUTE,
    TICK_METRICS,
    UNCERTAINTY_ATTRIBUTE,
    WORKLOAD_ATTRIBUTES,
    Metric,
    Type,
)

from .template import Numbers, Part, Spot, Template, write
from .wire import NANOS_PER_MS, VARINT, attribute, chunk, head, point, varint

log = logging.getLogger(__name__)

CUMULATIVE = 2
LIMIT_EVERY_MS = 60_000
"""How often the power limit, which hardly ever changes, is repeated."""
NEVER_MS = -LIMIT_EVERY_MS
WORKLOADS_KEPT = 10_000
LAYOUT_TICKS = 256
"""Ticks of one layout at most, unless they come from one read: a template takes 1.5 kB per tick."""
FORGET_SECONDS = 3600.0
"""How long a device may say nothing before its description is forgotten; one that comes back is
described again. A device that is read less often than once in six minutes has ten reads' time."""
FORGET_READS = 10
LAYOUTS_KEPT = 32
"""More only where what is None changes from read to read; then points are written one by one."""

DEVICE_ID = DEVICE_ATTRIBUTES[0].otel
DETAIL_OTEL = {a.label: a.otel for a in PUSHED_ATTRIBUTES}
PUSHED = tuple(m for m in TICK_METRICS if m.otel)
"""The metrics of a tick in the order of ``TICK_FIELDS``; the others are times on OTLP."""
DEVICE, GAP_REASON = attrgetter("device"), attrgetter("gap")
TICK_FIELDS = attrgetter(
    *("device", "method", "interval_ms", "ts_ms", "start_ms", "energy_uj", "power_watts"),
    *("utilization_ratio", "memory_used_bytes", "temperature_celsius"),
)
DETAIL_FIELDS = attrgetter("device", "metric", "attributes", "ts_ms", "start_ms", "value")
HOSTS = tuple(replace(m, otel=HOST_NAMES[m.otel]) for m in PUSHED if m.otel in HOST_NAMES)
ORDER: dict[str, Metric] = {
    m.otel: m
    for m in (*PUSHED, *HOSTS, POWER_LIMIT, GAP, *PUSHED_DETAILS.values(), ALLOCATION, OUTCOMES)
}
"""Every metric by its OTLP name, in the order in which a request holds them."""
SUMS = frozenset(m.otel for m in ORDER.values() if m.type is Type.COUNTER and m is not GAP)
"""A gap is a mark at an instant on OTLP; its seconds are counted for Prometheus."""
SUM_END = varint(2 << 3 | VARINT) + varint(CUMULATIVE) + varint(3 << 3 | VARINT) + varint(1)
HEADS = {
    m.otel: chunk(1, m.otel.encode()) + chunk(2, m.help.encode()) + chunk(3, m.unit.encode())
    for m in ORDER.values()
}

Points = dict[str, list[bytes | Part]]
"""Encoded data points by the OTLP name of their metric."""


class Layouts:
    """Templates of the layouts that come back; the rest is written point by point."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Template | None] = {}

    def clear(self) -> None:
        self._known.clear()

    def fill(
        self, key: Hashable, numbers: Numbers, spots: Callable[[], Sequence[Spot]]
    ) -> Mapping[str, bytes | Part]:
        """Return the points of each metric; ``spots`` is asked only for a layout that is new."""
        template = self._known.get(key)
        if template is not None:
            return template.fill(numbers)
        found = spots()
        if found and key in self._known:
            self._known[key] = template = Template(found, len(numbers))
            return template.fill(numbers)
        if len(self._known) >= LAYOUTS_KEPT:
            del self._known[next(iter(self._known))]
        self._known[key] = None
        return write(found, numbers)


class Encoder:
    """Encodes batches of one exporter; keeps what it heard of devices and workloads.

    Args:
        resource: attributes of the exporter; empty ones are left out.
        version: of the exporter.
        monotonic: a clock in seconds, to tell which devices have not been heard of for long.
    """

    def __init__(
        self,
        resource: dict[str, str],
        version: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._said_at: dict[str, float] = {}
        self._next_sweep = 0.0
        told = (attribute(name, value, 1) for name, value in resource.items() if value)
        self._resource = chunk(1, b"".join(told))
        self._scope = chunk(1, chunk(1, b"wattshed-exporter") + chunk(2, version.encode()))
        self._devices: dict[str, Device] = {}
        self._workloads: dict[str, bytes] = {}
        self._attributes: dict[tuple[str, Method, int], bytes] = {}
        self._limit_ms: dict[str, int] = {}
        self._layouts = Layouts()

    def request(self, *batches: Batch) -> bytes:
        """Return an ``ExportMetricsServiceRequest`` that holds everything in the batches.

        Raises ``struct.error`` where a number is none that OTLP can carry.
        """
        return b"".join(self.pieces(*batches))

    def pieces(self, *batches: Batch) -> Iterator[bytes]:
        """Yield a request in pieces, so that who compresses it need not hold it as a whole."""
        for batch in batches:
            for device in batch.devices:
                self._learn_device(device)
            for workload in batch.workloads:
                self._learn_workload(workload)
        points: Points = {}
        for part in grouped(batches):
            _extend(points, self._ticks(part))
        now = self._monotonic()
        for batch in batches:
            self._said_at.update(dict.fromkeys(map(DEVICE, batch.ticks), now))
            self._add(batch, points)
        if now >= self._next_sweep:
            self._next_sweep = now + FORGET_SECONDS / 6
            self._forget(now)
        metrics = [p for name in ORDER if name in points for p in metric(name, points[name])]
        size = len(self._scope) + sum(map(len, metrics))
        front = self._resource + head(2, size) + self._scope
        yield head(1, len(front) - len(self._scope) + size) + front
        yield from map(bytes, metrics)

    def _add(self, batch: Batch, points: Points) -> None:
        if batch.details:
            _extend(points, self._told(batch.details))
        if limits := self._limits(batch.ticks):
            points.setdefault(POWER_LIMIT.otel, []).extend(limits)
        if any(map(GAP_REASON, batch.ticks)):
            gaps = [self._gap(tick) for tick in batch.ticks if tick.gap]
            points.setdefault(GAP.otel, []).extend(gaps)
        if batch.allocations:
            points.setdefault(ALLOCATION.otel, []).extend(map(self._share, batch.allocations))
        if batch.outcomes:
            points.setdefault(OUTCOMES.otel, []).extend(map(self._outcome, batch.outcomes))

    def _ticks(self, ticks: Sequence[Tick]) -> Mapping[str, bytes | Part]:
        """Encode ticks as one layout."""
        devices, methods, intervals, times, starts, energies, *values = zip(
            *map(TICK_FIELDS, ticks), strict=True
        )
        numbers = [time * NANOS_PER_MS for time in times]
        numbers += [s if s is None else s * NANOS_PER_MS for s in starts]
        numbers += [e if e is None else e / MICRO for e in energies]
        for column in values:
            numbers += column
        holes = tuple([n is None for n in numbers]) if None in numbers else None
        key = (devices, methods, intervals, holes)
        return self._layouts.fill(key, numbers, lambda: self._tick_spots(ticks, numbers))

    def _tick_spots(self, ticks: Sequence[Tick], numbers: Numbers) -> list[Spot]:
        spots, count = [], len(ticks)
        for at, tick in enumerate(ticks):
            attributes = self._tick_attributes(tick)
            device = self._devices.get(tick.device)
            names = HOST_NAMES if device is not None and device.kind is Kind.HOST else {}
            start = count + at if tick.start_ms is not None else None
            for place, told in enumerate(PUSHED, 2):
                value = place * count + at
                if numbers[value] is not None:
                    since = start if told.type is Type.COUNTER else None
                    name = names.get(told.otel, told.otel)
                    spots.append(Spot(name, attributes, at, value, since))
        return spots

    def _told(self, details: Sequence[Detail]) -> Mapping[str, bytes | Part]:
        devices, metrics, labels, times, starts, values = zip(
            *map(DETAIL_FIELDS, details), strict=True
        )
        numbers = [time * NANOS_PER_MS for time in times]
        numbers += [s if s is None else s * NANOS_PER_MS for s in starts]
        numbers += values
        key = (devices, metrics, labels, tuple([s is None for s in starts]))
        return self._layouts.fill(key, numbers, lambda: list(_detail_spots(details)))

    def _tick_attributes(self, tick: Tick) -> bytes:
        key = (tick.device, tick.method, tick.interval_ms)
        known = self._attributes.get(key)
        if known is None:
            known = self._attributes[key] = b"".join(self._describe(tick))
        return known

    def _describe(self, tick: Tick) -> Iterator[bytes]:
        device = self._devices.get(tick.device)
        if device is None:
            yield attribute(DEVICE_ID, tick.device)
            return
        for told in DEVICE_ATTRIBUTES:
            value = str(getattr(device, told.name))
            if told.name == "method" and tick.method is not Method.UNKNOWN:
                value = str(tick.method)
            if value:
                yield attribute(told.otel, value)
        if device.uncertainty_ratio is not None:
            yield attribute(UNCERTAINTY_ATTRIBUTE, float(device.uncertainty_ratio))
        yield attribute(INTERVAL_ATTRIBUTE, tick.interval_ms)

    def _limits(self, ticks: Iterable[Tick]) -> list[bytes]:
        found, last_ms = [], self._limit_ms
        for tick in ticks:
            if abs(tick.ts_ms - last_ms.get(tick.device, NEVER_MS)) < LIMIT_EVERY_MS:
                continue
            if tick.gap and tick.power_watts is None:
                continue
            device = self._devices.get(tick.device)
            if device is not None and device.power_limit_watts is not None:
                last_ms[tick.device] = tick.ts_ms
                time_ns = tick.ts_ms * NANOS_PER_MS
                found.append(point(self._tick_attributes(tick), time_ns, device.power_limit_watts))
        return found

    def _gap(self, tick: Tick) -> bytes:
        reason = attribute(REASON_ATTRIBUTE, tick.gap)
        return point(self._tick_attributes(tick) + reason, tick.ts_ms * NANOS_PER_MS, 1.0)

    def _share(self, held: Allocation) -> bytes:
        attributes = attribute(DEVICE_ID, held.device) + self._workload(held.workload)
        if held.method:
            attributes += attribute(ALLOCATION_METHOD_ATTRIBUTE, held.method)
        if held.activity is not None:
            attributes += attribute(ALLOCATION_ACTIVITY_ATTRIBUTE, held.activity)
        if held.revision:
            attributes += attribute(ALLOCATION_REVISION_ATTRIBUTE, held.revision)
        end_ns, start_ns = held.end_ms * NANOS_PER_MS, held.start_ms * NANOS_PER_MS
        return point(attributes, end_ns, held.share, start_ns)

    def _outcome(self, outcome: Outcome) -> bytes:
        attributes = self._workload(outcome.workload)
        attributes += attribute(OUTCOME_KIND_ATTRIBUTE, outcome.kind)
        if outcome.source:
            attributes += attribute(OUTCOME_SOURCE_ATTRIBUTE, outcome.source)
        if outcome.model:
            attributes += attribute(OUTCOME_MODEL_ATTRIBUTE, outcome.model)
        start_ns = None if outcome.start_ms is None else outcome.start_ms * NANOS_PER_MS
        return point(attributes, outcome.ts_ms * NANOS_PER_MS, outcome.total, start_ns)

    def _workload(self, key: str) -> bytes:
        return self._workloads.get(key) or attribute(WORKLOAD_ATTRIBUTES[0].otel, key)

    def _learn_device(self, device: Device) -> None:
        if self._devices.get(device.key) == device:
            return
        self._devices[device.key] = device
        self._said_at[device.key] = self._monotonic()
        self._limit_ms.pop(device.key, None)
        self._attributes = {k: v for k, v in self._attributes.items() if k[0] != device.key}
        self._layouts.clear()

    def _forget(self, now: float) -> None:
        """Forget devices that have said nothing for long: swapped, or set up anew as MIG."""
        slowest_ms = max((interval_ms for _, _, interval_ms in self._attributes), default=0)
        before = now - max(FORGET_SECONDS, FORGET_READS * slowest_ms / 1000)
        gone = {key for key, at in self._said_at.items() if at < before}
        if gone:
            for known in (self._said_at, self._devices, self._limit_ms):
                for key in gone:
                    known.pop(key, None)
            self._attributes = {k: v for k, v in self._attributes.items() if k[0] not in gone}
            self._layouts.clear()

    def _learn_workload(self, workload: Workload) -> None:
        told = ((a.otel, getattr(workload, a.name)) for a in WORKLOAD_ATTRIBUTES)
        self._workloads.pop(workload.key, None)
        self._workloads[workload.key] = b"".join(attribute(n, v) for n, v in told if v)
        if len(self._workloads) > WORKLOADS_KEPT:
            del self._workloads[next(iter(self._workloads))]


def metric(name: str, points: Sequence[bytes | Part]) -> list[bytes | Part]:
    """Encode a ``Metric`` with its points as a field of ``ScopeMetrics``, in pieces."""
    size = sum(map(len, points))
    end = SUM_END if name in SUMS else b""
    front = HEADS[name] + head(7 if name in SUMS else 5, size + len(end))
    return [head(2, len(front) + size + len(end)) + front, *points, end]


def grouped(batches: Iterable[Batch]) -> Iterator[Sequence[Tick]]:
    """Yield the ticks of all batches, rounds of the same devices together, up to a bound.

    So many rounds of these devices are a layout that recurs as well, and one layout with many
    points costs half as much as many with few.
    """
    groups: dict[tuple[str, ...], list[Tick]] = {}
    for batch in batches:
        for part in rounds(batch.ticks):
            devices = tuple(map(DEVICE, part))
            group = groups.get(devices, [])
            if group and len(group) + len(part) > LAYOUT_TICKS:
                yield group
                group = []
            group += part
            groups[devices] = group
    yield from groups.values()


def rounds(ticks: Sequence[Tick]) -> Iterator[Sequence[Tick]]:
    """Cut ticks wherever a device would come twice, so that each part has a layout that recurs."""
    if len(set(map(DEVICE, ticks))) == len(ticks):
        if ticks:
            yield ticks
        return
    seen: set[str] = set()
    begin = 0
    for at, tick in enumerate(ticks):
        if tick.device in seen:
            yield ticks[begin:at]
            begin = at
            seen.clear()
        seen.add(tick.device)
    yield ticks[begin:]


def _detail_spots(details: Sequence[Detail]) -> Iterator[Spot]:
    count = len(details)
    for at, detail in enumerate(details):
        told = PUSHED_DETAILS.get(detail.metric)
        if told is None:
            log.error("%s is no metric of the contract; it is not sent", detail.metric)
            continue
        own = zip(told.own, detail.attributes, strict=True)
        attributes = attribute(DEVICE_ID, detail.device)
        attributes += b"".join(attribute(DETAIL_OTEL[label], v) for label, v in own if v)
        since = told.type is Type.COUNTER and detail.start_ms is not None
        start = count + at if since else None
        yield Spot(told.otel, attributes, at, 2 * count + at, start)


def _extend(points: Points, found: Mapping[str, bytes | Part]) -> None:
    for name, made in found.items():
        points.setdefault(name, []).append(made)
