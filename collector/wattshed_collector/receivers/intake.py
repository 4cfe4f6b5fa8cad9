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
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

from aiohttp import web

from wattshed_collector.config import Ingest
from wattshed_collector.errors import CollectorError, InvalidInput, Permanent, Retryable, StoreError
from wattshed_collector.store.budget import Budget, Entry
from wattshed_collector.store.stacks import Rows
from wattshed_collector.store.write import Writer
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch

from . import body
from .dead_letters import DeadLetters, Letter
from .tenant import authenticated, mine
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


@dataclass(slots=True)
class Arrival:
    """A request that is being read. ``body`` is what came of it so far, as sent."""

    request: web.Request
    limits: Ingest
    sender: str = ""
    """Who was authenticated, "" where nobody was asked."""
    room: Entry | None = None
    """The memory that was promised to it."""
    body: bytes = b""

    @property
    def turn(self) -> str:
        """Under which name it waits: who was authenticated, else the address."""
        return self.sender or self.request.remote or ""

    async def read(self) -> bytes:
        """Read the body, as sent; raises TooLarge, and InvalidInput where it breaks off."""
        self.body = await body.read(self.request, self.limits.max_body_bytes)
        self.holds(len(self.body))
        return self.body

    def unpacked(self, limit: int) -> bytes:
        """Return the body without its compression; raises TooLarge, Busy and InvalidInput."""
        found = body.decode(self.body, self.request.headers.get("Content-Encoding", ""), limit)
        self.holds(len(self.body) + len(found))
        return found

    def holds(self, size: int) -> None:
        """Note how many bytes it takes in memory now. Raises Busy where there are not so many."""
        if self.room is not None:
            self.room.holds(size)

    def letter(self, receiver: str, refused: Refusal) -> Letter:
        """Return what is kept of it: of the headers only those two that say how to read the body,
        of the query only what an import is told."""
        query = {name: text for name, text in self.request.query.items() if name in QUERY}
        return Letter(
            receiver,
            self.request.path + ("?" + urlencode(query) if query else ""),
            self.sender,
            refused.status,
            refused.reason,
            str(refused.error),
            self.request.headers.get("Content-Type", ""),
            self.request.headers.get("Content-Encoding", ""),
        )


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
    """What all receivers work with. ``threads`` decode, the event loop's own where there are none;
    ``budget`` bounds what is held in memory, ``letters`` keeps what can never be taken."""

    writer: Writer
    telemetry: Telemetry
    limits: Ingest
    letters: DeadLetters | None = None
    threads: Executor | None = None
    budget: Budget | None = None


class Intake:
    """The way in of one receiver."""

    def __init__(self, receiver: str, means: Means) -> None:
        self.receiver = receiver
        self.telemetry = means.telemetry
        self.limits = means.limits
        self._means = means
        self._wake = Wake()

    async def answer(
        self,
        request: web.Request,
        take: Callable[[Arrival], Awaitable[web.Response]],
        refuse: Callable[[Refusal], web.Response],
    ) -> web.Response:
        """Return what ``take`` answers, or what ``refuse`` makes of the error that it raised."""
        arrival = Arrival(request, self.limits, authenticated(request))
        try:
            with self._room(arrival) as arrival.room:
                response = await take(arrival)
        except (InvalidInput, StoreError) as error:
            refused = refusal(error)
            await self._note(arrival, refused)
            response = refuse(refused)
            if refused.retry_after_seconds:
                response.headers["Retry-After"] = str(refused.retry_after_seconds)
        self.telemetry.count("requests_total", receiver=self.receiver, code=str(response.status))
        return response

    async def decoded(self, decode: Callable[..., T], *arguments: Any) -> T:
        """Run ``decode`` on one of the threads, whose number bounds the memory that it takes.

        Raises InvalidInput also where it fails in a way that it does not know itself: the same
        body would fail the same way each time, and hold up whatever waits behind it.
        """
        loop = asyncio.get_running_loop()
        with self.telemetry.span("parse"):
            try:
                return await loop.run_in_executor(self._means.threads, decode, *arguments)
            except (CollectorError, MemoryError):
                raise
            except Exception as error:
                log.exception("%s cannot read a body", self.receiver)
                raise InvalidInput("the body cannot be read", "exception") from error

    def submit(self, arrival: Arrival, batch: Batch, frames: tuple[Rows, ...] = ()) -> Queued:
        """Queue what of it its sender may write. Raises Busy."""
        left = mine(arrival.request, batch, frames)
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
                await self._wake.until(queued.future)
        return self.counted(queued)

    def counted(self, queued: Queued) -> Queued:
        """Count what is stored now."""
        batch = queued.batch
        if queued.future is not None:
            self.telemetry.durable(self.receiver, batch, time.time(), queued.frames)
        self.telemetry.reject(self.receiver, batch.rejected)
        self.telemetry.quarantine(self.receiver, batch)
        return queued

    async def store(self, arrival: Arrival, batch: Batch, frames: tuple[Rows, ...] = ()) -> Queued:
        """Queue, wait and count: ``submit`` and ``durable`` in one."""
        return await self.durable(self.submit(arrival, batch, frames))

    def _room(self, arrival: Arrival) -> AbstractContextManager[Entry | None]:
        budget = self._means.budget
        if budget is None:
            return nullcontext()
        return budget.entered(arrival.turn, arrival.request.content_length)

    async def _note(self, arrival: Arrival, refused: Refusal) -> None:
        if not refused.reason:
            return
        self.telemetry.reject(self.receiver, {refused.reason: 1})
        letters = self._means.letters
        if refused.is_poison and arrival.body and letters is not None:
            letter = arrival.letter(self.receiver, refused)
            done = await asyncio.to_thread(letters.keep, letter, arrival.body)
            for result, count in done.items():
                self.telemetry.count("dead_letters_total", count, result=result)


def _rows(queued: Queued) -> int:
    batch = queued.batch
    return len(batch.ticks) + len(batch.details) + sum(map(len, queued.frames))
