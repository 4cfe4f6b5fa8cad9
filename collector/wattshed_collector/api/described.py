"""``GET /v1/openapi.json``: the OpenAPI document of the routes that this collector has."""

from __future__ import annotations

import json
from collections.abc import Iterable

from aiohttp import web

from wattshed_collector import openapi
from wattshed_collector.openapi import Operation

OPERATIONS = (
    Operation(
        "GET",
        "/v1/openapi.json",
        "This description: OpenAPI 3.1",
        {openapi.JSON: {"type": "object"}},
    ),
)


class DocumentApi:
    """Describes each route of the application by what ``operations`` says of it."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._known = {(each.method, each.path): each for each in operations}
        self._text = ""

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/openapi.json", self.document)]

    async def document(self, request: web.Request) -> web.Response:
        """The document; it is made when it is first asked for."""
        if not self._text:
            self._text = json.dumps(openapi.document(self._served(request.app)))
        return web.Response(text=self._text, content_type=openapi.JSON)

    def _served(self, app: web.Application) -> list[Operation]:
        """Return what the routes are; a route that nobody describes is a mistake of ours."""
        there = {
            (route.method, route.resource.canonical)
            for route in app.router.routes()
            if route.resource is not None and route.method != "HEAD"
        }
        if unknown := there - self._known.keys():
            raise LookupError(f"routes without a description: {sorted(unknown)}")
        return [operation for key, operation in self._known.items() if key in there]
