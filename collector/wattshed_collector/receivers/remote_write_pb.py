"""The messages of Prometheus remote write 1.0 that are read, described by hand.

A request is a list of series, taken apart by ``series``: a message of nothing but empty messages
would take thirty times its size in memory. Labels are read as the bytes of their messages, which
are the same on the wire, because by those a series is known from one request to the next. Metadata,
exemplars and native histograms have no field here, so that they are passed over.
Source: https://prometheus.io/docs/specs/prw/remote_write_spec/ and prometheus/prometheus,
``prompb/types.proto``; https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

PACKAGE = "wattshed.prometheus"
Field = descriptor_pb2.FieldDescriptorProto
MESSAGES: dict[str, tuple[tuple[str, int, int], ...]] = {
    "Label": (("name", 1, Field.TYPE_STRING), ("value", 2, Field.TYPE_STRING)),
    "Sample": (("value", 1, Field.TYPE_DOUBLE), ("timestamp", 2, Field.TYPE_INT64)),
    "TimeSeries": (("labels", 1, Field.TYPE_BYTES), ("samples", 2, Field.TYPE_MESSAGE)),
}
"""Name, number and type of each field; those of a series are repeated."""
SERIES_TAG = 0x0A
FIXED = {1: 8, 5: 4}
"""Bytes of a value by wire type."""


def series(raw: bytes) -> Iterator[bytes]:
    """Yield the series of a WriteRequest (field 1). Raises DecodeError where it is none."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        kind = tag & 7
        if kind == 0:
            at = _varint(raw, at)[1]
            continue
        size = FIXED.get(kind, 0)
        if kind == 2:
            size, at = _varint(raw, at)
        if (kind not in FIXED and kind != 2) or at + size > len(raw) or tag < 8:
            raise DecodeError("the request is cut off or no protobuf")
        if tag == SERIES_TAG:
            yield raw[at : at + size]
        at += size


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, the lowest first, and where the next field begins."""
    number = 0
    for shift, byte in enumerate(raw[at : at + 10]):
        number |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return number, at + shift + 1
    raise DecodeError("the request is cut off or no protobuf")


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="wattshed/prometheus/remote.proto", package=PACKAGE, syntax="proto3"
    )
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            told = message.field.add(name=field, number=number, type=kind)
            told.label = Field.LABEL_REPEATED if name == "TimeSeries" else Field.LABEL_OPTIONAL
            if kind == Field.TYPE_MESSAGE:
                told.type_name = f".{PACKAGE}.Sample"
    return file


def _messages() -> Iterator[Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())
    for name in ("Label", "TimeSeries"):
        yield message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


Label, TimeSeries = _messages()
"""The message classes, as protoc would generate them but for a label's type."""
