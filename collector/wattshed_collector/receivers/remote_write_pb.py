"""The messages of Prometheus remote write 1.0 that are read, described by hand.

A request is a list of series, taken apart by ``series``: a message of nothing but empty messages
would take thirty times its size in memory. Labels are read as the bytes of their messages, which
are the same on the wire, because by those a series is known from one request to the next. Metadata,
exemplars and native histograms have no field here, so that they are passed over.
Source: https://prometheus.io/docs/specs/prw/remote_write_spec/ and prometheus/prometheus,
``prompb/types.proto``
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from wattshed_collector.normalise import wire

PACKAGE = "wattshed.prometheus"
Field = descriptor_pb2.FieldDescriptorProto
MESSAGES: dict[str, tuple[tuple[str, int, int], ...]] = {
    "Label": (("name", 1, Field.TYPE_STRING), ("value", 2, Field.TYPE_STRING)),
    "Sample": (("value", 1, Field.TYPE_DOUBLE), ("timestamp", 2, Field.TYPE_INT64)),
    "TimeSeries": (("labels", 1, Field.TYPE_BYTES), ("samples", 2, Field.TYPE_MESSAGE)),
}
"""Name, number and type of each field; those of a series are repeated."""
SERIES = 1


def series(raw: bytes) -> Iterator[bytes]:
    """Yield the series of a WriteRequest. Raises DecodeError where it is none."""
    return wire.messages(raw, SERIES)


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
