"""Records in append-only files: framing, checksums, and finding the way again after damage.

A record is ``wSp1``, a mark of four bytes that alone is ever overwritten (waiting or sent), the
length, ticks and newest time of its body, a CRC-32 over those three and the body, and the body.
Neither a cut nor wrong bytes anywhere can yield a body that was not put.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

MAGIC = b"wSp1"
WAITING, SENT = b"wait", b"sent"
HEADER = struct.Struct("<4s4sIIqI")
MARK_AT = len(MAGIC)
COUNTED = struct.Struct("<IIq")
SUFFIX = ".spool"


@dataclass(frozen=True, slots=True)
class Found:
    """A record in a file; ``size`` is that of the whole record in bytes."""

    offset: int
    size: int
    ticks: int
    newest_ms: int
    sent: bool
    body: bytes


@dataclass(slots=True)
class Segment:
    """One file and what of it is still to be sent; ``cursor`` is where the oldest of that may be.

    ``size`` is the length of the file in bytes; ``bodies`` and ``ticks`` count what waits.
    """

    number: int
    path: Path
    size: int = 0
    bodies: int = 0
    ticks: int = 0
    cursor: int = 0
    oldest_ms: int = 0


def frame(body: bytes, ticks: int, newest_ms: int) -> bytes:
    """Return a record that waits to be sent."""
    counted = COUNTED.pack(len(body), ticks, newest_ms)
    crc = zlib.crc32(body, zlib.crc32(counted))
    return HEADER.pack(MAGIC, WAITING, len(body), ticks, newest_ms, crc) + body


def parse(data: bytes, at: int) -> Found | None:
    """Return the record that begins at ``at``, None where there is no whole and sound one."""
    end = at + HEADER.size
    if end > len(data):
        return None
    magic, mark, length, ticks, newest_ms, crc = HEADER.unpack_from(data, at)
    if magic != MAGIC or end + length > len(data):
        return None
    body = data[end : end + length]
    if zlib.crc32(body, zlib.crc32(COUNTED.pack(length, ticks, newest_ms))) != crc:
        return None
    return Found(at, HEADER.size + length, ticks, newest_ms, mark == SENT, body)


def records(data: bytes, at: int = 0) -> Iterator[Found | int]:
    """Yield each sound record; where bytes are none of one, the offset at which that begins."""
    while at < len(data):
        found = parse(data, at)
        if found is not None:
            yield found
            at += found.size
            continue
        yield at
        while found is None:
            at = data.find(MAGIC, at + 1)
            if at < 0:
                return
            found = parse(data, at)


def next_sound(data: bytes, at: int) -> int:
    """Return where the next sound record after the damage at ``at`` begins, or the end."""
    return next((f.offset for f in records(data, at) if isinstance(f, Found)), len(data))


def read_one(path: Path, at: int) -> Found | None:
    """Read the record at an offset, and no more of the file; None where it is not sound."""
    with path.open("rb", buffering=0) as file:
        front = os.pread(file.fileno(), HEADER.size, at)
        if len(front) < HEADER.size:
            return None
        length = HEADER.unpack(front)[2]
        if at + HEADER.size + length > os.fstat(file.fileno()).st_size:
            return None
        found = parse(front + os.pread(file.fileno(), length, at + HEADER.size), 0)
        return replace(found, offset=at) if found is not None else None


def mark_sent(path: Path, at: int) -> None:
    """Mark a record, so that it is not sent again after a restart."""
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(file, SENT, at + MARK_AT)
    finally:
        os.close(file)


def segments(folder: Path) -> list[Segment]:
    """Return the segments in a folder, oldest first, without what is in them."""
    names = (p for p in folder.iterdir() if p.suffix == SUFFIX and p.stem.isdecimal())
    return sorted((Segment(int(p.stem), p) for p in names), key=lambda s: s.number)


def survey(segment: Segment) -> tuple[int, int]:
    """Count what waits in a segment; return how often it is damaged and where its sound part ends.

    Reads the file once, as a whole: it is small.
    """
    data = segment.path.read_bytes()
    segment.size, segment.bodies, segment.ticks, segment.oldest_ms = len(data), 0, 0, 0
    damages = end = 0
    for found in records(data):
        if isinstance(found, int):
            damages += 1
            continue
        end = found.offset + found.size
        if not found.sent:
            if not segment.bodies:
                segment.cursor, segment.oldest_ms = found.offset, found.newest_ms
            segment.bodies += 1
            segment.ticks += found.ticks
    return damages, end
