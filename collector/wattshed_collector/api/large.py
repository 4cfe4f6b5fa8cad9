"""Answers that are large, and clients that read them slowly: how many bytes wait, and how long."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from aiohttp import web


@dataclass(slots=True)
class Unsent:
    """What clients have not read yet: ``size`` in bytes, of which no more is made from ``most``
    on; ``seconds`` is how long a client may take."""

    most: int = 256 * 2**20
    seconds: float = 60.0
    size: int = 0

    @property
    def is_full(self) -> bool:
        return self.size >= self.most


class LargeResponse(web.Response):
    """An answer that counts as unsent until it is read. A client that takes longer is cut off."""

    def __init__(self, request: web.Request, unsent: Unsent, **told: Any) -> None:
        super().__init__(**told)
        self._unsent, self._transport = unsent, request.transport

    async def write_eof(self, data: bytes = b"") -> None:
        size = len(self.body) if isinstance(self.body, bytes) else 0
        self._unsent.size += size
        try:
            async with asyncio.timeout(self._unsent.seconds):
                await super().write_eof(data)
        except TimeoutError:
            if self._transport is not None:
                self._transport.abort()
            raise ConnectionResetError("the client did not read its answer in time") from None
        finally:
            self._unsent.size -= size
