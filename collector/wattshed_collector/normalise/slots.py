"""What is fixed about a data point: which value of which row it is, whatever its number will be.

A sender says the same series again and again, and only times and numbers change. All that
``facts`` would find out about a point from its metric, unit and attributes is found out once, so
that the numbers of many can be checked and stored as arrays. What is no number of a tick or a
detail, or is always rejected, stays a ``Point`` and goes through ``facts`` as it always did.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from wattshed_exporter import semconv
from wattshed_exporter.model import Device, stable_id

from . import Attributes, Point, details
from .facts import (
    ABSOLUTE_ZERO,
    FIELDS,
    LARGEST,
    Normaliser,
    Rejected,
    interval_ms,
    unit_scale,
)


class Odd(Exception):
    """Something that arrays cannot hold, or that was never seen: it is read the long way."""


class Moved(Odd):
    """Numbers that belonged together when the layout was learned do so no more."""


class Part(Enum):
    """Where the number of a point goes."""

    TICK = auto()
    GAP = auto()
    DETAIL = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """One series. The number is multiplied by ``scale`` and must lie in [least, largest].

    ``field`` is that of a tick; ``reason`` is that of a gap. ``known`` says what a detail is, and
    ``own`` are the values of its labels.
    """

    metric: str
    unit: str
    attributes: Attributes
    part: Part
    scale: float = 1.0
    least: float = float("-inf")
    largest: float = float("inf")
    field: str = ""
    reason: str = ""
    device: str = ""
    device_id: int = 0
    method: str = ""
    interval_ms: int = 0
    known: details.Known | None = None
    own: tuple[str, ...] = ()

    def point(self, value: float, ts_ms: int, start_ms: int) -> Point:
        """Return a point of this series."""
        return Point(self.metric, self.unit, value, ts_ms, self.attributes, start_ms)


def slot(metric: str, unit: str, attributes: Attributes, normaliser: Normaliser) -> Slot:
    """Say what a series is. Raises Odd where that depends on what stands beside it."""
    try:
        if metric in FIELDS:
            return _of_tick(metric, unit, attributes, normaliser)
        if metric == semconv.GAP.otel:
            return _of_gap(unit, attributes, normaliser)
        if metric in details.KNOWN:
            return _of_detail(metric, unit, attributes)
    except Rejected:  # whatever the number, so ``facts`` says why each time
        pass
    return Slot(metric, unit, attributes, Part.OTHER)


def _of_tick(metric: str, unit: str, attributes: Attributes, normaliser: Normaliser) -> Slot:
    field = FIELDS[metric]
    scale = unit_scale(unit, field.unit)
    device = normaliser.device(attributes)
    return Slot(
        metric,
        unit,
        attributes,
        Part.TICK,
        scale,
        *_bounds(field.unit, LARGEST[field.field]),
        field=field.field,
        device=device.key,
        device_id=stable_id(device.key),
        method=device.method.value,
        interval_ms=_interval_ms(attributes),
    )


def _of_gap(unit: str, attributes: Attributes, normaliser: Normaliser) -> Slot:
    device: Device = normaliser.device(attributes)
    return Slot(
        semconv.GAP.otel,
        unit,
        attributes,
        Part.GAP,
        reason=str(attributes.get(semconv.REASON_ATTRIBUTE) or "unknown"),
        device=device.key,
        device_id=stable_id(device.key),
        method=device.method.value,
        interval_ms=_interval_ms(attributes),
    )


def _of_detail(metric: str, unit: str, attributes: Attributes) -> Slot:
    known = details.KNOWN[metric]
    scale = unit_scale(unit, known.unit)
    key = str(attributes.get("hw.id", ""))
    if not key:
        raise Rejected("no_device")
    return Slot(
        metric,
        unit,
        attributes,
        Part.DETAIL,
        scale,
        *_bounds(known.unit, known.largest),
        device=key,
        device_id=stable_id(key),
        known=known,
        own=known.own(attributes),
    )


def _bounds(unit: str, largest: float) -> tuple[float, float]:
    return ABSOLUTE_ZERO if unit == "Cel" else 0.0, largest


def _interval_ms(attributes: Attributes) -> int:
    try:
        return interval_ms(attributes)
    except Rejected:  # which point of a tick comes first decides
        raise Odd("an interval that is none") from None
