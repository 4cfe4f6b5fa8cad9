"""``GET /v1/sci``: grams of CO2 equivalent per outcome, of operation and of making the hardware."""

from __future__ import annotations

import time
from collections.abc import Mapping

from aiohttp import web

from wattshed_collector import openapi, sci
from wattshed_collector.api.window import LONGEST_S, window
from wattshed_collector.errors import InvalidInput
from wattshed_collector.openapi import (
    UNTIL,
    Operation,
    Parameter,
    listed,
    maybe,
    number,
    record,
    text,
    whole,
)
from wattshed_collector.store.read import Reader

from .documents import answered

DEFAULT_SINCE = "7d"
_GRAMS = maybe(number("null: a part is missing, reasons say which"))
_OPERATIONAL = record(
    {
        "g_per_outcome": _GRAMS,
        "g": _GRAMS,
        "joules": number("Of the devices, idle while held included"),
        "facility_joules": maybe(number("With the site's PUE")),
        "g_per_kwh": maybe(number("Mean over the energy")),
        "scope": text(),
        "methods": listed(text("factor, hourly or yearly")),
        "sources": listed(text()),
        "estimated_ratio": maybe(number("Of the energy by hourly intensities, estimated ones")),
        "age_seconds": maybe(whole("Since the newest hourly intensity was said")),
    }
)
_EMBODIED = record(
    {
        "g_per_outcome": _GRAMS,
        "g": _GRAMS,
        "device_seconds": number("Charged to the workloads"),
        "unknown_device_seconds": number("Of them, of devices without a figure"),
        "methods": listed(text("told, told_of_model or table")),
        "sources": listed(text()),
    }
)
OPERATIONS = (
    Operation(
        "GET",
        "/v1/sci",
        "Software Carbon Intensity (ISO/IEC 21031) per outcome: (O + M) per R",
        {
            openapi.JSON: openapi.rows(
                {
                    "name": text(),
                    "outcomes": number("R: those whose energy is known"),
                    "unmeasured_outcomes": number(),
                    "g_per_outcome": _GRAMS,
                    "low_g_per_outcome": maybe(number("By what is said of embodied carbon alone")),
                    "high_g_per_outcome": maybe(number()),
                    "operational": _OPERATIONAL,
                    "embodied": _EMBODIED,
                    "reasons": listed(text()),
                },
                standard=text(),
                boundary=text(),
                outcome=text(),
                by=text(),
                window=openapi.WINDOW,
            )
        },
        (
            Parameter("outcome", "Such as token_out", {**text(), "default": "token_out"}),
            Parameter("by", "", {**text("", *sci.BY), "default": "ai_model"}),
            Parameter("since", "Begin of the window", {**text(), "default": DEFAULT_SINCE}),
            UNTIL,
        ),
        refusals=(400,),
    ),
)


class SciApi:
    """Answers questions; it never writes."""

    def __init__(self, reader: Reader, longest_seconds: float = LONGEST_S) -> None:
        self._reader = reader
        self._longest_seconds = longest_seconds

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/sci", self.score)]

    async def score(self, request: web.Request) -> web.Response:
        """``?outcome=token_out&by=ai_model&since=7d``."""
        now = int(time.time())
        question = asked(request.query, now, self._longest_seconds)
        document = await self._reader.ask(sci.answer, *question, now)
        return answered(document)


def asked(
    query: Mapping[str, str], now: int, longest_seconds: float = LONGEST_S
) -> tuple[str, str, int, int]:
    """Return outcome, by, since and until. Raises InvalidInput."""
    by = query.get("by", "ai_model")
    if by not in sci.BY:
        raise InvalidInput(f"by={by!r}: choose one of {', '.join(sci.BY)}", "by")
    told = query.get("since", DEFAULT_SINCE), query.get("until", "")
    return query.get("outcome", "token_out"), by, *window(*told, now, longest_seconds)
