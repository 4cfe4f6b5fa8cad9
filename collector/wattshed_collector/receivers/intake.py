"""What every receiver of requests shares: a body within limits, an answer to every error, counts.

A receiver says how a body becomes facts and how a refusal looks on its wire. ``Intake`` does the
rest: it reads, hands over to the writer, tells the sender by the status code whether to send again,
and keeps aside what can never be taken (``dead_letters``).
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor, Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlencode

from aiohttp import web

from wattshed_collector.config import Ingest
from wattshed_collector.errors import CollectorError, InvalidInput, Permanent, Retryable, StoreError
from wattshed_collector.security.keys import IDENTITY
from wattshed_collector.security.rules import Identity
from wattshed_collector.security.tenancy import Tenancy
from wattshed_collector.store.budget import Budget, Entry
from wattshed_collector.store.stacks import Rows
from wattshed_collector.store.write import Writer
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch

from . import body
from .dead_letters import DeadLetters, Letter
from .tenant import mine
from .turns import Turns
from .wake import Wake

log = logging.getLogger(__name__)

T = TypeVar("T")

NOT_READ = frozenset({"content_type", "unknown_encoding"})
QUERY = frozenset({"cluster", "dry_run"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the sender is told. ``reason`` is the counter's word, "" where it may send it again."""

    status: int
    error: Exception
    reason: str = ""
    retry_after_seconds: int = 0

    @property
    def is_poison(self) -> bool:
        """Whether the same body will never be taken, however often it comes."""
        return self.status == 400 and self.reason != "broken_off"

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that say when to come again."""
        seconds = self.retry_after_seconds
        return {"Retry-After": str(seconds)} if seconds else {}


def refusal(error: Exception) -> Refusal:
    """Return what is answered to an error.

    400: the same will never be taken. 413: it is too large. 415: it is written in a way that is not
    read here. 503: it was not stored, and may be sent again. A full queue is 503 as well, because a
    Prometheus drops what is answered with 429 unless it is told otherwise.
    """
    if isinstance(error, body.TooLarge):
        return Refusal(413, error, error.reason)
    if isinstance(error, InvalidInput):
        return Refusal(415 if error.reason in NOT_READ else 400, error, error.reason)
    if isinstance(error, Permanent):
        return Refusal(400, error, "not_storable")
    seconds = error.retry_after_seconds if isinstance(error, Retryable) else 1.0
    return Refusal(503, error, retry_after_seconds=math.ceil(seconds))


@dataclass(frozen=True, slots=True)
class Said:
    """What a request says of itself before its body, however it was read; "" was not said."""

    path: str
    content_type: str = ""
    encoding: str = ""
    address: str = ""
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Received:
    """A request that is being read. ``body`` is what came of it so far, as sent."""

    said: Said
    who: Identity | None = None
    """As whom it counts, None where there is no gate."""
    room: Entry | None = None
    """The memory that was promised to it."""
    body: bytes = b""

    @property
    def sender(self) -> str:
        """Who was authenticated, "" where nobody was asked."""
        return self.who.name if self.who is not None else ""

    @property
    def turn(self) -> str:
        """Under which name it waits: who was authenticated, else the address."""
        return self.sender or self.said.address

    def unpacked(self, limit: int) -> bytes:
        """Return the body without its compression; raises TooLarge, Busy and InvalidInput."""
        found = body.decode(self.body, self.said.encoding, limit)
        self.holds(len(self.body) + len(found))
        return found

    def holds(self, size: int) -> None:
        """Note how many bytes it takes in memory now. Raises Busy where there are not so many."""
        if self.room is not None:
            self.room.holds(size)

    def letter(self, receiver: str, refused: Refusal) -> Letter:
        """Return what is kept of it: of the headers only those two that say how to read the body,
        of the query only what an import is told."""
        said = self.said
        query = {name: text for name, text in said.query.items() if name in QUERY}
        return Letter(
            receiver,
            said.path + ("?" + urlencode(query) if query else ""),
            self.sender,
            refused.status,
            refused.reason,
            str(refused.error),
            said.content_type,
            said.encoding,
        )


@dataclass(slots=True)
class Arrival(Received):
    """A request that came by aiohttp's server."""

    request: web.Request = field(kw_only=True)
    most_bytes: int = field(kw_only=True)
    """Of a body, as sent."""

    async def read(self) -> bytes:
        """Read the body, as sent, holding room as it comes. Raises TooLarge, Busy, and InvalidInput
        where it breaks off."""
        self.body = await body.read(self.request, self.most_bytes, self.holds)
        return self.body


@dataclass(frozen=True, slots=True)
class Queued:
    """What of a request is on its way to the store; ``future`` is None where that is nothing."""

    batch: Batch
    frames: tuple[Rows, ...]
    future: Future[None] | None

    @property
    def quarantined(self) -> dict[str, int]:
        """Return how much is in doubt, by reason."""
        return dict(Counter(member.reason for member in self.batch.quarantine))


@dataclass(frozen=True, slots=True)
class Means:
    """What all receivers work with. ``threads`` decode, the event loop's own where there are none,
    for senders by ``turns``, which has a seat for each thread; ``budget`` bounds what is held in
    memory, ``letters`` keeps what can never be taken, ``tenancy`` knows what is whose."""

    writer: Writer
    telemetry: Telemetry
    limits: Ingest
    letters: DeadLetters | None = None
    threads: Executor | None = None
    budget: Budget | None = None
    tenancy: Tenancy | None = None
    turns: Turns | None = None


