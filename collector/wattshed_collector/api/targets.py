"""``/v1/targets``: what is scraped, and how each target is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from wattshed_collector import openapi
from wattshed_collector.errors import InvalidInput
from wattshed_collector.openapi import (
    Operation,
    Parameter,
    by_name,
    listed,
    maybe,
    number,
    record,
    text,
    whole,
)

from .documents import answered

HEALTH = ("up", "down", "unknown")


_TARGET = record(
    {
        "job": text(),
        "url": text(),
        "labels": by_name(text()),
        "health": text("", *HEALTH),
        "last_error": text(),
        "last_scrape": maybe(number("When it began, Unix seconds")),
        "last_scrape_seconds": maybe(number("How long it took")),
        "last_samples": maybe(whole()),
        "interval_seconds": number(),
    }
)
OPERATIONS = (
    Operation(
        "GET",
        "/v1/targets",
        "What is scraped, and how each target is",
        {
            openapi.JSON: record(
                {
                    "targets": listed(_TARGET),
                    "dropped": by_name(whole(), "Targets that each job's rules dropped"),
                }
            )
        },
        (
            Parameter("job", "Targets of this job alone"),
            Parameter("health", "Targets in this state alone", text("", *HEALTH)),
        ),
        refusals=(400,),
    ),
)


class TargetsApi:
    """Answers from what the scraper knows; no query is made."""

    def __init__(self, status: Callable[[], dict[str, Any]]) -> None:
        self._status = status

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/targets", self.targets)]

    async def targets(self, request: web.Request) -> web.Response:
        """Every target, or those of ``?job=`` and ``?health=up|down|unknown``."""
        health, job = request.query.get("health", ""), request.query.get("job", "")
        if health and health not in HEALTH:
            raise InvalidInput(f"health={health!r}: choose one of {', '.join(HEALTH)}", "health")
        said = self._status()
        said["targets"] = [
            record
            for record in said["targets"]
            if job in ("", record["job"]) and health in ("", record["health"])
        ]
        return answered(said)
