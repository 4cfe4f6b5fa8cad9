"""HTTP/1.1 answers out of bytes, without I/O: as much of RFC 9112 as a scrape meets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from wattshed_collector.errors import InvalidInput

HEAD_BYTES = 64 * 1024
END_OF_HEAD = b"\r\n\r\n"
LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)
CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?")
STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: (.*))?", re.ASCII)
LONGEST_LINE = 4096
"""Of a chunk's size and of a trailer."""


class Failed(InvalidInput):
    """A target was not scraped; ``reason`` is one word."""


class Reply(NamedTuple):
    """A complete answer; names of headers are in lower case. ``keep``: another may follow it."""

    status: int
    phrase: str
    headers: dict[str, str]
    body: bytes
    keep: bool


@dataclass(slots=True)
class _Head:
    status: int
    phrase: str
    headers: dict[str, str]
    keep: bool
    length: int | None = None
    """Bytes of the body; None where chunks or the end of the connection say it."""
    chunked: bool = False


class ReplyReader:
    """Reads one answer of at most ``limit`` bytes of body; ``feed`` until there is one."""

    def __init__(self, limit: int) -> None:
        self.began = False
        """Whether anything came."""
        self._limit = limit
        self._held = bytearray()
        self._head: _Head | None = None
        self._body = bytearray()
        self._left: int | None = None
        """Bytes that the chunk still has, with its line end; None between two chunks."""
        self._in_trailer = False

    def feed(self, data: bytes) -> Reply | None:
        """Take bytes; return the answer once it is complete. Raises Failed."""
        if not self.began and (whole := self._whole(data)) is not None:
            return whole
        self.began = True
        self._held += data
        while self._head is None:
            if (head := self._cut_head()) is None:
                return None
            # An informational answer goes before the one that was asked for.
            self._head = head if head.status >= 200 else None
        if self._head.chunked:
            return self._reply() if self._unchunk() else None
        if len(self._held) > self._limit:
            raise self._too_large()
        if self._head.length is None or len(self._held) < self._head.length:
            return None
        self._body = self._held
        surplus = len(self._held) - self._head.length
        if surplus:
            del self._held[self._head.length :]
            self._head.keep = False
        return self._reply()

    def _whole(self, data: bytes) -> Reply | None:
        """Return the answer where it came in one piece, with a length: the body is copied once."""
        at = data.find(END_OF_HEAD)
        if not 0 <= at <= HEAD_BYTES:
            return None
        head = _head(data[:at].decode("latin-1").split("\r\n"))
        at += len(END_OF_HEAD)
        if head.status < 200 or head.chunked or head.length != len(data) - at:
            return None
        if head.length > self._limit:
            raise self._too_large()
        self.began = True
        return Reply(head.status, head.phrase, head.headers, data[at:], head.keep)

    def end(self) -> Reply:
        """Return the answer that the end of the connection completes. Raises Failed."""
        head = self._head
        if head is not None and not head.chunked and head.length is None:
            self._body = self._held
            head.keep = False
            return self._reply()
        raise Failed("the answer was cut off" if self.began else "no answer came", "cut_off")

    def _cut_head(self) -> _Head | None:
        at = self._held.find(END_OF_HEAD)
        if at < 0 or at > HEAD_BYTES:
            if len(self._held) > HEAD_BYTES:
                raise Failed(f"the head of the answer is beyond {HEAD_BYTES} bytes", "malformed")
            return None
        lines = self._held[:at].decode("latin-1").split("\r\n")
        del self._held[: at + len(END_OF_HEAD)]
        head = _head(lines)
        if head.length is not None and head.length > self._limit:
            raise self._too_large()
        return head

    def _unchunk(self) -> bool:
        """Move whole chunks into the body; return whether the last one was among them."""
        held, at = self._held, 0
        while True:
            if self._left is None:
                end = held.find(b"\r\n", at)
                if end < 0 or end - at > LONGEST_LINE:
                    if len(held) - at > LONGEST_LINE:
                        raise Failed("a chunk has no size", "malformed")
                    break
                line, at = bytes(held[at:end]), end + 2
                if self._in_trailer:
                    if not line:
                        assert self._head is not None
                        self._head.keep = self._head.keep and at == len(held)
                        return True
                    continue
                self._begin_chunk(line)
                continue
            if len(held) - at < self._left:
                break
            if held[at + self._left - 2 : at + self._left] != b"\r\n":
                raise Failed("a chunk is longer than it says", "malformed")
            self._body += held[at : at + self._left - 2]
            at, self._left = at + self._left, None
        del held[:at]
        return False

    def _begin_chunk(self, line: bytes) -> None:
        said = CHUNK_SIZE.fullmatch(line)
        if said is None:
            raise Failed(f"{line[:40]!r} is no size of a chunk", "malformed")
        size = int(said[1], 16)
        if len(self._body) + size > self._limit:
            raise self._too_large()
        self._left, self._in_trailer = (size + 2, False) if size else (None, True)

    def _reply(self) -> Reply:
        head = self._head
        assert head is not None
        return Reply(head.status, head.phrase, head.headers, bytes(self._body), head.keep)

    def _too_large(self) -> Failed:
        return Failed(f"the page is beyond {self._limit} bytes", "too_large")


def _head(lines: list[str]) -> _Head:
    said = STATUS_LINE.fullmatch(lines[0])
    if said is None:
        raise Failed(f"{lines[0][:60]!r} is no answer in HTTP/1.1", "malformed")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise Failed(f"{line[:60]!r} is no header", "malformed")
        name, value = name.lower(), value.strip(" \t")
        if name in headers and name == "content-length" and headers[name] != value:
            raise Failed("the answer has two lengths", "malformed")
        headers[name] = f"{headers[name]}, {value}" if name in _LISTS & headers.keys() else value
    return _framed(_Head(int(said[2]), said[3] or "", headers, keep=said[1] == "1"))


_LISTS = {"connection", "transfer-encoding", "content-encoding"}


def _framed(head: _Head) -> _Head:
    """Find out how the body ends."""
    connection = head.headers.get("connection", "").lower()
    if "close" in connection:
        head.keep = False
    elif "keep-alive" in connection:
        head.keep = True
    coding = head.headers.get("transfer-encoding", "").lower()
    length = head.headers.get("content-length")
    if coding not in ("", "chunked"):
        raise Failed(f"transfer encoding {coding!r} is not read", "malformed")
    if length is not None and LENGTH.fullmatch(length) is None:
        raise Failed(f"{length[:40]!r} is no length", "malformed")
    if head.status in (204, 304) or head.status < 200:
        head.length = 0
    elif coding:
        head.chunked = True
        head.keep = head.keep and length is None
    elif length is not None:
        head.length = int(length)
    return head
