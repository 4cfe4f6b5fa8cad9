"""Prometheus remote write 1.0: POST /api/v1/write, snappy and protobuf, of any known exporter.

Source: https://prometheus.io/docs/specs/prw/remote_write_spec/
204 means durable. What the sender must not send again is answered with 4xx, what it may with 503,
a full queue as well: a Prometheus drops what is answered with 429 unless it is told otherwise.
A request of version 2.0 is refused with 415, as its specification asks. A stale marker says that a
series ended and is no value. What cannot be used is counted and does no harm beside it. Samples may
come in any order and again: each is a row of its own key.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import cramjam
from aiohttp import web
from google.protobuf.message import DecodeError

from wattshed_collector.errors import InvalidInput
from wattshed_collector.normalise import wire
from wattshed_collector.normalise.dialect import Origin, Sample, Series
from wattshed_collector.normalise.facts import Normaliser
from wattshed_collector.normalise.foreign import BY_METRIC, Foreign
from wattshed_collector.openapi import INGEST, Operation
from wattshed_collector.outcomes.book import AUTOMATIC
from wattshed_collector.store.insert import Frame
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch

from . import remote_write_pb as pb
from .body import TooLarge, UnknownEncoding
from .intake import Arrival, Intake, Refusal
from .known_writes import STALE_BITS, KnownWrites
from .others import Others, of_prometheus, text_of
from .turns import Turns

PROTOBUF, VERSION_1 = "application/x-protobuf", "prometheus.WriteRequest"
RECEIVER = "remote_write"
RANK = 2
"""Of a remote write among the ways by which a counter of outcomes comes."""
NAME = b"\x0a\x08__name__\x12"
"""The beginning of the label that is the name."""
MOST_SAMPLES = 100_000
"""Of one request; Prometheus sends 2,000 unless told otherwise."""
MOST_SERIES_BYTES = 1 << 20
MOST_LABEL_BYTES = 8192
"""Of all labels of a series; Mimir takes 30 labels of at most 2 KiB, and real ones have a tenth."""
MOST_KNOWN = 100_000
MOST_KNOWN_BYTES = 64 * 2**20
"""Of the labels of series that are remembered, twice at most."""


class Read(NamedTuple):
    """What a request holds, but for the marks that a series ended."""

    samples: list[Sample]
    others: list[Sample]
    """Of metrics that are not about energy, and are kept."""
    unwanted: int
    """How many samples are neither."""


Noted = Callable[[bytes, bytes, str, str | None], None]
"""Told of a series that is not about energy: its bytes, those of its labels, its name, and its
labels as they are stored, None where it is not kept."""


def _unnoted(series: bytes, labels: bytes, metric: str, text: str | None) -> None:
    """Remember nothing."""


class RequestReader:
    """Reads requests; remembers the series that are wanted.

    ``counters`` are metrics that count outcomes, which are read whether they are kept or not.
    """

    def __init__(
        self,
        wants: Callable[[str], bool] = lambda name: False,
        counters: frozenset[str] = AUTOMATIC.counters,
        noted: Noted = _unnoted,
    ) -> None:
        self._noted = noted
        self._wants = wants
        self._read = counters | BY_METRIC.keys()
        self._read_bytes = frozenset(name.encode() for name in self._read)
        self._known: dict[tuple[bytes, ...], Series] = {}
        self._older: dict[tuple[bytes, ...], Series] = {}
        self._known_bytes = 0

    def read(self, request: bytes, rejected: Counter[str]) -> Read:
        """Return what a request says. Raises DecodeError and TooLarge."""
        read = Read([], [], 0)
        unwanted = 0
        for count, raw in enumerate(pb.series(request)):
            if max(count, len(read.samples) + len(read.others)) > MOST_SAMPLES:
                raise TooLarge(
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
                self._noted(raw, _labels(told), "", None)
                continue
            found = [
                Sample(series, said.value, said.timestamp)
                for said in message.samples
                if said.value == said.value or not is_stale(said.value)
            ]
            is_read = series.name in self._read
            if is_read:
                read.samples.extend(found)
            if not is_read or (series.name not in BY_METRIC and self._wants(series.name)):
                read.others.extend(found)
            if not is_read and (text := text_of(series)):
                self._noted(raw, _labels(told), series.name, text)
        return read._replace(unwanted=unwanted)

    def _series(self, told: tuple[bytes, ...]) -> Series | None:
        series = self._known.get(told)
        if series is not None:
            return series
        series = self._older.get(told)
        if series is None:
            name = next((raw[len(NAME) :] for raw in told if raw.startswith(NAME)), b"")
            size, at = wire.varint(name, 0) if name else (0, 0)
            known = name[at : at + size]
            if known not in self._read_bytes and not self._is_wanted(known):
                return None
            said = map(pb.Label.FromString, told)
            labels = {label.name: label.value for label in said}
            series = Series(labels.pop("__name__", ""), labels)
        if len(self._known) >= MOST_KNOWN or self._known_bytes >= MOST_KNOWN_BYTES:
            self._older, self._known, self._known_bytes = self._known, {}, 0
        self._known[told] = series
        self._known_bytes += sum(map(len, told))
        return series

    def _is_wanted(self, name: bytes) -> bool:
        return bool(name) and self._wants(name.decode(errors="replace"))


def _labels(told: tuple[bytes, ...]) -> bytes:
    """Return labels as they stand in a series."""
    return b"".join(wire.message(1, label) for label in told)


class RemoteWriteDecoder:
    """Reads requests that were decompressed, of any exporter; one at a time."""

    def __init__(
        self,
        normaliser: Normaliser,
        foreign: Foreign,
        others: Others,
        telemetry: Telemetry,
        interval_seconds: float,
        known: KnownWrites | None = None,
    ) -> None:
        self._normaliser = normaliser
        self._foreign = foreign
        self._others = others
        self._telemetry = telemetry
        self.known = known or KnownWrites(others)
        counters, noted = foreign.produced.counters, self.known.note
        self._requests = RequestReader(others.wants, counters, noted)
        self._interval_ms = round(interval_seconds * 1000)
        self._origins: dict[str, Origin] = {}

    def decode(self, body: bytes, sender: str) -> tuple[Batch, tuple[Frame, ...]]:
        """Return what a request says. Raises InvalidInput where it is none."""
        rejected: Counter[str] = Counter()
        known = self.known.take(body, sender, MOST_SAMPLES)
        try:
            read = self._requests.read(known.rest, rejected)
        except wire.TooMany as error:
            raise TooLarge(str(error), "too_many_parts") from error
        except DecodeError as error:
            raise InvalidInput("the body is not a remote write request", "malformed") from error
        found, ignored = self._foreign.points(read.samples, self._origin(sender), rejected)
        ignored += read.unwanted + known.unwanted
        self._telemetry.count("ignored_total", ignored, receiver=RECEIVER)
        others = of_prometheus(read.others, rejected)
        frames = self._others.frame(others, sender, rejected)
        if known.frame is not None:
            frames = (known.frame, *frames)
        return self._normaliser.batch(found, rejected), frames

    def _origin(self, sender: str) -> Origin:
        """Return the origin of a sender, of whom there are as many as the security file names."""
        made = self._origins.get(sender)
        if made is None:
            made = Origin(interval_ms=self._interval_ms, whole=False, sender=sender, rank=RANK)
            self._origins[sender] = made
        return made


OPERATIONS = (
    Operation(
        "POST",
        "/api/v1/write",
        "Prometheus remote write 1.0: take samples; durable when answered",
        {},
        takes={PROTOBUF: {"description": f"{VERSION_1}, in snappy"}},
        role=INGEST,
        refusals=(400, 413, 415),
        gate=(401, 403, 503),
        status=204,
        note="A refusal is plain text; no 429: a Prometheus drops what that answers.",
    ),
)


class RemoteWriteReceiver:
    """Answers POST /api/v1/write."""

    def __init__(self, intake: Intake, decoder: RemoteWriteDecoder) -> None:
        self._intake = intake
        self._decoder = decoder
        # Parts of one scrape are read in the order in which they are written.
        self._turns = Turns()

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/api/v1/write", self.write)]

    async def write(self, request: web.Request) -> web.Response:
        """Take one write request."""
        return await self._intake.answer(request, self._take, _refused)

    async def _take(self, arrival: Arrival) -> web.Response:
        _check_headers(arrival.request)
        await arrival.read()
        async with self._turns.turn(arrival.turn):
            batch, frames = await self._intake.decoded(arrival.turn, self._decode, arrival)
            queued = self._intake.submit(arrival, batch, frames)
        await self._intake.durable(queued)
        return web.Response(status=204)

    def _decode(self, arrival: Arrival) -> tuple[Batch, tuple[Frame, ...]]:
        request = decompress(arrival.body, self._intake.limits.max_decoded_bytes)
        arrival.holds(len(arrival.body) + len(request))
        return self._decoder.decode(request, arrival.sender)


def decompress(raw: bytes, limit: int) -> bytes:
    """Undo the block format of snappy, which names its length first.

    Raises:
        TooLarge: it would be more than ``limit`` bytes; nothing is decompressed then.
        InvalidInput: it is not valid.
    """
    try:
        size = cramjam.snappy.decompress_raw_len(raw)
        if size > limit:
            raise TooLarge(
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


def _refused(refused: Refusal) -> web.Response:
    return web.Response(status=refused.status, text=str(refused.error))


def _check_headers(request: web.Request) -> None:
    encoding = request.headers.get("Content-Encoding", "snappy").strip().lower()
    if encoding != "snappy":
        raise UnknownEncoding(
            f"content encoding {encoding!r} is not read here; send snappy", "unknown_encoding"
        )
    message = request.headers.get("Content-Type", PROTOBUF).partition("proto=")[2].strip(' ";')
    version = request.headers.get("X-Prometheus-Remote-Write-Version", "0.1.0")
    if request.content_type != PROTOBUF or message not in ("", VERSION_1):
        raise InvalidInput(
            f"content type {request.headers.get('Content-Type')!r} is not read here; send "
            f"{PROTOBUF} with {VERSION_1} (remote write 1.0)",
            "content_type",
        )
    if not version.startswith(("0.", "1.")):
        raise InvalidInput(
            f"remote write {version} is not read here; send version 0.1.0 (remote write 1.0)",
            "content_type",
        )
