"""``GET /v1/showback``: what teams drew, paid, emitted and left idle in a month or week."""

from __future__ import annotations

import time
from collections.abc import Mapping

from aiohttp import web

from wattshed_collector import openapi, period, showback
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
from wattshed_collector.period import Period
from wattshed_collector.store.read import Reader

from .documents import answered

_SHORT = {
    "joules": number("Of devices"),
    "device_seconds": number(),
    "facility_joules": maybe(number("With the sites' PUE, where it is known")),
    "costs": by_name(number(), "By currency, where a price is known"),
    "carbon_g": maybe(number("Location-based grams of CO2 equivalent, where they are known")),
}
_UNKNOWN = record(
    {name: number() for name in ("facility", "cost", "carbon", "market", "marginal")},
    "Joules of devices of which it is not known",
)
_FULL = record(
    {
        **_SHORT,
        "carbon_market_g": maybe(number("Beside them, never in place of them")),
        "carbon_marginal_g": maybe(number("Beside them, never in place of them")),
        "carbon_g_by_method": by_name(number(), "factor, hourly or yearly"),
        "carbon_estimated_ratio": maybe(number("Of the grams, by what their source says")),
        "carbon_sources": listed(text()),
        "carbon_said": maybe(whole("When a source last said what counts here, Unix seconds")),
        "unknown_joules": _UNKNOWN,
    }
)
_IDLE = {
    "idle_held_joules": number(),
    "idle_held_seconds": number("Device-seconds"),
    "idle_held_costs": by_name(number()),
    "idle_held_g": maybe(number()),
}
_WORKLOAD = record(
    {
        **{name: text() for name in ("workload", "workload_kind", "ai_model")},
        **_SHORT,
        "active_joules": number(),
        **_IDLE,
    }
)
_OUTCOME = record(
    {
        **{name: text() for name in ("team", "ai_model", "outcome")},
        "count": number(),
        "active_joules": maybe(number()),
        "loaded_joules": maybe(number()),
        "joules_per_outcome_active": maybe(number()),
        "joules_per_outcome_loaded": maybe(number()),
        "low": maybe(number("Of the loaded joules of each")),
        "high": maybe(number()),
    }
)
_ADVICE = record(
    {
        **{name: text() for name in ("id", "kind", "title", "site", "owner", "state", "effort")},
        "joules_per_month": number(),
        "are_facility_joules": flag(),
        "cost_per_month": maybe(number()),
        "currency": text(),
        "g_per_month": maybe(number()),
        "confidence": number(),
        "part": number("Of it; below 1 where other teams use the name as well"),
    }
)
_DONE = record(
    {
        **{name: text() for name in ("id", "kind", "title", "verdict")},
        "are_facility_joules": flag(),
        "done": whole("Unix seconds"),
        "seconds": number("Measured of the period since then"),
        "expected_joules": number("What was promised for that time"),
        "saved_joules": maybe(number("Within the period: those of its days sum to it")),
        "saved_joules_per_month": maybe(number()),
        "ratio": maybe(number()),
        "expected_g": maybe(number("Of advice that promises grams and no joules")),
        "saved_g": maybe(number()),
    }
)
_TEAM = record(
    {
        "team": text('"": nobody said for whom'),
        "totals": _FULL,
        "before": maybe(_FULL),
        "classes": by_name(record(_SHORT)),
        "workloads": listed(_WORKLOAD, "The 50 largest"),
        "waste": listed(record({"workload": text(), **_IDLE}), "The 20 largest"),
        "outcomes": listed(_OUTCOME),
        "advice": listed(_ADVICE, "Open now"),
        "done": listed(_DONE, "Before the period ended; measured within it"),
        "shifted": record(
            {"held": whole("Jobs"), "saved_by_unit": by_name(number()), "unknown": whole("Jobs")}
        ),
        "coverage": record(
            {
                "known_seconds": number("Device-seconds"),
                "unknown_seconds": number("The rest of the same hours of the same devices"),
                "known_ratio": maybe(number()),
            }
        ),
    }
)
_AMOUNTS = ("facility_joules", "cost", "carbon_g", "market_g", "marginal_g")
_GRAMS = ("factor_g", "hourly_g", "yearly_g")
_DAY = record(
    {
        **{name: text() for name in ("team", "class", "currency")},
        "day": whole("Unix seconds, UTC"),
        "joules": number(),
        "device_seconds": number(),
        **{name: maybe(number()) for name in (*_AMOUNTS, *_GRAMS)},
        "carbon_sources": listed(text()),
        "carbon_said": maybe(whole("Unix seconds")),
        **{
            f"{name}_unknown_joules": number()
            for name in ("facility", "cost", "carbon", "market", "marginal")
        },
    }
)
_RATE = record(
    {
        "kind": text("", "price", "pue"),
        "site": text(),
        "method": text("factor, or hourly: a series of the zone", "factor", "hourly"),
        "source": text(),
        "said": maybe(whole("When the newest of it was said, Unix seconds; null: not known")),
    }
)
OPERATIONS = (
    Operation(
        "GET",
        "/v1/showback",
        "What teams drew, paid, emitted, left idle, produced and saved in a month or week",
        {
            openapi.JSON: record(
                {
                    "version": whole(),
                    "made": whole("Unix seconds"),
                    "period": record(
                        {
                            "kind": text("", "month", "week"),
                            "name": text(),
                            "start": whole("Unix seconds, UTC"),
                            "end": whole(),
                            "until": whole("Up to when energy is charged"),
                            "is_whole": flag("Known from its start to its end"),
                        }
                    ),
                    "before": record(
                        {
                            "name": text(),
                            "start": whole(),
                            "end": whole("As long after its start as the period is charged"),
                            "is_whole": flag("Known from its start on"),
                        }
                    ),
                    "team": maybe(text("What was asked for")),
                    "carbon_scope": text("Of carbon_g everywhere in it"),
                    "rates": listed(_RATE, "Who told what joules cost, and PUEs, of all sites"),
                    "fleet": _FULL,
                    "fleet_before": maybe(_FULL),
                    "teams": listed(_TEAM, "The one that was asked for, or all"),
                    "days": listed(_DAY),
                }
            )
        },
        (
            Parameter("month", "Of UTC; without it and a week the last one", example="2026-10"),
            Parameter("week", "ISO week, from Monday on", example=""),
            Parameter("team", 'Of one; "" is nobody\'s; all, where it is not said'),
        ),
        refusals=(400,),
    ),
)


class ShowbackApi:
    """Answers questions; it never writes."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/showback", self.showback)]

    async def showback(self, request: web.Request) -> web.Response:
        """``?month=2026-10&team=research``."""
        now = int(time.time())
        span, team = asked(request.query, now)
        document = await self._reader.ask(showback.build, span, team, now)
        return answered(document)


def asked(query: Mapping[str, str], now: int) -> tuple[Period, str | None]:
    """Read the parameters. Raises InvalidInput with a sentence that says what is accepted."""
    return period.asked(query.get("month", ""), query.get("week", ""), now), query.get("team")
