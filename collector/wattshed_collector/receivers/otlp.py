"""OTLP/HTTP receiver for metrics: POST /v1/metrics, protobuf or JSON, gzip, deflate or zstd.

Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp
An answer of 200 means durable. Points that cannot be used are counted, named in the answer's
partial_success and do no harm to those beside them. The answer is in the encoding of the request.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

from aiohttp import web
from google.protobuf import json_format
from google.protobuf.message import Message
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)

from wattshed_collector import openapi
from wattshed_collector.errors import INTERNAL, InvalidInput, StoreError
from wattshed_collector.normalise import wire
from wattshed_collector.openapi import INGEST, Operation

from .answer import Answer
from .body import TooLarge
from .intake import Arrival, Intake, Queued, Received, Refusal, failure, refusal
from .otlp_decoding import Decoded, Decoder, QuickDecoder

log = logging.getLogger(__name__)

Answered = Callable[[Answer], object]

PROTOBUF, JSON = "application/x-protobuf", "application/json"
RECEIVER = "otlp"
TAKEN = Answer(200, b"", PROTOBUF)
"""All is stored: an ExportMetricsServiceResponse without a field."""
MOST_MESSAGE = 1000
"""Bytes of what a refusal says."""
SMALL_BYTES = 128 * 2**10
"""Of a body that may be read on the event loop, as sent and unpacked."""


_EXPORT = "ExportMetricsServiceRequest of OTLP"
_PARTIAL = openapi.record(
    {
        "rejectedDataPoints": openapi.text("How many; 64-bit numbers are texts in OTLP's JSON"),
        "errorMessage": openapi.text("How many by reason"),
    },
    optional=("rejectedDataPoints", "errorMessage"),
)
OPERATIONS = (
    Operation(
        "POST",
        "/v1/metrics",
        "OTLP/HTTP: take metrics; durable when answered",
        {
            JSON: openapi.record({"partialSuccess": _PARTIAL}, optional=("partialSuccess",)),
            PROTOBUF: {"description": "ExportMetricsServiceResponse"},
        },
        takes={
            JSON: {"type": "object", "description": _EXPORT},
            PROTOBUF: {"description": _EXPORT},
        },
        role=INGEST,
        refusals=(400, 413, 415),
        note="The answer is in the encoding of the request; a refusal is a google.rpc.Status with "
        "a message alone.",
    ),
)


class OtlpReceiver:
    """Answers POST /v1/metrics: to aiohttp's server by ``routes``, to the lane by the others.

    The lane (``front``) has read a request of protobuf itself. It calls ``begin`` before the body,
    then ``take`` or, where the body breaks off, ``broken``.
    """

    def __init__(self, intake: Intake, protobuf: QuickDecoder, json: Decoder) -> None:
        self._intake = intake
        self._protobuf = protobuf
        self._decoders: Mapping[str, Decoder] = {PROTOBUF: protobuf, JSON: json}
        self._late: set[asyncio.Task[None]] = set()

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/metrics", self.export)]

    async def export(self, request: web.Request) -> web.Response:
        """Take one export request."""
        refuse = _refused_json if request.content_type == JSON else _refused
        return await self._intake.answer(
            request, self._take, lambda refused: refuse(refused).response()
        )

    def begin(self, received: Received, size: int) -> Answer | None:
        """Hold room for a body of ``size`` bytes; return what is answered where there is none."""
        try:
            self._intake.enter(received, size)
        except StoreError as error:
            return self._counted(_refused(refusal(error)))
        return None

    def take(self, received: Received, answered: Answered) -> None:
        """Take a request whose body is there. ``answered`` is told the answer on this event loop,
        before this returns or later, and may not raise."""
        try:
            found = self._at_once(received)
            if found is None:
                self._later(self._decoded(received), received, answered)
                return
            queued = self._intake.submit(received, *found)
        except (InvalidInput, StoreError) as error:
            self._refuse(received, refusal(error), answered)
        except Exception as error:
            self._end(received, internal_error(error), answered)
        else:
            if queued.future is None:
                self._stored(received, queued, answered, None)
            else:
                told = partial(self._stored, received, queued, answered)
                self._intake.wake.tell(queued.future, told)

    def broken(self, received: Received) -> None:
        """Note that the body of a request ended early, because its sender went away."""
        error = InvalidInput("the body broke off: the connection was lost", "broken_off")
        self._refuse(received, refusal(error), lambda _: None)

    def _stored(
        self, received: Received, queued: Queued, answered: Answered, ended: Future[None] | None
    ) -> None:
        """Answer a request whose rows are stored or have failed; ``ended`` None had no rows."""
        try:
            if ended is not None and (error := failure(ended)) is not None:
                raise error
            answer = _answer(self._intake.counted(queued), PROTOBUF)
        except StoreError as error:
            self._refuse(received, refusal(error), answered)
        except Exception as error:
            self._end(received, internal_error(error), answered)
        else:
            self._end(received, self._counted(answer), answered)

    async def _decoded(self, received: Received) -> Answer:
        found = await self._decoded_by(self._protobuf, received)
        return self._counted(_answer(await self._intake.store(received, *found), PROTOBUF))

    def _refuse(self, received: Received, refused: Refusal, answered: Answered) -> None:
        if not refused.reason:  # there is nothing to note
            self._end(received, self._counted(_refused(refused)), answered)
        else:
            self._later(self._noted(received, refused), received, answered)

    async def _noted(self, received: Received, refused: Refusal) -> Answer:
        await self._intake.note(received, refused)
        return self._counted(_refused(refused))

    def _later(
        self, work: Coroutine[Any, Any, Answer], received: Received, answered: Answered
    ) -> None:
        """Have ``work`` find the answer, for what is too slow to be waited for here."""

        async def run() -> None:
            try:
                answer = await work
            except (InvalidInput, StoreError) as error:
                answer = await self._noted(received, refusal(error))
            except Exception as error:
                answer = internal_error(error)
            self._end(received, answer, answered)

        task = asyncio.get_running_loop().create_task(run())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    def _end(self, received: Received, answer: Answer, answered: Answered) -> None:
        self._intake.leave(received)
        answered(answer)

    def _counted(self, answer: Answer) -> Answer:
        self._intake.answered(answer.status)
        return answer

    async def _take(self, arrival: Arrival) -> web.Response:
        kind = arrival.request.content_type
        decoder = self._decoders.get(kind)
        if decoder is None:
            raise InvalidInput(
                f"content type {kind!r} is not read here; send {PROTOBUF} or {JSON}",
                "content_type",
            )
        await arrival.read()
        found = self._at_once(arrival) if decoder is self._protobuf else None
        if found is None:
            found = await self._decoded_by(decoder, arrival)
        return _answer(await self._intake.store(arrival, *found), kind).response()

    def _at_once(self, received: Received) -> Decoded | None:
        """Return what a small body of a known layout says, None for any other.

        It takes less time than to hand it to another thread.
        """
        if len(received.body) > SMALL_BYTES:
            return None
        with self._intake.telemetry.span("parse"):
            try:
                raw = received.unpacked(min(SMALL_BYTES, self._intake.limits.max_decoded_bytes))
            except TooLarge:
                return None
            return self._protobuf.at_once(raw, received.sender)

    async def _decoded_by(self, decoder: Decoder, received: Received) -> Decoded:
        return await self._intake.decoded(received.turn, self._decode, decoder, received)

    def _decode(self, decoder: Decoder, received: Received) -> Decoded:
        raw = received.unpacked(self._intake.limits.max_decoded_bytes)
        return decoder.decode(raw, received.sender)


def internal_error(error: Exception) -> Answer:
    """Return what is said of what nobody expected: nothing of the inside; it is logged."""
    log.error("cannot answer POST /v1/metrics", exc_info=error)
    return Answer(500, json.dumps({"error": INTERNAL}).encode(), f"{JSON}; charset=utf-8")


def _answer(stored: Queued, kind: str) -> Answer:
    if kind == PROTOBUF and not (stored.batch.rejected or stored.batch.quarantine):
        return TAKEN
    return _encoded(_response(stored), kind)


def _response(stored: Queued) -> ExportMetricsServiceResponse:
    answer = ExportMetricsServiceResponse()
    rejected, quarantined = stored.batch.rejected, stored.quarantined
    if rejected or quarantined:
        # What is in quarantine is stored: a warning, as OTLP has it, and no rejection.
        answer.partial_success.rejected_data_points = sum(rejected.values())
        told = ("rejected", rejected), ("quarantined", quarantined)
        answer.partial_success.error_message = "; ".join(
            _reasons(verb, reasons) for verb, reasons in told if reasons
        )
    return answer


def _reasons(verb: str, reasons: Mapping[str, int]) -> str:
    return f"{verb} " + ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items()))


def _encoded(message: Message, kind: str) -> Answer:
    if kind == JSON:
        text = json_format.MessageToJson(message, indent=None)
        return Answer(200, text.encode(), f"{JSON}; charset=utf-8")
    return Answer(200, message.SerializeToString(), PROTOBUF)


def _refused(refused: Refusal) -> Answer:
    """Answer with a google.rpc.Status whose only field is ``message`` (2), as OTLP asks."""
    text = str(refused.error).encode(errors="replace")[:MOST_MESSAGE]
    # Cut between two characters, because a text of protobuf is valid UTF-8.
    status = wire.message(2, text.decode(errors="ignore").encode())
    return Answer(refused.status, status, PROTOBUF, refused.headers)


def _refused_json(refused: Refusal) -> Answer:
    status = json.dumps({"message": str(refused.error)[:MOST_MESSAGE]})
    return Answer(refused.status, status.encode(), f"{JSON}; charset=utf-8", refused.headers)
