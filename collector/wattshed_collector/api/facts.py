"""What was said, and how it fits: quarantine, factors, the tree of meters, reconciliation."""

from __future__ import annotations

import math
from typing import Any

from aiohttp import web

from wattshed_collector import openapi
from wattshed_collector.openapi import (
    SINCE,
    UNTIL,
    Operation,
    listed,
    maybe,
    number,
    rows,
    text,
    whole,
)
from wattshed_collector.store import factors, quarantine, tree_queries
from wattshed_collector.store.read import Reader

from .documents import answered
from .window import LONGEST_S, asked_window

QUARANTINED = {
    "start": number("Unix seconds"),
    "end": number("Unix seconds"),
    "device": text(),
    "workload": text(),
    "share": {"type": ["number", "string"], "description": "As it was said; NaN is a text"},
    "activity": {"type": ["number", "string", "null"], "description": "As it was said"},
    "method": text("Who said it"),
    "revision": whole(),
    "reason": text("Why it cannot be true, or does not fit"),
    "others": listed(text(), "Workloads that one with the reason overlap overlaps"),
    "came": number("Unix seconds"),
}
FACTOR = {
    "kind": text("pue, price, ..."),
    "site": text('"": every site without one of its own'),
    "start": whole("From when it holds, Unix seconds"),
    "value": maybe(number("null ends what was said before")),
    "unit": text(),
    "source": text(),
}
PLACE = {
    "device": text(),
    "parent": maybe(text("The device in which it is")),
    "depth": whole(),
    "root": maybe(text("The outermost device around it")),
    "meter_group": maybe(text("The outer meter that measures it")),
    "role": text("counted, inner, outer, aside"),
    "why": text("How that is known"),
    "problem": text("What was wrong with what was said"),
    "kind": text(),
    "node": text(),
    "site": text(),
    "source": text(),
}
OUTER_METER = {
    "device": text(),
    "node": text(),
    "site": text(),
    "source": text(),
    "outer_joules": number("What it measured: the sum of the next three"),
    "inner_joules": number("What the meters inside of it measured"),
    "remainder_joules": number("What runs beside them"),
    "uncovered_joules": number("In minutes in which not all of them were known"),
    "missing_joules": number("By how much it measured less than what is inside, negative"),
    "mismatched_hours": whole("Hours in which it did"),
    "hours": whole(),
}
OPERATIONS = (
    Operation(
        "GET",
        "/v1/quarantine",
        "Allocations in doubt that came in the window, the newest first",
        {openapi.JSON: rows(QUARANTINED, window=openapi.WINDOW)},
        (SINCE, UNTIL),
        refusals=(400,),
    ),
    Operation(
        "GET",
        "/v1/factors",
        "Every factor, by kind, site and time",
        {openapi.JSON: rows(FACTOR)},
    ),
    Operation(
        "GET",
        "/v1/tree",
        "Where each device hangs, and what was wrong with what was said of it",
        {openapi.JSON: rows(PLACE)},
    ),
    Operation(
        "GET",
        "/v1/reconciliation",
        "What each outer meter measured beside what is inside of it, in hours of the window",
        {openapi.JSON: rows(OUTER_METER, window=openapi.WINDOW)},
        (SINCE, UNTIL),
        refusals=(400,),
    ),
)


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
        return answered(_plain({"window": {"start": since, "end": until}, "rows": rows}))

    async def factors(self, request: web.Request) -> web.Response:
        """Every factor, by kind, site and time."""
        return answered(_plain({"rows": await self._reader.ask(factors.listed)}))

    async def tree(self, request: web.Request) -> web.Response:
        """Where each device hangs, and what was wrong with what was said of it."""
        return answered(_plain({"rows": await self._reader.ask(tree_queries.tree)}))

    async def reconciliation(self, request: web.Request) -> web.Response:
        """What each outer meter measured beside what is inside of it, ``?since=24h&until=``."""
        since, until = asked_window(request, self._longest_seconds)
        hour = since - since % 3600
        rows = await self._reader.ask(tree_queries.reconciliation, hour, until)
        return answered(_plain({"window": {"start": hour, "end": until}, "rows": rows}))


def _plain(value: Any) -> Any:
    """Return ``value`` with what JSON has no number for as text: a share may be NaN."""
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_plain(member) for member in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
