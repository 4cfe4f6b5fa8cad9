"""``/v1/targets``: what is scraped, and how each target is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from wattshed_collector.errors import InvalidInput

HEALTH = ("up", "down", "unknown")


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
        return web.json_response(said)
