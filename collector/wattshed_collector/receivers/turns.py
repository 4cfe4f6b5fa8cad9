"""So many at a time, and senders by turns: who asks often waits behind who asks now and then."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """``seats`` that are given to each sender that waits in turn; for one event loop."""

    def __init__(self, seats: int = 1) -> None:
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._free = seats

    @asynccontextmanager
    async def turn(self, sender: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it for the length of the block."""
        if self._free:
            self._free -= 1
        else:
            given = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(sender, deque()).append(given)
            try:
                await given
            except asyncio.CancelledError:
                if not given.cancelled():  # it was given in the same moment
                    self._next()
                raise
        try:
            yield
        finally:
            self._next()

    def _next(self) -> None:
        while self._waiting:
            # Whoever was served goes to the end of the line.
            sender = next(iter(self._waiting))
            line = self._waiting.pop(sender)
            given = line.popleft()
            if line:
                self._waiting[sender] = line
            if not given.done():
                given.set_result(None)
                return
        self._free += 1
