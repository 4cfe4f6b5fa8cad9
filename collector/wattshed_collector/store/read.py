"""Ask the store from asyncio: one thread owns the reading client, questions take turns."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from wattshed_collector.errors import InvalidInput, StoreError

from .client import Client

T = TypeVar("T")

TOO_MUCH = {
    "158": "it would read too many rows",
    "159": "it takes too long",
    "160": "it takes too long",
    "241": "it needs too much memory",
    "396": "its answer has too many rows",
}
"""Codes of ClickHouse for a query that went beyond a limit (ErrorCodes.cpp)."""


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """What one query of a question may take; 0 is no limit."""

    seconds: float = 0.0
    rows: int = 0


NO_LIMITS = QueryLimits()


class Reader:
    """``ask`` runs a question (a function that takes a client first) on the reading thread."""

    def __init__(self, open_client: Callable[[], Client], limits: QueryLimits = NO_LIMITS) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._open_client = open_client
        self._limits = limits
        self._client: Client | None = None

    async def ask(self, question: Callable[..., T], *arguments: Any) -> T:
        """Return the answer. Raises InvalidInput where a query goes beyond the limits."""
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
            if self._limits != NO_LIMITS:
                self._client.limit(self._limits.seconds, self._limits.rows)
        try:
            return question(self._client, *arguments)
        except StoreError as error:
            code = re.search(r"Code: (\d+)", str(error))
            said = TOO_MUCH.get(code[1]) if code and self._limits != NO_LIMITS else None
            if said is None:
                raise
            raise InvalidInput(
                f"the question is too large: {said}; ask for less", "too_much"
            ) from error
