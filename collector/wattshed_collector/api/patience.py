"""Closes connections whose head or body does not arrive: a slow client may not hold them for ever.

The server itself waits without end for the first head of a connection, and for every body.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import web

from wattshed_collector.telemetry import Telemetry

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Patience:
    """``sweep`` closes what has been slow for longer than ``head_seconds`` or ``read_seconds``."""

    def __init__(
        self,
        head_seconds: float,
        read_seconds: float,
        telemetry: Telemetry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.head_seconds, self.read_seconds = head_seconds, read_seconds
        self._telemetry = telemetry
        self._clock = clock
        self._silent: dict[Any, float] = {}
        self._spoke: set[Any] = set()
        self._reading: dict[int, tuple[web.Request, float]] = {}

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Note that a connection has asked something, and since when its body is awaited."""
        self._spoke.add(request.protocol)
        if not request.body_exists:
            return await handler(request)
        self._reading[id(request)] = request, self._clock()
        try:
            return await handler(request)
        finally:
            del self._reading[id(request)]

    async def keep(self, *looks: Callable[[], object]) -> None:
        """Have every connection looked at until cancelled."""
        while True:
            await asyncio.sleep(min(self.head_seconds, self.read_seconds, 20.0) / 4)
            for look in looks:
                look()

    def sweep(self, server: web.Server) -> None:
        """Look at every connection once."""
        now = self._clock()
        there = set(server.connections)
        self._spoke &= there
        self._silent = {one: self._silent.get(one, now) for one in there - self._spoke}
        for one, since in self._silent.items():
            if now - since > self.head_seconds:
                self.hang_up(one.transport, "slow_head")
        for request, since in list(self._reading.values()):
            if now - since > self.read_seconds and not request.content.is_eof():
                self.hang_up(request.transport, "slow_body")

    def hang_up(self, transport: asyncio.BaseTransport | None, reason: str) -> None:
        """Break off a connection, and count why."""
        if transport is None or transport.is_closing():
            return
        self._telemetry.count("refused_total", reason=reason)
        # Those of uvloop are Transports by what they do, not by their type.
        cast(asyncio.Transport, transport).abort()
