"""OTLP/HTTP receiver for metrics: POST /v1/metrics, protobuf or JSON, gzip, deflate or zstd.

Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp
An answer of 200 means durable. Points that cannot be used are counted, named in the answer's
partial_success and do no harm to those beside them. The answer is in the encoding of the request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from aiohttp import web
from google.protobuf import json_format
from google.protobuf.message import Message
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)

from wattshed_collector import openapi
from wattshed_collector.errors import InvalidInput
from wattshed_collector.normalise import wire
from wattshed_collector.openapi import INGEST, Operation

from .body import TooLarge
from .intake import Arrival, Intake, Queued, Refusal
from .otlp_decoding import Decoded, Decoder, QuickDecoder

PROTOBUF, JSON = "application/x-protobuf", "application/json"
RECEIVER = "otlp"
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
    """Answers POST /v1/metrics."""

    def __init__(self, intake: Intake, protobuf: QuickDecoder, json: Decoder) -> None:
        self._intake = intake
        self._protobuf = protobuf
        self._decoders: Mapping[str, Decoder] = {PROTOBUF: protobuf, JSON: json}

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/metrics", self.export)]

    async def export(self, request: web.Request) -> web.Response:
        """Take one export request."""
        kind = request.content_type
        return await self._intake.answer(
            request, self._take, _refused_json if kind == JSON else _refused
        )

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
            found = await self._intake.decoded(self._decode, decoder, arrival)
        return _encoded(_response(await self._intake.store(arrival, *found)), kind)

    def _at_once(self, arrival: Arrival) -> Decoded | None:
        """Return what a small body of a known layout says, None for any other.

        It takes less time than to hand it to another thread.
        """
        if len(arrival.body) > SMALL_BYTES:
            return None
        with self._intake.telemetry.span("parse"):
            try:
                raw = arrival.unpacked(min(SMALL_BYTES, self._intake.limits.max_decoded_bytes))
            except TooLarge:
                return None
            return self._protobuf.at_once(raw)

    def _decode(self, decoder: Decoder, arrival: Arrival) -> Decoded:
        raw = arrival.unpacked(self._intake.limits.max_decoded_bytes)
        return decoder.decode(raw, arrival.sender)


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


def _encoded(message: Message, kind: str) -> web.Response:
    if kind == JSON:
        return web.Response(text=json_format.MessageToJson(message, indent=None), content_type=JSON)
    return web.Response(body=message.SerializeToString(), content_type=PROTOBUF)


def _refused(refused: Refusal) -> web.Response:
    """Answer with a google.rpc.Status whose only field is ``message`` (2), as OTLP asks."""
    text = str(refused.error).encode(errors="replace")[:MOST_MESSAGE]
    # Cut between two characters, because a text of protobuf is valid UTF-8.
    status = wire.message(2, text.decode(errors="ignore").encode())
    return web.Response(status=refused.status, body=status, content_type=PROTOBUF)


def _refused_json(refused: Refusal) -> web.Response:
    status = {"message": str(refused.error)[:MOST_MESSAGE]}
    return web.Response(status=refused.status, text=json.dumps(status), content_type=JSON)
