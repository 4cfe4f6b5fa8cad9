"""What waits to be written: bounded, so that a sender is told to wait before memory grows."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

from wattshed_collector.errors import Retryable
from wattshed_exporter.model import Batch

from .insert import Frame


class Busy(Retryable):
    """The queue is full; nothing was taken."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one request brought; ``future`` resolves once it is durable.

    ``frames`` are rows that came as arrays, of devices that ``batch`` describes. ``sender`` is
    whose turn it is: who was authenticated, else "".
    """

    batch: Batch
    frames: tuple[Frame, ...] = ()
    sender: str = ""
    future: Future[None] = field(default_factory=Future)

    @property
    def rows(self) -> int:
        batch = self.batch
        facts = batch.ticks, batch.details, batch.allocations, batch.outcomes, batch.quarantine
        return 1 + sum(map(len, facts)) + sum(map(len, self.frames))


class Queue:
    """Takes deliveries from any thread, gives groups of them to one."""

    def __init__(self, most_rows: int, group_rows: int) -> None:
        self.rows = 0
        """Rows that wait."""
        self._most_rows = most_rows
        self._group_rows = group_rows
        self._waiting: deque[Delivery] = deque()
        self._changed = threading.Condition()
        self._closing = False

    def put(self, delivery: Delivery) -> None:
        """Take a delivery. Raises Busy where it is full or closing."""
        rows = delivery.rows
        with self._changed:
            if self._closing:
                raise Busy("the collector is stopping")
            if self.rows + rows > max(self._most_rows, rows):
                raise Busy(f"{self.rows} rows wait to be written")
            self.rows += rows
            self._waiting.append(delivery)
            self._changed.notify()

    def take(self, window_seconds: float) -> list[Delivery]:
        """Wait for a delivery and, for as long as told, for others; [] once closed and empty."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            closing = self._closing
        if not closing:
            time.sleep(window_seconds)
        group: list[Delivery] = []
        rows = 0
        with self._changed:
            while self._waiting and (not group or rows < self._group_rows):
                group.append(self._waiting.popleft())
                rows += group[-1].rows
            self.rows -= rows
        for delivery in group:
            # From here on nobody can cancel it: a sender that went away is no reason not to write.
            delivery.future.set_running_or_notify_cancel()
        return group

    def close(self) -> None:
        """Take nothing more; what waits is still given out."""
        with self._changed:
            self._closing = True
            self._changed.notify()
