"""Wakes the requests of an event loop: all that end while it is busy take one wake-up together.

``asyncio.wrap_future`` wakes the loop for each future, which is a system call and a change of
threads each time; a group of the writer ends a thousand at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future


class Wake:
    """For the requests of one event loop; their futures may be resolved on any thread."""

    def __init__(self) -> None:
        self._ended: deque[asyncio.Future[None]] = deque()
        self._is_rung = False

    async def until(self, future: Future[None]) -> None:
        """Wait for it, and raise what it failed with. Whoever is cancelled cancels it."""
        waiter = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda _: self._end(waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            future.cancel()
            raise
        future.result()

    def _end(self, waiter: asyncio.Future[None]) -> None:
        self._ended.append(waiter)
        loop = waiter.get_loop()
        # Looked at after the append: who finds it rung is seen by the wake-up that comes.
        if not self._is_rung and not loop.is_closed():
            self._is_rung = True
            loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._is_rung = False
        while self._ended:
            waiter = self._ended.popleft()
            if not waiter.done():
                waiter.set_result(None)
