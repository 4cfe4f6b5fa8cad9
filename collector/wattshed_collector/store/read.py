"""Ask the store from asyncio: one thread owns the reading client, questions take turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from .client import Client

T = TypeVar("T")


class Reader:
    """``ask`` runs a question (a function that takes a client first) on the reading thread."""

    def __init__(self, open_client: Callable[[], Client]) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._open_client = open_client
        self._client: Client | None = None

    async def ask(self, question: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._run, question, arguments)

    def close(self, timeout_seconds: float = 2.0) -> None:
        """Answer what was asked, then close the client."""
        closed = self._thread.submit(self._hang_up)
        self._thread.shutdown(wait=False)
        with suppress(TimeoutError):
            closed.result(timeout_seconds)

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()

    def _run(self, question: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        if self._client is None:
            self._client = self._open_client()
        return question(self._client, *arguments)
