"""OTLP/HTTP receiver for metrics: POST /v1/metrics, protobuf, gzip or zstd.

Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp
An answer of 200 means durable. Points that cannot be used are counted, named in the answer's
partial_success and do no harm to those beside them.
"""

from __future__ import annotations

import asyncio

from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)

from wattshed_collector.config import Ingest
from wattshed_collector.errors import InvalidInput, Permanent, Retryable
from wattshed_collector.normalise.facts import Normaliser
from wattshed_collector.normalise.foreign import Foreign
from wattshed_collector.store.write import Writer
from wattshed_collector.telemetry import Telemetry

from . import body
from .otlp_layout import Decoded, OtlpDecoder

PROTOBUF = "application/x-protobuf"
RECEIVER = "otlp"


class OtlpReceiver:
    """Answers POST /v1/metrics."""

    def __init__(
        self,
        writer: Writer,
        normaliser: Normaliser,
        foreign: Foreign,
        telemetry: Telemetry,
        limits: Ingest,
    ) -> None:
        self._writer = writer
        self._decoder = OtlpDecoder(normaliser)
        self._foreign = foreign
        self._telemetry = telemetry
        self._limits = limits

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/metrics", self.export)]

    async def export(self, request: web.Request) -> web.Response:
        """Take one export request."""
        try:
            response = await self._export(request)
        except body.TooLarge as error:
            response = self._refuse(413, error)
        except body.UnknownEncoding as error:
            response = self._refuse(415, error)
        except InvalidInput as error:
            response = self._refuse(400 if error.reason != "content_type" else 415, error)
        except Retryable as error:
            response = _status(503, str(error))
            response.headers["Retry-After"] = "1"
        except Permanent as error:
            response = self._refuse(400, InvalidInput(str(error), "not_storable"))
        self._telemetry.count("requests_total", receiver=RECEIVER, code=str(response.status))
        return response

    async def _export(self, request: web.Request) -> web.Response:
        if request.content_type != PROTOBUF:
            raise InvalidInput(
                f"content type {request.content_type!r} is not read here; send {PROTOBUF}",
                "content_type",
            )
        raw = await body.read(request, self._limits.max_body_bytes)
        encoding = request.headers.get("Content-Encoding", "")
        decoded = await asyncio.to_thread(self._parse, raw, encoding)
        batch = decoded.batch
        self._telemetry.count("bodies_total", receiver=RECEIVER, way=decoded.way)
        if batch or decoded.frames:
            await asyncio.wrap_future(self._writer.submit(batch, decoded.frames))
            self._telemetry.count("ticks_total", decoded.ticks, receiver=RECEIVER)
            self._telemetry.count("details_total", decoded.details, receiver=RECEIVER)
        self._telemetry.reject(RECEIVER, batch.rejected)
        answer = ExportMetricsServiceResponse()
        kept_aside = self._telemetry.quarantine(RECEIVER, batch)
        if batch.rejected or kept_aside:
            # What is in quarantine is stored: a warning, as OTLP has it, and no rejection.
            answer.partial_success.rejected_data_points = sum(batch.rejected.values())
            told = ("rejected", batch.rejected), ("quarantined", kept_aside)
            answer.partial_success.error_message = "; ".join(
                _reasons(verb, reasons) for verb, reasons in told if reasons
            )
        return web.Response(body=answer.SerializeToString(), content_type=PROTOBUF)

    def _parse(self, raw: bytes, encoding: str) -> Decoded:
        decoded = self._decoder.decode(body.decode(raw, encoding, self._limits.max_decoded_bytes))
        self._foreign.saw(decoded.batch, decoded.newest_ms)
        return decoded

    def _refuse(self, status: int, error: InvalidInput) -> web.Response:
        self._telemetry.reject(RECEIVER, {error.reason: 1})
        return _status(status, str(error))


def _reasons(verb: str, reasons: dict[str, int]) -> str:
    return f"{verb} " + ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items()))


def _status(status: int, message: str) -> web.Response:
    """Answer with a google.rpc.Status whose only field is ``message`` (2), as OTLP asks."""
    text = message.encode()[:1000]
    length = bytearray()
    size = len(text)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return web.Response(status=status, body=b"\x12" + bytes(length) + text, content_type=PROTOBUF)
