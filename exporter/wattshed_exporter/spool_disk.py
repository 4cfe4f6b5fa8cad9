"""Requests that wait for the collector, in a folder: they outlive the process and the power.

What was put survives ``kill -9`` at any point, because it is in the kernel's hands when ``put``
returns. A power cut may take what was put in the last second: files are synced once a second at
most, and not at all while the collector takes everything at once, so that flash memory is spared.
A request whose acknowledgement was cut off is sent again, which is harmless.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from .claim import claim, is_at
from .errors import ConfigError
from .segments import (
    HEADER,
    SUFFIX,
    Found,
    Segment,
    frame,
    mark_sent,
    next_sound,
    read_one,
    records,
    segments,
    survey,
)
from .spool import Level, Lost, Memory, Record, never, within

log = logging.getLogger(__name__)

SYNC_SECONDS = 1.0
RETRY_SECONDS = 5.0
"""Time between two looks whether a folder that was missing can be used."""
LARGEST_SEGMENT_BYTES = 1 << 20
SMALLEST_SEGMENT_BYTES = 1 << 14
SEGMENTS = 64
"""The oldest of about so many is dropped when there is no room; they are small in a small spool."""

LEAST_FREE_BYTES = 1 << 26
LEAST_FREE_RATIO = 0.05
"""The smaller of the two is left to others on the file system."""

Write = Callable[[int, bytes | memoryview, int], int]
"""``os.pwrite``."""
Room = Callable[[int], tuple[int, int]]
"""Bytes that a file system has free and in all, by the descriptor of a folder on it."""


def room(folder: int) -> tuple[int, int]:
    """Ask the kernel how much of a file system is free, and how large it is, in bytes."""
    told = os.fstatvfs(folder)
    return told.f_bavail * told.f_frsize, told.f_blocks * told.f_frsize


class Disk:
    """Keeps requests in a folder; in memory while nothing can be written there.

    Args:
        folder: is made where it is missing; nobody else may use it at the same time.
        limit_bytes: room that the files may take.
        memory: where requests wait while the folder is full, read-only or gone.
        lost: told of requests that are dropped or damaged.
        clock: seconds.
        write: how bytes get into a file.
        room: how much of the file system is free, and how large it is.

    Raises:
        ConfigError: where another process uses the folder.
    """

    def __init__(
        self,
        folder: Path,
        limit_bytes: int,
        memory: Memory,
        lost: Lost,
        *,
        clock: Callable[[], float] = time.monotonic,
        write: Write = os.pwrite,
        room: Room = room,
    ) -> None:
        self._path = folder
        self._limit = limit_bytes
        self._segment_bytes = min(
            LARGEST_SEGMENT_BYTES, max(SMALLEST_SEGMENT_BYTES, limit_bytes // SEGMENTS)
        )
        self._memory = memory
        self._lost = lost
        self._clock = clock
        self._write = write
        self._room = room
        self._lock = threading.RLock()
        self._segments: dict[int, Segment] = {}
        self._size = 0
        self._next = 1
        self._folder: int | None = None
        self._file: int | None = None
        self._active: Segment | None = None
        self._newest: tuple[int, int] | None = None
        self._unmarked: set[tuple[int, int]] = set()
        self._unsynced: list[int] = []
        self._synced_at = self._tried_at = clock()
        self._dirty = self._opened = self._closing = False
        self._trouble = ""
        try:
            self._take_folder()
        except OSError as error:
            self._say(error)

    def open(self, stop: Callable[[], bool] = never) -> None:
        with self._lock:
            if self._folder is None or self._opened:
                return
            self._opened = True
            found = segments(self._path)
            self._next = max([self._next, *(s.number + 1 for s in found)])
        for segment in found:  # the lock is free in between, so that nobody waits for them all
            if stop() or self._closing:
                return
            self._load(segment, last=segment is found[-1])

    def put(self, body: bytes, ticks: int, newest_ms: int) -> None:
        with self._lock:
            if HEADER.size + len(body) > self._limit:
                self._lost("too_big", 1, ticks)
            elif not self._recover() or not self._append(body, ticks, newest_ms):
                self._memory.put(body, ticks, newest_ms)

    def peek(self, *, newest: bool = False) -> Record | None:
        with self._lock:
            if newest:
                return self._memory.peek(newest=True) or self._last_put()
            return next(self._waiting(), None) or self._memory.peek()

    def oldest(self, most: int, most_bytes: int) -> Sequence[Record]:
        with self._lock:
            found = list(within(self._waiting(), most, most_bytes))
            return found or self._memory.oldest(most, most_bytes)

    def ack(self, record: Record) -> bool:
        number, offset = record.place
        if number == 0:
            return self._memory.ack(record)
        with self._lock:
            segment = self._segments.get(number)
            if segment is None or not segment.cursor <= offset < segment.size:
                return False
            if record.place == self._newest:
                self._newest = None
            segment.bodies -= 1
            segment.ticks -= record.ticks
            if offset == segment.cursor:
                segment.cursor += HEADER.size + len(record.body)
            if segment.bodies == 0:
                self._remove(segment)
            else:
                self._mark(segment, offset)
            return True

    def sync(self) -> float | None:
        with self._lock:
            if not self._recover():
                return RETRY_SECONDS
            if not self._dirty:
                return None
            due = self._synced_at + SYNC_SECONDS - self._clock()
            if due > 0:
                return due
            self._dirty = False
            files, waits = list(self._unsynced), any(s.bodies for s in self._segments.values())
        if waits:  # not under the lock, because a sync may take as long as it likes
            self._fsync([*files, *(f for f in (self._file, self._folder) if f is not None)])
        with self._lock:
            for file in set(files).intersection(self._unsynced):
                os.close(file)
                self._unsynced.remove(file)
        self._synced_at = self._clock()
        return None

    def level(self) -> Level:
        with self._lock:
            waiting = [s for s in self._segments.values() if s.bodies]
            memory = self._memory.level()
            return Level(
                sum(s.bodies for s in waiting) + memory.bodies,
                sum(s.ticks for s in waiting) + memory.ticks,
                self._size + memory.size_bytes,
                waiting[0].oldest_ms if waiting else memory.oldest_ms,
                not (self._trouble or memory.bodies),
            )

    def close(self) -> None:
        self._closing = True
        with self._lock:
            self._recover()
            self._memory.close()
            held = [f for f in (*self._unsynced, self._file, self._folder) if f is not None]
            if any(s.bodies for s in self._segments.values()):
                self._fsync(held)
            elif self._file is not None and self._active is not None:
                self._active.path.unlink(missing_ok=True)
            for file in held:
                os.close(file)
            self._file = self._folder = self._active = None
            self._unsynced.clear()
            self._segments.clear()

    def _take_folder(self) -> None:
        """Lock the folder, without a file of its own: it may be full or read-only."""
        self._folder = claim(self._path)

    def _load(self, segment: Segment, *, last: bool) -> None:
        """Count what waits in a file; cut off what was being written when the last run ended."""
        try:
            damages, end = survey(segment)
        except OSError as error:
            log.warning("%s cannot be read and is left alone: %s", segment.path, error)
            self._lost("unreadable", 1, 0)
            return
        with self._lock:
            if self._closing:
                return
            if last and end < segment.size:
                damages -= 1
                self._lost("torn", 1, 0)
                self._cut(segment, end)
            if damages:
                self._lost("corrupt", damages, 0)
            self._segments[segment.number] = segment
            self._size += segment.size
            if not segment.bodies:
                self._remove(segment)
            elif last and self._active is None:
                self._go_on(segment)

    def _go_on(self, segment: Segment) -> None:
        """Append to the last file, so that many restarts do not leave many files."""
        try:
            self._file = os.open(segment.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            self._say(error)
        else:
            self._active = segment

    def _cut(self, segment: Segment, end: int) -> None:
        try:
            os.truncate(segment.path, end)
            segment.size = end
        except OSError as error:
            self._say(error)

    def _recover(self) -> bool:
        """Move what waits in memory to the folder; return whether that can be used."""
        if self._folder is not None and not is_at(self._folder, self._path):
            self._leave()
        if self._folder is None:
            now = self._clock()
            if now - self._tried_at < RETRY_SECONDS:
                return False
            self._tried_at = now
            try:
                self._take_folder()
            except (OSError, ConfigError):
                return False
        self.open()
        while record := self._memory.peek():
            if not self._append(record.body, record.ticks, record.newest_ms):
                return False
            self._memory.ack(record)
        return True

    def _leave(self) -> None:
        """Let go of a folder that was removed or unmounted; keep what its open file still has."""
        self._say(FileNotFoundError(errno.ENOENT, "the folder has gone"))
        for segment in list(self._segments.values()):
            if segment is self._active and self._file is not None:
                self._rescue(segment, self._file)
            elif segment.bodies:
                self._lost("unreadable", 1, segment.ticks)
            self._forget(segment)
        for file in self._unsynced:
            os.close(file)
        self._unsynced.clear()
        if self._folder is not None:
            os.close(self._folder)
        self._folder = self._newest = None
        self._opened = False
        self._tried_at = self._clock() - RETRY_SECONDS

    def _rescue(self, segment: Segment, file: int) -> None:
        """Take what waits in an open file to memory."""
        try:
            data = os.pread(file, segment.size, 0)
        except OSError:
            self._lost("unreadable", 1, segment.ticks)
            return
        for found in records(data, segment.cursor):
            if isinstance(found, int):
                self._lost("corrupt", 1, 0)
            elif not found.sent and (segment.number, found.offset) not in self._unmarked:
                self._memory.put(found.body, found.ticks, found.newest_ms)

    def _bound(self) -> int:
        """Return the room that the files may take now: no more than they do on a full disk."""
        if self._folder is None:
            return self._limit
        free, size = self._room(self._folder)
        if free >= min(LEAST_FREE_BYTES, size * LEAST_FREE_RATIO):
            return self._limit
        return min(self._limit, max(self._size, self._segment_bytes))

    def _append(self, body: bytes, ticks: int, newest_ms: int) -> bool:
        data = frame(body, ticks, newest_ms)
        try:
            bound = self._bound()
            while self._segments and self._size + len(data) > bound:
                self._drop(next(iter(self._segments.values())), "full")
            file, segment = self._writable(len(data))
            self._write_all(file, data, segment.size)
        except OSError as error:
            self._say(error)
            return False
        self._newest = segment.number, segment.size
        if not segment.bodies:
            segment.cursor, segment.oldest_ms = segment.size, newest_ms
        segment.bodies += 1
        segment.ticks += ticks
        segment.size += len(data)
        self._size += len(data)
        self._dirty = True
        if self._trouble:
            log.info("%s can be written again", self._path)
            self._trouble = ""
        return True

    def _writable(self, size: int) -> tuple[int, Segment]:
        """Return the file to append to; a new one where the last one is long enough."""
        last = self._active
        if self._file is not None and last is not None:
            if not last.size or last.size + size <= self._segment_bytes:
                return self._file, last
            self._unsynced.append(self._file)
            self._file = self._active = None
        path = self._path / f"{self._next:012d}{SUFFIX}"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._active = self._segments[self._next] = Segment(self._next, path)
        self._next += 1
        return self._file, self._active

    def _write_all(self, file: int, data: bytes, at: int) -> None:
        left = memoryview(data)
        try:
            while left:
                written = self._write(file, left, at + len(data) - len(left))
                left = left[written:]
        except OSError:
            os.ftruncate(file, at)
            raise

    def _last_put(self) -> Record | None:
        segment = self._segments.get(self._newest[0]) if self._newest is not None else None
        if segment is None or self._newest is None:
            return None
        found = self._read(segment, self._newest[1])
        return _record(segment, found) if found is not None and not found.sent else None

    def _waiting(self) -> Iterator[Record]:
        """Yield what waits in the folder, oldest first, up to what is damaged in each file."""
        for segment in list(self._segments.values()):
            record = self._oldest_of(segment) if segment.number in self._segments else None
            while record is not None:
                yield record
                record = self._after(segment, record)

    def _after(self, segment: Segment, record: Record) -> Record | None:
        """Return the next request in a segment, None where it is damaged or there is none."""
        at = record.place[1] + HEADER.size + len(record.body)
        while at < segment.size and (found := self._read(segment, at)) is not None:
            if not found.sent and (segment.number, at) not in self._unmarked:
                return _record(segment, found)
            at += found.size
        return None

    def _oldest_of(self, segment: Segment) -> Record | None:
        """Return the oldest request in a segment; what is damaged is counted and left out."""
        while segment.bodies and segment.cursor < segment.size:
            found = self._read(segment, segment.cursor)
            if segment.number not in self._segments:
                return None
            if found is None:
                self._lost("corrupt", 1, 0)
                segment.cursor = self._pass_by(segment)
            elif found.sent or (segment.number, found.offset) in self._unmarked:
                segment.cursor += found.size
            else:
                segment.oldest_ms = found.newest_ms
                return _record(segment, found)
        if segment.bodies:
            self._lost("corrupt", 0, segment.ticks)
            self._remove(segment)
        return None

    def _pass_by(self, segment: Segment) -> int:
        try:
            data = segment.path.read_bytes()
        except OSError:
            return segment.size
        return next_sound(data[: segment.size], segment.cursor)

    def _read(self, segment: Segment, at: int) -> Found | None:
        """Read one record; a file that cannot be read is left alone until the next start."""
        try:
            return read_one(segment.path, at)
        except OSError as error:
            if self._folder is not None and not is_at(self._folder, self._path):
                self._leave()
                return None
            log.warning("%s cannot be read and is left alone: %s", segment.path, error)
            self._lost("unreadable", 1, segment.ticks)
            self._forget(segment)
            return None

    def _mark(self, segment: Segment, offset: int) -> None:
        try:
            mark_sent(segment.path, offset)
        except OSError as error:
            self._unmarked.add((segment.number, offset))
            self._say(error)

    def _drop(self, segment: Segment, reason: str) -> None:
        if segment.bodies:
            self._lost(reason, segment.bodies, segment.ticks)
        self._forget(segment)
        self._unlink(segment)

    def _remove(self, segment: Segment) -> None:
        """Delete a segment of which nothing waits; the one that is written to is emptied."""
        if segment is not self._active or self._file is None:
            self._forget(segment)
            self._unlink(segment)
            return
        try:
            os.ftruncate(self._file, 0)
        except OSError as error:
            self._say(error)
            segment.cursor = segment.size
        else:
            self._size -= segment.size
            segment.size = segment.cursor = 0
            self._forget_marks(segment)
        segment.bodies = segment.ticks = 0

    def _forget(self, segment: Segment) -> None:
        del self._segments[segment.number]
        self._size -= segment.size
        self._forget_marks(segment)
        if segment is self._active and self._file is not None:
            self._unsynced.append(self._file)
            self._file = self._active = None

    def _forget_marks(self, segment: Segment) -> None:
        self._unmarked = {place for place in self._unmarked if place[0] != segment.number}

    def _unlink(self, segment: Segment) -> None:
        try:
            segment.path.unlink(missing_ok=True)
        except OSError as error:
            self._say(error)

    def _fsync(self, files: Iterable[int]) -> None:
        for file in files:
            try:
                os.fsync(file)
            except OSError as error:
                self._say(error)

    def _say(self, error: OSError) -> None:
        trouble = error.strerror or str(error)
        if self._trouble != trouble:
            log.warning("%s: %s; requests wait in memory", self._path, trouble)
        self._trouble = trouble


def _record(segment: Segment, found: Found) -> Record:
    return Record(found.body, found.ticks, found.newest_ms, (segment.number, found.offset))
