"""Wakes the requests of an event loop: all that end while it is busy take one wake-up together.

``asyncio.wrap_future`` wakes the loop for each future, which is a system call and a change of
threads each time; a group of the writer ends a thousand at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

log = logging.getLogger(__name__)

Told = Callable[[Future[None]], object]


class Wake:
    """For the requests of one event loop; their futures may be resolved on any thread."""

    def __init__(self) -> None:
        self._ended: deque[tuple[Told, Future[None]]] = deque()
        self._is_rung = False

    def tell(self, future: Future[None], told: Told) -> None:
        """Have ``told`` called with it on this event loop once it has ended."""
        loop = asyncio.get_running_loop()
        future.add_done_callback(partial(self._end, loop, told))

    async def until(self, future: Future[None]) -> None:
        """Wait for it, and raise what it failed with. Whoever is cancelled cancels it."""
        waiter = asyncio.get_running_loop().create_future()
        self.tell(future, lambda _: None if waiter.done() else waiter.set_result(None))
        try:
            await waiter
        except asyncio.CancelledError:
            future.cancel()
            raise
        future.result()

    def _end(self, loop: asyncio.AbstractEventLoop, told: Told, ended: Future[None]) -> None:
        self._ended.append((told, ended))
        # Looked at after the append: who finds it rung is seen by the wake-up that comes.
        if not self._is_rung and not loop.is_closed():
            self._is_rung = True
            loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._is_rung = False
        while self._ended:
            told, ended = self._ended.popleft()
            try:
                told(ended)
            except Exception:  # the others wait behind it
                log.exception("cannot answer a request")
