"""What was said, and how it fits: quarantine, factors, the tree of meters, reconciliation."""

from __future__ import annotations

import json
import math
from typing import Any

from aiohttp import web

from wattshed_collector.store import factors, quarantine, tree_queries
from wattshed_collector.store.read import Reader

from .window import LONGEST_S, asked_window


class FactsApi:
    """Answers questions about allocations in doubt, factors, and meters around others."""

    def __init__(self, reader: Reader, longest_seconds: float = LONGEST_S) -> None:
        self._reader = reader
        self._longest_seconds = longest_seconds

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/quarantine", self.quarantine),
            web.get("/v1/factors", self.factors),
            web.get("/v1/tree", self.tree),
            web.get("/v1/reconciliation", self.reconciliation),
        ]

    async def quarantine(self, request: web.Request) -> web.Response:
        """Allocations in doubt that came within ``?since=24h&until=``, newest first."""
        since, until = asked_window(request, self._longest_seconds)
        rows = await self._reader.ask(quarantine.listed, since, until)
        return _json({"window": {"start": since, "end": until}, "rows": rows})

    async def factors(self, request: web.Request) -> web.Response:
        """Every factor, by kind, site and time."""
        return _json({"rows": await self._reader.ask(factors.listed)})

    async def tree(self, request: web.Request) -> web.Response:
        """Where each device hangs, and what was wrong with what was said of it."""
        return _json({"rows": await self._reader.ask(tree_queries.tree)})

    async def reconciliation(self, request: web.Request) -> web.Response:
        """What each outer meter measured beside what is inside of it, ``?since=24h&until=``."""
        since, until = asked_window(request, self._longest_seconds)
        hour = since - since % 3600
        rows = await self._reader.ask(tree_queries.reconciliation, hour, until)
        return _json({"window": {"start": hour, "end": until}, "rows": rows})


def _json(document: Any) -> web.Response:
    return web.Response(text=json.dumps(_plain(document)), content_type="application/json")


def _plain(value: Any) -> Any:
    """Return ``value`` with what JSON has no number for as text: a share may be NaN."""
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_plain(member) for member in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
