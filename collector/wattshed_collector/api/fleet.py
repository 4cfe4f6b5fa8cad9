"""Power of the fleet, now and over time, and who works least: what dashboards ask."""

from __future__ import annotations

import time

from aiohttp import web

from wattshed_collector import openapi
from wattshed_collector.errors import InvalidInput
from wattshed_collector.openapi import (
    SINCE,
    UNTIL,
    Operation,
    Parameter,
    number,
    record,
    rows,
    text,
    whole,
)
from wattshed_collector.store import fleet_queries
from wattshed_collector.store.now import Now
from wattshed_collector.store.read import Reader

from .documents import answered
from .window import LONGEST_S, asked_window, window

MOST_POINTS = 11_000
"""Of one series: what Prometheus gives as well."""
MOST_DEVICES = 10_000
MINUTE_S = 60


_POWER = openapi.record(
    {
        "by": text(),
        "at": number("Unix seconds, of power now"),
        "device": text(),
        "window": openapi.SPAN,
        "rows": openapi.listed(
            record(
                {"t": whole("Begin of the step, Unix seconds"), "name": text(), "watts": number()},
                "Now: name and watts; over time t as well; of one device t and watts",
                optional=("t", "name"),
            )
        ),
    },
    optional=("by", "at", "device", "window"),
)
OPERATIONS = (
    Operation(
        "GET",
        "/v1/power",
        "Watts by who holds the devices or where they are: now, or means over time",
        {openapi.JSON: _POWER},
        (
            Parameter("by", "What to sum by", {**text("", *fleet_queries.BY), "default": "team"}),
            Parameter("device", "The readings of one device instead", example="GPU-5f3a"),
            Parameter("since", "Begin of the window; without it, power now", example="24h"),
            UNTIL,
            Parameter("step", "Whole minutes, in seconds", {"type": "integer", "default": 60}),
        ),
        refusals=(400,),
    ),
    Operation(
        "GET",
        "/v1/devices/least-used",
        "The devices of lowest mean utilisation in the window",
        {
            openapi.JSON: rows(
                {
                    "device": text(),
                    "node": text(),
                    "utilization_ratio": number(),
                    "power_watts": openapi.maybe(number()),
                },
                window=openapi.WINDOW,
            )
        },
        (
            SINCE,
            UNTIL,
            Parameter("limit", "How many", {"type": "integer", "default": 50, "minimum": 1,
                                            "maximum": MOST_DEVICES}),
        ),
        refusals=(400,),
    ),
)  # fmt: skip


class FleetApi:
    """Answers questions about power and use.

    ``now`` is what the store's only writer knows, None where there are others.
    """

    def __init__(
        self, reader: Reader, longest_seconds: float = LONGEST_S, now: Now | None = None
    ) -> None:
        self._reader = reader
        self._power_now = fleet_queries.power_now if now is None else now.power
        self._longest_seconds = longest_seconds

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/power", self.power),
            web.get("/v1/devices/least-used", self.least_used),
        ]

    async def power(self, request: web.Request) -> web.Response:
        """Watts ``?by=team`` now; with ``&since=24h&until=&step=60`` means over time.

        ``device=`` asks for the readings of one device instead.
        """
        query = request.query
        by, device = query.get("by", "team"), query.get("device", "")
        if by not in fleet_queries.BY:
            raise InvalidInput(f"by={by!r}: choose one of {', '.join(fleet_queries.BY)}", "by")
        if "since" not in query and not device:
            at = time.time()
            rows = await self._reader.ask(self._power_now, by, at)
            return answered({"by": by, "at": at, "rows": rows})
        told = query.get("since", "1h"), query.get("until", "")
        since, until = window(*told, time.time(), self._longest_seconds)
        step = _step(query.get("step", "60"), since, until)
        span = {"start": since, "end": until, "step": step}
        if device:
            asked = fleet_queries.device_power, device, since, until, step
            rows = await self._reader.ask(*asked)
            return answered({"device": device, "window": span, "rows": rows})
        rows = await self._reader.ask(fleet_queries.power, by, since, until, step)
        return answered({"by": by, "window": span, "rows": rows})

    async def least_used(self, request: web.Request) -> web.Response:
        """The ``?limit=50`` devices of lowest mean utilisation in ``&since=24h&until=``."""
        since, until = asked_window(request, self._longest_seconds)
        most = _whole(request.query.get("limit", "50"), "limit", MOST_DEVICES)
        rows = await self._reader.ask(fleet_queries.least_used, since, until, most)
        return answered({"window": {"start": since, "end": until}, "rows": rows})


def _step(told: str, since: int, until: int) -> int:
    step = _whole(told, "step", until - since)
    if step % MINUTE_S:
        raise InvalidInput(f"step={told!r}: choose whole minutes, in seconds", "step")
    if (until - since) // step > MOST_POINTS:
        raise InvalidInput(f"step={told!r} gives more than {MOST_POINTS} points", "step")
    return step


def _whole(told: str, name: str, most: int) -> int:
    is_whole = told.isascii() and told.isdecimal() and len(told) <= len(str(most))
    if not is_whole or not 0 < int(told) <= most:
        raise InvalidInput(f"{name}={told!r}: choose a whole number from 1 to {most}", name)
    return int(told)
