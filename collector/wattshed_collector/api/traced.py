"""A span around each request, where the collector's own traces are on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from wattshed_collector.telemetry import Telemetry

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def traced(telemetry: Telemetry, leave_out: str) -> Middleware:
    """Return a middleware; a request with the header ``leave_out`` is the collector's own."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if leave_out in request.headers:
            return await handler(request)
        route = request.match_info.route.resource
        told = {"http.request.method": request.method, "http.route": _path(route)}
        with telemetry.span(f"{request.method} {_path(route)}", **told) as span:
            response = await handler(request)
            if span is not None:
                span.set_attribute("http.response.status_code", response.status)
            return response

    return middleware


def _path(resource: web.AbstractResource | None) -> str:
    return "(none)" if resource is None else resource.canonical
