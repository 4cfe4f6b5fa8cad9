"""What is fixed about a data point: which value of which row it is, whatever its number will be.

A sender says the same series again and again, and only times and numbers change. All that
``facts`` would find out about a point from its metric, unit and attributes is found out once, so
that the numbers of many can be checked and stored as arrays. What is no number of a tick or a
detail, or is always rejected, stays a ``Point`` and goes through ``facts`` as it always did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from wattshed_exporter import semconv
from wattshed_exporter.model import stable_id

from . import Attributes, Point, details
from .facts import (
    ABSOLUTE_ZERO,
    CACHE,
    FIELDS,
    LARGEST,
    Normaliser,
    Rejected,
    interval_ms,
    unit_scale,
)

MOST_ROLES = 50_000


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
class Role:
    """What a number is, whatever device it is of. It is multiplied by ``scale`` and must lie in
    [least, largest].

    ``field`` is that of a tick; ``reason`` is that of a gap. ``known`` says what a detail is, and
    ``own`` are the values of its labels.
    """

    metric: str
    unit: str
    part: Part
    scale: float = 1.0
    least: float = float("-inf")
    largest: float = float("inf")
    field: str = ""
    reason: str = ""
    method: str = ""
    interval_ms: int = 0
    known: details.Known | None = None
    own: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """One series: a role, and whose. ``device`` is "" where the role is no number of a device."""

    role: Role
    attributes: Attributes
    device: str = ""
    device_id: int = 0

    def point(self, value: float, ts_ms: int, start_ms: int) -> Point:
        """Return a point of this series."""
        return Point(self.role.metric, self.role.unit, value, ts_ms, self.attributes, start_ms)


class Slots:
    """Says what series are; series with the same role get the same object. For one thread."""

    def __init__(self, normaliser: Normaliser) -> None:
        self._normaliser = normaliser
        self._roles: dict[tuple[object, ...], Role] = {}
        self._ids: dict[str, int] = {}

    def of(self, metric: str, unit: str, attributes: Attributes) -> Slot:
        """Say what a series is. Raises Odd where that depends on what stands beside it."""
        try:
            if metric in FIELDS:
                return self._of_tick(metric, unit, attributes)
            if metric == semconv.GAP.otel:
                return self._of_gap(unit, attributes)
            if metric in details.KNOWN:
                return self._of_detail(metric, unit, attributes)
        except Rejected:  # whatever the number, so ``facts`` says why each time
            pass
        return Slot(self._role(metric, unit, Part.OTHER, (), dict), attributes)

    def again(self, slot: Slot, device: str, attributes: Attributes) -> Slot:
        """Return what a slot of a detail is of another device."""
        return Slot(slot.role, attributes, device, self._id(device))

    def _of_tick(self, metric: str, unit: str, attributes: Attributes) -> Slot:
        device = self._normaliser.device(attributes)
        told = device.method, _interval_ms(attributes)

        def made() -> dict[str, Any]:
            field = FIELDS[metric]
            least, largest = _bounds(field.unit, LARGEST[field.field])
            scale = unit_scale(unit, field.unit)
            bounds = {"scale": scale, "least": least, "largest": largest}
            return {**bounds, "field": field.field, "method": told[0].value, "interval_ms": told[1]}

        role = self._role(metric, unit, Part.TICK, told, made)
        return Slot(role, attributes, device.key, self._id(device.key))

    def _of_gap(self, unit: str, attributes: Attributes) -> Slot:
        device = self._normaliser.device(attributes)
        reason = str(attributes.get(semconv.REASON_ATTRIBUTE) or "unknown")
        told = {
            "reason": reason,
            "method": device.method.value,
            "interval_ms": _interval_ms(attributes),
        }
        role = self._role(semconv.GAP.otel, unit, Part.GAP, tuple(told.values()), lambda: told)
        return Slot(role, attributes, device.key, self._id(device.key))

    def _of_detail(self, metric: str, unit: str, attributes: Attributes) -> Slot:
        known = details.KNOWN[metric]
        key = str(attributes.get("hw.id", ""))
        own = known.own(attributes)

        def made() -> dict[str, Any]:
            least, largest = _bounds(known.unit, known.largest)
            scale = unit_scale(unit, known.unit)
            return {
                "scale": scale, "least": least, "largest": largest, "known": known, "own": own,
            }  # fmt: skip

        role = self._role(metric, unit, Part.DETAIL, own, made)
        if not key:
            raise Rejected("no_device")
        return Slot(role, attributes, key, self._id(key))

    def _role(
        self,
        metric: str,
        unit: str,
        part: Part,
        told: tuple[object, ...],
        made: Callable[[], dict[str, Any]],
    ) -> Role:
        key = metric, unit, part, told
        role = self._roles.get(key)
        if role is None:
            if len(self._roles) >= MOST_ROLES:
                self._roles.clear()
            role = self._roles[key] = Role(metric, unit, part, **made())
        return role

    def _id(self, key: str) -> int:
        found = self._ids.get(key)
        if found is None:
            if len(self._ids) >= CACHE:
                self._ids.clear()
            found = self._ids[key] = stable_id(key)
        return found


def _bounds(unit: str, largest: float) -> tuple[float, float]:
    return ABSOLUTE_ZERO if unit == "Cel" else 0.0, largest


def _interval_ms(attributes: Attributes) -> int:
    try:
        return interval_ms(attributes)
    except Rejected:  # which point of a tick comes first decides
        raise Odd("an interval that is none") from None
