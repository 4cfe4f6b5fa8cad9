"""Group commit: one thread owns the writing client, many requests share one insert.

A request waits until its rows are in the store (fsynced), so an acknowledgement means durable. The
thread takes everything that has queued up during ``window_seconds``, writes each table once and
releases all the waiting requests. When a group fails it is tried batch by batch, so that one bad
batch cannot hold back its neighbours. Sending again is harmless: every table is replacing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from wattshed_collector.errors import Permanent, Retryable, StoreError
from wattshed_exporter.model import Batch

from .client import Client
from .dimensions import Dimensions
from .held import stored
from .pulse import Pulse
from .rows import Ids, tables, undescribed_columns, unnamed_columns

log = logging.getLogger(__name__)


class Busy(Retryable):
    """The queue is full; nothing was taken."""


@dataclass(slots=True)
class Counters:
    """What the writer has done since it started."""

    commits: int = 0
    batches: int = 0
    ticks: int = 0
    details: int = 0
    failed_batches: int = 0
    queued_rows: int = 0


class Writer:
    """Writes batches on a thread of its own. ``submit`` from any thread; ``close`` drains."""

    def __init__(
        self,
        open_client: Callable[[], Client],
        *,
        window_seconds: float = 0.1,
        queue_rows: int = 500_000,
        group_rows: int = 100_000,
    ) -> None:
        self.counters = Counters()
        self.pulse = Pulse()
        self._open_client = open_client
        self._window_seconds = window_seconds
        self._queue_rows = queue_rows
        self._group_rows = group_rows
        self._queue: deque[tuple[Batch, Future[None]]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._ids = Ids()
        self._dimensions = Dimensions(self._ids)
        self._client: Client | None = None
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._thread.start()

    def submit(self, batch: Batch) -> Future[None]:
        """Queue a batch; the future resolves once it is durable. Raises Busy when full."""
        future: Future[None] = Future()
        rows = _size(batch)
        with self._changed:
            if self._closing:
                raise Busy("the collector is stopping")
            if self.counters.queued_rows + rows > max(self._queue_rows, rows):
                raise Busy(f"{self.counters.queued_rows} rows wait to be written")
            self.counters.queued_rows += rows
            self._queue.append((batch, future))
            self._changed.notify()
        return future

    def close(self, timeout_seconds: float = 4.0) -> None:
        """Write what is queued, then stop."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_seconds)

    def _work(self) -> None:
        while group := self._take():
            self._commit(group)
        if self._client is not None:
            self._client.close()

    def _take(self) -> list[tuple[Batch, Future[None]]]:
        with self._changed:
            while not self._queue and not self._closing:
                self._changed.wait()
            closing = self._closing
        if not closing:
            time.sleep(self._window_seconds)
        group: list[tuple[Batch, Future[None]]] = []
        rows = 0
        with self._changed:
            while self._queue and (not group or rows < self._group_rows):
                group.append(self._queue.popleft())
                rows += _size(group[-1][0])
            self.counters.queued_rows -= rows
        for _, future in group:
            # From here on nobody can cancel it: a sender that went away is no reason not to write.
            future.set_running_or_notify_cancel()
        return group

    def _commit(self, group: Sequence[tuple[Batch, Future[None]]]) -> None:
        try:
            self._write([batch for batch, _ in group])
        except Exception as error:  # the thread must outlive whatever the driver raises
            if len(group) > 1:
                for member in group:
                    self._commit([member])
                return
            self._fail(group[0][1], error)
            return
        self.counters.commits += 1
        self.counters.batches += len(group)
        self.counters.ticks += sum(len(batch.ticks) for batch, _ in group)
        self.counters.details += sum(len(batch.details) for batch, _ in group)
        for _, future in group:
            if not future.cancelled():
                future.set_result(None)

    def _fail(self, future: Future[None], error: Exception) -> None:
        self.counters.failed_batches += 1
        if isinstance(error, StoreError):
            log.error("could not write a batch: %s", error)
        else:
            log.error("could not write a batch", exc_info=error)
            error = Permanent(str(error))
        if not future.cancelled():
            future.set_exception(error)

    def _connect(self) -> Client:
        self._client = self._open_client()
        return self._client

    def _write(self, batches: Sequence[Batch]) -> None:
        client = self._client or self._connect()
        news = self._dimensions.news(batches, partial(stored, client))
        # Marked first: an hour that is recomputed for nothing is better than one that never is.
        if news.dirty_hours:
            client.insert("dirty", {"hour": sorted(news.dirty_hours)})
        if news.undescribed:
            client.insert("device", undescribed_columns(sorted(news.undescribed), self._ids))
        if news.unnamed:
            client.insert("workload", unnamed_columns(sorted(news.unnamed), self._ids))
        for table, columns in tables(news.batch, self._ids).items():
            client.insert(table, columns)
        self._dimensions.remember(news)
        self.pulse.observe(news.batch)


def _size(batch: Batch) -> int:
    facts = (batch.ticks, batch.details, batch.allocations, batch.outcomes, batch.quarantine)
    return 1 + sum(len(kind) for kind in facts)
