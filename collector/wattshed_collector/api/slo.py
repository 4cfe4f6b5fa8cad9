"""``/v1/slo``: objectives for energy per outcome, what is left of their budgets, what burns."""

from __future__ import annotations

import json

from aiohttp import web

from wattshed_collector import slo_report
from wattshed_collector.errors import InvalidInput
from wattshed_collector.store.read import Reader

FORMATS = ("json", "csv")


class SloApi:
    """Answers questions; it never writes."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/slo", self.slo)]

    async def slo(self, request: web.Request) -> web.Response:
        """All objectives, or the one of ``?name=`` with who spent most; ``?format=csv`` gives a
        line per pair of windows."""
        name, wanted = request.query.get("name", ""), request.query.get("format", "json")
        if wanted not in FORMATS:
            raise InvalidInput(f"format={wanted!r}: choose one of {', '.join(FORMATS)}", "format")
        if wanted == "csv":
            text = await self._reader.ask(slo_report.table, name)
            return web.Response(text=text, content_type="text/csv")
        document = await self._reader.ask(slo_report.build, name)
        return web.Response(
            text=json.dumps(document, allow_nan=False), content_type="application/json"
        )
