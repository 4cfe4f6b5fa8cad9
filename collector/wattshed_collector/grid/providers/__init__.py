"""Who tells what the grid emits: each provider makes requests and reads answers, and does no I/O.

``Get`` is the seam: the collector passes aiohttp, tests pass recordings. Keys travel in headers
alone, so that no URL in a log has one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from wattshed_collector.errors import CollectorError
from wattshed_collector.grid.series import Step

Get = Callable[[str, Mapping[str, str]], Awaitable[bytes]]
"""URL and headers to the body of a 200; raises Refused for 401, 402 and 403, and ProviderError for
anything else."""
Secret = Callable[[], str]
"""Reads a key or a password; raises ProviderError where that fails."""


class ProviderError(CollectorError):
    """A provider does not answer, refuses, or answers what cannot be read."""


class Refused(ProviderError):
    """A provider does not let this key have what it was asked for."""


class Provider(Protocol):
    """Asks one service. ``kind`` is that of ``store.grid``, steps are in ``unit``."""

    name: str
    kind: str
    unit: str

    async def actual(self, zone: str, start_s: int, end_s: int) -> list[Step]:
        """Return what was in [start_s, end_s), Unix seconds. Raises ProviderError."""
        ...

    async def forecast(self, zone: str) -> list[Step]:
        """Return what is expected, [] where the service does not say. Raises ProviderError."""
        ...
