"""Points to facts: check every point, group what one device said at one instant into a tick.

A bad point is counted under its reason and leaves its neighbours alone: a NaN power beside a good
energy costs the tick its power, not its energy.
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from wattshed_exporter import semconv
from wattshed_exporter.model import (
    Allocation,
    Batch,
    Detail,
    Device,
    Doubtful,
    Kind,
    Method,
    Outcome,
    Overlap,
    Tick,
    Workload,
)

from . import Attributes, Point, allocations, details

FIELDS = {metric.otel: metric for metric in semconv.TICK_METRICS if metric.otel}
FIELDS["hw.gpu.utilization"] = FIELDS["wattshed.device.utilization"]
FIELDS.update({host: FIELDS[part] for part, host in semconv.HOST_NAMES.items()})
DEFAULT_INTERVAL_MS = 10_000
LARGEST = {
    "energy_joules": 1.8e13,
    "power_watts": 1.8e10,
    "utilization_ratio": 1.0,
    "memory_used_bytes": 1.8e19,
    "temperature_celsius": 1000.0,
}
"""Largest value of each field: what the column holds, or what the quantity can be."""
LARGEST_OUTCOME = 1e18
"""More tokens than that make no sense, and their sums must stay finite."""
OURS = frozenset(
    {
        *FIELDS,
        *details.KNOWN,
        *(m.otel for m in (semconv.GAP, semconv.POWER_LIMIT, semconv.ALLOCATION, semconv.OUTCOMES)),
    }
)
"""OpenTelemetry names of the metrics that say something of energy or of who used it."""
ABSOLUTE_ZERO = -273.15
ANNOTATION = re.compile(r"\{[!-z|~]*\}")
"""What UCUM puts in braces names what is counted, and is the unit 1: ``{error}``, ``{row}``."""
CACHE = 50_000


@dataclass(frozen=True, slots=True)
class Limits:
    """Which event times are believed. ``oldest_seconds`` 0 accepts any age."""

    future_seconds: float = 600.0
    oldest_seconds: float = 29 * 86400.0

    def doubt(self, ts_ms: int, now_ms: float) -> str:
        """Return why an event time is not believed, "" where it is."""
        if ts_ms <= 0:
            return "no_timestamp"
        if ts_ms > now_ms + self.future_seconds * 1000:
            return "future_timestamp"
        return "too_old" if 0 < self.oldest_seconds * 1000 < now_ms - ts_ms else ""


class Rejected(Exception):
    """A point that cannot be used; its text is the reason's label."""


