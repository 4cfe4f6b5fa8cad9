"""Counters of one process, and the readings of them that are on their way.

A counter only grows, so a reading that is lost is made up for by the next one, and one that comes
twice changes nothing. Each process is a source of its own, and so is the child of a fork.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import get_ident
from typing import Any

MOST = 10**18
MOST_READINGS = 2000
"""Readings that wait at most; beyond, of each counter the first and the last are kept."""
QUIET_MS = 60_000
"""Time after which a counter that does not grow is read again."""

Number = int | float


@dataclass(frozen=True, slots=True)
class Reading:
    """How a counter stood; times in Unix milliseconds."""

    counter: Counter
    source: str
    start_ms: int
    ts_ms: int
    total: Number


class Counter:
    """Counts one kind of outcome of one workload, from any thread.

    Each thread adds to a number of its own, found by the thread's identity, which no two threads
    have at a time: so nothing is lost without a lock, which would be two thirds of the cost.

    Args:
        account: whose it is.
        begin: is called before a thread counts for the first time; sets ``began_ms`` once, because
            what counts since another time is another counter.
        refuse: is told of what cannot be counted.
    """

    __slots__ = (
        "_begin", "_by_thread", "_refuse", "account", "base", "began_ms", "kind", "model",
        "quiet_ms", "read", "read_ms",
    )  # fmt: skip

    def __init__(
        self,
        account: Any,
        kind: str,
        model: str,
        begin: Callable[[Counter], None],
        refuse: Callable[[str], None],
    ) -> None:
        self.account, self.kind, self.model = account, kind, model
        self._begin, self._refuse = begin, refuse
        self.forget()

    def forget(self) -> None:
        """Begin anew: what was counted is another process's."""
        self._by_thread: dict[int, Number] = {}
        self.base: Number = 0
        """What of the total was counted by sources before."""
        self.read: Number = 0
        self.began_ms = self.read_ms = self.quiet_ms = 0

    @property
    def total(self) -> Number:
        """What was counted by all threads."""
        return sum(list(self._by_thread.values()))

    def add(self, count: Number = 1) -> None:
        """Count so many more; never raises and never waits."""
        try:
            if count.__class__ is not int:
                count = plain(count)
            if 0 <= count <= MOST:
                self._by_thread[get_ident()] += count
                return
        except KeyError:
            self._join(count)
            return
        except Exception as error:
            self._refuse(f"{self.kind}: {count!r:.80} cannot be counted: {error}")
            return
        self._refuse(f"{self.kind}: {count!r:.80} cannot be counted")

    def _join(self, count: Number) -> None:
        """Count for the first time in this thread."""
        self._begin(self)
        self._by_thread[get_ident()] = count


def plain(count: Any) -> Number:
    """Return a number of any library as Python's own; raises where it is none, or not finite."""
    if isinstance(count, int):
        return int(count)
    if isinstance(count, str | bytes):
        raise TypeError("it is a text")
    number = float(count)
    if not math.isfinite(number):
        raise ValueError("it is not finite")
    return int(number) if number.is_integer() else number


def readings(counter: Counter, source: str, now_ms: int) -> Iterator[Reading]:
    """Read a counter; what did not grow is read now and then, and once more before it grows."""
    total = counter.total - counter.base
    began_ms = counter.began_ms
    now_ms = max(now_ms, began_ms + 1, counter.read_ms + 1)

    def said(ts_ms: int, total: Number) -> Reading:
        return Reading(counter, source, began_ms, ts_ms, total)

    if not counter.read_ms:
        yield said(began_ms, 0)
    elif total == counter.read and now_ms - counter.read_ms < QUIET_MS:
        counter.quiet_ms = now_ms
        return
    elif total != counter.read and counter.quiet_ms > counter.read_ms:
        yield said(min(counter.quiet_ms, now_ms - 1), counter.read)
    yield said(now_ms, total)
    counter.read, counter.read_ms = total, now_ms


def thinned(waiting: Sequence[Reading]) -> list[Reading]:
    """Return of each counter and source the first and the last reading, in order."""
    first: dict[tuple[int, str], int] = {}
    last: dict[tuple[int, str], int] = {}
    for at, reading in enumerate(waiting):
        whose = id(reading.counter), reading.source
        first.setdefault(whose, at)
        last[whose] = at
    return [waiting[at] for at in sorted({*first.values(), *last.values()})]
