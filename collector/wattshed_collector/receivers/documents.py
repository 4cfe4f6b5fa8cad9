"""Receiver of JSON documents: POST /v1/allocations, /v1/factors and /v1/quality.

200 means durable. A document that cannot be read is refused whole, with everything that is wrong
with it; an allocation that can be read and cannot be true is kept in quarantine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from aiohttp import web

from wattshed_collector.normalise import json_documents
from wattshed_collector.store import factors, quality
from wattshed_collector.store.read import Reader

from .intake import Arrival, Intake, Refusal

T = TypeVar("T")

RECEIVER = "json"


class DocumentReceiver:
    """Takes allocations, factors and scores. ``oldest_seconds`` 0 accepts allocations of any age;
    a score may be at most ``future_seconds`` ahead of our clock."""

    def __init__(
        self,
        intake: Intake,
        reader: Reader,
        oldest_seconds: float,
        future_seconds: float = 0.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._intake = intake
        self._reader = reader
        self._oldest_seconds = oldest_seconds
        self._future_seconds = future_seconds
        self._now = now

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/allocations", self.allocations),
            web.post("/v1/factors", self.factors),
            web.post("/v1/quality", self.quality),
        ]

    async def allocations(self, request: web.Request) -> web.Response:
        """Take a list of allocations."""
        return await self._intake.answer(request, self._allocations, refused)

    async def factors(self, request: web.Request) -> web.Response:
        """Take a list of factors; the hours in which they hold are computed again."""
        return await self._intake.answer(request, self._factors, refused)

    async def quality(self, request: web.Request) -> web.Response:
        """Take a list of scores; the same measurement said again replaces itself."""
        return await self._intake.answer(request, self._quality, refused)

    async def _allocations(self, arrival: Arrival) -> web.Response:
        oldest_s = self._now() - self._oldest_seconds if self._oldest_seconds else 0.0
        batch = await document(
            self._intake, arrival, json_documents.allocations, round(oldest_s * 1000)
        )
        stored = await self._intake.store(arrival, batch)
        return web.json_response(
            {
                "accepted": len(stored.batch.allocations),
                "quarantined": stored.quarantined,
                "rejected": stored.batch.rejected,
            }
        )

    async def _factors(self, arrival: Arrival) -> web.Response:
        said = await document(self._intake, arrival, json_documents.factors)
        hours = await self._reader.ask(factors.put, said, self._now())
        return web.json_response({"accepted": len(said), "hours": hours})

    async def _quality(self, arrival: Arrival) -> web.Response:
        latest_s = self._now() + self._future_seconds
        said = await document(self._intake, arrival, json_documents.scores, latest_s)
        await self._reader.ask(quality.put, said, self._now())
        return web.json_response({"accepted": len(said)})


async def document(intake: Intake, arrival: Arrival, load: Callable[..., T], *arguments: Any) -> T:
    """Read the request's document, decompress it within the limit of JSON, and ``load`` it."""
    await arrival.read()

    def decoded() -> T:
        return load(arrival.unpacked(intake.limits.max_json_bytes), *arguments)

    return await intake.decoded(decoded)


def refused(refusal: Refusal) -> web.Response:
    """Tell one sentence, and each problem of a document."""
    error = refusal.error
    told: dict[str, Any] = {"error": str(error)}
    if isinstance(error, json_documents.Problems):
        told = {"error": "the document cannot be read", "problems": error.found}
    return web.json_response(told, status=refusal.status)
