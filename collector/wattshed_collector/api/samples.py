"""Metrics that are not about energy: their names, and the samples of one."""

from __future__ import annotations

import time

from aiohttp import web

from wattshed_collector import openapi
from wattshed_collector.openapi import (
    SINCE,
    UNTIL,
    Operation,
    Parameter,
    by_name,
    flag,
    number,
    rows,
    text,
    whole,
)
from wattshed_collector.store import metric_queries
from wattshed_collector.store.read import Reader

from .documents import answered
from .window import LONGEST_S, window

OPERATIONS = (
    Operation(
        "GET",
        "/v1/metric-names",
        "Each other metric with samples in the window",
        {
            openapi.JSON: rows(
                {
                    "metric": text(),
                    "kind": text("counter, gauge, ..."),
                    "unit": text(),
                    "series": whole("How many"),
                    "newest": number("Unix seconds"),
                },
                window=openapi.WINDOW,
            )
        },
        (SINCE, UNTIL),
        refusals=(400,),
    ),
    Operation(
        "GET",
        "/v1/samples/{metric}",
        f"Samples of one metric, the newest first, at most {metric_queries.MOST}",
        {
            openapi.JSON: rows(
                {
                    "ts": number("Unix seconds"),
                    "labels": by_name(text()),
                    "value": openapi.maybe(number()),
                    "sender": text(),
                },
                metric=text(),
                window=openapi.WINDOW,
                is_complete=flag("Whether these are all of the window"),
            )
        },
        (
            Parameter("metric", "Its name", is_required=True, where="path", example="up"),
            Parameter("since", SINCE.meaning, {"type": "string", "default": "1h"}),
            UNTIL,
        ),
        refusals=(400,),
    ),
)


class SamplesApi:
    """Answers questions about any metric that was kept."""

    def __init__(self, reader: Reader, longest_seconds: float = LONGEST_S) -> None:
        self._reader = reader
        self._longest_seconds = longest_seconds

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/metric-names", self.names),
            web.get("/v1/samples/{metric}", self.samples),
        ]

    async def names(self, request: web.Request) -> web.Response:
        """Each metric with samples in ``?since=24h&until=``, its kind, unit and series."""
        since, until = self._window(request, "24h")
        rows = await self._reader.ask(metric_queries.names, since, until)
        return answered({"window": {"start": since, "end": until}, "rows": rows})

    async def samples(self, request: web.Request) -> web.Response:
        """The samples of a metric in ``?since=1h&until=``, the newest first, at most 10,000."""
        metric = request.match_info["metric"]
        since, until = self._window(request, "1h")
        rows = await self._reader.ask(metric_queries.samples, metric, since, until)
        return answered(
            {
                "metric": metric,
                "window": {"start": since, "end": until},
                "is_complete": len(rows) < metric_queries.MOST,
                "rows": rows,
            }
        )

    def _window(self, request: web.Request, since: str) -> tuple[int, int]:
        told = request.query.get("since", since), request.query.get("until", "")
        return window(*told, time.time(), self._longest_seconds)
