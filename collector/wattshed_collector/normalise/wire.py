"""Protobuf taken apart by hand, one field at a time, before any of it becomes an object.

A message of nothing but empty messages takes thirty times its size in memory once it is parsed, so
what comes from outside is cut into small pieces first and each of them is parsed alone.
Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from google.protobuf.message import DecodeError

FIXED = {1: 8, 5: 4}
"""Bytes of a value by wire type."""
MESSAGE = 2
MOST_FIELDS = 250_000
"""Of one message: points, or samples, or whatever it is made of."""


class TooMany(DecodeError):
    """A message is made of more parts than are taken at once."""


class Field(NamedTuple):
    """One field; ``start`` .. ``end`` are its bytes with the tag, ``value`` .. ``end`` without."""

    number: int
    kind: int
    start: int
    value: int
    end: int


def fields(raw: bytes) -> Iterator[Field]:
    """Yield the fields of a message in their order. Raises DecodeError where it is none."""
    at = count = 0
    while at < len(raw):
        count += 1
        if count > MOST_FIELDS:
            raise TooMany(f"the request has more than {MOST_FIELDS} parts; send smaller batches")
        start = at
        tag, at = varint(raw, at)
        kind, size = tag & 7, 0
        value = at
        if kind == 0:
            at = varint(raw, at)[1]
        elif kind == MESSAGE:
            size, value = varint(raw, at)
            at = value
        elif kind in FIXED:
            size = FIXED[kind]
        else:
            raise DecodeError(f"wire type {kind} is not read")
        at += size
        if at > len(raw) or tag < 8:
            raise DecodeError("the message is cut off or no protobuf")
        yield Field(tag >> 3, kind, start, value, at)


def messages(raw: bytes, number: int) -> Iterator[bytes]:
    """Yield what the fields ``number`` hold. Raises DecodeError."""
    for field in fields(raw):
        if field.number == number and field.kind == MESSAGE:
            yield raw[field.value : field.end]


def varint(raw: bytes, at: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, the lowest first, and where the next field begins."""
    number = 0
    for shift, byte in enumerate(raw[at : at + 10]):
        number |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return number, at + shift + 1
    raise DecodeError("the message is cut off or no protobuf")


def message(number: int, value: bytes) -> bytes:
    """Return the field ``number`` that holds ``value``."""
    return encoded(number << 3 | MESSAGE) + encoded(len(value)) + value


def encoded(number: int) -> bytes:
    """Return a number that is not negative as ``varint`` reads it."""
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)
