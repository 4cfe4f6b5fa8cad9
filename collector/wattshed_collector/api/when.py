"""``GET /v1/when``: when a job of known length costs least carbon or money before its deadline."""

from __future__ import annotations

import time
from collections.abc import Mapping

from aiohttp import web

from wattshed_collector import openapi, when
from wattshed_collector.api.window import instant_or_length, length_seconds
from wattshed_collector.errors import InvalidInput
from wattshed_collector.openapi import (
    Operation,
    Parameter,
    flag,
    listed,
    maybe,
    number,
    record,
    text,
    whole,
)
from wattshed_collector.store.read import Reader
from wattshed_collector.when import LONGEST_RUN_S, LONGEST_WAIT_S, SIGNALS, Question

from .documents import answered

_PIECE = record({"start": whole("Unix seconds"), "end": whole()})
_PLAN = record(
    {
        "start": whole("Unix seconds"),
        "end": whole(),
        "pieces": listed(_PIECE, "One, unless it may be interrupted"),
        "mean": number("Of the signal while it runs"),
        "mean_at_once": maybe(number("The same, had it run at the earliest time")),
        "saved_ratio": maybe(number("What waiting saves of running at once")),
        "rests_on": listed(text("factor, known, forecast or same_hours (of the last days)")),
    }
)
_FORECAST = record(
    {
        "source": text(),
        "said": whole("Unix seconds"),
        "age_seconds": whole("Since it was said"),
        "is_used": flag("Else it is older than grid.forecast_max_age_seconds"),
    }
)
OPERATIONS = (
    Operation(
        "GET",
        "/v1/when",
        "When a job costs least before its deadline, by carbon or price",
        {
            openapi.JSON: record(
                {
                    "signal": text(),
                    "unit": text(),
                    "site": text(),
                    "zone": text(),
                    "run_seconds": whole(),
                    "earliest": whole("Unix seconds"),
                    "deadline": whole("Unix seconds"),
                    "interruptible": flag(),
                    "now": record(
                        {
                            "value": maybe(number()),
                            "source": text(),
                            "age_seconds": maybe(whole("Since the end of the newest known value")),
                        }
                    ),
                    "forecast": maybe(_FORECAST),
                    "run_now": flag("The plan begins now"),
                    "plan": maybe(_PLAN),
                    "reason": text("Why there is no plan"),
                }
            )
        },
        (
            Parameter("duration", "How long it runs", is_required=True, example="4h"),
            Parameter(
                "deadline",
                "When it must be done: an instant, or a length from now",
                is_required=True,
                example="12h",
            ),
            Parameter("earliest", "When it may begin; now, where it is not said"),
            Parameter("site", "Where; or zone"),
            Parameter("zone", "Zone of the grid", example="IE"),
            Parameter("signal", "", text("", *SIGNALS)),
            Parameter("interruptible", "It may be paused", text("", "0", "1")),
        ),
        refusals=(400,),
    ),
)


class WhenApi:
    """Answers questions; it never writes. Forecasts older than ``forecast_age_s`` are not used."""

    def __init__(self, reader: Reader, forecast_age_s: float) -> None:
        self._reader = reader
        self._forecast_age_s = int(forecast_age_s)

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/when", self.when)]

    async def when(self, request: web.Request) -> web.Response:
        """The cheapest window; ``?duration=4h&deadline=12h&site=dublin&signal=price``."""
        now = int(time.time())
        question = asked(request.query, now, self._forecast_age_s)
        return answered(await self._reader.ask(when.answer, question, now))


def asked(query: Mapping[str, str], now: int, forecast_age_s: int) -> Question:
    """Read the parameters. Raises InvalidInput with a sentence that says what is accepted."""
    signal, site, zone = query.get("signal", "carbon"), query.get("site", ""), query.get("zone", "")
    if signal not in SIGNALS:
        raise InvalidInput(f"signal={signal!r}: choose one of {', '.join(SIGNALS)}", "signal")
    if (site and zone) or not ("site" in query or zone):
        raise InvalidInput("name either site or zone", "site")
    interruptible = query.get("interruptible", "0")
    if interruptible not in ("0", "1"):
        raise InvalidInput(f"interruptible={interruptible!r}: 0 or 1", "interruptible")
    run = length_seconds(query.get("duration", ""), "duration")
    earliest = instant_or_length(query.get("earliest", ""), "earliest", now)
    deadline = instant_or_length(query.get("deadline", ""), "deadline", now)
    if run > LONGEST_RUN_S or not now - 1 <= earliest < deadline <= now + LONGEST_WAIT_S:
        raise InvalidInput(
            "the job must run between now and a deadline within 31 days, such as one of "
            "duration 4h with deadline 12h",
            "deadline",
        )
    return Question(
        run_s=run,
        earliest_s=max(earliest, now),
        deadline_s=deadline,
        site=site,
        zone=zone,
        signal=signal,
        interruptible=interruptible == "1",
        forecast_age_s=forecast_age_s,
    )
