"""``GET /v1/expected-idle``: whose idleness wakes nobody, until when, and what it costs."""

from __future__ import annotations

from aiohttp import web

from wattshed_collector import openapi
from wattshed_collector.errors import InvalidInput
from wattshed_collector.openapi import Operation, Parameter, listed, number, record, text, whole
from wattshed_collector.store import expected_idle
from wattshed_collector.store.read import Reader

from .documents import answered

STATES = ("active", "to_come", "ended")
_ENTRY = record(
    {
        "id": text(),
        "workload": text('Its name or key, "" is any'),
        "team": text(),
        "node": text(),
        "reason": text(),
        "said_by": text(),
        "since_s": number("Unix seconds"),
        "until_s": number("Unix seconds"),
        "state": text("", *STATES),
        "devices": whole("Devices that it covers now, as far as they are idle"),
        "idle_watts": number("What these draw above bare idle: waste all the same"),
    }
)
OPERATIONS = (
    Operation(
        "GET",
        "/v1/expected-idle",
        "Idleness that is expected: of whom, until when, and what it draws",
        {openapi.JSON: record({"entries": listed(_ENTRY)})},
        (Parameter("all", "Also what has ended", text("", "0", "1")),),
        refusals=(400,),
    ),
)


class ExpectedIdleApi:
    """Answers questions; ``POST`` is with what else comes as a document."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/expected-idle", self.listed)]

    async def listed(self, request: web.Request) -> web.Response:
        """What holds or will; ``?all=1`` what has ended as well."""
        every = request.query.get("all", "0")
        if every not in ("0", "1"):
            raise InvalidInput(f"all={every!r}: 0 or 1", "all")
        entries = await self._reader.ask(expected_idle.listed, every == "1")
        return answered({"entries": entries})
