"""A file as lines of text: plain, gzip or zstd, UTF-8 or UTF-16, from disk or standard input.

What a file is, is told by its first bytes, not by its name. ``bytes_read`` counts bytes as they lie
on disk, so that progress is known of a compressed file too. A line beyond ``LONGEST`` characters
is left out and counted, and so is the missing rest of a file that is cut off.
"""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import zstandard

from .reading import Line, Tally

LONGEST = 1 << 20
STEP = 1 << 16
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
CUT = (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError)
BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""PowerShell writes UTF-16 where a tool's output is redirected into a file."""


class Counted(io.RawIOBase):
    """Passes bytes on and counts them."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.bytes_read = 0
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        # What a pipe holds so far is enough: a live stream must not wait for a full buffer.
        take = getattr(self._stream, "read1", self._stream.read)
        chunk = take(len(buffer))
        buffer[: len(chunk)] = chunk
        self.bytes_read += len(chunk)
        return len(chunk)


class Unzstd(io.RawIOBase):
    """Reads zstd frames one after the other; raises EOFError where the last is cut off."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._made = b""
        self._frame: zstandard.ZstdDecompressionObj | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._made:
            packed = self._stream.read(STEP)
            if not packed:
                if self._frame is not None:
                    raise EOFError("the zstd frame is cut off")
                return 0
            self._made = self._unpacked(packed)
        count = min(len(buffer), len(self._made))
        buffer[:count] = self._made[:count]
        self._made = self._made[count:]
        return count

    def _unpacked(self, packed: bytes) -> bytes:
        made = bytearray()
        while packed:
            if self._frame is None:
                window = zstandard.ZstdDecompressor(max_window_size=2**27)
                self._frame = window.decompressobj()
            made += self._frame.decompress(packed)
            packed = b""
            if self._frame.eof:
                packed, self._frame = self._frame.unused_data, None
        return bytes(made)


class Lines:
    """Iterates over the lines of a stream, once."""

    def __init__(self, stream: IO[bytes], tally: Tally) -> None:
        self.number = 0
        self._raw = Counted(stream)
        self._tally = tally
        try:
            self._text = _text(io.BufferedReader(self._raw, STEP))
        except CUT:
            self._text = self._cut()

    @property
    def bytes_read(self) -> int:
        return self._raw.bytes_read

    def __iter__(self) -> Iterator[Line]:
        while (line := self._next()) is not None:
            self.number += 1
            if len(line) < LONGEST or line.endswith("\n"):
                yield self.number, line.rstrip("\r\n")
                continue
            self._tally.add("line_too_long", self.number)
            while line and not line.endswith("\n"):
                line = self._next() or ""

    def _next(self) -> str | None:
        try:
            return self._text.readline(LONGEST) or None
        except CUT:
            self._text = self._cut()
            return None

    def _cut(self) -> IO[str]:
        # What was whole before the cut is as good as any.
        self._tally.add("cut_off", self.number + 1)
        return io.StringIO("")


def _text(buffered: io.BufferedReader) -> IO[str]:
    head = buffered.peek(4)
    plain: io.BufferedReader = buffered
    if head.startswith(GZIP):
        plain = io.BufferedReader(gzip.GzipFile(fileobj=buffered))
    elif head.startswith(ZSTD):
        plain = io.BufferedReader(Unzstd(buffered))
    start = plain.peek(4)
    encoding = next((name for bom, name in BOMS.items() if start.startswith(bom)), "utf-8")
    return io.TextIOWrapper(plain, encoding, errors="replace")


@contextmanager
def opened(file: str) -> Iterator[IO[bytes]]:
    """Open a file; ``-`` is standard input."""
    if file == "-":
        yield sys.stdin.buffer
        return
    with Path(file).open("rb") as stream:
        yield stream


def size(file: str) -> int | None:
    """Return the bytes of a file, None of standard input and of what is no plain file."""
    path = Path(file)
    return path.stat().st_size if file != "-" and path.is_file() else None
