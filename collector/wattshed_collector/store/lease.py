"""A lease: one holder at a time of what only one may do, in a store that has no compare-and-swap.

Rows of table ``lease`` are only ever inserted and the highest version counts, so a claim is: read
that the lease is free, insert, wait a settle time, read back, and insert once more to confirm.
Every insert is of the next generation, and random low bits decide between claims of one generation.
A claim counts only if its confirmation lands within half a settle time of the read that it won: a
rival whose claim arrives after that read waits a whole settle time, and so finds the confirmation.

No wall clock decides, so one that is off does no harm, by however much. The holder stops by its
own monotonic clock, ``length_seconds`` after it began its last insert; another takes over when it
has seen one and the same row for longer than that by its own. The price is that who finds the row
of a dead holder waits for that long, even if it died yesterday. ``until_ts`` is there to be shown.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from wattshed_collector.errors import StoreError

from .client import Client, Store

GENERATION = 2**32

NEWEST = """
SELECT holder, toUnixTimestamp64Micro(until_ts), version FROM lease FINAL
WHERE name = {name:String}
"""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. ``settle`` is longer than an insert takes until everybody sees it, ``drift`` what
    two monotonic clocks may lose against one another within ``length``.

    A settle time of 0 says that there is no rival, as on a store that its process has locked: what
    the row says is of one that is gone.
    """

    length_seconds: float = 30.0
    settle_seconds: float = 0.5
    drift_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Held:
    """What the store says: who holds the lease, until when (Unix microseconds)."""

    holder: str
    until_us: int
    version: int


class Lease:
    """One candidate's view of a lease. Its client is asked by no other, or by the same thread."""

    def __init__(
        self,
        client: Client,
        name: str,
        holder: str,
        timing: Timing | None = None,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.term = 0
        """Counts how often the lease was taken over: whoever sees it change has to start afresh."""
        self._client = client
        self._name = name
        self._holder = holder
        self._timing = timing or Timing()
        self._now = now
        self._monotonic = monotonic
        self._sleep = sleep
        self._version = 0
        self._seen = (0, 0.0)
        self._good_until = -1.0
        self._turn = threading.RLock()

    @property
    def keep_seconds(self) -> float | None:
        """How often to call ``hold`` so as not to lose it; None: there is nobody to lose it to."""
        timing = self._timing
        return timing.length_seconds / 3 if timing.settle_seconds else None

    @property
    def is_held(self) -> bool:
        """Whether the lease is ours right now, by our own monotonic clock; asks nobody."""
        return self._monotonic() < self._good_until

    @property
    def is_fresh(self) -> bool:
        """Whether the lease is ours and it is not yet time to renew it; asks nobody."""
        return self._good_until - self._monotonic() > self._timing.length_seconds * 2 / 3

    def hold(self) -> bool:
        """Take the lease, or renew it where it is time, and return whether it is ours.

        Reads the row each time, so that a holder notices when another took over.
        """
        with self._turn:
            return self._hold()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew the lease on a thread of its own, for work whose steps may outlast it."""
        every, done = self.keep_seconds, threading.Event()
        if every is None:
            yield
            return

        def keep() -> None:
            while not done.wait(every):
                with suppress(StoreError):  # whoever works finds that it is lost
                    if self.is_held:
                        self.hold()

        keeper = threading.Thread(target=keep, name="lease", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            done.set()
            keeper.join()

    def _hold(self) -> bool:
        held = newest(self._client, self._name)
        if held is None or held.version != self._version:
            self._good_until = -1.0
            return self._is_free(held) and self._take(held)
        if not self.is_held:  # it ran out, and nobody took over
            return self._settle(self._insert(held.version), again=True)
        if self.is_fresh:
            return True
        good_until = self._good_until
        began = self._insert(held.version)
        if self._monotonic() >= good_until:
            return self._settle(began, again=True)
        self._good_until = began + self._timing.length_seconds
        return True

    def release(self) -> None:
        """Give the lease back, so that another need not wait for its end."""
        with self._turn:
            if self.is_held:
                self._good_until = -1.0
                self._insert(self._version, until_us=0)

    def _is_free(self, held: Held | None) -> bool:
        if held is None or not held.until_us or not self._timing.settle_seconds:
            return True
        now = self._monotonic()
        version, since = self._seen
        if version != held.version:
            self._seen = held.version, now
            return False
        return now - since > self._timing.length_seconds + self._timing.drift_seconds

    def _take(self, held: Held | None) -> bool:
        return self._settle(self._insert(held.version if held else 0), again=False)

    def _settle(self, began: float, again: bool) -> bool:
        """Wait until rivals are seen; confirm a claim that won."""
        if self._timing.settle_seconds:
            self._sleep(self._timing.settle_seconds)
            read = self._monotonic()
            held = newest(self._client, self._name)
            if held is None or held.version != self._version:
                return False
            began = self._insert(self._version)
            if self._monotonic() - read > self._timing.settle_seconds / 2:
                return False  # too slow to be sure that every rival finds the confirmation
        self._good_until = began + self._timing.length_seconds
        self.term += not again
        return self.is_held

    def _insert(self, version: int, until_us: int | None = None) -> float:
        """Insert a row of the generation after ``version``; return when that was begun."""
        began = self._monotonic()
        self._version = (version // GENERATION + 1) * GENERATION + random.getrandbits(32)
        end_us = round((self._now() + self._timing.length_seconds) * 1e6)
        self._client.insert(
            "lease",
            {
                "name": [self._name],
                "holder": [self._holder],
                "until_ts": [end_us if until_us is None else until_us],
                "version": [self._version],
            },
        )
        return began


def candidate(store: Store, client: Client, name: str, timing: Timing | None = None) -> Lease:
    """Return this process' candidate for the lease ``name``; on a server it asks by itself."""
    if not store.is_server:
        return Lease(client, name, holder_name(), Timing(settle_seconds=0.0))
    return Lease(store.client(in_sequence=True), name, holder_name(), timing)


def holder_name() -> str:
    """Return a name that no other candidate has."""
    return f"{socket.gethostname()}:{os.getpid()}:{random.getrandbits(32):08x}"


def newest(client: Client, name: str) -> Held | None:
    """Return the row that counts, None where nobody ever held the lease."""
    rows = client.rows(NEWEST, {"name": name})
    return Held(str(rows[0][0]), int(rows[0][1]), int(rows[0][2])) if rows else None
