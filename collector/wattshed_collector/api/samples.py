"""Metrics that are not about energy: their names, and the samples of one."""

from __future__ import annotations

import time

from aiohttp import web

from wattshed_collector.store import metric_queries
from wattshed_collector.store.read import Reader

from .window import window


class SamplesApi:
    """Answers questions about any metric that was kept."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/metric-names", self.names),
            web.get("/v1/samples/{metric}", self.samples),
        ]

    async def names(self, request: web.Request) -> web.Response:
        """Each metric with samples in ``?since=24h&until=``, its kind, unit and series."""
        since, until = _window(request, "24h")
        rows = await self._reader.ask(metric_queries.names, since, until)
        return web.json_response({"window": {"start": since, "end": until}, "rows": rows})

    async def samples(self, request: web.Request) -> web.Response:
        """The samples of a metric in ``?since=1h&until=``, the newest first, at most 10,000."""
        metric = request.match_info["metric"]
        since, until = _window(request, "1h")
        rows = await self._reader.ask(metric_queries.samples, metric, since, until)
        return web.json_response(
            {
                "metric": metric,
                "window": {"start": since, "end": until},
                "is_complete": len(rows) < metric_queries.MOST,
                "rows": rows,
            }
        )


def _window(request: web.Request, since: str) -> tuple[int, int]:
    query = request.query
    return window(query.get("since", since), query.get("until", ""), time.time())
