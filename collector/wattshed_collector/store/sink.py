"""Where written rows go: straight to the store, or to whatever else keeps them safe meanwhile."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from .client import Client
from .held import Held, Key, stored
from .insert import Insert

MARK_SECONDS = 10.0
"""A third of what the ledger looks back (``ledger.OVERLAP_US``)."""


class Sink(Protocol):
    """Takes inserts in their order. Once ``write`` returns they are durable."""

    def write(self, inserts: Sequence[Insert]) -> None:
        """Raises Permanent or Retryable; some may have been taken then, and may be sent again."""

    def stored(self, keys: Sequence[Key]) -> dict[Key, Held] | None:
        """Say what the store holds of some allocations, None where that cannot be told now."""


class Straight:
    """Inserts at once.

    The same marks of dirty hours are inserted once in ``mark_seconds``: the ledger reads marks of
    the half minute before its last run again, so one covers what is written soon after it.
    """

    def __init__(
        self,
        client: Callable[[], Client],
        *,
        mark_seconds: float = MARK_SECONDS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._mark_seconds = mark_seconds
        self._now = now
        self._marked: dict[bytes, float] = {}

    def write(self, inserts: Sequence[Insert]) -> None:
        client, now = self._client(), self._now()
        for insert in inserts:
            if insert.table == "dirty":
                if now - self._marked.get(insert.body, -math.inf) < self._mark_seconds:
                    continue
                self._marked = {
                    body: at for body, at in self._marked.items() if now - at < self._mark_seconds
                }
                client.insert_native(insert)
                self._marked[insert.body] = now
            else:
                client.insert_native(insert)

    def stored(self, keys: Sequence[Key]) -> dict[Key, Held]:
        return stored(self._client(), keys)
