"""Bodies of OTLP/HTTP to facts, in protobuf and in JSON; whatever can be read, of any metric.

``Decoder`` is the seam: another one may know more about the layout of what it is sent, and gives
the same facts. Source: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from typing import Any, Protocol

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from wattshed_collector.errors import InvalidInput
from wattshed_collector.normalise import Point, otlp, otlp_counters, wire
from wattshed_collector.normalise.dialect import Origin
from wattshed_collector.normalise.facts import OURS, Normaliser
from wattshed_collector.normalise.foreign import Foreign
from wattshed_collector.normalise.other import Other
from wattshed_collector.store.stacks import Rows
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch

from . import body
from .others import Others

Decoded = tuple[Batch, tuple[Rows, ...]]
Pieces = Iterator[tuple[otlp.Context, Metric]]
RECEIVER = "otlp"
RANK = 1
"""Of OTLP among the ways by which a counter of outcomes comes."""
INTERVAL_MS = 60_000
"""Between two exports of metrics, unless an SDK is told otherwise."""
UNREADABLE = (
    *(json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError),
    OverflowError,  # of an integer that no double holds
)
NAME = "an OTLP ExportMetricsServiceRequest"


class Way(StrEnum):
    """How a body was read: the metric ``bodies_total`` counts each."""

    LAYOUT = "layout"
    SCANNED = "scanned"
    PARSED = "parsed"


class Decoder(Protocol):
    """Reads a request that was decompressed; ``sender`` is who was authenticated, or ""."""

    def decode(self, body: bytes, sender: str) -> Decoded:
        """Return what it says, with what was refused in ``Batch.rejected``.

        May be called from several threads. Raises InvalidInput where it is no request.
        """


class QuickDecoder(Decoder, Protocol):
    """One that reads some bodies so fast that an event loop can wait for it."""

    def at_once(self, body: bytes, sender: str) -> Decoded | None:
        """Return what a body says, None where ``decode`` has to be asked."""


class ProtobufDecoder:
    """Reads protobuf with the stock parser, what is larger than ``whole_bytes`` in pieces."""

    def __init__(
        self,
        normaliser: Normaliser,
        foreign: Foreign,
        others: Others,
        telemetry: Telemetry,
        whole_bytes: int = otlp.WHOLE_BYTES,
    ) -> None:
        self._normaliser = normaliser
        self._foreign = foreign
        self._others = others
        self._telemetry = telemetry
        self._whole_bytes = whole_bytes
        self._names = otlp.SeriesNames()

    def decode(self, body: bytes, sender: str) -> Decoded:
        """Read a protobuf request."""
        rejected: Counter[str] = Counter()
        try:
            pieces = otlp.pieces(body, rejected, self._whole_bytes)
            return self.facts(pieces, sender, rejected)
        except wire.TooMany as error:
            raise too_many(error) from error
        except DecodeError as error:
            raise InvalidInput(f"the body is not {NAME}", "malformed") from error

    def facts(self, pieces: Pieces, sender: str, rejected: Counter[str]) -> Decoded:
        """Return what the metrics say: ours as a batch, any others as rows."""
        others: list[Other] = []
        points = self._points(pieces, others, sender, rejected)
        batch = self._normaliser.batch(points, rejected)
        frames = self._others.frame(others, sender, rejected)
        self._foreign.saw(batch)
        return replace(batch, rejected={why: n for why, n in rejected.items() if n}), frames

    def _points(
        self, pieces: Pieces, others: list[Other], sender: str, rejected: Counter[str]
    ) -> Iterator[Point]:
        counted = otlp_counters.Counted(self._foreign.produced.counters)
        for context, metric in pieces:
            if metric.name in OURS:
                yield from otlp.of_metric(metric, context.inherited, rejected)
                continue
            counts, kept = counted.counts(metric), self._others.wants(metric.name)
            if counts:  # what of it says nothing is counted once
                counted.take(context, metric, Counter() if kept else rejected)
            if kept:
                if otlp.is_distribution(metric):
                    self._telemetry.count("simplified_total", otlp.count(metric), receiver=RECEIVER)
                others += otlp.others(metric, self._names.of(context), rejected)
            elif not counts:
                rejected["unknown_metric"] += otlp.count(metric)
        if counted.samples:
            origin = Origin(interval_ms=INTERVAL_MS, whole=False, sender=sender, rank=RANK)
            yield from self._foreign.forwarded(counted.samples, origin, rejected, counted.starts)


class JsonDecoder:
    """Reads JSON, by way of the same messages."""

    def __init__(self, protobuf: ProtobufDecoder, max_bytes: int) -> None:
        self._protobuf = protobuf
        self._max_bytes = max_bytes
        self._turn = threading.Lock()

    def decode(self, body: bytes, sender: str) -> Decoded:
        """Read a JSON request: fields in camelCase or as in the .proto, unknown ones passed over,
        64-bit numbers as texts or numbers, enumerations by number or name."""
        rejected: Counter[str] = Counter()
        # One at a time, because of what a document takes in memory.
        with self._turn:
            request = _request(body, self._max_bytes)
        return self._protobuf.facts(otlp.metrics(request), sender, rejected)


def too_many(error: wire.TooMany) -> body.TooLarge:
    """Return the refusal of a request of too many parts."""
    return body.TooLarge(str(error), "too_many_parts")


def _request(raw: bytes, max_bytes: int) -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    try:
        json_format.ParseDict(_document(raw, max_bytes), request, ignore_unknown_fields=True)
    except UNREADABLE as error:
        raise InvalidInput(f"the body is not {NAME} in JSON: {error}", "malformed") from error
    return request


def _document(raw: bytes, max_bytes: int) -> Any:
    if len(raw) > max_bytes:
        raise body.TooLarge(
            f"the JSON body has {len(raw)} bytes, the limit is {max_bytes}; "
            "send smaller batches, or protobuf",
            "decoded_too_large",
        )
    # NaN without quotes is no JSON, and still what some write: it is a bad value, no bad body.
    document = json.loads(raw, object_hook=_without_exemplars, parse_constant=str)
    if not isinstance(document, dict):
        raise ValueError("it is no object")
    return document


def _without_exemplars(document: dict[str, Any]) -> dict[str, Any]:
    # They name spans in hexadecimal, which no parser of JSON expects in a message's bytes.
    document.pop("exemplars", None)
    return document