class Intake:
    """The way in of one receiver."""

    def __init__(self, receiver: str, means: Means) -> None:
        self.receiver = receiver
        self.telemetry = means.telemetry
        self.limits = means.limits
        self._means = means
        self.wake = Wake()

    async def answer(
        self,
        request: web.Request,
        take: Callable[[Arrival], Awaitable[web.Response]],
        refuse: Callable[[Refusal], web.Response],
    ) -> web.Response:
        """Return what ``take`` answers, or what ``refuse`` makes of the error that it raised."""
        said, who = _said(request), request.get(IDENTITY)
        arrival = Arrival(said, who, request=request, most_bytes=self.limits.max_body_bytes)
        try:
            with self._room(arrival) as arrival.room:
                response = await take(arrival)
        except (InvalidInput, StoreError) as error:
            refused = refusal(error)
            await self.note(arrival, refused)
            response = refuse(refused)
            response.headers.update(refused.headers)
        self.answered(response.status)
        return response

    def enter(self, received: Received, size: int) -> None:
        """Hold room for a body of ``size`` bytes until ``leave``. Raises Busy."""
        if self._means.budget is not None:
            received.room = self._means.budget.enter(received.turn, size)

    def leave(self, received: Received) -> None:
        """Give the room back."""
        room, received.room = received.room, None
        if room is not None:
            room.leave()

    def answered(self, status: int) -> None:
        """Count an answer."""
        self.telemetry.count("requests_total", receiver=self.receiver, code=str(status))

    async def decoded(self, turn: str, decode: Callable[..., T], *arguments: Any) -> T:
        """Run ``decode`` on one of the threads, whose number bounds the memory that it takes, when
        it is the turn of that sender.

        Raises InvalidInput also where it fails in a way that it does not know itself: the same
        body would fail the same way each time, and hold up whatever waits behind it.
        """
        async with self._seat(turn):
            return await self._run(decode, *arguments)

    async def _run(self, decode: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        with self.telemetry.span("parse"):
            try:
                return await loop.run_in_executor(self._means.threads, decode, *arguments)
            except (CollectorError, MemoryError):
                raise
            except Exception as error:
                log.exception("%s cannot read a body", self.receiver)
                raise InvalidInput("the body cannot be read", "exception") from error

    def submit(self, arrival: Received, batch: Batch, frames: tuple[Rows, ...] = ()) -> Queued:
        """Queue what of it its sender may write. Raises Busy."""
        left = mine(self._means.tenancy, arrival.who, batch, frames)
        batch, frames = left.batch, left.frames
        if not batch and not any(map(len, frames)):
            return Queued(batch, frames, None)
        return Queued(batch, frames, self._means.writer.submit(batch, frames, arrival.turn))

    async def durable(self, queued: Queued) -> Queued:
        """Wait until it is stored, and count it.

        Raises Retryable and Permanent, and counts nothing then: the sender comes again, or the
        whole body is a dead letter.
        """
        if queued.future is not None:
            with self.telemetry.span("queue", rows=_rows(queued)):
                await self.wake.until(queued.future)
        return self.counted(queued)

    def counted(self, queued: Queued) -> Queued:
        """Count what is stored now."""
        batch = queued.batch
        if queued.future is not None:
            self.telemetry.durable(self.receiver, batch, time.time(), queued.frames)
        self.telemetry.reject(self.receiver, batch.rejected)
        self.telemetry.quarantine(self.receiver, batch)
        return queued

    async def store(self, arrival: Received, batch: Batch, frames: tuple[Rows, ...] = ()) -> Queued:
        """Queue, wait and count: ``submit`` and ``durable`` in one."""
        return await self.durable(self.submit(arrival, batch, frames))

    def _seat(self, turn: str) -> AbstractAsyncContextManager[None]:
        turns = self._means.turns
        # A line for each receiver: who has its turn at one of them may not wait behind all that the
        # same sender has waiting at another.
        return nullcontext() if turns is None else turns.turn(f"{self.receiver} {turn}")

    def _room(self, arrival: Arrival) -> AbstractContextManager[Entry | None]:
        budget = self._means.budget
        if budget is None:
            return nullcontext()
        return budget.entered(arrival.turn, arrival.request.content_length)

    async def note(self, arrival: Received, refused: Refusal) -> None:
        """Count what can never be taken, and keep it aside."""
        if not refused.reason:
            return
        self.telemetry.reject(self.receiver, {refused.reason: 1})
        letters = self._means.letters
        if refused.is_poison and arrival.body and letters is not None:
            letter = arrival.letter(self.receiver, refused)
            done = await asyncio.to_thread(letters.keep, letter, arrival.body)
            for result, count in done.items():
                self.telemetry.count("dead_letters_total", count, result=result)


def _said(request: web.Request) -> Said:
    headers = request.headers
    kind, encoding = headers.get("Content-Type", ""), headers.get("Content-Encoding", "")
    return Said(request.path, kind, encoding, request.remote or "", request.query)


def failure(ended: Future[None]) -> Exception | None:
    """Return what kept a delivery from being stored, None where it is."""
    if ended.cancelled():
        return Retryable("the collector is stopping")
    error = ended.exception()
    return error if error is None or isinstance(error, Exception) else Permanent(str(error))


def _rows(queued: Queued) -> int:
    batch = queued.batch
    return len(batch.ticks) + len(batch.details) + sum(map(len, queued.frames))
