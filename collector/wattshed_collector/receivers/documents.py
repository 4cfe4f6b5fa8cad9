"""Receiver of JSON documents: POST /v1/allocations, /v1/factors, /v1/quality, /v1/expected-idle.

200 means durable. A document that cannot be read is refused whole, with everything that is wrong
with it; an allocation that can be read and cannot be true is kept in quarantine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from aiohttp import web

from wattshed_collector import openapi
from wattshed_collector.normalise import json_documents
from wattshed_collector.openapi import (
    ADMIN,
    Operation,
    by_name,
    listed,
    maybe,
    number,
    record,
    text,
    whole,
)
from wattshed_collector.security.guard import LOCAL
from wattshed_collector.store import expected_idle, factors, quality
from wattshed_collector.store.read import Reader

from .intake import Arrival, Intake, Refusal

T = TypeVar("T")

RECEIVER = "json"


SAID = (400, 413, 415)
_TIME = {"type": ["string", "number"], "description": "RFC 3339, or Unix seconds"}
_WORKLOAD = record(
    {name: text() for name in sorted(json_documents.WORKLOAD_FIELDS)},
    optional=json_documents.WORKLOAD_FIELDS - {"key"},
)
_ALLOCATION = record(
    {
        "device": text(),
        "workload": {"oneOf": [text("Its key"), _WORKLOAD]},
        "start": _TIME,
        "end": {**_TIME, "description": "The same as start takes it back"},
        "share": number("Of the device, above 0 to 1"),
        "activity": maybe(number("How much it worked, where that is known")),
        "method": text("Who says so"),
        "revision": whole("A higher one corrects"),
    },
    optional=("share", "activity", "method", "revision"),
)
_FACTOR = record(
    {
        "kind": text("pue, price, power_budget_watts, ..."),
        "site": text('"": every site without one of its own'),
        "start": _TIME,
        "value": maybe(number("null ends what was said before")),
        "unit": text(),
        "source": text(),
    },
    optional=("site", "unit", "source"),
)


_SCORE = record(
    {
        "model": text(),
        "metric": text("Such as rouge-l or perplexity"),
        "score": maybe(number("null takes it back")),
        "better": text("", "higher", "lower"),
        "at": _TIME,
        "precision": text(),
        "batch_class": text(),
        "hardware": text(),
        "workload": text(),
        "kind": text("", "score", "calibration"),
        "samples": maybe(whole()),
        "note": text(),
    },
    optional=("precision", "batch_class", "hardware", "workload", "kind", "samples", "note"),
)


_EXPECTED = record(
    {
        "id": text("Replaces the entry of that id; without one it is made"),
        "workload": text('Its name or key; "": any'),
        "team": text(),
        "node": text(),
        "reason": text("Such as warm-standby, notebook or maintenance"),
        "by": text("Who says so, where nobody is authenticated"),
        "since": {**_TIME, "description": "Now, where it is not said"},
        "until": {"type": ["string", "number", "null"], "description": "null ends that id now"},
    },
    optional=("id", "workload", "team", "node", "reason", "by", "since"),
)


def _each(schema: openapi.Schema) -> openapi.Schema:
    return {"oneOf": [schema, listed(schema)]}


OPERATIONS = (
    Operation(
        "POST",
        "/v1/allocations",
        "Take who held which device; durable when answered",
        {
            openapi.JSON: record(
                {
                    "accepted": whole(),
                    "quarantined": by_name(whole(), "Kept aside, by reason"),
                    "rejected": by_name(whole(), "Not taken, by reason"),
                }
            )
        },
        takes={openapi.JSON: _each(_ALLOCATION)},
        role=ADMIN,
        refusals=SAID,
    ),
    Operation(
        "POST",
        "/v1/factors",
        "Take factors of sites; the hours in which they hold are computed again",
        {openapi.JSON: record({"accepted": whole(), "hours": whole("How many hours change")})},
        takes={openapi.JSON: _each(_FACTOR)},
        role=ADMIN,
        refusals=SAID,
    ),
    Operation(
        "POST",
        "/v1/quality",
        "Take scores of models; a score of null takes one back",
        {openapi.JSON: record({"accepted": whole()})},
        takes={openapi.JSON: _each(_SCORE)},
        role=ADMIN,
        refusals=SAID,
    ),
    Operation(
        "POST",
        "/v1/expected-idle",
        "Take whose idleness is expected and pages nobody, until when",
        {openapi.JSON: record({"ids": listed(text())})},
        takes={openapi.JSON: _each(_EXPECTED)},
        role=ADMIN,
        refusals=SAID,
    ),
)


class DocumentReceiver:
    """Takes allocations, factors, scores and what idleness is expected.

    ``oldest_seconds`` 0 accepts allocations of any age; a score may be at most ``future_seconds``
    ahead of our clock.
    """

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
            web.post("/v1/expected-idle", self.expected),
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

    async def expected(self, request: web.Request) -> web.Response:
        """Take entries of expected idleness; one of a known id replaces it."""
        return await self._intake.answer(request, self._expected, refused)

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

    async def _expected(self, arrival: Arrival) -> web.Response:
        said = await document(self._intake, arrival, json_documents.expected, self._now())
        if arrival.sender not in ("", LOCAL):  # who was authenticated cannot speak for another
            said = [replace(entry, said_by=arrival.sender) for entry in said]
        await self._reader.ask(expected_idle.put, said, self._now())
        return web.json_response({"ids": [entry.id for entry in said]})


async def document(intake: Intake, arrival: Arrival, load: Callable[..., T], *arguments: Any) -> T:
    """Read the request's document, decompress it within the limit of JSON, and ``load`` it."""
    await arrival.read()

    def decoded() -> T:
        return load(arrival.unpacked(intake.limits.max_json_bytes), *arguments)

    return await intake.decoded(arrival.turn, decoded)


def refused(refusal: Refusal) -> web.Response:
    """Tell one sentence, and each problem of a document."""
    error = refusal.error
    told: dict[str, Any] = {"error": str(error)}
    if isinstance(error, json_documents.Problems):
        told = {"error": "the document cannot be read", "problems": error.found}
    return web.json_response(told, status=refusal.status)