class Normaliser:
    """Turns points into a batch; remembers devices and workloads it has parsed."""

    def __init__(self, limits: Limits, now: Callable[[], float] = time.time) -> None:
        self._limits = limits
        self._now = now
        self._devices: dict[str, tuple[Attributes, Device]] = {}
        self._power_limits: dict[str, float] = {}
        self.edition = 0
        """Rises with each new description: while it stays, ``device`` says the same again."""

    def batch(self, points: Iterable[Point], rejected: Counter[str] | None = None) -> Batch:
        """Check ``points``; the batch's ``rejected`` holds the count of bad ones by reason."""
        draft = _Draft(rejected if rejected is not None else Counter())
        now_ms = self._now() * 1000
        for point in points:
            try:
                if doubt := self._limits.doubt(point.ts_ms, now_ms):
                    raise Rejected(doubt)
                self._take(point, draft)
            except Rejected as reason:
                draft.rejected[str(reason)] += 1
        return draft.batch()

    def believes(self, first_ms: int, last_ms: int) -> bool:
        """Return whether all event times from the first to the last are believed now."""
        now_ms = self._now() * 1000
        return not (self._limits.doubt(first_ms, now_ms) or self._limits.doubt(last_ms, now_ms))

    def _take(self, point: Point, draft: _Draft) -> None:
        if field := FIELDS.get(point.metric):
            value = _checked(point, field.unit, LARGEST[field.field])
            device = self.device(point.attributes)
            draft.set(device, point, field.field, value)
        elif known := details.KNOWN.get(point.metric):
            value = _checked(point, known.unit, known.largest)
            draft.details.append(known.detail(point, _device_key(point), value))
        elif point.metric == semconv.GAP.otel:
            reason = str(point.attributes.get(semconv.REASON_ATTRIBUTE) or "unknown")
            draft.set(self.device(point.attributes), point, "gap", reason)
        elif point.metric == semconv.POWER_LIMIT.otel:
            limit = _checked(point, "W", LARGEST["power_watts"])
            device = self.device(point.attributes)
            if device.power_limit_watts != limit:
                self._power_limits[device.key] = limit
                self._devices.pop(device.key, None)
                device = self.device(point.attributes)
            draft.devices[device.key] = device
        elif point.metric == semconv.ALLOCATION.otel:
            draft.add_allocation(point)
        elif point.metric == semconv.OUTCOMES.otel:
            draft.add_outcome(point)
        else:
            raise Rejected("unknown_metric")

    def device(self, attributes: Attributes) -> Device:
        """Return the device that attributes describe, with its last limit; raises Rejected."""
        key = str(attributes.get("hw.id", ""))
        known = self._devices.get(key)
        if known is not None and known[0] is attributes:
            return known[1]
        if known is not None and known[0] == attributes:
            self._devices[key] = attributes, known[1]
            return known[1]
        # The limit is said now and then, the device with every point.
        device = replace(_parse_device(attributes), power_limit_watts=self._power_limits.get(key))
        if known is not None and known[1] == device:  # said with other labels beside it
            self._devices[key] = attributes, known[1]
            return known[1]
        if len(self._devices) >= CACHE:
            self._devices.clear()
            self._power_limits.clear()
        self._devices[key] = attributes, device
        self.edition += 1
        return device


class _Draft:
    """What a batch is made of while its points come in."""

    def __init__(self, rejected: Counter[str]) -> None:
        self.rejected = rejected
        self.devices: dict[str, Device] = {}
        self.workloads: dict[str, Workload] = {}
        self.ticks: dict[tuple[str, int], dict[str, Any]] = {}
        self.details: list[Detail] = []
        self.allocations: list[Allocation] = []
        self.outcomes: list[Outcome] = []
        self.quarantine: list[Doubtful] = []

    def set(self, device: Device, point: Point, field: str, value: float | str) -> None:
        tick = self.ticks.get((device.key, point.ts_ms))
        if tick is None:
            tick = {"interval_ms": interval_ms(point.attributes), "method": device.method}
            self.ticks[device.key, point.ts_ms] = tick
        self.devices.setdefault(device.key, device)
        if field == "energy_joules":
            tick["energy_uj"] = round(float(value) * 1e6)
            tick["start_ms"] = point.start_ms or None
        elif field == "memory_used_bytes":
            tick[field] = int(value)
        else:
            tick[field] = value

    def add_allocation(self, point: Point) -> None:
        if point.start_ms <= 0:
            raise Rejected("no_start")
        workload = _parse_workload(point.attributes)
        allocation = Allocation(
            _device_key(point),
            workload.key,
            point.start_ms,
            point.ts_ms,
            _scaled(point, "1"),
            str(point.attributes.get(semconv.ALLOCATION_METHOD_ATTRIBUTE, "")),
            _activity(point.attributes),
            _revision(point.attributes),
        )
        if reason := allocations.doubt(allocation):
            self.quarantine.append(Doubtful(allocation, reason))
            return
        self.workloads.setdefault(workload.key, workload)
        self.allocations.append(allocation)

    def add_outcome(self, point: Point) -> None:
        if not math.isfinite(point.value):
            raise Rejected("not_finite")
        if point.value < 0:
            raise Rejected("negative")
        if point.value > LARGEST_OUTCOME:
            raise Rejected("out_of_range")
        kind = str(point.attributes.get(semconv.OUTCOME_KIND_ATTRIBUTE, ""))
        if not kind:
            raise Rejected("no_outcome_kind")
        workload = _parse_workload(point.attributes)
        self.workloads.setdefault(workload.key, workload)
        source = str(point.attributes.get(semconv.OUTCOME_SOURCE_ATTRIBUTE, ""))
        model = str(point.attributes.get(semconv.OUTCOME_MODEL_ATTRIBUTE, ""))
        start_ms = point.start_ms or None
        self.outcomes.append(
            Outcome(workload.key, kind, point.ts_ms, point.value, start_ms, source, model)
        )

    def batch(self) -> Batch:
        return Batch(
            devices=tuple(self.devices.values()),
            ticks=tuple(
                Tick(device=key, ts_ms=ts_ms, **fields)
                for (key, ts_ms), fields in self.ticks.items()
            ),
            details=tuple(self.details),
            workloads=tuple(self.workloads.values()),
            allocations=tuple(self.allocations),
            outcomes=tuple(self.outcomes),
            quarantine=tuple(self.quarantine),
            rejected=dict(self.rejected),
        )


