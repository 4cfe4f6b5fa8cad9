"""``/v1/ledger``: what the ledger does, and recomputing a window of it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiohttp import web

from wattshed_collector import openapi, recompute
from wattshed_collector.ledger_job import LedgerJob
from wattshed_collector.openapi import (
    ADMIN,
    Operation,
    flag,
    listed,
    maybe,
    number,
    record,
    text,
    whole,
)
from wattshed_collector.store import ledger_state, policies
from wattshed_collector.store.client import Client
from wattshed_collector.store.policies import Rule
from wattshed_collector.store.read import Reader
from wattshed_exporter.model import IdlePolicy

from .documents import answered, read_object

_POLICY = {
    "since": whole("From which hour on, Unix seconds; 0: always"),
    "idle_policy": text("", *IdlePolicy),
    "idle_below_e4": whole("Utilisation below which a device idles, in 1e-4"),
    "host_remainder": text("Who is charged what a host uses beside its devices"),
}
_STATE = {
    "leader": maybe(text("Who computes")),
    "leader_until": maybe(number("Unix seconds")),
    "watermark": maybe(number("News up to then is charged, Unix seconds")),
    "settled": maybe(number("Everything measured up to then is charged, Unix seconds")),
    "dirty_hours": listed(whole("Unix seconds"), "Hours that wait"),
    "raw_days": whole("For how long raw readings are kept; 0: for ever"),
    "policies": listed(record(_POLICY)),
    "leads": flag("Whether this collector computes"),
    "last_run": maybe(
        record(
            {"at": number("Unix seconds"), "result": text(), "hours": whole(), "seconds": number()}
        )
    ),
    "recomputing": maybe(record({"done": whole(), "hours": whole()})),
}
_CHANGE = {
    "workload_key": text('"": nobody'),
    "workload": text(),
    "team": text(),
    "charge_class": text(),
    "before_joules": number(),
    "after_joules": number(),
    "change_joules": number(),
}
OPERATIONS = (
    Operation(
        "GET", "/v1/ledger", "How far the ledger is, and by which policies",
        {openapi.JSON: record(_STATE)},
    ),
    Operation(
        "POST",
        "/v1/ledger/recompute",
        "Compute a window again, or say what that would change; answers when done",
        {
            openapi.JSON: record(
                {
                    "start": whole("Unix seconds, a full hour"),
                    "end": whole("Unix seconds"),
                    "hours": whole(),
                    "written": flag(),
                    "changes": listed(record(_CHANGE), "What a dry run found"),
                }
            )
        },
        takes={
            openapi.JSON: record(
                {
                    "from": text("As since= elsewhere"),
                    "to": text("As until= elsewhere"),
                    "policy": maybe(text("Idle policy to charge by", *IdlePolicy)),
                    "idle_below": maybe(number("Utilisation below which a device idles, 0 to 1")),
                    "dry_run": flag(),
                },
                optional=("to", "policy", "idle_below", "dry_run"),
            )
        },
        role=ADMIN,
        refusals=(400,),
    ),
)  # fmt: skip


class LedgerApi:
    """Answers from the store at once; what computes takes its turn on the ledger's own thread."""

    def __init__(self, reader: Reader, job: LedgerJob) -> None:
        self._reader = reader
        self._job = job
        self._progress: tuple[int, int] | None = None

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/ledger", self.state),
            web.post("/v1/ledger/recompute", self.recompute),
        ]

    async def state(self, request: web.Request) -> web.Response:
        """Leader, watermark, settled, dirty hours that wait, policies and the last run."""
        document = await self._reader.ask(state)
        document["leads"] = self._job.leads
        document["last_run"] = self._job.last_run
        document["recomputing"] = self._progress and dict(
            zip(("done", "hours"), self._progress, strict=True)
        )
        return answered(document)

    async def recompute(self, request: web.Request) -> web.Response:
        """Recompute ``{"from", "to", "policy", "idle_below", "dry_run"}``; answers when done."""
        said = read_object(await request.read(), ", ".join(sorted(recompute.FIELDS)))
        asked = recompute.parse(said, time.time())
        try:
            answer = self._job.ask(lambda ledger: recompute.answer(ledger, asked, self._advance))
            return answered(await asyncio.wrap_future(answer))
        finally:
            self._progress = None

    def _advance(self, done: int, hours: int) -> None:
        self._progress = done, hours


def state(client: Client) -> dict[str, Any]:
    """What the store knows of its ledger; times are Unix seconds."""
    known = policies.read(client, Rule()).rows
    listed = [{"since": start, **rule.parameters()} for start, rule in known]
    raw_days = ledger_state.raw_days(client)
    return {**ledger_state.read(client), "raw_days": raw_days, "policies": listed}
