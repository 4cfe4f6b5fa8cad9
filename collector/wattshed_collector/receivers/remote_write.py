"""Prometheus remote write 1.0: POST /api/v1/write, snappy and protobuf, of any known exporter.

Source: https://prometheus.io/docs/specs/prw/remote_write_spec/
204 means durable. What the sender must not send again is answered with 400, what it may with 503.
A request of version 2.0 is refused with 415, as its specification asks. A stale marker says that a
series ended and is no value. What cannot be used is counted and does no harm beside it.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import Counter

import cramjam
from aiohttp import web
from google.protobuf.message import DecodeError

from wattshed_collector.config import Ingest
from wattshed_collector.errors import InvalidInput, Permanent, Retryable
from wattshed_collector.normalise.dialect import Origin, Sample, Series
from wattshed_collector.normalise.facts import Normaliser
from wattshed_collector.normalise.foreign import BY_METRIC, Foreign
from wattshed_collector.store.write import Writer
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch

from . import body
from . import remote_write_pb as pb
from .tenant import mine, sender

PROTOBUF, VERSION_1 = "application/x-protobuf", "prometheus.WriteRequest"
RECEIVER = "remote_write"
NAME = b"\x0a\x08__name__\x12"
"""The beginning of the label that is the name."""
WANTED = frozenset(name.encode() for name in BY_METRIC)
MOST_SAMPLES = 100_000
"""Of one request; Prometheus sends 2,000 unless told otherwise."""
MOST_SERIES_BYTES = 1 << 20
MOST_LABEL_BYTES = 8192
"""Of all labels of a series; Mimir takes 30 labels of at most 2 KiB, and real ones have a tenth."""
MOST_KNOWN = 100_000
STALE_BITS = 0x7FF0_0000_0000_0002
"""The NaN by which Prometheus marks the end of a series."""


class RequestReader:
    """Reads requests; remembers the series that say something of energy."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, ...], Series] = {}
        self._older: dict[tuple[bytes, ...], Series] = {}

    def samples(self, request: bytes, rejected: Counter[str]) -> tuple[list[Sample], int]:
        """Return the samples of a request but for those that mark an end, and how many say nothing
        of energy. Raises DecodeError and TooLarge."""
        found: list[Sample] = []
        unwanted = 0
        for count, raw in enumerate(pb.series(request)):
            if max(count, len(found)) > MOST_SAMPLES:
                raise body.TooLarge(
                    f"the request has more than {MOST_SAMPLES} samples; lower max_samples_per_send",
                    "too_many_samples",
                )
            if len(raw) > MOST_SERIES_BYTES:
                rejected["series_too_long"] += 1
                continue
            message = pb.TimeSeries.FromString(raw)
            told = tuple(message.labels)
            if len(raw) > MOST_LABEL_BYTES and sum(map(len, told)) > MOST_LABEL_BYTES:
                rejected["labels_too_long"] += 1
                continue
            series = self._series(told)
            if series is None:
                unwanted += len(message.samples)
                continue
            for said in message.samples:
                value = said.value
                if value == value or not is_stale(value):
                    found.append(Sample(series, value, said.timestamp))
        return found, unwanted

    def _series(self, told: tuple[bytes, ...]) -> Series | None:
        series = self._known.get(told)
        if series is not None:
            return series
        series = self._older.get(told)
        if series is None:
            name = next((raw[len(NAME) :] for raw in told if raw.startswith(NAME)), b"")
            # Its length comes first, in one byte: no name of ours has more than 127.
            if name[1:] not in WANTED:
                return None
            said = map(pb.Label.FromString, told)
            labels = {label.name: label.value for label in said}
            series = Series(labels.pop("__name__"), labels)
        if len(self._known) >= MOST_KNOWN:
            self._older, self._known = self._known, {}
        self._known[told] = series
        return series


