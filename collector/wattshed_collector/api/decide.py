"""``POST /v1/decide``: what a job that can wait should do; ``GET /v1/shifted``: what that saved."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from aiohttp import web

from wattshed_collector import decide, openapi
from wattshed_collector.api import when
from wattshed_collector.api.window import asked_window
from wattshed_collector.config import Grid
from wattshed_collector.decide import Job
from wattshed_collector.errors import InvalidInput
from wattshed_collector.grid.policies import Action
from wattshed_collector.openapi import (
    ADMIN,
    Operation,
    Parameter,
    by_name,
    flag,
    listed,
    maybe,
    number,
    record,
    text,
    whole,
)
from wattshed_collector.store.read import Reader

from .documents import Unpacked, answered, read_object

MOST_BYTES = 64 * 1024
FIELDS = ("duration", "deadline", "earliest", "site", "zone", "signal", "interruptible")
_ANSWER = record(
    {
        "job": text(),
        "action": text("", *Action),
        "policy": text('"": none matches'),
        "signal": text(),
        "value": maybe(number("Of the signal now")),
        "until": maybe(whole("Unix seconds; when who is held should ask again")),
        "cap_ratio": maybe(number("Of the power limit")),
        "held_seconds": whole("Since the job first asked"),
        "reasons": listed(text()),
    }
)
_JOB_TEXTS = ("job", "policy", "signal", "site", "zone", "unit", "source", "reason")
_JOB = record(
    {
        **{name: text() for name in _JOB_TEXTS},
        "asked": whole("Unix seconds"),
        "shift_seconds": whole("From then to its first joule"),
        "joules": number(),
        "are_facility_joules": flag(
            "With the PUE, which is known for all of them; never of a price"
        ),
        "cost": maybe(number("Grams or money of these joules")),
        "cost_at_once": maybe(number("Had they been drawn from when it first asked")),
        "saved": maybe(number()),
    }
)
OPERATIONS = (
    Operation(
        "POST",
        "/v1/decide",
        "Run, hold or cap: what a job that can wait should do now, by the policies in force",
        {openapi.JSON: _ANSWER},
        takes={
            openapi.JSON: record(
                {
                    "job": text("Key of its workload, by which its joules are found later"),
                    "attributes": by_name(text(), "What policies match: team, workload, ..."),
                    "keep": flag("Whether the decision is kept; true, where it is not said"),
                    **{name: text("As at /v1/when") for name in FIELDS if name != "signal"},
                },
                optional=("attributes", "keep", "earliest", "site", "zone", "interruptible"),
            )
        },
        role=ADMIN,
        refusals=(400, 413),
    ),
    Operation(
        "GET",
        "/v1/shifted",
        "What jobs that were held saved against running at once",
        {
            openapi.JSON: record(
                {
                    "since": whole(),
                    "until": whole(),
                    "jobs": listed(_JOB, "The newest 500"),
                    "saved_by_unit": by_name(number()),
                    "unknown": whole("Jobs of which it cannot be told"),
                    "assumes": text("What would have been without holding, which nobody measured"),
                }
            )
        },
        (
            Parameter("since", "Jobs that asked first since then"),
            Parameter("until", "End of the window; now, where it is not said"),
        ),
        refusals=(400,),
    ),
)


class DecideApi:
    """Decides by the policies that were told; what it decided is kept in the store."""

    def __init__(self, reader: Reader, clerk: Reader, told: Grid, unpacked: Unpacked) -> None:
        self._unpacked = unpacked
        self._reader = reader
        self._clerk = clerk
        self._policies = [policy.policy for policy in told.policies]
        self._forecast_age_s = int(told.forecast_max_age_seconds)

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/decide", self.decide), web.get("/v1/shifted", self.shifted)]

    async def decide(self, request: web.Request) -> web.Response:
        """One decision about one job."""
        now = int(time.time())
        raw = await self._unpacked(request, MOST_BYTES)
        job, keep = asked(raw, now, self._forecast_age_s)
        answer = partial(decide.told, policies=self._policies, job=job, now_s=now, keep=keep)
        return answered(await self._clerk.ask(answer))

    async def shifted(self, request: web.Request) -> web.Response:
        """``?since=30d``: jobs that asked first since then."""
        return answered(await self._reader.ask(decide.saved, *asked_window(request)))


def asked(raw: bytes, now: int, forecast_age_s: int) -> tuple[Job, bool]:
    """Read a question, and whether its answer is kept. Raises InvalidInput."""
    said = read_object(raw, "job, duration, deadline and site")
    if not isinstance(said.get("job"), str) or not said["job"]:
        raise InvalidInput("name the job, by the key of its workload", "malformed")
    if unknown := set(said) - {"job", "attributes", "keep", *FIELDS}:
        raise InvalidInput(f"{', '.join(sorted(unknown))} is not known", "malformed")
    attributes, keep = said.get("attributes", {}), said.get("keep", True)
    if not _is_text(attributes) or not isinstance(keep, bool):
        raise InvalidInput("attributes must be texts by name, keep true or false", "malformed")
    query = {name: said[name] for name in FIELDS if name in said}
    if not _is_text(query):
        raise InvalidInput(f"{', '.join(query)} must be texts", "malformed")
    question = when.asked(query, now, forecast_age_s)
    told = {"site": question.site, "workload": said["job"], **attributes}
    return Job(said["job"], told, question), keep


def _is_text(said: Any) -> bool:
    return isinstance(said, Mapping) and all(
        isinstance(k, str) and isinstance(v, str) for k, v in said.items()
    )
