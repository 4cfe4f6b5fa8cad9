"""When each target is asked: a phase of its own within the interval, the same after a restart.

The phase is a hash of the target, so that a fleet is spread evenly and a target keeps its instant.
It falls on one of two slots a second, at least twenty in all, because a process that wakes up for
several targets costs less than one that wakes for each (``bench/scrape.py``). Times are multiples
of the interval from the epoch, so nothing drifts; a step of the wall clock is not followed.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Callable, Hashable
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)
SLOT_SECONDS = 0.5
FEWEST_SLOTS = 20


def phase(key: str, interval_seconds: float) -> float:
    """Return when within an interval a target is due, seconds from its beginning."""
    hashed = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")
    slots = max(FEWEST_SLOTS, math.floor(interval_seconds / SLOT_SECONDS))
    return hashed % slots * (interval_seconds / slots)


class Schedule(Generic[T]):
    """Says what is due. ``clock`` is monotonic, ``epoch`` the Unix time at its zero."""

    def __init__(self, clock: Callable[[], float], epoch: float) -> None:
        self._clock = clock
        self._epoch = epoch
        self._heap: list[tuple[float, int, T, float]] = []
        self._member: dict[T, int] = {}
        self._number = count()

    def __len__(self) -> int:
        return len(self._member)

    def add(self, member: T, key: str, interval_seconds: float) -> None:
        """Ask a member from its next instant on, within one interval from now."""
        now = self._clock() + self._epoch
        after = phase(key, interval_seconds)
        turns = math.ceil((now - after) / interval_seconds)
        self._member[member] = next(self._number)
        self._push(turns * interval_seconds + after - self._epoch, member, interval_seconds)

    def remove(self, member: T) -> None:
        """Ask it no more."""
        self._member.pop(member, None)

    def due(self) -> list[T]:
        """Return what is due by now; each is due again at its next instant that is to come."""
        now, found = self._clock(), []
        while self._heap and self._heap[0][0] <= now:
            when, number, member, interval = heapq.heappop(self._heap)
            if self._member.get(member) != number:
                continue
            found.append(member)
            later = when + (math.floor((now - when) / interval) + 1) * interval
            # Rounding may leave it where it was.
            self._push(later if later > now else later + interval, member, interval)
        return found

    def wait_seconds(self) -> float | None:
        """Return the time until something is due; None where nothing ever is."""
        while self._heap and self._member.get(self._heap[0][2]) != self._heap[0][1]:
            heapq.heappop(self._heap)
        return max(0.0, self._heap[0][0] - self._clock()) if self._heap else None

    def _push(self, when: float, member: T, interval: float) -> None:
        heapq.heappush(self._heap, (when, self._member[member], member, interval))
