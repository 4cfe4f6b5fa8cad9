"""``/v1/slo``: objectives for energy per outcome, what is left of their budgets, what burns.

A page is of whole objectives, in the order of their names: in CSV each has a line for every pair of
windows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from wattshed_collector import openapi, slo_report
from wattshed_collector.openapi import (
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
from wattshed_collector.store.client import Client
from wattshed_collector.store.read import Reader

from . import pages

_BUDGET = record(
    {
        "unit": text("outcomes or joules"),
        "total": number("What may be spent in the window"),
        "spent": number(),
        "left_ratio": maybe(number("Below 0: overspent")),
        "state": text(),
        "since": whole("Unix seconds"),
        "until": whole("Unix seconds"),
        "gone_in_seconds": maybe(number("When it is spent at the present rate")),
    }
)
_BURN = record(
    {
        "severity": text(),
        "factor": number("Burn rate from which it is said to burn"),
        "long_seconds": whole(),
        "short_seconds": whole(),
        "burn_long": maybe(number("null where too little was produced")),
        "burn_short": maybe(number()),
        "is_burning": flag(),
        "state": text(),
    }
)
_WORKLOAD = record(
    {
        **{name: text() for name in ("workload", "workload_key", "team", "namespace")},
        **{name: number() for name in ("outcomes", "joules", "allowed_joules", "above_joules")},
        "joules_per_outcome": maybe(number()),
    }
)
_SLO = record(
    {
        **{name: text() for name in ("slo", "owner", "description", "outcome")},
        "basis": text("Which joules count", "active", "loaded"),
        "sli": text("", "good_outcomes", "joule_budget"),
        "state": text(
            "ok, burning, spent, low_traffic, no_outcomes, no_energy, no_data or computing"
        ),
        "match": by_name(text(), "Columns of workloads that must be equal"),
        "window_days": whole(),
        "is_burning": flag(),
        **{
            name: number()
            for name in (
                *("target_joules_per_outcome", "objective_ratio", "least_outcomes", "outcomes"),
                *("bad_outcomes", "unmeasured_outcomes", "joules", "idle_joules"),
                "allowed_joules",
            )
        },
        "joules_per_outcome": maybe(number("null where nothing was produced")),
        "budget": _BUDGET,
        "burn": listed(_BURN, "A pair of windows each"),
        "workloads": listed(_WORKLOAD, "Who spent most; with name= alone"),
    },
    optional=("workloads",),
)
OPERATIONS = (
    Operation(
        "GET",
        "/v1/slo",
        "Objectives for energy per outcome: what is left of their budgets, what burns",
        {
            openapi.JSON: record({"slos": listed(_SLO), "next": pages.NEXT}),
            openapi.CSV: text("A line for each pair of windows"),
        },
        (
            Parameter("name", "One objective, with who spent most"),
            pages.LIMIT,
            pages.AFTER,
            pages.FORMAT,
        ),
        refusals=(400,),
        note="A page is of whole objectives, in the order of their names.",
    ),
)


@dataclass(frozen=True, slots=True)
class Question:
    """At most ``limit`` objectives that follow the key ``after``; with ``name`` that one."""

    name: str
    digest: str
    limit: int
    after: tuple[Any, ...]
    format: str


def parse(query: Mapping[str, str]) -> Question:
    """Read the parameters of a request. Raises InvalidInput with what may be asked."""
    name, form = query.get("name", ""), pages.form(query.get("format", "json"))
    asked, token = pages.digest(["slo", name]), query.get("after", "")
    limit = pages.limit(query.get("limit", str(pages.DEFAULT_ROWS)))
    return Question(name, asked, limit, tuple(pages.read(token, asked) if token else ()), form)


def answer(client: Client, question: Question) -> tuple[str, str | None]:
    """Return a page as JSON or CSV, and what ``after`` is for the next one."""
    name, is_csv = question.name, question.format == "csv"
    rows = slo_report.burn(client, name) if is_csv else slo_report.build(client, name)["slos"]
    names = dict.fromkeys(row["slo"] for row in rows)
    found, last = pages.cut(names, lambda name: (name,), question.limit, question.after)
    following = None if last is None else pages.token(question.digest, last)
    on_page = set(found)
    shown = [row for row in rows if row["slo"] in on_page]
    if is_csv:
        return slo_report.as_csv(shown), following
    return json.dumps({"slos": shown, "next": following}, allow_nan=False), following


class SloApi:
    """Answers questions; it never writes."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/slo", self.slo)]

    async def slo(self, request: web.Request) -> web.Response:
        """A page of objectives, or the one of ``?name=`` with who spent most."""
        question = parse(pages.once(request.query.items()))
        text, following = await self._reader.ask(answer, question)
        kind = openapi.CSV if question.format == "csv" else openapi.JSON
        return pages.linked(web.Response(text=text, content_type=kind), request, following)
