"""What waits to be written: bounded in rows and bytes, and given out by turns of its senders."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from wattshed_exporter.model import Batch

from .budget import Budget, Busy, Shares
from .insert import Frame
from .stacks import Numbers, Rows

__all__ = ("Busy", "Delivery", "Queue", "Receipt")

FACT_BYTES = 512
"""What a tick, a detail or an allocation takes in memory, from above."""
THING_BYTES = 2048
"""The same of a device or a workload, with its texts."""
DELIVERY_BYTES = 2048
UNLIMITED_BYTES = 1 << 62
BULKY_ROWS = 5000
"""What a delivery has that is worth an insert by itself, such as a backlog."""


class Receipt(Future[None]):
    """Resolves once a delivery is durable; its room is given back before anybody is told."""

    def __init__(self) -> None:
        super().__init__()
        self._settle: Callable[[], None] | None = None

    def on_settled(self, settle: Callable[[], None]) -> None:
        self._settle = settle

    def settle(self) -> None:
        """Give the room back, once."""
        settle, self._settle = self._settle, None
        if settle is not None:
            settle()

    def set_result(self, result: None) -> None:
        self.settle()
        super().set_result(result)

    def set_exception(self, exception: BaseException | None) -> None:
        self.settle()
        super().set_exception(exception)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one request brought; ``future`` resolves once it is durable.

    ``frames`` are rows that came as arrays, of devices that ``batch`` describes, or the numbers
    that will be rows. ``sender`` is
    whose turn it is: who was authenticated, else "".
    """

    batch: Batch
    frames: tuple[Rows, ...] = ()
    sender: str = ""
    future: Receipt = field(default_factory=Receipt)
    rows: int = field(init=False)
    size_bytes: int = field(init=False)
    """What it takes in memory, as an estimate from above."""

    def __post_init__(self) -> None:
        batch = self.batch
        facts = (
            len(batch.ticks) + len(batch.details) + len(batch.allocations)
            + len(batch.outcomes) + len(batch.quarantine)
        )  # fmt: skip
        things = len(batch.devices) + len(batch.workloads)
        counted = FACT_BYTES * facts + THING_BYTES * things
        arrays = sum(map(_array_bytes, self.frames))
        object.__setattr__(self, "rows", 1 + facts + sum(map(len, self.frames)))
        object.__setattr__(self, "size_bytes", DELIVERY_BYTES + counted + arrays)


def _array_bytes(rows: Frame | Numbers) -> int:
    if isinstance(rows, Numbers):
        return rows.size_bytes
    size = 0
    for column in rows.columns.values():
        size += column.values.nbytes
        if column.present is not None:
            size += column.present.nbytes
    return size


class Queue:
    """Takes deliveries from any thread, gives groups of them to one.

    A delivery counts until it is durable or has failed, not merely until it is given out. A group
    has one delivery of each sender that waits, in turn, then the next of each, until it is full.
    """

    def __init__(self, most_rows: int, group_rows: int, budget: Budget | None = None) -> None:
        self.arrived = 0
        """Deliveries that were ever taken in."""
        self.bulky = 0
        """Deliveries that wait to be given out and need no others beside them."""
        self._group_rows = group_rows
        self._budget = budget or Budget(UNLIMITED_BYTES)
        self._shares = Shares(most_rows, "rows wait to be written")
        self._waiting: dict[str, deque[Delivery]] = {}
        self._changed = threading.Condition()
        self._closing = False

    @property
    def rows(self) -> int:
        """Rows that wait or are being written."""
        return self._shares.total

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be given out."""
        return not self._waiting

    def put(self, delivery: Delivery) -> None:
        """Take a delivery. Raises Busy where there is no room or it is closing."""
        sender, rows, size = delivery.sender, delivery.rows, delivery.size_bytes
        with self._changed:
            if self._closing:
                raise Busy("the collector is stopping")
            if why := self._shares.refusal(sender, rows):
                raise self._budget.busy(why, size)
            self._budget.take(sender, size)
            self._shares.take(sender, rows)
            delivery.future.on_settled(lambda: self._settle(sender, rows, size))
            self._waiting.setdefault(sender, deque()).append(delivery)
            self.arrived += 1
            self.bulky += rows >= BULKY_ROWS
            self._changed.notify()

    def take(self, window_seconds: float) -> list[Delivery]:
        """Wait for a delivery and, for as long as told, for others; [] once closed and empty."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            closing = self._closing
        if not closing:
            time.sleep(window_seconds)
        with self._changed:
            group = self._group()
        for delivery in group:
            # From here on nobody can cancel it: a sender that went away is no reason not to write.
            if not delivery.future.set_running_or_notify_cancel():
                delivery.future.settle()
        return group

    def close(self) -> None:
        """Take nothing more; what waits is still given out."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def _group(self) -> list[Delivery]:
        group: list[Delivery] = []
        rows = 0
        while self._waiting and (not group or rows < self._group_rows):
            # Whoever was served goes to the end of the line.
            sender = next(iter(self._waiting))
            line = self._waiting.pop(sender)
            group.append(line.popleft())
            rows += group[-1].rows
            self.bulky -= group[-1].rows >= BULKY_ROWS
            if line:
                self._waiting[sender] = line
        return group

    def _settle(self, sender: str, rows: int, size: int) -> None:
        with self._changed:
            self._shares.give(sender, rows)
        self._budget.give(sender, size)
