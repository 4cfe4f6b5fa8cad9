"""Where written rows go: straight to the store, or to whatever else keeps them safe meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from .client import Client
from .held import Held, Key, stored
from .insert import Insert


class Sink(Protocol):
    """Takes inserts in their order. Once ``write`` returns they are durable."""

    def write(self, inserts: Sequence[Insert]) -> None:
        """Raises Permanent or Retryable; some may have been taken then, and may be sent again."""

    def stored(self, keys: Sequence[Key]) -> dict[Key, Held] | None:
        """Say what the store holds of some allocations, None where that cannot be told now."""


class Straight:
    """Inserts at once."""

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client

    def write(self, inserts: Sequence[Insert]) -> None:
        client = self._client()
        for insert in inserts:
            client.insert_native(insert)

    def stored(self, keys: Sequence[Key]) -> dict[Key, Held]:
        return stored(self._client(), keys)
