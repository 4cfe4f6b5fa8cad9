"""OTLP bodies with their fields in the order of their numbers, whoever wrote them.

An OpenTelemetry Collector of late writes what our exporter sent it in an order of its own. Sorting
moves fields within their messages and changes no length, so a body in order is the same pieces one
after the other, and each of its bytes stands somewhere in the body as it came.
Source: opentelemetry/proto/metrics/v1/metrics.proto; opentelemetry-collector, pdata/internal.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from google.protobuf.message import DecodeError

from . import wire
from .otlp_scan import Spots

Nested = Mapping[int, "Nested"]
"""Of a message the fields that are messages with an order of their own."""

PAIR: Nested = {}
POINT: Nested = {7: PAIR}
DATA: Nested = {1: POINT}
METRIC: Nested = {5: DATA, 7: DATA}
SCOPE_METRICS: Nested = {2: METRIC}
RESOURCE_METRICS: Nested = {1: {1: PAIR}, 2: SCOPE_METRICS}
REQUEST: Nested = {1: RESOURCE_METRICS}
OURS = b"wattshed.", b"hw."
"""What one of our metrics' names begins with."""

Piece = tuple[int, int]
"""Where it begins and ends."""


class Ordered:
    """A body in order; ``spots`` finds numbers in the body as it came. Raises DecodeError."""

    def __init__(self, body: bytes) -> None:
        self._pieces = list(_pieces(body, 0, len(body), REQUEST))
        sizes = (end - at for at, end in self._pieces)
        self._begins = [0, *accumulate(sizes)][:-1]
        self.body = b"".join(body[at:end] for at, end in self._pieces)

    def spots(self, found: Spots) -> Spots:
        """Return the numbers that were found in ``body`` where they came; 0 stays 0."""
        return Spots(
            found.slots,
            self._came(found.starts),
            self._came(found.times),
            self._came(found.values),
            found.integers,
            [(slot, self._at(place)) for slot, place in found.activities],
        )

    def _came(self, places: Sequence[int]) -> list[int]:
        return [self._at(place) if place else 0 for place in places]

    def _at(self, place: int) -> int:
        number = bisect_right(self._begins, place) - 1
        return self._pieces[number][0] + place - self._begins[number]


def ordered(body: bytes) -> Ordered | None:
    """Return a body in order, None where it is already or says nothing of ours."""
    if not any(name in body for name in OURS):
        return None
    try:
        made = Ordered(body)
    except DecodeError:
        return None
    return None if made.body == body else made


def _pieces(body: bytes, at: int, end: int, nested: Nested) -> Iterator[Piece]:
    """Yield the pieces of a message, its fields by number and those of one number as they came."""
    fields = sorted(wire.fields(body[at:end]), key=lambda field: field.number)
    for field in fields:
        inner = nested.get(field.number) if field.kind == wire.MESSAGE else None
        if inner is None:
            yield at + field.start, at + field.end
        else:
            yield at + field.start, at + field.value
            yield from _pieces(body, at + field.value, at + field.end, inner)
