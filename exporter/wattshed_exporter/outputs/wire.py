"""Protobuf's wire format, as far as OTLP metrics need it, and the message for one data point.

Sources: https://protobuf.dev/programming-guides/encoding/ and
opentelemetry/proto/metrics/v1/metrics.proto. Fields are written in the order of their numbers, so
the bytes are those that the stock library would write.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

NANOS_PER_MS = 1_000_000
DOUBLE = struct.Struct("<d")
VARINT, FIXED64, LENGTH = 0, 1, 2

# NumberDataPoint: start_time_unix_nano = 2, time_unix_nano = 3, as_double = 4, attributes = 7.
POINT = struct.Struct("<BQBd")
POINT_FROM = struct.Struct("<BQBQBd")
POINT_START, POINT_TIME, POINT_VALUE = 2 << 3 | FIXED64, 3 << 3 | FIXED64, 4 << 3 | FIXED64
POINT_ATTRIBUTES = 7


def varint(number: int) -> bytes:
    """Encode a whole number; a negative one takes ten bytes, as in ``int64``."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def head(field: int, size: int) -> bytes:
    """Encode what stands before ``size`` bytes of a field."""
    return varint(field << 3 | LENGTH) + varint(size)


def chunk(field: int, content: bytes) -> bytes:
    """Encode a field of bytes, text or a message."""
    return head(field, len(content)) + content


def attribute(name: str, value: str | int | float, field: int = POINT_ATTRIBUTES) -> bytes:
    """Encode a ``KeyValue`` as the given field of its parent."""
    if isinstance(value, str):
        any_value = chunk(1, value.encode(errors="replace"))
    elif isinstance(value, int):
        any_value = varint(3 << 3 | VARINT) + varint(value)
    else:
        any_value = varint(4 << 3 | FIXED64) + DOUBLE.pack(value)
    return chunk(field, chunk(1, name.encode()) + chunk(2, any_value))


def point(attributes: bytes, time_ns: int, value: float, start_ns: int | None = None) -> bytes:
    """Encode a ``NumberDataPoint`` as a field of its gauge or sum; times are in nanoseconds.

    Raises ``struct.error`` where a time is before 1970, which OTLP cannot say.
    """
    if start_ns is None:
        front = POINT.pack(POINT_TIME, time_ns, POINT_VALUE, value)
    else:
        front = POINT_FROM.pack(POINT_START, start_ns, POINT_TIME, time_ns, POINT_VALUE, value)
    return chunk(1, front + attributes)


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
