"""Where written rows go: straight to the store, or to whatever else keeps them safe meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from .client import Client
from .held import Held, Key, stored
from .insert import Insert
from .limits import Changes
from .limits import stored as stored_limits

MARK_SECONDS = 10.0
"""A third of what the ledger looks back (``ledger.OVERLAP_US``)."""
MARKS = "dirty"
"""The table of marks. They come first: an hour that is recomputed for nothing is better than one
that never is. They come once more where writing took long, because a run of the ledger may be done
with them before it could see the rows."""


class Sink(Protocol):
    """Takes inserts in their order. Once ``write`` returns they are durable."""

    def write(self, inserts: Sequence[Insert]) -> None:
        """Raises Permanent or Retryable; some may have been taken then, and may be sent again."""

    def stored(self, keys: Sequence[Key]) -> dict[Key, Held] | None:
        """Say what the store holds of some allocations, None where that cannot be told now."""

    def limits(self) -> Changes | None:
        """Say which power limits the store holds, None where that cannot be told now."""


class Straight:
    """Inserts at once.

    The same marks of dirty hours are inserted once in ``mark_seconds``: the ledger reads marks of
    the half minute before its last run again, so one covers what is written soon after it. ``now``
    is the clock that marks are stamped by, and may be set back or forward.
    """

    def __init__(
        self,
        client: Callable[[], Client],
        *,
        mark_seconds: float = MARK_SECONDS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._mark_seconds = mark_seconds
        self._now = now
        self._marked: dict[bytes, float] = {}

    def write(self, inserts: Sequence[Insert]) -> None:
        client, now = self._client(), self._now()
        for insert in inserts:
            if insert.table != MARKS or not self._is_marked(insert, now):
                client.insert_native(insert)
            if insert.table == MARKS:
                self._marked.setdefault(insert.body, now)
        if not 0 <= self._now() - now <= MARK_SECONDS:
            mark_again(client.insert_native, inserts)

    def _is_marked(self, insert: Insert, now: float) -> bool:
        self._marked = {
            body: at for body, at in self._marked.items() if 0 <= now - at < self._mark_seconds
        }
        return insert.body in self._marked

    def stored(self, keys: Sequence[Key]) -> dict[Key, Held]:
        return stored(self._client(), keys)

    def limits(self) -> Changes:
        return stored_limits(self._client())


def mark_again(insert: Callable[[Insert], None], inserts: Sequence[Insert]) -> None:
    """Insert the marks among some inserts once more."""
    for marks in inserts:
        if marks.table == MARKS:
            insert(marks)
