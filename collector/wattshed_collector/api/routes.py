"""The HTTP routes: the report, energy, details, the page, metrics and health, under ``/v1``."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from wattshed_collector import openapi, report
from wattshed_collector.errors import InvalidInput, Retryable, StoreError
from wattshed_collector.openapi import (
    NOBODY,
    SINCE,
    UNTIL,
    Operation,
    Parameter,
    by_name,
    maybe,
    number,
    record,
    rows,
    text,
    whole,
)
from wattshed_collector.present import page
from wattshed_collector.report import Report
from wattshed_collector.store import energy_carbon, queries
from wattshed_collector.store.budget import Budget, always_open
from wattshed_collector.store.read import Reader
from wattshed_collector.store.write import Writer
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter import __version__

from .documents import TRUTHS, answered, flag_of
from .report_schema import ENERGY, REPORT
from .window import LONGEST_S, asked_window

FRESH_SECONDS = 2.0
"""A report younger than this is served again, so that many open pages cost as much as one."""
READY_SECONDS = 1.0
"""For so long the store is not asked again whether it answers: anybody may ask us."""


_STATUS = {
    "version": text("Of the program"),
    "devices": whole("Heard of just now"),
    "power_watts": maybe(number()),
    "newest_tick": maybe(number("Unix seconds")),
    "ticks_written": whole("Since it was started"),
    "queued_rows": whole(),
}
_DETAIL = {
    "metric": text(),
    "labels": by_name(text()),
    "value": number(),
    "ts": number("Unix seconds"),
}
OPERATIONS = (
    Operation("GET", "/", "The page, drawn from the report of the window",
              {openapi.HTML: text()}, (SINCE, UNTIL), refusals=(400,)),
    Operation("GET", page.PLOTLY_URL, "The plotting library that the page loads",
              {"text/javascript": text()}),
    Operation("GET", "/v1/report", "The whole report: what the page and the terminal show",
              {openapi.JSON: REPORT}, (SINCE, UNTIL), refusals=(400,)),
    Operation(
        "GET", "/v1/energy", "Joules by group and class, the largest first",
        {
            openapi.JSON: record(
                {
                    "by": text("", *queries.GROUPS),
                    "window": openapi.WINDOW,
                    "carbon_scope": text("With carbon=true"),
                    "rows": openapi.listed(ENERGY),
                },
                optional=("carbon_scope",),
            )
        },
        (
            Parameter("by", "What to group by", {**text("", *queries.GROUPS),
                                                 "default": "workload"}),
            SINCE,
            UNTIL,
            Parameter("carbon", "Also what it emitted", text("", *TRUTHS)),
        ),
        refusals=(400,),
    ),
    Operation("GET", "/v1/details", "What a device said beside its ticks in the last 15 minutes",
              {openapi.JSON: rows(_DETAIL, device=text())},
              (Parameter("device", "Its key", is_required=True, example="GPU-5f3a"),),
              refusals=(400,)),
    Operation("GET", "/v1/status", "What the collector does right now; it may be asked often",
              {openapi.JSON: record(_STATUS)}),
    Operation("GET", "/metrics", "The collector's own health for Prometheus",
              {openapi.PLAIN: text()}, role=openapi.METRICS),
    Operation("GET", "/healthz", "That the process serves",
              {openapi.JSON: record({"status": text("", "ok")})}, role=NOBODY),
    Operation("GET", "/readyz", "That the store answers and input is taken",
              {openapi.JSON: record({"status": text("", "ready")})}, role=NOBODY,
              refusals=(503,)),
)  # fmt: skip


class Api:
    """Answers questions; it never writes."""

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        telemetry: Telemetry,
        budget: Budget | None = None,
        longest_seconds: float = LONGEST_S,
    ) -> None:
        self._reader = reader
        self._closed = budget.closed if budget else always_open
        self._writer = writer
        self._telemetry = telemetry
        self._longest_seconds = longest_seconds
        counters = writer.counters
        telemetry.watch("queued_rows", lambda: {(): writer.queued_rows})
        telemetry.watch("commits", lambda: {(): counters.commits})
        telemetry.watch("failed_batches", lambda: {(): counters.failed_batches})
        self._ready_until = 0.0
        self._probing = asyncio.Lock()
        self._reports: dict[tuple[str, str], tuple[float, Report]] = {}

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self.index),
            web.get(page.PLOTLY_URL, plotly),
            web.get("/v1/report", self.report),
            web.get("/v1/energy", self.energy),
            web.get("/v1/details", self.details),
            web.get("/v1/status", self.status),
            web.get("/metrics", self.metrics),
            web.get("/healthz", healthz),
            web.get("/readyz", self.readyz),
        ]

    async def index(self, request: web.Request) -> web.Response:
        """The page, drawn from the report of the window ``?since=`` (default 24h)."""
        text = page.render(await self._report(request), live=True)
        return web.Response(text=text, content_type="text/html")

    async def report(self, request: web.Request) -> web.Response:
        """The whole report as JSON: ``?since=24h&until=``."""
        return answered(await self._report(request))

    async def energy(self, request: web.Request) -> web.Response:
        """Joules grouped ``?by=workload|team|node|device|class|...&since=24h&until=``.

        ``&carbon=true`` adds what they emitted, which costs a question more.
        """
        by = request.query.get("by", "workload")
        if by not in queries.GROUPS:
            raise InvalidInput(f"by={by!r}: choose one of {', '.join(queries.GROUPS)}", "by")
        since, until = self._window(request)
        records = await self._reader.ask(queries.energy, by, since, until)
        document = {"by": by, "window": {"start": since, "end": until}}
        if flag_of(request.query, "carbon"):
            asked = energy_carbon.with_carbon, by, since, until, records
            records = await self._reader.ask(*asked)
            document["carbon_scope"] = energy_carbon.SCOPE
        return answered({**document, "rows": records})

    async def details(self, request: web.Request) -> web.Response:
        """What ``?device=`` said beside its ticks in the last quarter of an hour."""
        device = request.query.get("device", "")
        if not device:
            raise InvalidInput("device= is missing: name one, such as GPU-...", "device")
        rows = await self._reader.ask(queries.details, device)
        return answered({"device": device, "rows": rows})

    async def status(self, request: web.Request) -> web.Response:
        """What the collector does right now, without a query: it may be asked every second."""
        pulse, newest = self._writer.pulse, self._writer.pulse.newest_ms()
        return answered(
            {
                "version": __version__,
                "devices": pulse.devices(),
                "power_watts": pulse.power_watts(),
                "newest_tick": None if newest is None else newest / 1000,
                "ticks_written": self._writer.counters.ticks,
                "queued_rows": self._writer.queued_rows,
            }
        )

    async def metrics(self, request: web.Request) -> web.Response:
        """The collector's own health for Prometheus."""
        told = self._telemetry.registry, self._telemetry.signals
        body = b"".join(map(generate_latest, told))
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def readyz(self, request: web.Request) -> web.Response:
        """200 while the store answers and input is taken."""
        if (refusal := self._closed()) is not None:
            return answered({"error": str(refusal), "reason": refusal.reason}, status=503)
        async with self._probing:
            if time.monotonic() >= self._ready_until:
                await self._reader.ask(queries.newest)
                self._ready_until = time.monotonic() + READY_SECONDS
        return answered({"status": "ready"})

    async def _report(self, request: web.Request) -> Report:
        key = request.query.get("since", "24h"), request.query.get("until", "")
        made, known = self._reports.get(key, (0.0, None))
        if known is not None and time.monotonic() - made < FRESH_SECONDS:
            return known
        since, until = self._window(request)
        fresh = await self._reader.ask(report.build, since, until)
        self._reports = {key: (time.monotonic(), fresh)}
        return fresh

    def _window(self, request: web.Request) -> tuple[int, int]:
        return asked_window(request, self._longest_seconds)


async def healthz(request: web.Request) -> web.Response:
    """200 while the process serves; says nothing of the store."""
    return answered({"status": "ok"})


async def plotly(request: web.Request) -> web.StreamResponse:
    """The plotting library, from its installed package."""
    headers = {"Cache-Control": "public, max-age=86400"}
    return web.FileResponse(page.plotly_path(), headers=headers)


@web.middleware
async def errors(request: web.Request, handler: Any) -> web.StreamResponse:
    """Turn our errors into JSON answers: a 400 that says what to do, or a 503."""
    try:
        response: web.StreamResponse = await handler(request)
        return response
    except InvalidInput as error:
        return answered({"error": str(error)}, status=400)
    except StoreError as error:
        answer = answered({"error": str(error)}, status=503)
        if isinstance(error, Retryable):
            answer.headers["Retry-After"] = str(math.ceil(error.retry_after_seconds))
        return answer
