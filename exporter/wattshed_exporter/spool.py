"""Store and forward: requests that wait for the collector are kept, and the oldest give way.

There are two stores behind one interface: ``Memory`` here, and ``spool_disk.Disk``, which outlives
the process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

Lost = Callable[[str, int, int], None]
"""Told of what will never be sent: the reason, how many requests and how many ticks."""


def never() -> bool:
    """Say that nothing is to be cut short."""
    return False


@dataclass(frozen=True, slots=True)
class Record:
    """A request that waits; ``place`` is what the store knows it by."""

    body: bytes
    ticks: int
    newest_ms: int
    place: tuple[int, int]


def within(records: Iterable[Record], most: int, most_bytes: int) -> Iterator[Record]:
    """Yield the first of some records, as ``Store.oldest`` bounds them."""
    size = 0
    for number, record in enumerate(records):
        size += len(record.body)
        if number and (number >= most or size > most_bytes):
            return
        yield record


@dataclass(frozen=True, slots=True)
class Level:
    """How much waits. ``size_bytes`` is the room it takes; ``oldest_ms`` None while there is none.

    ``on_disk`` is False where a restart would lose some of it, or of what comes next.
    """

    bodies: int
    ticks: int
    size_bytes: int
    oldest_ms: int | None
    on_disk: bool


class Store(Protocol):
    """Keeps requests until they are acknowledged. One thread puts and syncs, another one sends."""

    def open(self, stop: Callable[[], bool] = never) -> None:
        """Find what an earlier run has left, which takes seconds where that is a gigabyte.

        Once ``stop`` says so the rest is left for the next run, and ``put`` works all the same.
        """

    def put(self, body: bytes, ticks: int, newest_ms: int) -> None:
        """Keep a request; the oldest give way. Never raises."""

    def peek(self, *, newest: bool = False) -> Record | None:
        """Return the oldest request that waits, or what was put last if that still waits."""

    def oldest(self, most: int, most_bytes: int) -> Sequence[Record]:
        """Return the oldest requests that wait: ``most`` of them and ``most_bytes`` at most, but
        one at least where there is one."""

    def ack(self, record: Record) -> bool:
        """Forget a request; return False where it had been dropped in the meantime."""

    def sync(self) -> float | None:
        """Do what is due now and then; return the seconds until the next time, None for never."""

    def level(self) -> Level:
        """Return how much waits."""

    def close(self) -> None:
        """Let go of everything; what cannot outlive the process is counted as lost."""


class Memory:
    """Keeps requests in memory, at most ``limit_bytes`` of them."""

    def __init__(self, limit_bytes: int, lost: Lost) -> None:
        self._limit = limit_bytes
        self._lost = lost
        self._lock = threading.Lock()
        self._records: dict[int, Record] = {}
        self._count = 0
        self._size = 0

    def open(self, stop: Callable[[], bool] = never) -> None:
        pass

    def put(self, body: bytes, ticks: int, newest_ms: int) -> None:
        with self._lock:
            self._count += 1
            self._records[self._count] = Record(body, ticks, newest_ms, (0, self._count))
            self._size += len(body)
            while self._size > self._limit:
                oldest = self._records.pop(next(iter(self._records)))
                self._size -= len(oldest.body)
                self._lost("memory_full", 1, oldest.ticks)

    def peek(self, *, newest: bool = False) -> Record | None:
        with self._lock:
            if newest:
                return self._records.get(self._count)
            return next(iter(self._records.values()), None)

    def oldest(self, most: int, most_bytes: int) -> Sequence[Record]:
        with self._lock:
            return list(within(self._records.values(), most, most_bytes))

    def ack(self, record: Record) -> bool:
        with self._lock:
            known = self._records.pop(record.place[1], None)
            self._size -= len(known.body) if known is not None else 0
            return known is not None

    def sync(self) -> None:
        return None

    def level(self) -> Level:
        with self._lock:
            waiting = self._records.values()
            oldest_ms = next((r.newest_ms for r in waiting), None)
            ticks = sum(r.ticks for r in waiting)
            return Level(len(waiting), ticks, self._size, oldest_ms, on_disk=False)

    def close(self) -> None:
        left = self.level()
        if left.bodies:
            self._lost("closed", left.bodies, left.ticks)
        self._records.clear()
