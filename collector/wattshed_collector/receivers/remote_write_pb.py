"""The messages of Prometheus remote write 1.0 that are read, described by hand.

Source: https://prometheus.io/docs/specs/prw/remote_write_spec/ and prometheus/prometheus,
``prompb/types.proto``. Metadata, exemplars and native histograms have no field here, so that the
parser passes over them.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "wattshed.prometheus"
Field = descriptor_pb2.FieldDescriptorProto
MESSAGES: dict[str, tuple[tuple[str, int, int, str], ...]] = {
    "Label": (("name", 1, Field.TYPE_STRING, ""), ("value", 2, Field.TYPE_STRING, "")),
    "Sample": (("value", 1, Field.TYPE_DOUBLE, ""), ("timestamp", 2, Field.TYPE_INT64, "")),
    "TimeSeries": (
        ("labels", 1, Field.TYPE_MESSAGE, "Label"),
        ("samples", 2, Field.TYPE_MESSAGE, "Sample"),
    ),
    "WriteRequest": (("timeseries", 1, Field.TYPE_MESSAGE, "TimeSeries"),),
}
"""Name, number, type and message of each field; fields of messages are repeated."""


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="wattshed/prometheus/remote.proto", package=PACKAGE, syntax="proto3"
    )
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, of in fields:
            told = message.field.add(name=field, number=number, type=kind)
            told.label = Field.LABEL_REPEATED if of else Field.LABEL_OPTIONAL
            if of:
                told.type_name = f".{PACKAGE}.{of}"
    return file


def _write_request() -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.WriteRequest"))


WriteRequest = _write_request()
"""The message class, as protoc would generate it."""
