"""How much one sender, and all of them together, may ask: token buckets and seats."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

MOST_SENDERS = 10_000
BURST_SECONDS = 2.0
"""A sender that was quiet for that long may ask twice a second's requests at once."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Rates:
    """A token bucket for each sender, of the ``MOST_SENDERS`` that asked last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wait_seconds(self, sender: str, per_second: float) -> float:
        """Take one request; return 0, or the time after which there is one. 0 is no limit."""
        if not per_second:
            return 0.0
        now = self._clock()
        most = max(1.0, per_second * BURST_SECONDS)
        bucket = self._buckets.pop(sender, None) or _Bucket(most, now)
        self._buckets[sender] = bucket
        if len(self._buckets) > MOST_SENDERS:
            self._buckets.popitem(last=False)
        bucket.left = min(most, bucket.left + (now - bucket.at) * per_second)
        bucket.at = now
        if bucket.left < 1:
            return (1 - bucket.left) / per_second
        bucket.left -= 1
        return 0.0


class Seats:
    """Requests that are answered at the same time, and the bytes of their bodies. 0: no limit."""

    def __init__(self, most: int, most_per_sender: int, most_bytes: int) -> None:
        self._most, self._most_per_sender, self._most_bytes = most, most_per_sender, most_bytes
        self._senders: Counter[str] = Counter()
        self.taken = 0
        self.bytes = 0

    def refusal(self, sender: str, size: int) -> str:
        """Return which limit another request of ``size`` bytes is beyond, "" for none."""
        if self._most and self.taken >= self._most:
            return "concurrent"
        if self._most_per_sender and self._senders[sender] >= self._most_per_sender:
            return "concurrent_per_sender"
        if self._most_bytes and self.bytes and self.bytes + size > self._most_bytes:
            return "body_bytes"
        return ""

    def take(self, sender: str, size: int) -> None:
        """Take a seat for a request of ``size`` bytes; ``give`` it back."""
        self.taken += 1
        self.bytes += size
        self._senders[sender] += 1

    def give(self, sender: str, size: int) -> None:
        self.taken -= 1
        self.bytes -= size
        self._senders[sender] -= 1
        if not self._senders[sender]:
            del self._senders[sender]

    @contextmanager
    def seat(self, sender: str, size: int) -> Iterator[None]:
        """Hold a seat for the length of the block."""
        self.take(sender, size)
        try:
            yield
        finally:
            self.give(sender, size)
