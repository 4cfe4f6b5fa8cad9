"""``GET /v1/scorecard`` and ``GET /v1/replace``: how models of hardware did, and what to keep."""

from __future__ import annotations

import time
from collections.abc import Mapping

from aiohttp import web

from wattshed_collector import openapi, procurement
from wattshed_collector.api.window import LONGEST_S, window
from wattshed_collector.errors import InvalidInput
from wattshed_collector.lifecycle.told import LONGEST_YEARS
from wattshed_collector.openapi import (
    UNTIL,
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
from wattshed_collector.procurement import Question
from wattshed_collector.store.read import Reader

from .documents import answered

DEFAULT_SINCE = "30d"
NUMBERS = (
    *("ratio", "remaining_years", "embodied_kg", "purchase_price", "price_per_kwh", "g_per_kwh"),
    *("old_per_new", "carbon_change", "price_change"),
)
CAN_FALL = ("carbon_change", "price_change")
MOST = {"remaining_years": LONGEST_YEARS, **dict.fromkeys(CAN_FALL, 10.0)}
"""Beyond, what is saved by the end has no number."""
_SINCE = Parameter("since", "Begin of the window", {**text(), "default": DEFAULT_SINCE})
_SITE = Parameter("site", "Only there")
_MADE = {
    "ai_model": text(),
    "outcome": text(),
    "outcomes": number(),
    "joules": number(),
    "outcomes_per_joule": number(),
}
_CARD = record(
    {
        "model": text(),
        "vendor": text(),
        "devices": whole(),
        "device_hours": number("Charged"),
        "joules": number(),
        "utilization_ratio": maybe(number()),
        "watts_while_idle": maybe(number("Measured while charged as idle")),
        "idle_watts_learned": maybe(number("Of the device while nobody works on it")),
        "failures": maybe(number("Events that are the devices' own; null: nobody counts them")),
        "program_errors": maybe(number("Errors that programs mostly cause; not in failures")),
        "failure_hours": number("Device hours of those that count them"),
        "failures_per_1000_hours": maybe(number()),
        "failures_low": maybe(number("Of the exact 95 % interval of a Poisson count")),
        "failures_high": maybe(number()),
        "throttled_ratio": maybe(number("Of the time of devices that count it")),
        "outcomes": listed(record(_MADE)),
    }
)
_SUPPLY = record(
    {
        "device": text("The outer meter"),
        "node": text(),
        "site": text(),
        "outer_joules": number("While everything inside was known"),
        "inner_joules": number(),
        "inner_ratio": number("A floor of the supply's efficiency"),
        "hours": number(),
    }
)
_MLPERF = record({"result": text(), **_MADE, "measured": whole("Unix seconds")})
_EVEN = record(
    {
        "years": maybe(number("null: never within the remaining life, or not known")),
        "brought": maybe(number("Grams or money that the new one costs to begin with")),
        "saved_first_year": maybe(number()),
        "left": maybe(number("Saved in all by the end of the remaining life")),
        "reason": text("Why there are no years"),
    }
)
OPERATIONS = (
    Operation(
        "GET",
        "/v1/scorecard",
        "Models of hardware: the own fleet's, and imported MLPerf results beside them",
        {
            openapi.JSON: record(
                {
                    "window": openapi.WINDOW,
                    "site": text(),
                    "own": listed(_CARD),
                    "supplies": listed(_SUPPLY),
                    "supplies_note": text(),
                    "mlperf": listed(_MLPERF, "Of any time; never mixed with the own"),
                    "mlperf_note": text(),
                }
            )
        },
        (_SINCE, UNTIL, _SITE),
        refusals=(400,),
    ),
    Operation(
        "GET",
        "/v1/replace",
        "After how many years replacing one model by another is even, in carbon and in money",
        {
            openapi.JSON: record(
                {
                    "model": text(),
                    "with": text(),
                    "site": text(),
                    "window": openapi.WINDOW,
                    "devices": whole(),
                    "joules_ratio": number("For the same work, new over old"),
                    "measured_on": listed(text(), "Models of AI that both serve"),
                    "are_facility_watts": flag("With the PUE"),
                    "old_watts": number("Of as many old ones as one new one replaces"),
                    "new_watts": number("At the same work"),
                    "old_per_new": number(),
                    "remaining_years": number(),
                    "currency": text(),
                    **{
                        name: maybe(number())
                        for name in ("g_per_kwh", "price_per_kwh", "embodied_kg", "purchase_price")
                    },
                    "carbon_change": number("A year"),
                    "price_change": number("A year"),
                    "sources": by_name(text(), "Where each number is from"),
                    "carbon": _EVEN,
                    "money": _EVEN,
                }
            )
        },
        (
            Parameter(
                "model", "The old one's name, as devices say it", is_required=True, example="A100"
            ),
            Parameter("with", "The new one's", is_required=True, example="H100"),
            Parameter("outcome", "To measure the ratio by", {**text(), "default": "token_out"}),
            Parameter("ai_model", "Only of this; else of all that both serve"),
            _SINCE,
            UNTIL,
            _SITE,
            *(Parameter(name, "In place of what is known", number()) for name in NUMBERS),
        ),
        refusals=(400,),
    ),
)


class ProcurementApi:
    """Answers questions; it never writes."""

    def __init__(self, reader: Reader, longest_seconds: float = LONGEST_S) -> None:
        self._reader = reader
        self._longest_seconds = longest_seconds

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/scorecard", self.scorecard), web.get("/v1/replace", self.replace)]

    async def scorecard(self, request: web.Request) -> web.Response:
        """``?since=30d&site=dublin``."""
        span = _window(request.query, time.time(), self._longest_seconds)
        site = request.query.get("site", "")
        return answered(await self._reader.ask(procurement.scorecard, *span, site))

    async def replace(self, request: web.Request) -> web.Response:
        """``?model=NVIDIA A100-SXM4-80GB&with=NVIDIA H100 80GB HBM3&purchase_price=25000``."""
        question = asked(request.query, time.time(), self._longest_seconds)
        return answered(await self._reader.ask(procurement.replace, question))


def asked(query: Mapping[str, str], now: float, longest_seconds: float = LONGEST_S) -> Question:
    """Read the parameters. Raises InvalidInput with a sentence that says what is accepted."""
    model, other = query.get("model", ""), query.get("with", "")
    if not model or not other:
        raise InvalidInput("name model, the old one, and with, the new one", "model")
    since, until = _window(query, now, longest_seconds)
    numbers = {name: _number(name, query[name]) for name in NUMBERS if name in query}
    work = query.get("outcome", "token_out"), query.get("ai_model", "")
    return Question(model, other, since, until, query.get("site", ""), work, **numbers)


def _window(query: Mapping[str, str], now: float, longest_seconds: float) -> tuple[int, int]:
    told = query.get("since", DEFAULT_SINCE), query.get("until", "")
    return window(*told, now, longest_seconds)


def _number(name: str, said: str) -> float:
    try:
        value = float(said)
    except ValueError:
        raise InvalidInput(f"{name}={said!r} is not a number", name) from None
    least, most = (-1.0 if name in CAN_FALL else 0.0), MOST.get(name, 1e12)
    is_rate = name in ("old_per_new", "remaining_years", *CAN_FALL)
    if not least <= value <= most or (is_rate and value == least):
        above = "above" if is_rate else "at least"
        raise InvalidInput(f"{name}={said!r} must be {above} {least:g} and at most {most:g}", name)
    return value