def _parse_workload(attributes: Attributes) -> Workload:
    texts = _texts(attributes, semconv.WORKLOAD_ATTRIBUTES)
    if not texts.get("key"):
        raise Rejected("no_workload")
    return Workload(**{"name": texts["key"], **texts})


def unit_scale(said: str, unit: str) -> float:
    """Return the factor from the unit that was said to the base unit; raises Rejected."""
    scale = semconv.UNIT_SCALE[unit].get("1" if ANNOTATION.fullmatch(said) else said)
    if scale is None:
        raise Rejected("unknown_unit")
    return scale


def _scaled(point: Point, unit: str) -> float:
    return point.value * unit_scale(point.unit, unit)


def _checked(point: Point, unit: str, largest: float) -> float:
    value = _scaled(point, unit)
    if not math.isfinite(value):
        raise Rejected("not_finite")
    if value < 0 and unit != "Cel":
        raise Rejected("negative")
    if value > largest or value < ABSOLUTE_ZERO:
        raise Rejected("out_of_range")
    return value


def _device_key(point: Point) -> str:
    key = str(point.attributes.get("hw.id", ""))
    if not key:
        raise Rejected("no_device")
    return key


def interval_ms(attributes: Attributes) -> int:
    """Return the nominal time between two readings; raises Rejected."""
    try:
        interval = int(attributes.get(semconv.INTERVAL_ATTRIBUTE, DEFAULT_INTERVAL_MS))
    except (ValueError, OverflowError):
        raise Rejected("bad_attribute") from None
    if not 0 < interval < 2**32:
        raise Rejected("bad_attribute")
    return interval


def _activity(attributes: Attributes) -> float | None:
    said = attributes.get(semconv.ALLOCATION_ACTIVITY_ATTRIBUTE)
    if said is None:
        return None
    try:
        return float(said)
    except (ValueError, OverflowError):
        raise Rejected("bad_attribute") from None


def _revision(attributes: Attributes) -> int:
    try:
        revision = int(attributes.get(semconv.ALLOCATION_REVISION_ATTRIBUTE, 0))
    except (ValueError, OverflowError):
        raise Rejected("bad_attribute") from None
    if not 0 <= revision < 2**20:
        raise Rejected("bad_attribute")
    return revision


def _texts(attributes: Attributes, table: tuple[semconv.Attribute, ...]) -> dict[str, str]:
    return {a.name: str(attributes[a.otel]) for a in table if attributes.get(a.otel)}


def _parse_device(attributes: Attributes) -> Device:
    texts: dict[str, Any] = _texts(attributes, semconv.DEVICE_ATTRIBUTES)
    if "key" not in texts:
        raise Rejected("no_device")
    uncertainty = attributes.get(semconv.UNCERTAINTY_ATTRIBUTE)
    try:
        texts["kind"] = Kind(texts.get("kind", "host"))
        texts["method"] = Method(texts.get("method", "counter"))
        texts["overlap"] = Overlap(texts.get("overlap", ""))
        texts["uncertainty_ratio"] = None if uncertainty is None else float(uncertainty)
    except ValueError:
        raise Rejected("bad_attribute") from None
    if not math.isfinite(texts["uncertainty_ratio"] or 0.0):
        raise Rejected("bad_attribute")
    return Device(**{"node": "", "source": "", **texts})
