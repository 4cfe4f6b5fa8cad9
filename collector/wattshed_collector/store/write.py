"""Group commit: one thread owns the writing client, many requests share one insert.

A request waits until its rows are in the store (fsynced), so an acknowledgement means durable. The
thread takes everything that has queued up during ``window_seconds``, writes each table once and
releases all the waiting requests. When a group fails it is tried batch by batch, so that one bad
batch cannot hold back its neighbours. Sending again is harmless: every table is replacing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

from wattshed_collector.errors import Permanent, StoreError
from wattshed_exporter.model import Batch

from .client import Client
from .dimensions import Dimensions
from .held import stored
from .insert import Frame
from .pulse import Pulse
from .queue import Delivery, Queue
from .rows import Ids, tables, undescribed_columns, unnamed_columns

log = logging.getLogger(__name__)


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
    """Writes batches on a thread of its own. ``submit`` from any thread; ``close`` drains.

    ``around_commit`` is entered with the rows and deliveries of each group while it is written.
    """

    def __init__(
        self,
        open_client: Callable[[], Client],
        *,
        window_seconds: float = 0.1,
        queue_rows: int = 500_000,
        group_rows: int = 100_000,
        around_commit: Callable[[int, int], AbstractContextManager[None]] = _alone,
    ) -> None:
        self.counters = Counters()
        self.pulse = Pulse()
        self._open_client = open_client
        self._window_seconds = window_seconds
        self._around_commit = around_commit
        self._queue = Queue(queue_rows, group_rows)
        self._ids = Ids()
        self._dimensions = Dimensions(self._ids)
        self._client: Client | None = None
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._thread.start()

    def submit(
        self, batch: Batch, frames: tuple[Frame, ...] = (), sender: str = ""
    ) -> Future[None]:
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
        self._queue.close()
        self._thread.join(timeout_seconds)

    def _work(self) -> None:
        while group := self._queue.take(self._window_seconds):
            self._commit(group)
        if self._client is not None:
            self._client.close()

    def _commit(self, group: Sequence[Delivery]) -> None:
        try:
            with self._around_commit(sum(delivery.rows for delivery in group), len(group)):
                self._write(group)
        except Exception as error:  # the thread must outlive whatever the driver raises
            if len(group) > 1:
                for member in group:
                    self._commit([member])
                return
            self._fail(group[0].future, error)
            return
        self.counters.commits += 1
        self.counters.batches += len(group)
        self.counters.ticks += sum(len(delivery.batch.ticks) for delivery in group)
        self.counters.details += sum(len(delivery.batch.details) for delivery in group)
        for delivery in group:
            if not delivery.future.cancelled():
                delivery.future.set_result(None)

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

    def _write(self, group: Sequence[Delivery]) -> None:
        client = self._client or self._connect()
        news = self._dimensions.news(
            [delivery.batch for delivery in group], partial(stored, client)
        )
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
