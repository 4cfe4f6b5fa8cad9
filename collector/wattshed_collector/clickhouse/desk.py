"""Who is served when: a few engines, and in front of each sender a line of its own.

A dashboard asks twenty things at once. Each sender's questions wait in their order, and senders
take turns, so that one with many does not keep others waiting. A question whose asker has gone, or
whose time is up, is taken out of the line, or ended in the engine by another connection.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from .asked import Question
from .engine import TAG, Answer, Engine, Handle, Limits
from .errors import CANCELLED, TIMEOUT_EXCEEDED, TOO_MANY_QUERIES, Problem

LOOK_SECONDS = 0.1
"""How often it is looked whether somebody still waits for an answer."""
GRACE_SECONDS = 2.0
"""How long after its end an engine is waited for; one that works on is left alone until it ends."""
KILL = "KILL QUERY WHERE startsWith(query, {tag:String}) ASYNC"

Gone = Callable[[], bool]


@dataclass(slots=True)
class Counters:
    """What happened at the desk, in numbers that only grow."""

    answered: int = 0
    failed: int = 0
    refused: int = 0
    ended: int = 0
    seconds: float = 0.0

    def by_result(self) -> dict[tuple[str, ...], float]:
        """Return the questions by what came of them."""
        return {
            ("answered",): self.answered,
            ("failed",): self.failed,
            ("refused",): self.refused,
            ("ended",): self.ended,
        }


@dataclass(slots=True)
class Seat:
    """An engine, and its thread."""

    engine: Engine
    thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="reader-clickhouse")
    )


class Line:
    """Waiters by sender; whose turn it is goes round among senders."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[asyncio.Future[Seat]]] = OrderedDict()
        self.length = 0

    def join(self, sender: str, waiter: asyncio.Future[Seat]) -> None:
        self._waiting.setdefault(sender, deque()).append(waiter)
        self.length += 1

    def leave(self, sender: str, waiter: asyncio.Future[Seat]) -> None:
        line = self._waiting.get(sender)
        if line is not None and waiter in line:
            line.remove(waiter)
            self.length -= 1
            if not line:
                del self._waiting[sender]

    def next(self) -> asyncio.Future[Seat] | None:
        """Return who is next, None where nobody waits."""
        if not self._waiting:
            return None
        sender, line = self._waiting.popitem(last=False)
        waiter = line.popleft()
        self.length -= 1
        if line:
            self._waiting[sender] = line
        return waiter


