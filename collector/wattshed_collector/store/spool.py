"""Groups of inserts on disk, for the time in which the server that should have them is away.

Append-only, checksummed files of the exporter's own format (``wattshed_exporter.segments``), but
kept to another promise: what was appended is acknowledged, so it is fsynced before ``append``
returns and nothing ever gives way. A full spool takes nothing more. What cannot be stored even when
the server is there is set aside in files of its own, with the reason, and holds up nobody.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wattshed_collector.errors import Retryable, StoreError, StoreLocked
from wattshed_exporter.segments import (
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

from .insert import Insert
from .sink import MARKS

log = logging.getLogger(__name__)

SEGMENT_BYTES = 16 * 2**20
ASIDE = "aside"
FULL_RETRY_S = 30.0
_LENGTH = struct.Struct("<I")

Write = Callable[[int, bytes], int]
"""``os.write``."""
Sync = Callable[[int], None]
"""``os.fsync``."""


class SpoolFull(Retryable):
    """There is no room for more; nothing was taken."""

    def __init__(self, message: str) -> None:
        super().__init__(message, FULL_RETRY_S, "spool_full")


@dataclass(frozen=True, slots=True)
class Kept:
    """A group that waits; ``place`` is its segment and offset, ``size`` what it takes on disk."""

    place: tuple[int, int]
    size: int
    inserts: tuple[Insert, ...]


@dataclass(frozen=True, slots=True)
class Level:
    """What waits and since when (Unix seconds, None where nothing does), and what is set aside.

    ``damaged`` counts places that could not be read since the start: what stood there is lost.
    """

    groups: int
    rows: int
    size_bytes: int
    oldest: float | None
    aside: int
    damaged: int


@dataclass(frozen=True, slots=True)
class Aside:
    """An insert that the server refused for good, where it is kept, and the marks of its hours."""

    path: Path
    insert: Insert
    reason: str
    marks: tuple[Insert, ...]


def pack(inserts: Sequence[Insert]) -> bytes:
    """Return a group as bytes: the length of a JSON list, the list, and the bodies."""
    told = [[i.table, i.columns, i.rows, len(i.body)] for i in inserts]
    head = json.dumps(told, separators=(",", ":")).encode()
    return b"".join((_LENGTH.pack(len(head)), head, *(i.body for i in inserts)))


def unpack(data: bytes) -> tuple[Insert, ...]:
    """Return the group that ``pack`` made bytes of."""
    at = _LENGTH.size + _LENGTH.unpack_from(data)[0]
    found = []
    for table, columns, rows, length in json.loads(data[_LENGTH.size : at]):
        found.append(Insert(table, tuple(columns), rows, data[at : at + length]))
        at += length
    return tuple(found)


class Spool:
    """Keeps groups in a folder until they are acknowledged. One thread appends, another drains.

    Raises:
        StoreLocked: where another process uses the folder.
        StoreError: where it cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        limit_bytes: int,
        *,
        write: Write = os.write,
        sync: Sync = os.fsync,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._limit = limit_bytes
        self._write = write
        self._sync = sync
        self._now = now
        self._lock = threading.RLock()
        self._segments: dict[int, Segment] = {}
        self._next = 1
        self._file: int | None = None
        self._active: Segment | None = None
        self._damaged = 0
        self._passed: dict[tuple[int, int], int] = {}
        self._descriptor = _claim(folder)
        try:
            self._recover()
        except OSError as error:
            os.close(self._descriptor)
            raise StoreError(f"cannot use the spool {folder}: {error.strerror}") from error

    @property
    def empty(self) -> bool:
        with self._lock:
            return not any(segment.bodies for segment in self._segments.values())

    def append(self, inserts: Sequence[Insert]) -> None:
        """Keep a group for certain. Raises SpoolFull or Retryable, and has then kept nothing."""
        rows = sum(insert.rows for insert in inserts)
        data = frame(pack(inserts), min(rows, 2**32 - 1), round(self._now() * 1000))
        with self._lock:
            if self._size() + len(data) > self._limit:
                raise SpoolFull(
                    f"the store is away and its spool is full ({self._size()} of {self._limit} "
                    "bytes)"
                )
            try:
                segment = self._append(data)
            except OSError as error:
                raise SpoolFull(
                    f"the store is away and {self._folder} cannot be written: {error.strerror}"
                ) from error
            segment.oldest_ms = segment.oldest_ms or round(self._now() * 1000)
            segment.bodies += 1
            segment.ticks += rows

    def peek(self, most_bytes: int) -> list[Kept]:
        """Return the oldest groups, as many as have ``most_bytes``, but one at least."""
        found: list[Kept] = []
        size = 0
        for kept in self._waiting():
            size += kept.size
            if found and size > most_bytes:
                break
            found.append(kept)
        return found

    def ack(self, groups: Sequence[Kept]) -> None:
        """Forget groups, in the order in which they were peeked at."""
        with self._lock:
            for kept in groups:
                number, offset = kept.place
                segment = self._segments[number]
                segment.bodies -= 1
                segment.ticks -= sum(insert.rows for insert in kept.inserts)
                segment.cursor = offset + kept.size
                if segment.bodies:
                    # Not synced: what is sent again after a crash does no harm.
                    mark_sent(segment.path, offset)
                else:
                    self._remove(segment)

    def set_aside(self, kept: Kept, number: int, reason: str) -> None:
        """Keep the group's insert of that number for an operator; the group still waits."""
        insert = kept.inserts[number]
        folder = self._folder / ASIDE
        folder.mkdir(mode=0o700, exist_ok=True)
        name = f"{kept.place[0]:012d}-{kept.place[1]:09d}-{number}"
        told = {
            "table": insert.table,
            "columns": insert.columns,
            "rows": insert.rows,
            "crc32": zlib.crc32(insert.body),
            "reason": reason,
            "at": self._now(),
            "marks": [
                [marks.columns, marks.rows, marks.body.hex()]
                for marks in kept.inserts
                if marks.table == MARKS and marks is not insert
            ],
        }
        self._write_file(folder / f"{name}.native", insert.body)
        self._write_file(folder / f"{name}.json", json.dumps(told, indent=1).encode())
        self._sync_folder(folder)

    def aside(self) -> Iterator[Aside]:
        """Give each insert that was set aside and is whole."""
        for path in sorted((self._folder / ASIDE).glob("*.json")):
            try:
                told = json.loads(path.read_bytes())
                body = path.with_suffix(".native").read_bytes()
                if zlib.crc32(body) != told["crc32"]:
                    raise ValueError("its checksum does not fit")
                insert = Insert(told["table"], tuple(told["columns"]), told["rows"], body)
                marks = tuple(
                    Insert(MARKS, tuple(columns), rows, bytes.fromhex(text))
                    for columns, rows, text in told["marks"]
                )
                yield Aside(path, insert, told["reason"], marks)
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("%s cannot be read and is left alone: %s", path, error)

    def forget_aside(self, aside: Aside) -> None:
        """Delete what was set aside, because the store has it now."""
        for suffix in (".json", ".native"):
            aside.path.with_suffix(suffix).unlink(missing_ok=True)

    def level(self) -> Level:
        with self._lock:
            waiting = [s for s in self._segments.values() if s.bodies]
            return Level(
                sum(s.bodies for s in waiting),
                sum(s.ticks for s in waiting),
                self._size(),
                waiting[0].oldest_ms / 1000 if waiting else None,
                sum(1 for _ in (self._folder / ASIDE).glob("*.json")),
                self._damaged,
            )

    def oldest_seconds(self) -> float:
        """Return for how long the oldest group has waited, 0 where none does."""
        oldest = self.level().oldest
        return 0.0 if oldest is None else max(0.0, self._now() - oldest)

    def close(self) -> None:
        """Let go of the folder; what waits stays there."""
        with self._lock:
            self._close_file()
            os.close(self._descriptor)

    def _size(self) -> int:
        return sum(segment.size for segment in self._segments.values())

    def _recover(self) -> None:
        """Count what an earlier run has left; cut off what it was writing when it ended."""
        found = segments(self._folder)
        for segment in found:
            damages, end = survey(segment)
            if segment is found[-1] and end < segment.size:
                # Nobody was told that this is safe: appending had not returned.
                damages -= 1
                os.truncate(segment.path, end)
                segment.size = end
            if damages:
                self._note_damages(segment)
            self._next = segment.number + 1
            if segment.bodies:
                self._segments[segment.number] = segment
            else:
                segment.path.unlink()

    def _note_damages(self, segment: Segment) -> None:
        data = segment.path.read_bytes()
        for at in [found for found in records(data) if isinstance(found, int)]:
            self._damage(segment, at, data)

    def _damage(self, segment: Segment, at: int, data: bytes) -> None:
        """Count a damaged place, once, and note where what can be read goes on."""
        if (segment.number, at) not in self._passed:
            self._damaged += 1
            self._passed[segment.number, at] = next_sound(data, at)
            log.error("%s is damaged at %d; what stood there is lost", segment.path, at)

    def _append(self, data: bytes) -> Segment:
        file, segment = self._writable(len(data))
        try:
            left = memoryview(data)
            while left:
                left = left[self._write(file, bytes(left)) :]
            self._sync(file)
        except OSError:
            # What a failed sync has left on disk is unknown: cut it off and begin another file.
            self._close_file()
            os.truncate(segment.path, segment.size)
            if not segment.size:
                self._remove(segment)
            raise
        segment.size += len(data)
        return segment

    def _writable(self, size: int) -> tuple[int, Segment]:
        last = self._active
        if self._file is not None and last is not None and last.size + size <= SEGMENT_BYTES:
            return self._file, last
        self._close_file()
        path = self._folder / f"{self._next:012d}{SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        self._active = self._segments[self._next] = Segment(self._next, path)
        self._next += 1
        self._sync(self._descriptor)
        return self._file, self._active

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file = self._active = None

    def _remove(self, segment: Segment) -> None:
        if segment is self._active:
            self._close_file()
        del self._segments[segment.number]
        segment.path.unlink(missing_ok=True)
        # Were it there again after a power cut, what is old by then would come after what is new.
        try:
            self._sync(self._descriptor)
        except OSError as error:
            log.warning("%s: %s may come back: %s", self._folder, segment.path.name, error)

    def _waiting(self) -> Iterator[Kept]:
        with self._lock:
            known = [s for s in self._segments.values() if s.bodies]
        for segment in known:
            at, left = segment.cursor, segment.bodies
            while left and at < segment.size:
                found = read_one(segment.path, at)
                if found is None:
                    at = self._pass_by(segment, at)
                    continue
                if not found.sent:
                    left -= 1
                    yield _kept(segment, found)
                at += found.size
            self._give_up(segment, left)

    def _pass_by(self, segment: Segment, at: int) -> int:
        """Return where what can be read goes on; the file was damaged since it was written."""
        if (segment.number, at) not in self._passed:
            self._damage(segment, at, segment.path.read_bytes()[: segment.size])
        return self._passed[segment.number, at]

    def _give_up(self, segment: Segment, unread: int) -> None:
        """Wait no longer for what a damaged file held, if nothing that can be read is left in it.

        Looked at under the lock: a group that is appended meanwhile is one more.
        """
        with self._lock:
            if segment.bodies == unread and segment.number in self._segments:
                self._remove(segment)

    def _write_file(self, path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            self._sync(file.fileno())

    def _sync_folder(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._sync(descriptor)
        finally:
            os.close(descriptor)


def _kept(segment: Segment, found: Found) -> Kept:
    return Kept((segment.number, found.offset), found.size, unpack(found.body))


def _claim(folder: Path) -> int:
    """Make the folder if it is missing and lock it; return its descriptor."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StoreError(f"cannot use the spool {folder}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreLocked(f"the spool {folder} is in use by another collector") from error
    return descriptor
