"""``/v1/slo``: objectives for energy per outcome, what is left of their budgets, what burns."""

from __future__ import annotations

from aiohttp import web

from wattshed_collector import openapi, slo_report
from wattshed_collector.errors import InvalidInput
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
from wattshed_collector.store.read import Reader

from .documents import answered

FORMATS = ("json", "csv")
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
        {openapi.JSON: record({"slos": listed(_SLO)}), openapi.CSV: text()},
        (
            Parameter("name", "One objective, with who spent most"),
            Parameter("format", "CSV has a line for each pair of windows", text("", *FORMATS)),
        ),
        refusals=(400,),
    ),
)


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
        return answered(document)
