"""Where the numbers stand in an OTLP body: its wire format, read just far enough.

Text and attributes come in the same bytes again and again, so each piece is parsed by the stock
library once and remembered; what is left are eight-byte numbers and their places. Anything that is
not as every OTLP encoder writes it (fields out of order or twice, histograms, deltas, exemplars)
raises ``Odd``, and the stock library reads the whole body.
Source: opentelemetry/proto/metrics/v1/metrics.proto; https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from dataclasses import dataclass, field

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    DataPointFlags,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)

from wattshed_exporter import semconv

from . import Attributes, otlp
from .facts import OURS, Normaliser
from .slots import Odd, Slot, Slots

CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
UNSAID = DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
RESOURCE, SCOPE, METRIC, SCHEMA, POINT = 0x0A, 0x12, 0x12, 0x1A, 0x0A
GAUGE, SUM = 0x2A, 0x3A
BYTES = 2
"""The wire type of messages and texts."""
HEAD = frozenset((0x0A, 0x12, 0x1A))
"""Name, description and unit of a metric."""
START, TIME, DOUBLE, INTEGER = 0x11, 0x19, 0x21, 0x31
ATTRIBUTES = 0x3A
_NAME = semconv.ALLOCATION_ACTIVITY_ATTRIBUTE.encode()
ACTIVITY = bytes((0x0A, len(_NAME))) + _NAME + b"\x12\x09\x21"
"""The attribute whose value, eight bytes that follow, changes like that of a point."""
DEVICE = "hw.id"
_DEVICE = bytes((0x0A, len(DEVICE))) + DEVICE.encode()
MOST_BYTES = 64 * 2**20
"""Of what is remembered, in memory."""
MOST_SAID = otlp.PIECE_BYTES // 2
"""Bytes of one piece of text or attributes; what is longer is cut or refused elsewhere."""
NUMBER = bytes(8)


@dataclass(slots=True)
class Spots:
    """The points of a body, by place in its bytes; 0 where there is no such number."""

    slots: list[Slot] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    values: list[int] = field(default_factory=list)
    integers: list[int] = field(default_factory=list)
    """Of those among ``slots`` whose value is an integer."""
    activities: list[tuple[int, int]] = field(default_factory=list)
    """Which of ``slots``, and where its activity stands."""


class _Head:
    """A metric as it is declared: its name and unit, and its details whatever their device."""

    __slots__ = ("details", "name", "unit")

    def __init__(self, name: str, unit: str) -> None:
        self.name = name
        self.unit = unit
        self.details: dict[bytes, tuple[Slot, Attributes]] = {}
        """By the bytes of their attributes after the first, which names the device."""


class _Context:
    """A metric of a resource: what its points have in common."""

    __slots__ = ("head", "slots")

    def __init__(self, head: _Head) -> None:
        self.head = head
        self.slots: dict[bytes, Slot] = {}


class Scanner:
    """Finds the places; remembers what it has parsed, up to a bound. For one thread at a time."""

    def __init__(self, normaliser: Normaliser) -> None:
        self._slots = Slots(normaliser)
        self._resources: dict[bytes, dict[str, str | float | int | bool]] = {}
        self._scopes: set[bytes] = set()
        self._heads: dict[tuple[bytes, bytes], _Head] = {}
        self._contexts: dict[tuple[bytes, bytes, bytes], _Context] = {}
        self._attributes: dict[tuple[bytes, bytes], Attributes] = {}
        self._devices: dict[bytes, str] = {}
        self._size = 0

    def scan(self, body: bytes) -> Spots:
        """Return the points of a request. Raises Odd."""
        if self._size > MOST_BYTES:
            for known in (self._resources, self._heads, self._contexts, self._attributes):
                known.clear()
            self._scopes.clear()
            self._devices.clear()
            self._size = 0
        spots, at = Spots(), 0
        try:
            while at < len(body):
                at, end = inside(body, at, len(body), RESOURCE)
                self._resource(body, at, end, spots)
                at = end
        except (IndexError, DecodeError) as error:
            raise Odd(str(error)) from error
        return spots

    def _resource(self, body: bytes, at: int, end: int, spots: Spots) -> None:
        own, scopes = b"", list[tuple[int, int]]()
        while at < end:
            tag, begin = body[at], at
            at, stop = inside(body, at, end, tag)
            if tag == SCOPE:
                scopes.append((at, stop))
            elif tag in (RESOURCE, SCHEMA):
                own += body[begin:stop]
            else:
                raise Odd("a field of ResourceMetrics")
            at = stop
        _check_size(own)
        if own not in self._resources:
            said = ResourceMetrics.FromString(own).resource.attributes
            self._resources[own] = otlp.taken_over(said)
            self._size += len(own)
        for begin, stop in scopes:
            self._scope(body, begin, stop, own, spots)

    def _scope(self, body: bytes, at: int, end: int, resource: bytes, spots: Spots) -> None:
        own = b""
        while at < end:
            tag, begin = body[at], at
            at, stop = inside(body, at, end, tag)
            if tag == METRIC:
                self._metric(body, at, stop, resource, spots)
            elif tag in (RESOURCE, SCHEMA):
                own += body[begin:stop]
            else:
                raise Odd("a field of ScopeMetrics")
            at = stop
        _check_size(own)
        if own not in self._scopes:
            ScopeMetrics.FromString(own)  # which says whether its text is text
            self._scopes.add(own)
            self._size += len(own)

    def _metric(self, body: bytes, at: int, end: int, resource: bytes, spots: Spots) -> None:
        begin = at
        while at < end and body[at] in HEAD:
            at = inside(body, at, end, body[at])[1]
        head = body[begin:at]
        if at == end or body[at] not in (GAUGE, SUM):
            raise Odd("neither a gauge nor a sum")
        kind = body[at : at + 1]
        at, stop = inside(body, at, end, body[at])
        if stop != end:
            raise Odd("a field after the data")
        rests: list[tuple[int, int]] = []
        while at < end and body[at] == POINT:
            at, stop = inside(body, at, end, POINT)
            rests.append((numbers(body, at, stop, spots), stop))
            at = stop
        context = self._context(resource, head, kind + body[at:end])
        known = context.slots
        for rest, stop in rests:
            said = body[rest:stop]
            found = known.get(said)
            if found is None:
                found = self._slot(context, resource, said, rest, spots)
            spots.slots.append(found)
        if len(spots.slots) > otlp.MOST_PARTS:
            raise Odd("more points than are taken at once")

    def _context(self, resource: bytes, head: bytes, tail: bytes) -> _Context:
        known = self._contexts.get((resource, head, tail))
        if known is None:
            declared = self._heads.get((head, tail))
            if declared is None:
                declared = self._heads[head, tail] = _declared(head, tail)
                self._size += len(head) + 500
            known = self._contexts[resource, head, tail] = _Context(declared)
            self._size += len(resource) + len(head)
        return known

    def _slot(self, context: _Context, resource: bytes, said: bytes, at: int, spots: Spots) -> Slot:
        head = context.head
        if head.name == semconv.ALLOCATION.otel and (place := _activity(said)):
            spots.activities.append((len(spots.slots), at + place))
            said = said[:place] + NUMBER + said[place + 8 :]
            if said in context.slots:
                return context.slots[said]
        found = self._of_another(head, resource, said)
        if found is None:
            attributes = self._said(resource, said)
            found = self._slots.of(head.name, head.unit, attributes)
            self._note(head, said, found)
        context.slots[said] = found
        self._size += 500
        return found

    def _note(self, head: _Head, said: bytes, found: Slot) -> None:
        """Remember a detail whose role depends on nothing but its own labels."""
        known = found.role.known
        if known is None or not otlp.INHERITED.isdisjoint(known.attributes):
            return
        end = _first(said)
        own = otlp.attributes(NumberDataPoint.FromString(said[end:]))
        if _device(said[:end]) and DEVICE not in own:
            head.details[said[end:]] = found, own
            self._size += len(said) + 500

    def _of_another(self, head: _Head, resource: bytes, said: bytes) -> Slot | None:
        """Return a detail that is known of another device, and differs in nothing else."""
        if not head.details:
            return None
        end = _first(said)
        known, own = head.details.get(said[end:], (None, {}))
        if known is None:
            return None
        pair = said[:end]
        key = self._devices.get(pair)
        if key is None:
            key = self._devices[pair] = _device(pair)
            self._size += 2 * len(pair)
        if not key:
            return None
        return self._slots.again(known, key, {**self._resources[resource], **own, DEVICE: key})

    def _said(self, resource: bytes, said: bytes) -> Attributes:
        attributes = self._attributes.get((resource, said))
        if attributes is None:
            _check_size(said)
            point = NumberDataPoint.FromString(said)
            if point.flags & UNSAID or point.exemplars:
                raise Odd("flags or exemplars")
            if point.WhichOneof("value") or point.time_unix_nano or point.start_time_unix_nano:
                raise Odd("numbers after the attributes")
            attributes = {**self._resources[resource], **otlp.attributes(point)}
            self._attributes[resource, said] = attributes
            self._size += 2 * len(said)
        return attributes


def _declared(head: bytes, tail: bytes) -> _Head:
    _check_size(head)
    _check_size(tail)
    metric = Metric.FromString(head)
    data = Sum.FromString(tail[1:])
    cumulative = data.aggregation_temporality == CUMULATIVE
    if len(data.data_points) or (len(tail) > 1 if tail[0] == GAUGE else not cumulative):
        raise Odd("a sum that is not cumulative, or an order of its own")
    if metric.name not in OURS:
        raise Odd("a metric that is not about energy")
    return _Head(metric.name, metric.unit)


def _first(said: bytes) -> int:
    """Return where the first attribute of a point ends, 0 where something else comes first."""
    if len(said) < 2 or said[0] != ATTRIBUTES or said[1] > 0x7F:
        return 0
    return 2 + said[1]


def _device(pair: bytes) -> str:
    """Return the key of the device that an attribute names, "" where it names none."""
    if not pair.startswith(_DEVICE, 2):
        return ""
    said = KeyValue.FromString(pair[2:])
    return said.value.string_value if said.key == DEVICE else ""


def _check_size(said: bytes) -> None:
    if len(said) > MOST_SAID:
        raise Odd("more text than makes sense")


def inside(body: bytes, at: int, end: int, tag: int) -> tuple[int, int]:
    """Return where the content of a field begins and ends."""
    if body[at] != tag:
        raise Odd(f"tag {body[at]}")
    size = body[at + 1]
    at += 2
    if size > 0x7F:
        size &= 0x7F
        shift = 7
        while True:
            byte = body[at]
            size |= (byte & 0x7F) << shift
            at += 1
            shift += 7
            if byte < 0x80:
                break
            if shift > 28:
                raise Odd("a length beyond reason")
    if at + size > end:
        raise Odd("a field beyond its end")
    return at, at + size


def numbers(body: bytes, at: int, end: int, spots: Spots) -> int:
    """Note where the numbers of a point stand, and return where its attributes begin."""
    start = 0
    if body[at] == START:
        start = at + 1
        at += 9
    if body[at] != TIME:
        raise Odd("no time where it belongs")
    time, kind, value = at + 1, body[at + 9], at + 10
    if kind == INTEGER:
        spots.integers.append(len(spots.values))
    elif kind != DOUBLE:
        raise Odd("no value where it belongs")
    if value + 8 > end:
        raise Odd("a point beyond its end")
    spots.starts.append(start)
    spots.times.append(time)
    spots.values.append(value)
    return value + 8


def _activity(said: bytes) -> int:
    """Return where, in the attributes of an allocation, its activity stands; 0 where it is not."""
    at, found = 0, 0
    while at < len(said):
        if said[at] != ATTRIBUTES:
            raise Odd("more than attributes")
        at, end = inside(said, at, len(said), ATTRIBUTES)
        if end - at == len(ACTIVITY) + 8 and said.startswith(ACTIVITY, at):
            if found:
                raise Odd("two activities")
            found = at + len(ACTIVITY)
        at = end
    return found
