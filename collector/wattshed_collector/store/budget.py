"""How much may wait, and who may hold how much of it: memory is promised before it is used.

Requests that are read and rows that wait to be written draw on one budget of bytes. Each sender may
hold at most ``FREE_SHARES`` times what is free at that moment: one alone gets two thirds of it, two
get two fifths each, and whoever comes next finds some left. Who is turned away is told to
come back when the backlog, and those who were turned away before, will have been written.
Source: Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches",
IEEE/ACM Transactions on Networking 6(2), 1998.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wattshed_collector.errors import Retryable

FREE_SHARES = 2
"""A sender's limit as a multiple of what is free."""
LEAST_WAIT_S, MOST_WAIT_S = 1.0, 60.0
MEMORY_S = 10.0
"""Time over which the pace is averaged."""
LEAST_ENTRY_BYTES = 64 * 1024
"""What a request takes at least: its buffers, its task, its answer."""

Closed = Callable[[], Retryable | None]
"""Says why nothing at all is taken at the moment, None where something is."""


class Busy(Retryable):
    """There is no room now; nothing was taken."""

    def __init__(self, message: str, retry_after_seconds: float = LEAST_WAIT_S) -> None:
        super().__init__(message, retry_after_seconds, "busy")


def always_open() -> None:
    """Say that nothing is refused."""


class Shares:
    """Divides ``limit`` of something among senders. Not locked: its owner is."""

    def __init__(self, limit: int, what: str) -> None:
        self.total = 0
        self._limit = limit
        self._what = what
        self._held: dict[str, int] = {}

    def refusal(self, sender: str, size: int) -> str:
        """Return why ``size`` more cannot be had, "" where it can.

        What is larger than the limit is let in when nothing else is there.
        """
        if not self.total:
            return ""
        if self.total + size > self._limit:
            return f"{self.total} {self._what}"
        held = self._held.get(sender, 0)
        if held + size > FREE_SHARES * (self._limit - self.total - size):
            return f"{held} of {self.total} {self._what} are of this sender"
        return ""

    def take(self, sender: str, size: int) -> None:
        self.total += size
        self._held[sender] = self._held.get(sender, 0) + size

    def give(self, sender: str, size: int) -> None:
        self.total -= size
        left = self._held.get(sender, 0) - size
        if left > 0:
            self._held[sender] = left
        else:
            self._held.pop(sender, None)


class Outflow:
    """How fast what waits goes away, per second, and so how long a newcomer should wait."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rate = 0.0
        self._since = clock()
        self._turned_away = 0

    def begin(self) -> None:
        """Note that work begins after idling: the time until now says nothing of the pace."""
        self._since = self._clock()

    def done(self, size: int) -> None:
        """Note that so much went away."""
        now = self._clock()
        elapsed, self._since = max(now - self._since, 1e-3), now
        weight = 1.0 if not self._rate else 1.0 - math.exp(-elapsed / MEMORY_S)
        self._rate += weight * (size / elapsed - self._rate)
        self._turned_away = max(0, self._turned_away - size)

    def wait_seconds(self, backlog: int, size: int) -> float:
        """Return when ``size`` may come again; who is told so is counted as standing in line."""
        stalled = self._clock() - self._since
        line = (backlog + self._turned_away) / self._rate if self._rate else 0.0
        self._turned_away += size
        return min(max(line, stalled, LEAST_WAIT_S), MOST_WAIT_S)


class Budget:
    """Bytes of memory for what was taken in and is not written yet; used by any thread."""

    def __init__(
        self,
        limit_bytes: int,
        *,
        closed: Closed = always_open,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit_bytes = limit_bytes
        self.refused = 0
        """How often something was turned away since the start."""
        self.closed = closed
        self._lock = threading.Lock()
        self._shares = Shares(limit_bytes, "bytes wait to be written")
        self._outflow = Outflow(clock)

    @property
    def used_bytes(self) -> int:
        return self._shares.total

    def take(self, sender: str, size: int) -> None:
        """Reserve bytes. Raises Busy, or what ``closed`` says, and has then reserved nothing."""
        if (shut := self.closed()) is not None:
            self.refused += 1
            raise shut
        with self._lock:
            if why := self._shares.refusal(sender, size):
                raise self._busy(why, size)
            if not self._shares.total:
                self._outflow.begin()
            self._shares.take(sender, size)

    def give(self, sender: str, size: int) -> None:
        with self._lock:
            self._shares.give(sender, size)
            self._outflow.done(size)

    def busy(self, why: str, size: int) -> Busy:
        """Return the refusal of ``size`` bytes for a reason of the caller's, and count it."""
        with self._lock:
            return self._busy(why, size)

    def _busy(self, why: str, size: int) -> Busy:
        self.refused += 1
        return Busy(why, self._outflow.wait_seconds(self._shares.total, size))

    def enter(self, sender: str, size: int) -> Entry:
        """Return the same for who gives it back by ``Entry.leave``."""
        entry = Entry(self, sender)
        entry.holds(size)
        return entry

    @contextmanager
    def entered(self, sender: str, size: int | None) -> Iterator[Entry]:
        """Hold room for a request while it is read and parsed; ``size`` None is not known yet.

        Raises Busy, or what ``closed`` says, before anything is read.
        """
        entry = self.enter(sender, size or 0)
        try:
            yield entry
        finally:
            entry.leave()


class Entry:
    """The room of one request. ``holds`` as more becomes known, never less than before."""

    def __init__(self, budget: Budget, sender: str) -> None:
        self._budget = budget
        self._sender = sender
        self._size = 0

    def holds(self, size: int) -> None:
        """Say how many bytes the request takes now. Raises Busy where there are not so many."""
        more = max(size, LEAST_ENTRY_BYTES) - self._size
        if more > 0:
            self._budget.take(self._sender, more)
            self._size += more

    def leave(self) -> None:
        self._budget.give(self._sender, self._size)
        self._size = 0
