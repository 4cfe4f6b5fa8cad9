"""A connection on which metrics are pushed: each request is taken without a task of its own.

It does for plain ``POST /v1/metrics`` with protobuf what aiohttp's server, the gate and the
receiver do for any request, by the same gate and the same receiver, at a tenth of the cost. The
first head that is odd in any way goes to aiohttp with all that was not used yet, and so does
everything that comes on the connection afterwards.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, cast

from wattshed_collector.api.access import Refused
from wattshed_collector.receivers.answer import Answer
from wattshed_collector.receivers.intake import Received, Said
from wattshed_collector.security import tls
from wattshed_collector.security.asked import Asked
from wattshed_collector.security.rules import Identity

from .answers import Answers
from .head import KIND, Head, Unread, read

METHOD, PATH = "POST", "/v1/metrics"
LINGER_SECONDS = 10.0
"""For so long the rest of a refused body is passed over before the connection is closed, because
what was not read makes the kernel take the answer back."""
MOST_AHEAD = 64 * 1024
"""Bytes of further requests that are kept while one waits for its answer."""


class Gate(Protocol):
    """Says who may; see ``api.access.Access``."""

    def compares(self, asked: Asked) -> bool: ...
    def enter(self, asked: Asked, size: int) -> Identity: ...
    def leave(self, asked: Asked, identity: Identity, size: int) -> None: ...
    def told(self, refused: Refused) -> str: ...


class Receiver(Protocol):
    """Takes bodies; see ``receivers.otlp.OtlpReceiver``."""

    def begin(self, received: Received, size: int) -> Answer | None: ...
    def take(self, received: Received, answered: Callable[[Answer], object]) -> None: ...
    def broken(self, received: Received) -> None: ...


@dataclass(frozen=True, slots=True)
class Means:
    """What all lanes work with; ``other`` makes the protocol that takes what is odd.

    ``plain`` and ``secure`` write the answers of http and https. ``most_bytes`` is of a body.
    ``lanes`` are those that are connected and have not handed over.
    """

    gate: Gate
    receiver: Receiver
    other: Callable[[], asyncio.Protocol]
    plain: Answers
    secure: Answers
    most_bytes: int
    lanes: set[Lane]


@dataclass(slots=True)
class Request:
    """One that is being read or waits for its answer."""

    received: Received
    asked: Asked
    who: Identity
    size: int


class Lane(asyncio.Protocol):
    """One connection. ``since`` is when it last got on, by the clock of the event loop."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._loop = asyncio.get_running_loop()
        self.since = self._loop.time()
        self.has_spoken = False
        """Whether a whole head has come."""
        self.is_full = False
        """Whether its answers are not read."""
        self._rest = b""
        self._head: Head | None = None
        self._asked = Asked(METHOD, PATH, "")
        self._said = Said(PATH)
        self._request: Request | None = None
        self._body = bytearray()
        self._missing = 0
        self._skipped = 0
        """Bytes still to come of a body that nobody wants."""
        self._is_held = False
        self._is_going = False
        self._is_last = False
        """Whether the connection ends with the answer that is due."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Those of uvloop are Transports by what they do, not by their type.
        self.transport = cast(asyncio.Transport, transport)
        self.since = self._loop.time()
        self._means.lanes.add(self)
        peer, told = transport.get_extra_info("peername"), transport.get_extra_info
        self._address = str(peer[0]) if isinstance(peer, tuple | list) else str(peer or "")
        self._names = tuple(tls.names(told("peercert")))
        is_secure = told("sslcontext") is not None
        self._answers = self._means.secure if is_secure else self._means.plain
        if (connection := told("socket")) is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def connection_lost(self, error: Exception | None) -> None:
        self._is_last = True
        self._means.lanes.discard(self)
        if self._missing and self._request is not None:
            self._missing = 0
            self._means.receiver.broken(self._request.received)
            self._left(self._request)

    def data_received(self, data: bytes) -> None:
        if self._missing or self._skipped:
            data = self._filled(data) if self._missing else self._passed_over(data)
            if not data:
                return
        self._rest = self._rest + data if self._rest else data
        if self._request is not None or self.is_full:
            if len(self._rest) > MOST_AHEAD and not self._is_held:
                self._is_held = True
                self.transport.pause_reading()
        elif not self._is_going:
            self._go()

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        self._go_on()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being read or answered; half a head counts as none."""
        return self._request is None and not self._skipped

    @property
    def awaits_body(self) -> bool:
        return bool(self._missing or self._skipped)

    def finish(self) -> None:
        """Close it once the answer that is due is written."""
        self._is_last = True
        if self.is_idle:
            self.transport.close()

    def _go(self) -> None:
        """Take all requests that are there, in their order."""
        self._is_going = True
        while self._rest and self._request is None and not (self.is_full or self._skipped):
            if self._is_last or not self._begin():
                break
        self._is_going = False

    def _go_on(self) -> None:
        if self._request is not None or self._is_going or self.is_full or self._is_last:
            return
        if self._is_held:
            self._is_held = False
            self.transport.resume_reading()
        self._go()

    def _begin(self) -> bool:
        """Begin the request with which ``_rest`` begins; return whether there was one."""
        rest, head = self._rest, self._head
        again = head.again(rest) if head is not None else None
        if again is None or head is None:
            found = read(rest)
            if found is Unread.MORE:
                return False
            if isinstance(found, Unread):
                return self._hand_over()
            head, *where = found
            self._learn(head)
            again = where[0], where[1]
        size, begin = again
        if size > self._means.most_bytes or self._means.gate.compares(self._asked):
            return self._hand_over()
        self.has_spoken = True
        self._rest = rest[begin + size :]
        self._enter(size, rest[begin : begin + size])
        return True

    def _learn(self, head: Head) -> None:
        self._head = head
        self._asked = Asked(
            METHOD, PATH, self._address, head.host, head.authorization, self._names,
            url_length=len(PATH),
        )  # fmt: skip
        self._said = Said(PATH, KIND.decode(), head.encoding, self._address)

    def _enter(self, size: int, body: bytes) -> None:
        means, asked = self._means, self._asked
        try:
            who = means.gate.enter(asked, size)
        except Refused as refused:
            self._refuse(refused, size - len(body))
            return
        request = Request(Received(self._said, who), asked, who, size)
        answer = means.receiver.begin(request.received, size)
        if answer is not None:
            self._left(request)
            self._skip(size - len(body))
            self._write(answer)
            return
        self._request = request
        if len(body) == size:
            self._take(request, body)
        else:
            self._body = bytearray(body)
            self._missing = size - len(body)
            self.since = self._loop.time()

    def _filled(self, data: bytes) -> bytes:
        """Use what belongs to the body, and return what comes after it."""
        missing = self._missing
        self._body += data if len(data) <= missing else data[:missing]
        self._missing = max(0, missing - len(data))
        if not self._missing and self._request is not None:
            body, self._body = bytes(self._body), bytearray()
            self._take(self._request, body)
        return data[missing:]

    def _take(self, request: Request, body: bytes) -> None:
        request.received.body = body
        self._means.receiver.take(request.received, partial(self._answered, request))

    def _answered(self, request: Request, answer: Answer) -> None:
        self._left(request)
        self._request = None
        self._write(answer)
        self._go_on()

    def _left(self, request: Request) -> None:
        self._means.gate.leave(request.asked, request.who, request.size)

    def _write(self, answer: Answer) -> None:
        self.since = self._loop.time()
        if self.transport.is_closing():
            return
        self.transport.write(self._answers.written(answer, closes=self._is_last))
        if self._is_last and not self._skipped:
            self.transport.close()

    def _refuse(self, refused: Refused, left: int) -> None:
        """Answer before the body has come; whoever is refused here may not go on."""
        body = self._means.gate.told(refused).encode()
        self._is_last = True
        self._rest = b""
        self._skip(left)
        kind = "application/json; charset=utf-8"
        self._write(Answer(refused.status, body, kind, refused.headers))
        if self._skipped:
            self._loop.call_later(LINGER_SECONDS, self.transport.close)

    def _skip(self, size: int) -> None:
        self._skipped = size

    def _passed_over(self, data: bytes) -> bytes:
        rest = data[self._skipped :]
        self._skipped = max(0, self._skipped - len(data))
        if not self._skipped:
            self.since = self._loop.time()
            if self._is_last:
                self.transport.close()
                return b""
        return rest

    def _hand_over(self) -> bool:
        """Give the connection, and what of it is not used yet, to who judges what is odd."""
        rest, self._rest = self._rest, b""
        other = self._means.other()
        self._means.lanes.discard(self)
        other.connection_made(self.transport)
        self.transport.set_protocol(other)
        other.data_received(rest)
        return False
