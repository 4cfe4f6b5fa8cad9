"""Where the numbers of any metric stand in an OTLP body, in whatever order its fields are written.

protobuf's own libraries write fields by number, OpenTelemetry Collectors of late the last declared
first, so that a value stands before its time and a resource behind its metrics. All numbers of
gauges, sums, histograms and summaries are eight bytes wide; what is not (exponential histograms,
exemplars) or is said twice raises ``Odd``.
Source: opentelemetry/proto/metrics/v1/metrics.proto; https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from . import wire
from .slots import Odd

VARINT, FIXED64, BYTES = 0, 1, 2
"""Wire types."""
WIDTH = 8
RESOURCE_METRICS, RESOURCE, SCOPE_METRICS, METRIC, POINT = 1, 1, 2, 2, 1
GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY = 5, 7, 9, 10, 11
NUMBERS = frozenset((GAUGE, SUM))
DATA = NUMBERS | {HISTOGRAM, EXPONENTIAL, SUMMARY}
START, TIME = 2, 3
DOUBLE, INTEGER = 4, 6
"""Of a number's point."""
COUNT, TOTAL, BUCKETS, LEAST, LARGEST = 4, 5, 6, 11, 12
"""Of a histogram's point; of a summary's the first two, and ``BUCKETS`` are its quantiles."""
EXEMPLARS = {GAUGE: 5, SUM: 5, HISTOGRAM: 8}
QUANTILE_VALUE = 2

Field = tuple[int, int, int, int]
"""Its number and wire type, and where its content begins and ends."""


@dataclass(slots=True)
class Places:
    """The rows that a body becomes, by where their numbers stand in its bytes.

    ``integers`` are those among the rows whose value is an integer, ``counts`` those whose value is
    one without a sign; ``beside`` are numbers that are in no row, and change as well.
    """

    times: list[int] = field(default_factory=list)
    values: list[int] = field(default_factory=list)
    integers: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    beside: list[int] = field(default_factory=list)
    distributions: int = 0
    """Points of which rows hold less than they say."""

    def add(self, time: int, value: int, among: list[int] | None = None) -> None:
        """Note a row; ``among`` which its value is, None where that is a float."""
        if among is not None:
            among.append(len(self.values))
        self.times.append(time)
        self.values.append(value)


def places(body: bytes) -> Places:
    """Return where the numbers of a request stand. Raises Odd."""
    found = Places()
    try:
        for resource in _messages(body, 0, len(body), RESOURCE_METRICS):
            for scope in _messages(body, *resource, SCOPE_METRICS):
                for metric in _messages(body, *scope, METRIC):
                    _metric(body, *metric, found)
    except DecodeError as error:
        raise Odd(str(error)) from error
    return found


def resource_of(body: bytes) -> bytes:
    """Return what a request of one resource says of it. Raises Odd."""
    try:
        ((at, end),) = _messages(body, 0, len(body), RESOURCE_METRICS)
        said = [body[start:stop] for start, stop in _messages(body, at, end, RESOURCE)]
    except (DecodeError, ValueError) as error:
        raise Odd(str(error)) from error
    return b"".join(said)


def _metric(body: bytes, at: int, end: int, found: Places) -> None:
    data = [said for said in _fields(body, at, end) if said[0] in DATA]
    if len(data) != 1:
        raise Odd("a metric without its points, or with several kinds of them")
    ((kind, wire_type, at, end),) = data
    if wire_type != BYTES or kind == EXPONENTIAL:
        raise Odd("points whose numbers are of any width")
    for point in _messages(body, at, end, POINT):
        told = _told(body, *point, EXEMPLARS.get(kind, 0))
        time = _one(told, TIME)
        found.beside += told.pop(START, [])
        if kind in NUMBERS:
            whole = INTEGER in told
            value = _one(told, INTEGER if whole else DOUBLE)
            found.add(time, value, found.integers if whole else None)
            if whole and DOUBLE in told:
                raise Odd("two values")
        else:
            _distribution(kind, time, told, found)
            found.beside += _spread(body, kind, *point)


def _distribution(kind: int, time: int, told: dict[int, list[int]], found: Places) -> None:
    found.distributions += 1
    found.add(time, _one(told, COUNT), found.counts)
    if TOTAL in told or kind == SUMMARY:
        found.add(time, _one(told, TOTAL))
    if kind == HISTOGRAM:
        found.beside += [*told.get(LEAST, ()), *told.get(LARGEST, ())]


def _told(body: bytes, at: int, end: int, exemplars: int = 0) -> dict[int, list[int]]:
    """Return where the numbers of a point stand, or of a quantile, by field."""
    told: dict[int, list[int]] = {}
    for number, kind, start, _ in _fields(body, at, end):
        if kind == FIXED64:
            told.setdefault(number, []).append(start)
        elif number == exemplars:
            raise Odd("exemplars")
    return told


def _one(told: dict[int, list[int]], number: int) -> int:
    said = told.pop(number, ())
    if len(said) != 1:
        raise Odd("a number that is not said, or twice")
    return said[0]


def _spread(body: bytes, kind: int, at: int, end: int) -> Iterator[int]:
    """Yield where the counts of buckets stand, or the values of quantiles."""
    for start, stop in _messages(body, at, end, BUCKETS):
        if kind == SUMMARY:
            told = _told(body, start, stop)
            yield from told.get(QUANTILE_VALUE, ())
        elif (stop - start) % WIDTH:
            raise Odd("counts that are not eight bytes wide")
        else:
            yield from range(start, stop, WIDTH)


def _messages(body: bytes, at: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Yield where the content of each field of that number begins and ends."""
    for number, kind, start, stop in _fields(body, at, end):
        if number == wanted and kind == BYTES:
            yield start, stop


def _fields(body: bytes, at: int, end: int) -> Iterator[Field]:
    """Yield the fields of a message. Raises DecodeError and Odd."""
    while at < end:
        tag, at = _varint(body, at)
        kind = tag & 7
        if kind == BYTES:
            size, at = _varint(body, at)
        elif kind == VARINT:
            size = wire.varint(body, at)[1] - at
        elif kind in wire.FIXED:
            size = wire.FIXED[kind]
        else:
            raise Odd(f"wire type {kind}")
        if at + size > end:
            raise Odd("a field beyond its end")
        yield tag >> 3, kind, at, at + size
        at += size


def _varint(body: bytes, at: int) -> tuple[int, int]:
    if at < len(body) and body[at] < 0x80:  # mostly
        return body[at], at + 1
    return wire.varint(body, at)