class RemoteWriteReceiver:
    """Answers POST /api/v1/write."""

    def __init__(
        self,
        writer: Writer,
        normaliser: Normaliser,
        foreign: Foreign,
        telemetry: Telemetry,
        limits: Ingest,
    ) -> None:
        self._writer = writer
        self._normaliser = normaliser
        self._foreign = foreign
        self._telemetry = telemetry
        self._limits = limits
        self._requests = RequestReader()
        self._origin = Origin(
            interval_ms=round(limits.remote_write_interval_seconds * 1000), whole=False
        )
        # Parts of one scrape are read in the order in which they are written.
        self._turn = asyncio.Lock()

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/api/v1/write", self.write)]

    async def write(self, request: web.Request) -> web.Response:
        """Take one write request."""
        try:
            await self._write(request)
            response = web.Response(status=204)
        except body.TooLarge as error:
            response = self._refuse(413, error)
        except body.UnknownEncoding as error:
            response = self._refuse(415, error)
        except InvalidInput as error:
            response = self._refuse(400 if error.reason != "content_type" else 415, error)
        except Retryable as error:
            response = web.Response(status=503, text=str(error), headers={"Retry-After": "1"})
        except Permanent as error:
            response = self._refuse(400, InvalidInput(str(error), "not_storable"))
        self._telemetry.count("requests_total", receiver=RECEIVER, code=str(response.status))
        return response

    async def _write(self, request: web.Request) -> None:
        _check_headers(request)
        raw = await body.read(request, self._limits.max_body_bytes)
        async with self._turn:
            with self._telemetry.span("parse", bytes=len(raw)):
                batch = await asyncio.to_thread(self._parse, raw)
            left = mine(request, batch)
            batch = left.batch
            durable = self._writer.submit(batch, left.frames, sender(request)) if batch else None
        if durable is not None:
            with self._telemetry.span("queue", rows=len(batch.ticks)):
                await asyncio.wrap_future(durable)
            self._telemetry.durable(RECEIVER, batch, time.time())
        self._telemetry.reject(RECEIVER, batch.rejected)

    def _parse(self, raw: bytes) -> Batch:
        rejected: Counter[str] = Counter()
        request = decompress(raw, self._limits.max_decoded_bytes)
        try:
            said, unwanted = self._requests.samples(request, rejected)
        except DecodeError as error:
            raise InvalidInput("the body is not a remote write request", "malformed") from error
        found, ignored = self._foreign.points(said, self._origin, rejected)
        self._telemetry.count("ignored_total", ignored + unwanted, receiver=RECEIVER)
        return self._normaliser.batch(found, rejected)

    def _refuse(self, status: int, error: InvalidInput) -> web.Response:
        self._telemetry.reject(RECEIVER, {error.reason: 1})
        return web.Response(status=status, text=str(error))


def decompress(raw: bytes, limit: int) -> bytes:
    """Undo the block format of snappy, which names its length first.

    Raises:
        TooLarge: it would be more than ``limit`` bytes; nothing is decompressed then.
        InvalidInput: it is not valid.
    """
    try:
        size = cramjam.snappy.decompress_raw_len(raw)
        if size > limit:
            raise body.TooLarge(
                f"the decompressed body has {size} bytes, the limit is {limit}; "
                "lower max_samples_per_send",
                "decoded_too_large",
            )
        return bytes(cramjam.snappy.decompress_raw(raw))
    except cramjam.DecompressionError as error:
        raise InvalidInput(f"the body is not valid snappy: {error}", "malformed") from error


def is_stale(value: float) -> bool:
    """Return whether a value is the marker of an ended series, which is one NaN of many."""
    return bool(struct.unpack("<Q", struct.pack("<d", value))[0] == STALE_BITS)


def _check_headers(request: web.Request) -> None:
    encoding = request.headers.get("Content-Encoding", "snappy").strip().lower()
    if encoding != "snappy":
        raise body.UnknownEncoding(
            f"content encoding {encoding!r} is not read here; send snappy", "unknown_encoding"
        )
    message = request.headers.get("Content-Type", PROTOBUF).partition("proto=")[2].strip(' ";')
    if request.content_type != PROTOBUF or message not in ("", VERSION_1):
        raise InvalidInput(
            f"content type {request.headers.get('Content-Type')!r} is not read here; send "
            f"{PROTOBUF} with {VERSION_1} (remote write 1.0)",
            "content_type",
        )
