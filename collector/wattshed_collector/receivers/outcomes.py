"""Receiver of what programs say that they produced: POST /v1/outcomes, as JSON.

200 means durable. What cannot be used is counted by its reason and told beside what was taken;
400 that nothing was. A request that comes again, with the same key and times, changes nothing: an
increment is a counter of its own, and its readings are the same rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from aiohttp import web

from wattshed_collector import openapi
from wattshed_collector.normalise.facts import Limits
from wattshed_collector.normalise.json_documents import Problems
from wattshed_collector.openapi import INGEST, Operation, Parameter, by_name, listed, text, whole
from wattshed_exporter.outcome_document import Said, Unreadable, read

from .documents import document, refused
from .intake import Arrival, Intake

KEY = "Idempotency-Key"
"""Header of a request whose increments have no ids of their own
(draft-ietf-httpapi-idempotency-key-header)."""
NOT_YOURS = "not_yours"
_ITEM = {
    "type": "object",
    "description": "A reading {workload, outcome, total, ts?, start?, source?, model?} or an "
    "increment {workload, outcome, count, from, to, id?, model?}; workload is a key, or an "
    "object with a key and names. docs/CLIENT.md has examples.",
}
OPERATIONS = (
    Operation(
        "POST",
        "/v1/outcomes",
        "Take what programs produced; durable when answered",
        {
            openapi.JSON: openapi.record(
                {
                    "accepted": whole(),
                    "rejected": by_name(whole(), "Not taken, by reason"),
                    "problems": listed(text(), "What was wrong, item by item"),
                }
            )
        },
        (Parameter(KEY, "Names the increments that have no id of their own", where="header"),),
        takes={openapi.JSON: {"oneOf": [_ITEM, listed(_ITEM)]}},
        role=INGEST,
        refusals=(400, 413, 415),
    ),
)


class OutcomeReceiver:
    """Takes readings and increments whose times ``limits`` believes."""

    def __init__(
        self, intake: Intake, limits: Limits, now: Callable[[], float] = time.time
    ) -> None:
        self._intake = intake
        self._limits = limits
        self._now = now

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/outcomes", self.outcomes)]

    async def outcomes(self, request: web.Request) -> web.Response:
        """Take a list of readings and increments."""
        return await self._intake.answer(request, self._take, refused)

    async def _take(self, arrival: Arrival) -> web.Response:
        key = arrival.request.headers.get(KEY, "").strip()
        said = await document(self._intake, arrival, self._read, key)
        stored = await self._intake.store(arrival, said.batch)
        written = {outcome.workload for outcome in stored.batch.outcomes}
        accepted = sum(whose in written for whose in said.whose)
        rejected = dict(stored.batch.rejected)
        if accepted < len(said.whose):
            rejected[NOT_YOURS] = len(said.whose) - accepted
        return web.json_response(
            {"accepted": accepted, "rejected": rejected, "problems": said.problems}
        )

    def _read(self, body: bytes, key: str) -> Said:
        now_ms = round(self._now() * 1000)
        try:
            return read(body, lambda at_ms: self._limits.doubt(at_ms, now_ms), now_ms, key)
        except Unreadable as unreadable:
            raise Problems(unreadable.problems) from unreadable
