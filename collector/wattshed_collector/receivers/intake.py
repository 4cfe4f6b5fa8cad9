"""What every receiver of requests shares: a body within limits, an answer to every error, counts.

A receiver says how a body becomes facts and how a refusal looks on its wire. ``Intake`` does the
rest: it reads, hands over to the writer, tells the sender by the status code whether to send again,
and keeps aside what can never be taken (``dead_letters``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

from aiohttp import web

from wattshed_collector.config import Ingest
from wattshed_collector.errors import InvalidInput, Permanent, StoreError
from wattshed_collector.store.insert import Frame
from wattshed_collector.store.queue import Busy
from wattshed_collector.store.write import Writer
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch

from . import body
from .dead_letters import DeadLetters, Letter

T = TypeVar("T")

ROWS = {"tick": "ticks_total", "sample": "details_total", "metric_sample": "other_samples_total"}
"""The counter of each table that frames may fill."""
NOT_READ = frozenset({"content_type", "unknown_encoding"})
NOT_OF_THE_BODY = frozenset({*NOT_READ, "broken_off", "body_too_large", "decoded_too_large"})
"""Reasons that say nothing against what was sent: it was not looked at, or not held."""
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
        return bool(self.reason) and self.reason not in NOT_OF_THE_BODY


def refusal(error: Exception, busy: int = 429) -> Refusal:
    """Return what is answered to an error; ``busy`` is the status of a queue that is full.

    400: the same will never be taken. 413: it is too large. 415: it is written in a way that is not
    read here. 503: it was not stored, and may be sent again.
    """
    if isinstance(error, body.TooLarge):
        return Refusal(413, error, error.reason)
    if isinstance(error, InvalidInput):
        return Refusal(415 if error.reason in NOT_READ else 400, error, error.reason)
    if isinstance(error, Permanent):
        return Refusal(400, error, "not_storable")
    return Refusal(busy if isinstance(error, Busy) else 503, error, retry_after_seconds=1)


@dataclass(slots=True)
class Arrival:
    """A request that is being read. ``body`` is what came of it so far, as sent."""

    request: web.Request
    limit: int
    body: bytes = b""

    @property
    def sender(self) -> str:
        """Who was authenticated, "" where nobody was asked."""
        return str(self.request.get("sender", ""))

    @property
    def encoding(self) -> str:
        return self.request.headers.get("Content-Encoding", "")

    async def read(self) -> bytes:
        """Read the body, as sent; raises TooLarge, and InvalidInput where it breaks off."""
        self.body = await body.read(self.request, self.limit)
        return self.body

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
            self.encoding,
        )


class Intake:
    """The way in of one receiver.

    ``threads`` decode, the event loop's own where there are none; ``busy`` is the status of a queue
    that is full.
    """

    def __init__(
        self,
        receiver: str,
        writer: Writer,
        telemetry: Telemetry,
        limits: Ingest,
        letters: DeadLetters | None = None,
        threads: Executor | None = None,
        *,
        busy: int = 429,
    ) -> None:
        self.receiver = receiver
        self.telemetry = telemetry
        self.limits = limits
        self._writer = writer
        self._letters = letters
        self._busy = busy
        self._threads = threads

    async def answer(
        self,
        request: web.Request,
        take: Callable[[Arrival], Awaitable[web.Response]],
        refuse: Callable[[Refusal], web.Response],
    ) -> web.Response:
        """Return what ``take`` answers, or what ``refuse`` makes of the error that it raised."""
        arrival = Arrival(request, self.limits.max_body_bytes)
        try:
            response = await take(arrival)
        except (InvalidInput, StoreError) as error:
            refused = refusal(error, self._busy)
            await self._note(arrival, refused)
            response = refuse(refused)
            if refused.retry_after_seconds:
                response.headers["Retry-After"] = str(refused.retry_after_seconds)
        self.telemetry.count("requests_total", receiver=self.receiver, code=str(response.status))
        return response

    async def decoded(self, decode: Callable[..., T], *arguments: Any) -> T:
        """Run ``decode`` on one of the threads, whose number bounds the memory that it takes."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, decode, *arguments)

    def submit(
        self, batch: Batch, frames: tuple[Frame, ...] = (), sender: str = ""
    ) -> Future[None] | None:
        """Queue what is to be written, None where there is nothing. Raises Busy."""
        if not batch and not any(map(len, frames)):
            return None
        return self._writer.submit(batch, frames, sender)

    async def durable(
        self, queued: Future[None] | None, batch: Batch, frames: tuple[Frame, ...] = ()
    ) -> dict[str, int]:
        """Wait until it is stored, count it, and return how much of it is in quarantine.

        Raises Retryable and Permanent, and counts nothing then: the sender comes again, or the
        whole body is a dead letter.
        """
        if queued is not None:
            await asyncio.wrap_future(queued)
            self._count("ticks_total", len(batch.ticks))
            self._count("details_total", len(batch.details))
            for frame in frames:
                self._count(ROWS[frame.table], len(frame))
        self.telemetry.reject(self.receiver, batch.rejected)
        return self.telemetry.quarantine(self.receiver, batch)

    async def store(
        self, batch: Batch, frames: tuple[Frame, ...] = (), sender: str = ""
    ) -> dict[str, int]:
        """Queue, wait and count: ``submit`` and ``durable`` in one."""
        return await self.durable(self.submit(batch, frames, sender), batch, frames)

    def _count(self, counter: str, amount: int) -> None:
        self.telemetry.count(counter, amount, receiver=self.receiver)

    async def _note(self, arrival: Arrival, refused: Refusal) -> None:
        if not refused.reason:
            return
        self.telemetry.reject(self.receiver, {refused.reason: 1})
        if refused.is_poison and arrival.body and self._letters is not None:
            letter = arrival.letter(self.receiver, refused)
            for result, count in (
                await asyncio.to_thread(self._letters.keep, letter, arrival.body)
            ).items():
                self.telemetry.count("dead_letters_total", count, result=result)
