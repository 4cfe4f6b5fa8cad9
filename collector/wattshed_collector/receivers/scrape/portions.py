"""Pages that were read, written in portions: an insert costs much the same whatever its size.

Targets are asked all through their interval. What they say is held for a part of it, so that the
store takes a few large inserts instead of one for each instant; where nobody else is due for as
long, nothing is held. While a portion is on its way to the disk the next one gathers, and once that
is full no more is asked of targets: a store that is slow or away costs scrapes, never memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, NamedTuple, Protocol, TypeVar

from wattshed_collector.errors import Permanent
from wattshed_collector.store.stacks import Rows
from wattshed_exporter.model import Batch

from .pages import Read

T = TypeVar("T")
LONGEST_SECONDS = 5.0
PART = 0.5
"""Of the shortest interval; nothing is held for longer."""
MOST_ROWS = 100_000
"""Of a portion."""


class Submit(Protocol):
    """Takes rows in; the future resolves once they are durable. Raises StoreError."""

    def __call__(self, batch: Batch, frames: tuple[Rows, ...]) -> Future[None]: ...


class Page(NamedTuple, Generic[T]):
    """What was read of ``whose``."""

    whose: T
    read: Read


Settled = Callable[[Sequence[Page[T]], Read, Exception | None], None]
"""Told of pages, of all that they said, and why they are not written, if they are not."""


def together(reads: Sequence[Read]) -> Read:
    """Return what several pages say as one, without what was rejected: that is counted by page."""
    if len(reads) == 1:
        return reads[0]
    batches = list({id(read.batch): read.batch for read in reads}.values())
    batch = Batch(
        devices=tuple({d.key: d for b in batches for d in b.devices}.values()),
        ticks=tuple(t for b in batches for t in b.ticks),
        details=tuple(d for b in batches for d in b.details),
        workloads=tuple({w.key: w for b in batches for w in b.workloads}.values()),
        allocations=tuple(a for b in batches for a in b.allocations),
        outcomes=tuple(o for b in batches for o in b.outcomes),
        quarantine=tuple(q for b in batches for q in b.quarantine),
    )
    frames = tuple(frame for read in reads for frame in read.frames)
    return Read(batch, frames, sum(read.ignored for read in reads))


class Portions(Generic[T]):
    """Gathers pages on the event loop and has them written, one portion after the other.

    ``nobody_due`` says whether nobody else will say anything within some seconds.
    """

    def __init__(
        self,
        submit: Submit,
        settled: Settled[T],
        nobody_due: Callable[[float], bool],
        most_rows: int = MOST_ROWS,
    ) -> None:
        self.hold_seconds = LONGEST_SECONDS
        self._submit = submit
        self._settled = settled
        self._nobody_due = nobody_due
        self._most_rows = most_rows
        self._pages: list[Page[T]] = []
        self._rows = 0
        self._under_way = 0
        self._is_due = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be asked for, until what is under way is written."""
        return self._rows >= self._most_rows

    def interval(self, seconds: float) -> None:
        """Note that somebody is asked each ``seconds``."""
        self.hold_seconds = min(self.hold_seconds, PART * seconds)

    def put(self, whose: T, read: Read) -> None:
        """Take a page that says something; it is settled once it is durable, or cannot be."""
        self._pages.append(Page(whose, read))
        batch = read.batch
        facts = len(batch.devices) + len(batch.ticks) + len(batch.details) + len(batch.allocations)
        self._rows += 1 + facts + sum(map(len, read.frames))
        if self.is_full or self._nobody_due(self.hold_seconds):
            self._due()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self.hold_seconds, self._due)

    def _due(self) -> None:
        self._is_due = True
        if not self._under_way:
            self.flush()

    def flush(self) -> None:
        """Have written what was gathered."""
        self._is_due = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pages, self._pages, self._rows = self._pages, [], 0
        if pages:
            self._write(pages)

    def _write(self, pages: Sequence[Page[T]]) -> None:
        try:
            said = together([page.read for page in pages])
            future = self._submit(said.batch, said.frames)
        except Exception as error:
            self._failed(pages, error)
            return
        self._under_way += 1
        loop = asyncio.get_running_loop()

        def done(future: Future[None]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._done, pages, said, future)

        future.add_done_callback(done)

    def _done(self, pages: Sequence[Page[T]], said: Read, future: Future[None]) -> None:
        self._under_way -= 1
        error = future.exception()
        try:
            if error is None:
                self._settled(pages, said, None)
            elif isinstance(error, Exception):
                self._failed(pages, error)
        finally:
            if self._is_due and not self._under_way:
                self.flush()

    def _failed(self, pages: Sequence[Page[T]], error: Exception) -> None:
        """Try each page alone where one of them may be what can never be written."""
        if isinstance(error, Permanent) and len(pages) > 1:
            for page in pages:
                self._write([page])
        else:
            self._settled(pages, Read(Batch()), error)
