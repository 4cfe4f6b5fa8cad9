"""A keep-alive HTTP/1.1 client for one target: one connection, one request at a time.

It is our own because it costs a fraction of aiohttp's client per scrape (``bench/scrape.py``).
While the connection is open a request is a write, a timer and what the event loop calls once the
answer is there: a task is made only to connect. It sends GET alone and follows no redirect, so that
credentials go nowhere but where they were told.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from typing import TypeVar, cast

from .reply import Failed, Reply, ReplyReader

T = TypeVar("T")
Answer = Reply | Exception
Told = Callable[[Answer], None]


class _Stale(Failed):
    """The connection had been closed before the request reached the target."""


class _Link(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self.open = False
        self._used = False
        """Whether an answer came over it already."""
        self._transport: asyncio.Transport | None = None
        self._reader: ReplyReader | None = None
        self._told: Told | None = None

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
            self._answer(error, keep=False)
            return
        if reply is not None:
            self._answer(reply, keep=reply.keep)

    def eof_received(self) -> None:
        self._ended()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self._ended(exc)

    def ask(self, request: bytes, limit: int, told: Told) -> None:
        """Send a request; what comes of it is told once, ``_Stale`` where no answer began."""
        assert self._transport is not None
        self._reader, self._told = ReplyReader(limit), told
        self._transport.write(request)

    def close(self) -> None:
        """Let go at once; what was sent is no concern of ours any more."""
        self.open = False
        self._reader = self._told = None
        if self._transport is not None:
            self._transport.abort()

    def _answer(self, answer: Answer, *, keep: bool) -> None:
        told, self._reader, self._told, self._used = self._told, None, None, True
        if not keep:
            self.close()
        if told is not None:
            told(answer)

    def _ended(self, exc: Exception | None = None) -> None:
        if self._reader is None:
            self.close()
            return
        try:
            if exc is not None:
                raise Failed(f"the connection broke: {exc}", "cut_off")
            reply = self._reader.end()
        except Failed as error:
            stale = self._used and not self._reader.began
            self._answer(_Stale(str(error), error.reason) if stale else error, keep=False)
        else:
            self._answer(reply, keep=False)


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
        self._request, self._limit = b"", 0
        self._told: Told | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None

    def ask(self, request: bytes, timeout_seconds: float, limit: int, told: Told) -> None:
        """Send a request, on the open connection where there is one, from the event loop.

        ``told`` is called once, later: with the answer or with why there is none, which is
        a Failed (``timeout``, ``unreachable``, ``tls``, ``cut_off``, ``malformed``, ``too_large``)
        unless it was not foreseen. It is not called after ``close``. Ask again only then.
        """
        assert self._told is None, "one request at a time"
        loop = asyncio.get_running_loop()
        self._request, self._limit, self._told = request, limit, told
        self._timer = loop.call_later(timeout_seconds, self._late, timeout_seconds)
        if self._link is not None and self._link.open:
            self._link.ask(request, limit, self._answered)
        else:
            self._connecting = loop.create_task(self._connect())

    async def get(self, request: bytes, timeout_seconds: float, limit: int) -> Reply:
        """Ask, and wait for the answer. Raises what ``ask`` tells."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.ask(request, timeout_seconds, limit, lambda answer: resolve(future, answer))
        try:
            return await future
        except asyncio.CancelledError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection, if there is one, and forget what was asked."""
        self._forget()
        if self._link is not None:
            self._link.close()
            self._link = None

    def _answered(self, answer: Answer) -> None:
        if isinstance(answer, _Stale):  # a server may close what stood idle at any time
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
            return
        self._end(answer)

    def _late(self, seconds: float) -> None:
        did = "answer" if self._link is not None and self._link.open else "connect"
        told = self._told
        self.close()  # an answer that comes late is nobody's
        if told is not None:
            told(Failed(f"did not {did} within {seconds:g} s", "timeout"))

    def _end(self, answer: Answer) -> None:
        told = self._told
        self._forget()
        if told is not None:
            told(answer)

    def _forget(self) -> None:
        self._told = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None

    async def _connect(self) -> None:
        """Open a connection and send over it what is asked; the timer ends this."""
        try:
            link = await self._connected()
        except Failed as error:
            self._end_connecting(error)
        except ssl.SSLError as error:
            self._end_connecting(Failed(f"TLS: {error.reason or error}: {error}", "tls"))
        except (OSError, ValueError) as error:
            self._end_connecting(Failed(f"cannot connect: {_why(error)}", "unreachable"))
        except Exception as error:  # whoever asked must hear of it
            self._end_connecting(error)
        else:
            self._connecting = None
            if link.open:
                link.ask(self._request, self._limit, self._answered)
            else:
                self._end(Failed("no answer came", "cut_off"))

    def _end_connecting(self, error: Exception) -> None:
        self._connecting = None
        self._end(error)

    async def _connected(self) -> _Link:
        self._link = None
        context = self._tls()
        name = (self._server_name or self._address[0]) if context else None
        _, self._link = await asyncio.get_running_loop().create_connection(
            _Link, *self._address, ssl=context, server_hostname=name
        )
        return self._link


def resolve(future: asyncio.Future[T], answer: T | Exception) -> None:
    """Give an answer to who waits for it, if somebody does."""
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def _why(error: Exception) -> str:
    """Return what the system says; asyncio names the address once more."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number and number > 0 else str(error)
