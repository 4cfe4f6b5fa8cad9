"""Prometheus remote write 1.0: POST /api/v1/write, snappy and protobuf, of any known exporter.

Source: https://prometheus.io/docs/specs/prw/remote_write_spec/
204 means durable. What the sender must not send again is answered with 400, what it may with 503.
A request of version 2.0 is refused with 415, as its specification asks. A stale marker says that a
series ended and is no value. What cannot be used is counted and does no harm beside it.
"""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import Iterator
from typing import Any

import cramjam
from aiohttp import web
from google.protobuf.message import DecodeError

from wattshed_collector.config import Ingest
from wattshed_collector.errors import InvalidInput, Permanent, Retryable
from wattshed_collector.normalise.dialect import Origin, Sample
from wattshed_collector.normalise.facts import Normaliser
from wattshed_collector.normalise.foreign import Foreign
from wattshed_collector.store.write import Writer
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch

from . import body
from .remote_write_pb import WriteRequest

PROTOBUF, VERSION_1 = "application/x-protobuf", "prometheus.WriteRequest"
RECEIVER = "remote_write"
STALE_BITS = 0x7FF0_0000_0000_0002
"""The NaN by which Prometheus marks the end of a series."""


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
            batch = await asyncio.to_thread(self._parse, raw)
            durable = self._writer.submit(batch) if batch else None
        if durable is not None:
            await asyncio.wrap_future(durable)
            self._telemetry.count("ticks_total", len(batch.ticks), receiver=RECEIVER)
            self._telemetry.count("details_total", len(batch.details), receiver=RECEIVER)
        self._telemetry.reject(RECEIVER, batch.rejected)

    def _parse(self, raw: bytes) -> Batch:
        try:
            request = WriteRequest.FromString(decompress(raw, self._limits.max_decoded_bytes))
        except DecodeError as error:
            raise InvalidInput("the body is not a remote write request", "malformed") from error
        rejected: Counter[str] = Counter()
        found, ignored = self._foreign.points(samples(request), self._origin, rejected)
        self._telemetry.count("ignored_total", ignored, receiver=RECEIVER)
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


def samples(request: Any) -> Iterator[Sample]:
    """Yield the samples of a request (WriteRequest) but for those that mark an end."""
    for series in request.timeseries:
        labels = {label.name: label.value for label in series.labels}
        name = labels.pop("__name__", "")
        for said in series.samples:
            if said.value == said.value or not is_stale(said.value):
                yield Sample(name, labels, said.value, said.timestamp)


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
