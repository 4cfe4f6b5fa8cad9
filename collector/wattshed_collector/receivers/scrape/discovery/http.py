"""Targets that a service lists over HTTP, asked again and again.

Source: https://prometheus.io/docs/prometheus/latest/http_sd/
"""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

from wattshed_collector.config import HttpSd
from wattshed_collector.config.discovery import PORTS
from wattshed_collector.receivers.scrape import credentials
from wattshed_collector.receivers.scrape.client import Client
from wattshed_collector.receivers.scrape.reply import Failed
from wattshed_exporter import __version__

from . import Failing, Put, groups

LARGEST_BYTES = 64 * 2**20


class Http:
    """Asks one URL every ``refresh_seconds``; an answer that cannot be used changes nothing."""

    name = "http_sd"

    def __init__(self, options: HttpSd) -> None:
        self._options = options
        self._authorization = credentials.authorization(options.auth)
        parts = urlsplit(options.url)
        tls = credentials.context(options.tls)
        self._client = Client(
            parts.hostname or "",
            parts.port or PORTS[parts.scheme],
            tls.get if parts.scheme == "https" else lambda: None,
            options.tls.server_name,
        )
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._host = parts.netloc.rpartition("@")[2]

    async def run(self, put: Put, failing: Failing) -> None:
        try:
            while True:
                await self.ask(put, failing)
                await asyncio.sleep(self._options.refresh_seconds)
        finally:
            self._client.close()

    async def ask(self, put: Put, failing: Failing) -> None:
        """Ask once."""
        url = self._options.url
        try:
            put(url, groups(json.loads(await self._body()), "__meta_url", url))
        except Failed as error:
            failing(error.reason, f"{url}: {error}")
        except (ValueError, RecursionError) as error:
            failing("malformed", f"{url}: {error}")

    async def _body(self) -> bytes:
        request = (
            f"GET {self._path} HTTP/1.1\r\nHost: {self._host}\r\n"
            f"User-Agent: wattshed-collector/{__version__}\r\nAccept: application/json\r\n"
            f"X-Prometheus-Refresh-Interval-Seconds: {self._options.refresh_seconds:g}\r\n"
            f"{self._authorization.get()}\r\n"
        )
        timeout = self._options.timeout_seconds
        reply = await self._client.get(request.encode(), timeout, LARGEST_BYTES)
        if reply.status != 200:
            raise Failed(f"answers {reply.status} {reply.phrase}", "status")
        return reply.body
