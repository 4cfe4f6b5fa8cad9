"""Watches the room of the embedded store's file system, and refuses input before the engine fails.

On a full disk the engine can neither insert nor drop: both need a megabyte first. So input is
refused while there is still some room for merges, and a ballast file is given up when there is
none, which lets old rows be dropped. Once there is room again the ballast is laid down first, and
then input is taken.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wattshed_collector.errors import CollectorError, Retryable

log = logging.getLogger(__name__)

BALLAST = "ballast"
BALLAST_BELOW_BYTES = 16 * 2**30
"""A disk with more room than this needs no ballast yet."""
SCARCE_RATIO = 8
"""The ballast is given up when less than this part of the limit is left."""
RESUME_RATIO = 1.25
"""So much more than the limit must be free before input is taken again."""
LOW_RATIO = 2.0
LOW_DAYS = 7.0
LOOK_S = 5.0
RETRY_S = 30.0
KEPT_S, BETWEEN_S, LEAST_S = 86_400.0, 600.0, 3600.0
"""Growth is told by the last day, looked at every ten minutes, once an hour of it is known."""

Room = Callable[[Path], tuple[int, int]]
"""Bytes that a folder's file system has free and in all."""


def room(folder: Path) -> tuple[int, int]:
    """Ask the kernel what may still be written here, and how large it is, in bytes."""
    told = os.statvfs(folder)
    return told.f_bavail * told.f_frsize, told.f_blocks * told.f_frsize


class Growth:
    """How fast the room shrinks, from what was seen of it during the last day."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def saw(self, now: float, free_bytes: int) -> None:
        if self._seen and now - self._seen[-1][0] < BETWEEN_S:
            return
        self._seen.append((now, free_bytes))
        while now - self._seen[0][0] > KEPT_S:
            self._seen.popleft()

    def days_left(self, now: float, free_bytes: int) -> float:
        """Return when nothing will be free, in days; infinite while room does not shrink.

        NaN while that is not known.
        """
        if not self._seen or now - self._seen[0][0] < LEAST_S:
            return math.nan
        since, before = self._seen[0]
        shrunk = before - free_bytes
        return free_bytes / shrunk * (now - since) / 86_400 if shrunk > 0 else math.inf


@dataclass(frozen=True, slots=True)
class Level:
    """``room_bytes`` is what is free with the ballast given up; ``is_full``: input is refused."""

    free_bytes: int
    room_bytes: int
    days_left: float
    has_ballast: bool
    is_full: bool


class DiskWatch:
    """Decides whether there is room for more. ``look`` from one thread, the rest from any.

    ``limit_bytes`` is what must be free for input to be taken. ``drop`` gives up the oldest raw
    readings and returns what that was, "" where nothing may go; without it nothing is dropped.
    """

    def __init__(
        self,
        folder: Path,
        limit_bytes: int,
        ballast_bytes: int,
        *,
        drop: Callable[[], str] | None = None,
        room: Room = room,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._ballast = folder / BALLAST
        self._limit = limit_bytes
        self._ballast_bytes = ballast_bytes
        self._drop = drop
        self._room = room
        self._clock = clock
        self._growth = Growth()
        self._refusal: Retryable | None = None
        self._is_low = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.level = Level(0, 0, math.nan, False, False)
        self.look()

    def refusal(self) -> Retryable | None:
        """Say why nothing is taken, None while there is room."""
        return self._refusal

    def drops_by(self, drop: Callable[[], str]) -> None:
        """Set what gives up the oldest raw readings; before ``start``."""
        self._drop = drop

    def start(self) -> None:
        """Look every few seconds, on a thread of its own."""
        self._thread = threading.Thread(target=self._work, name="disk", daemon=True)
        self._thread.start()

    def close(self, timeout_seconds: float = 2.0) -> None:
        """Stop looking; the ballast stays."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def look(self) -> Level:
        """See how much is free, and do what follows from that."""
        free, _ = self._room(self._folder)
        ballast = self._ballast_size()
        if self._refusal is None:
            if free < self._limit:
                self._refuse(free)
        elif free >= self._limit * RESUME_RATIO + self._ballast_bytes - ballast:
            log.warning("%s has room again (%d MiB): input is taken", self._folder, free >> 20)
            self._refusal = None
        if self._refusal is not None:
            self._make_room(free, ballast)
        elif ballast < self._ballast_bytes and free < BALLAST_BELOW_BYTES:
            self._lay_ballast()
        self.level = self._seen()
        return self.level

    def _seen(self) -> Level:
        now, ballast = self._clock(), self._ballast_size()
        free, _ = self._room(self._folder)
        whole = free + ballast
        self._growth.saw(now, whole)
        left = self._growth.days_left(now, whole)
        self._warn(free, left)
        return Level(free, whole, left, ballast > 0, self._refusal is not None)

    def _warn(self, free: int, days_left: float) -> None:
        is_low = free < self._limit * LOW_RATIO or days_left < LOW_DAYS
        if is_low and not self._is_low:
            told = "" if math.isnan(days_left) else f", {days_left:.1f} days as it goes"
            log.warning("%s has %d MiB left%s", self._folder, free >> 20, told)
        self._is_low = is_low

    def _refuse(self, free: int) -> None:
        self._refusal = Retryable(
            f"the disk is full: {free >> 20} MiB are free, {self._limit >> 20} MiB must stay so",
            RETRY_S,
            "disk_full",
        )
        log.error("%s: %s; input is refused", self._folder, self._refusal)

    def _make_room(self, free: int, ballast: int) -> None:
        if ballast and free < self._limit // SCARCE_RATIO:
            self._ballast.unlink(missing_ok=True)
            log.error("%s: the ballast of %d MiB is given up", self._folder, ballast >> 20)
        if self._drop is not None:
            try:
                dropped = self._drop()
            except CollectorError as error:
                log.error("%s: nothing could be dropped: %s", self._folder, error)
            else:
                if dropped:
                    log.error("%s: dropped early: %s", self._folder, dropped)

    def _ballast_size(self) -> int:
        try:
            return self._ballast.stat().st_size
        except OSError:
            return 0

    def _lay_ballast(self) -> None:
        """Take the room, if input can still be taken then."""
        free, _ = self._room(self._folder)
        if free - self._ballast_bytes < self._limit:
            return
        try:
            file = os.open(self._ballast, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(file, 0, self._ballast_bytes)
            finally:
                os.close(file)
        except OSError as error:
            log.warning("%s: no ballast: %s", self._folder, error.strerror)
            with suppress(OSError):
                self._ballast.unlink(missing_ok=True)

    def _work(self) -> None:
        while not self._stop.wait(LOOK_S):
            try:
                self.look()
            except Exception:  # the thread must outlive whatever happens to a folder
                log.exception("%s cannot be looked at", self._folder)
