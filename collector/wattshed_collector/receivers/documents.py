"""Receiver of JSON documents: POST /v1/allocations and /v1/factors.

200 means durable. A document that cannot be read is refused whole, with everything that is wrong
with it; an allocation that can be read and cannot be true is kept in quarantine.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from wattshed_collector.config import Ingest
from wattshed_collector.errors import InvalidInput, Permanent, Retryable
from wattshed_collector.normalise import json_documents
from wattshed_collector.store import factors
from wattshed_collector.store.read import Reader
from wattshed_collector.store.write import Writer
from wattshed_collector.telemetry import Telemetry

from . import body

RECEIVER = "json"


class DocumentReceiver:
    """Takes allocations and factors. ``oldest_seconds`` 0 accepts allocations of any age."""

    def __init__(
        self,
        writer: Writer,
        reader: Reader,
        telemetry: Telemetry,
        limits: Ingest,
        oldest_seconds: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._telemetry = telemetry
        self._limits = limits
        self._oldest_seconds = oldest_seconds
        self._now = now

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/allocations", self.allocations),
            web.post("/v1/factors", self.factors),
        ]

    async def allocations(self, request: web.Request) -> web.Response:
        """Take a list of allocations."""
        return await self._answer(request, self._allocations)

    async def factors(self, request: web.Request) -> web.Response:
        """Take a list of factors; the hours in which they hold are computed again."""
        return await self._answer(request, self._factors)

    async def _allocations(self, raw: bytes) -> dict[str, Any]:
        oldest_s = self._now() - self._oldest_seconds if self._oldest_seconds else 0.0
        batch = await asyncio.to_thread(json_documents.allocations, raw, round(oldest_s * 1000))
        if batch:
            await asyncio.wrap_future(self._writer.submit(batch))
        self._telemetry.reject(RECEIVER, batch.rejected)
        return {
            "accepted": len(batch.allocations),
            "quarantined": self._telemetry.quarantine(RECEIVER, batch),
            "rejected": batch.rejected,
        }

    async def _factors(self, raw: bytes) -> dict[str, Any]:
        said = await asyncio.to_thread(json_documents.factors, raw)
        hours = await self._reader.ask(factors.put, said, self._now())
        return {"accepted": len(said), "hours": hours}

    async def _answer(
        self, request: web.Request, take: Callable[[bytes], Awaitable[dict[str, Any]]]
    ) -> web.Response:
        status, headers = 200, {}
        try:
            sent = await body.read(request, self._limits.max_body_bytes)
            encoding = request.headers.get("Content-Encoding", "")
            raw = await asyncio.to_thread(
                body.decode, sent, encoding, self._limits.max_decoded_bytes
            )
            told = await take(raw)
        except InvalidInput as error:
            self._telemetry.reject(RECEIVER, {error.reason: 1})
            status, told = STATUS.get(type(error), 400), refusal(error)
        except Retryable as error:
            status, told, headers = 503, {"error": str(error)}, {"Retry-After": "1"}
        except Permanent as error:
            status, told = 400, {"error": str(error)}
        self._telemetry.count("requests_total", receiver=RECEIVER, code=str(status))
        return web.Response(
            status=status,
            text=json.dumps(told),
            content_type="application/json",
            headers=headers,
        )


STATUS: dict[type[InvalidInput], int] = {body.TooLarge: 413, body.UnknownEncoding: 415}


def refusal(error: InvalidInput) -> dict[str, Any]:
    """Return what the sender is told: one sentence, and each problem of a document."""
    if isinstance(error, json_documents.Problems):
        return {"error": "the document cannot be read", "problems": error.found}
    return {"error": str(error)}
