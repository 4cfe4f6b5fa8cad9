"""Group commit: one thread owns the writing client, many requests share one insert.

A request waits until its rows are durable (in the store and fsynced), so an acknowledgement means
just that. The thread takes everything that has queued up during ``window_seconds``, writes each
table once and releases all the waiting requests. Between two groups it rests, so that writing takes
a small share of a core while there is little to write: an insert costs the same whatever its size.
A group that fails is halved until what cannot be written stands alone. Sending again is harmless:
every table is replacing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from wattshed_collector.errors import Permanent, Retryable, StoreError
from wattshed_exporter.model import Batch

from .budget import Budget
from .client import Client
from .dimensions import Dimensions, News
from .frames import frame
from .insert import Frame
from .latest import Latest, newest
from .limits import Limits
from .native import encode
from .now import Now
from .pace import Pace
from .pulse import Pulse
from .queue import Delivery, Queue
from .rows import Ids, tables, undescribed_columns, unnamed_columns
from .sink import MARK_SECONDS, Sink, Straight
from .stacks import Numbers, Rows, by_table
from .wide import said
from .working import Working

HOUR_MS, HOUR_S = 3_600_000, 3600
log = logging.getLogger(__name__)

AWAY_AFTER = 2
"""So many deliveries in a row that fail alone, and may work later, mean that the store is away."""
WORKING_EVERY = 6
"""Times ``latest_seconds`` for which it is gathered when devices worked."""
LOOK_SECONDS = 0.1
"""Time between two looks at the queue during a rest."""
QUIET_LOOKS = 3
"""Looks without a newcomer after which nobody else is waited for."""


@dataclass(slots=True)
class Counters:
    """What the writer has done since it started."""

    commits: int = 0
    batches: int = 0
    ticks: int = 0
    details: int = 0
    failed_batches: int = 0


def _alone(rows: int, deliveries: int) -> AbstractContextManager[None]:
    return nullcontext()


class Writer:
    """Writes deliveries on a thread of its own. ``submit`` from any thread; ``close`` drains.

    ``sink`` takes the rows; without one they go straight into the store. Writing takes at most
    ``share`` of the time, as far as a rest of ``longest_seconds`` after each group makes it so.
    What devices said last is written with the group, but at most once in ``latest_seconds`` while
    more waits.
    ``around_commit`` is entered with the rows and deliveries of each group while it is written.
    ``now`` is told of what was written, where nobody else writes to the store.
    """

    def __init__(
        self,
        open_client: Callable[[], Client],
        *,
        sink: Sink | None = None,
        mark_seconds: float = MARK_SECONDS,
        window_seconds: float = 0.1,
        longest_seconds: float = 1.5,
        share: float = 0.1,
        latest_seconds: float = 0.0,
        queue_rows: int = 500_000,
        group_rows: int = 100_000,
        budget: Budget | None = None,
        around_commit: Callable[[int, int], AbstractContextManager[None]] = _alone,
        now: Now | None = None,
    ) -> None:
        self.counters = Counters()
        self._open_client = open_client
        self._sink = sink or Straight(self._connected, mark_seconds=mark_seconds)
        self._window_seconds = window_seconds
        self._group_rows = group_rows
        self._around_commit = around_commit
        self._pace = Pace(share, longest_seconds)
        self._queue = Queue(queue_rows, group_rows, budget)
        self._ids = Ids()
        self._dimensions = Dimensions(self._ids)
        self._latest = Latest(latest_seconds)
        self._working = Working(WORKING_EVERY * latest_seconds)
        self._limits = Limits()
        self.pulse = Pulse(self._ids)
        self.now = now
        self._client: Client | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._thread.start()

    def submit(self, batch: Batch, frames: tuple[Rows, ...] = (), sender: str = "") -> Future[None]:
        """Queue a batch; the future resolves once it is durable. Raises Busy when full."""
        delivery = Delivery(batch, frames, sender)
        self._queue.put(delivery)
        return delivery.future

    @property
    def queued_rows(self) -> int:
        """Rows that wait to be written."""
        return self._queue.rows

    def close(self, timeout_seconds: float = 4.0) -> None:
        """Write what is queued, then stop."""
        self._closing.set()
        self._queue.close()
        self._thread.join(timeout_seconds)

    def _work(self) -> None:
        while group := self._queue.take(self._window_seconds):
            began = time.monotonic()
            self._commit(group)
            ended = time.monotonic()
            self._rest(self._pace.rest_seconds(ended, ended - began))
            if self._queue.is_empty:
                self._write_latest()
        if self._client is not None:
            self._client.close()

    def _rest(self, seconds: float) -> None:
        """Wait for more, unless a whole group waits already or everything is to be written now.

        Nor where somebody waits who sends much at once, as after an outage, or where those who sent
        wait and nobody else comes, as where one sends a day of history request by request: to rest
        would make no group larger.
        """
        until = time.monotonic() + seconds
        arrived, looks = -1, 0
        while (left := until - time.monotonic()) > 0 and self._queue.rows < self._group_rows:
            looks = looks + 1 if self._queue.arrived == arrived else 0
            arrived = self._queue.arrived
            if self._queue.bulky or (looks >= QUIET_LOOKS and not self._queue.is_empty):
                return
            if self._closing.wait(min(left, LOOK_SECONDS)):
                return

    def _commit(self, group: Sequence[Delivery]) -> None:
        waiting, failed_alone = [group], 0
        while waiting:
            members = waiting.pop()
            try:
                with self._around_commit(sum(member.rows for member in members), len(members)):
                    self._write(members)
            except Exception as error:  # the thread must outlive whatever the driver raises
                if self.now is not None:
                    self.now.forget()  # what of it was written is no news at the next try
                if len(members) > 1 and failed_alone < AWAY_AFTER:
                    middle = len(members) // 2
                    waiting += [members[middle:], members[:middle]]
                    continue
                failed_alone = failed_alone + 1 if isinstance(error, Retryable) else 0
                self._fail(members, error)
                if failed_alone >= AWAY_AFTER:
                    self._fail([member for left in waiting for member in left], error)
                    return
                continue
            failed_alone = 0
            self._acknowledge(members)

    def _acknowledge(self, members: Sequence[Delivery]) -> None:
        self.counters.commits += 1
        self.counters.batches += len(members)
        self.counters.ticks += sum(map(_ticks, members))
        self.counters.details += sum(map(_details, members))
        for member in members:
            if not member.future.cancelled():
                member.future.set_result(None)

    def _fail(self, members: Sequence[Delivery], error: Exception) -> None:
        self.counters.failed_batches += len(members)
        if not isinstance(error, StoreError):
            log.error("could not write a batch", exc_info=error)
            error = Permanent(str(error))
        for member in members:
            if not member.future.cancelled():
                member.future.set_exception(error)

    def _connected(self) -> Client:
        if self._client is None:
            self._client = self._open_client()
        return self._client

    def _write(self, group: Sequence[Delivery]) -> None:
        news = self._dimensions.news([delivery.batch for delivery in group], self._sink.stored)
        frames = [rows for delivery in group for rows in delivery.frames]
        facts = by_table([*tables(news.batch, self._ids), *frames])
        hours = news.dirty_hours.union(*map(_hours, facts))
        # Marked first: an hour that is recomputed for nothing is better than one that never is.
        marks = [frame("dirty", {"hour": sorted(hours)})] if hours else []
        if told := sorted(set[int]().union(*map(_outcome_hours, facts))):
            marks.append(frame("dirty", {"hour": told, "only_outcomes": [1] * len(told)}))
        inserts = [encode(rows) for rows in (*marks, *self._unknown(news), *facts)]
        ticks = next((rows for rows in facts if rows.table == "tick"), None)
        last = newest(ticks) if ticks else None
        is_due = last is not None and self._latest.is_due
        if last and is_due:
            inserts.append(encode(self._latest.with_waiting(last)))
        if working := self._working.due(facts):
            inserts.append(encode(working))
        if limits := self._limits.changes(facts, self._sink.limits):
            inserts.append(encode(limits))
        self._sink.write(inserts)
        if limits:
            self._limits.remember(limits)
        if working:
            self._working.written()
        else:
            self._working.gather(facts)
        self._dimensions.remember(news)
        if self.now is not None:
            self.now.observe(last, facts)
        self.pulse.know(news.batch.devices)
        if ticks:
            self.pulse.observe(ticks)
        if is_due:
            self._latest.written()
        elif last:
            self._latest.gather(last)

    def _write_latest(self) -> None:
        """Write what devices said last where nobody else comes; what fails waits for the next."""
        working = self._working.due(always=self._closing.is_set())
        waiting = [rows for rows in (self._latest.waiting, working) if rows is not None]
        if not waiting:
            return
        try:
            self._sink.write([encode(rows) for rows in waiting])
        except Exception as error:  # the thread must outlive whatever the driver raises
            log.warning("what devices said last could not be written: %s", error)
        else:
            self._latest.written()
            if working:
                self._working.written()

    def _unknown(self, news: News) -> Iterator[Frame]:
        if news.undescribed:
            yield frame("device", undescribed_columns(sorted(news.undescribed), self._ids))
        if news.unnamed:
            yield frame("workload", unnamed_columns(sorted(news.unnamed), self._ids))


def _hours(facts: Frame) -> set[int]:
    """Return the hours (Unix seconds) whose joules some rows can change."""
    return _hours_of(facts) if facts.table == "tick" else set()


def _outcome_hours(facts: Frame) -> set[int]:
    """Return the hours (Unix seconds) whose joules stay as they are, set against other outcomes."""
    return _hours_of(facts) if facts.table == "outcome" else set()


def _hours_of(facts: Frame) -> set[int]:
    return set(np.unique(facts.columns["ts"].values // HOUR_MS * HOUR_S).tolist())


def _ticks(delivery: Delivery) -> int:
    count = len(delivery.batch.ticks)
    for rows in delivery.frames:
        if isinstance(rows, Numbers):
            count += rows.shape.ticks
        elif rows.table == "tick":
            count += len(rows)
    return count


def _details(delivery: Delivery) -> int:
    count = len(delivery.batch.details)
    for rows in delivery.frames:
        if isinstance(rows, Numbers):
            count += rows.shape.details
        elif rows.table in ("sample", "detail"):
            count += said(rows)
    return count
