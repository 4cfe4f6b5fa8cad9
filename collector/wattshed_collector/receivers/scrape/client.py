"""A keep-alive HTTP/1.1 client for one target: one connection, one request at a time.

It is our own because it costs a third of aiohttp's client per scrape (``bench/scrape.py``). It
sends GET alone and follows no redirect, so that credentials go nowhere but where they were told.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from typing import cast

from .reply import Failed, Reply, ReplyReader


class _Stale(Failed):
    """The connection had been closed before the request reached the target."""


class _Link(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self.open = False
        self.used = False
        """Whether an answer came over it already."""
        self._transport: asyncio.Transport | None = None
        self._reader: ReplyReader | None = None
        self._waiter: asyncio.Future[Reply] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Those of uvloop are Transports by what they do, not by their type.
        self._transport, self.open = cast(asyncio.Transport, transport), True

    def data_received(self, data: bytes) -> None:
        if self._reader is None:  # nothing was asked
            self.close()
            return
        try:
            reply = self._reader.feed(data)
        except Failed as error:
            self._fail(error)
            return
        if reply is not None:
            self._answer(reply)

    def eof_received(self) -> None:
        self._ended()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self._ended(exc)

    async def ask(self, request: bytes, limit: int) -> Reply:
        """Send a request and wait for its answer. Raises Failed, ``_Stale`` where none began."""
        assert self._transport is not None
        self._reader = ReplyReader(limit)
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiter

    def close(self) -> None:
        """Let go at once; what was sent is no concern of ours any more."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    def _answer(self, reply: Reply) -> None:
        self._reader, self.used = None, True
        if not reply.keep:
            self.close()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(reply)

    def _fail(self, error: Failed) -> None:
        self._reader = None
        self.close()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def _ended(self, exc: Exception | None = None) -> None:
        if self._reader is None:
            self.close()
            return
        try:
            if exc is not None:
                raise Failed(f"the connection broke: {exc}", "cut_off")
            reply = self._reader.end()
        except Failed as error:
            stale = self.used and not self._reader.began
            self._fail(_Stale(str(error), error.reason) if stale else error)
        else:
            self._answer(reply)


class Client:
    """Asks one address. ``tls`` gives the context in force for a new connection, None for http."""

    def __init__(
        self,
        host: str,
        port: int,
        tls: Callable[[], ssl.SSLContext | None],
        server_name: str = "",
    ) -> None:
        self._address = host, port
        self._tls = tls
        self._server_name = server_name
        self._link: _Link | None = None

    async def get(self, request: bytes, timeout_seconds: float, limit: int) -> Reply:
        """Send a request, on the open connection where there is one.

        Raises:
            Failed: ``timeout``, ``unreachable``, ``tls``, ``cut_off``, ``malformed``,
                ``too_large``.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._get(request, limit)
        except TimeoutError:
            did = "answer" if self._link is not None else "connect"
            raise Failed(f"did not {did} within {timeout_seconds:g} s", "timeout") from None
        except ssl.SSLError as error:
            raise Failed(f"TLS: {error.reason or error}: {error}", "tls") from error
        except (OSError, ValueError) as error:
            raise Failed(f"cannot connect: {_why(error)}", "unreachable") from error
        finally:
            if self._link is not None and not self._link.open:
                self._link = None

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._link is not None:
            self._link.close()
            self._link = None

    async def _get(self, request: bytes, limit: int) -> Reply:
        link = await self._connected()
        try:
            return await self._ask(link, request, limit)
        except _Stale:
            self.close()
            return await self._ask(await self._connected(), request, limit)

    async def _ask(self, link: _Link, request: bytes, limit: int) -> Reply:
        try:
            return await link.ask(request, limit)
        except BaseException:  # also when the time is up: an answer that comes late is nobody's
            link.close()
            raise

    async def _connected(self) -> _Link:
        if self._link is None or not self._link.open:
            self._link = None
            context = self._tls()
            name = (self._server_name or self._address[0]) if context else None
            _, self._link = await asyncio.get_running_loop().create_connection(
                _Link, *self._address, ssl=context, server_hostname=name
            )
        return self._link


def _why(error: Exception) -> str:
    """Return what the system says; asyncio names the address once more."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number and number > 0 else str(error)