class Desk:
    """``ask`` answers questions.

    Args:
        opened: opens a connection of the embedded engine for the calling thread.
        limits: of one query.
        seats: queries that run at the same time.
        waiting: questions that may wait.
    """

    def __init__(
        self, opened: Callable[[], Handle], limits: Limits, seats: int = 4, waiting: int = 200
    ) -> None:
        self._opened, self.limits, self._most_waiting = opened, limits, waiting
        self._seats = [Seat(Engine(opened, limits)) for _ in range(seats)]
        self._free = deque(self._seats)
        self._line = Line()
        self._killer: Handle | None = None
        self._killing = ThreadPoolExecutor(1, thread_name_prefix="reader-clickhouse-kill")
        self._ending: set[asyncio.Task[None]] = set()
        self.counters = Counters()

    @property
    def waiting(self) -> int:
        return self._line.length

    @property
    def running(self) -> int:
        return len(self._seats) - len(self._free)

    async def ask(self, sender: str, question: Question, gone: Gone) -> Answer:
        """Return the answer. Raises Problem; ``gone`` says that nobody waits for it any more."""
        told = question.wish.seconds
        seconds = min(told, self.limits.seconds) if told else self.limits.seconds
        try:
            seat = await self._turn(sender, seconds, gone)
            answer = await self._answered(seat, question, seconds, gone)
        except Problem as problem:
            self._count(problem)
            raise
        self.counters.answered += 1
        self.counters.seconds += answer.seconds
        return answer

    def close(self, timeout_seconds: float = 5.0) -> None:
        """End what runs, then close all connections."""
        if self.running:
            self._killing.submit(self._kill, "")
        for seat in self._seats:
            closed = seat.thread.submit(seat.engine.close)
            seat.thread.shutdown(wait=False)
            with suppress(TimeoutError):
                closed.result(timeout_seconds)
        ended = self._killing.submit(self._hang_up)
        self._killing.shutdown(wait=False)
        with suppress(TimeoutError):
            ended.result(timeout_seconds)

    def _count(self, problem: Problem) -> None:
        if problem.code == TOO_MANY_QUERIES[0]:
            self.counters.refused += 1
        elif problem.code in (CANCELLED[0], TIMEOUT_EXCEEDED[0]):
            self.counters.ended += 1
        else:
            self.counters.failed += 1

    async def _turn(self, sender: str, seconds: float, gone: Gone) -> Seat:
        """Return an engine that is free, when it is this sender's turn."""
        if self._free:
            return self._free.popleft()
        if self._line.length >= self._most_waiting:
            raise Problem(TOO_MANY_QUERIES, f"{self._line.length} queries wait already")
        waiter: asyncio.Future[Seat] = asyncio.get_running_loop().create_future()
        self._line.join(sender, waiter)
        try:
            for _ in _looks(seconds):
                await asyncio.wait({waiter}, timeout=LOOK_SECONDS)
                if waiter.done():
                    return waiter.result()
                if gone():
                    raise Problem(CANCELLED, "nobody waits for the answer any more")
            raise Problem(TIMEOUT_EXCEEDED, f"Timeout exceeded: it waited for {seconds:g} seconds")
        except BaseException:
            self._line.leave(sender, waiter)
            if waiter.done() and not waiter.cancelled():
                self._give(waiter.result())
            waiter.cancel()
            raise

    def _give(self, seat: Seat) -> None:
        while (waiter := self._line.next()) is not None:
            if not waiter.done():
                waiter.set_result(seat)
                return
        self._free.append(seat)

    async def _answered(self, seat: Seat, question: Question, seconds: float, gone: Gone) -> Answer:
        tag = f"{TAG}{secrets.token_hex(12)}"
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(seat.thread, seat.engine.answer, question, tag)
        work.add_done_callback(lambda done: self._done(seat, done))
        started, why = time.monotonic(), None
        while not work.done():
            await asyncio.wait({work}, timeout=LOOK_SECONDS)
            lasted = time.monotonic() - started
            if work.done():
                break
            if why is None and gone():
                why = Problem(CANCELLED, "nobody waits for the answer any more")
            if why is None and lasted > seconds:
                said = f"Timeout exceeded: elapsed {lasted:.1f} seconds, maximum: {seconds:g}"
                why = Problem(TIMEOUT_EXCEEDED, said)
            if why is not None:
                await loop.run_in_executor(self._killing, self._kill, tag)
                if lasted > seconds + GRACE_SECONDS or gone():
                    self._leave(work, tag)
                    raise why
        return _result(work, why)

    def _leave(self, work: asyncio.Future[Answer], tag: str) -> None:
        """Go on to end what nobody waits for: it may have begun only after that."""

        async def end() -> None:
            while not work.done():
                await asyncio.get_running_loop().run_in_executor(self._killing, self._kill, tag)
                await asyncio.wait({work}, timeout=LOOK_SECONDS)

        task = asyncio.get_running_loop().create_task(end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _done(self, seat: Seat, work: asyncio.Future[Answer]) -> None:
        if not work.cancelled():
            work.exception()  # somebody else has said it, or nobody waits
        self._give(seat)

    def _kill(self, tag: str) -> None:
        """End the query with this tag, "" for every one of this desk."""
        if self._killer is None:
            self._killer = self._opened()
        with suppress(RuntimeError):
            self._killer.query(KILL, "Null", {"tag": f"/* {tag or TAG}"})

    def _hang_up(self) -> None:
        if self._killer is not None:
            self._killer.close()


def _result(work: asyncio.Future[Answer], why: Problem | None) -> Answer:
    try:
        return work.result()
    except Problem as problem:
        if why is not None and problem.code == CANCELLED[0]:
            raise why from None
        raise


def _looks(seconds: float) -> Iterator[None]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield
