"""Tells the store what the collector brings along of hardware: its table, and the lifetime."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from .config import Lifecycle
from .errors import CollectorError
from .lifecycle.embodied import table
from .store import lifecycle
from .store.client import Client
from .store.read import Reader

log = logging.getLogger(__name__)

RETRY_SECONDS = 10.0


class LifecycleWatch:
    """``tell_once`` ends when it is done or cancelled; a store that is away is told later."""

    def __init__(
        self,
        clerk: Reader,
        told: Lifecycle,
        now: Callable[[], float] = time.time,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._clerk = clerk
        self._told = told
        self._now = now
        self._retry_seconds = retry_seconds

    async def tell_once(self) -> None:
        """Tell the store once; it keeps what it is told."""
        while True:
            try:
                await self._clerk.ask(self.tell)
                return
            except CollectorError as error:
                log.warning("the store does not take what is known of hardware: %s", error)
            await asyncio.sleep(self._retry_seconds)

    def tell(self, client: Client) -> None:
        """Write what is new of both. Raises StoreError."""
        lifecycle.put_table(client, table(), self._now())
        lifecycle.tell_all(client, self._told.lifetime_years, self._now())
