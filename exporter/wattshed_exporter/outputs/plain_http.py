"""Requests over one kept-alive connection without TLS, and no more of HTTP than that takes.

``http.client`` does the same, but loads OpenSSL and the mail parser, which are 5 MB; the client for
https, in ``secure_http``, uses it. Source: RFC 9112.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, Protocol

LONGEST_LINE = 65536
MOST_HEADERS = 100
STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")
SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
WITHOUT_BODY = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; ``whole`` says that the connection may carry another request."""

    status: int
    retry_after: str
    body: bytes
    whole: bool


class Connection(Protocol):
    """One connection to a collector; ``OSError`` where it breaks or speaks no HTTP."""

    def post(self, path: str, body: bytes, headers: Mapping[str, str], most: int) -> Answer:
        """Send a request; return at most ``most`` bytes of what is answered."""

    def close(self) -> None: ...


class Plain:
    """A connection without TLS, opened at once."""

    def __init__(self, host: str, port: int, seconds: float) -> None:
        self._host = f"[{host}]" if ":" in host else host
        self._host += "" if port == 80 else f":{port}"
        self._socket = socket.create_connection((host, port), seconds)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self._lines: BinaryIO = self._socket.makefile("rb")

    def post(self, path: str, body: bytes, headers: Mapping[str, str], most: int) -> Answer:
        told = {"Host": self._host, **headers, "Content-Length": str(len(body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        head = f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")
        self._send(head, body)
        return read_answer(self._lines, most)

    def _send(self, head: bytes, body: bytes) -> None:
        """Send both in one packet where they fit, which wakes who reads them once."""
        sent = self._socket.sendmsg((head, body))
        if sent < len(head):
            self._socket.sendall(head[sent:])
        self._socket.sendall(memoryview(body)[max(0, sent - len(head)) :])

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


def read_answer(lines: BinaryIO, most: int) -> Answer:
    """Read one answer, of its body at most so many bytes; ``ConnectionError`` where it is none."""
    status, minor, headers = _head(lines)
    while status < 200:  # it announces another
        status, minor, headers = _head(lines)
    stays = minor == b"1" and "close" not in headers.get("connection", "").lower()
    if status in WITHOUT_BODY:
        return Answer(status, headers.get("retry-after", ""), b"", stays)
    body, ended = _body(lines, headers, most)
    return Answer(status, headers.get("retry-after", ""), body, stays and ended)


def _head(lines: BinaryIO) -> tuple[int, bytes, dict[str, str]]:
    found = STATUS.fullmatch(lines.readline(LONGEST_LINE))
    if found is None:
        raise ConnectionError("the connection was closed, or the answer is not HTTP")
    return int(found[2]), found[1], _headers(lines)


def _headers(lines: BinaryIO) -> dict[str, str]:
    told: dict[str, str] = {}
    for _ in range(MOST_HEADERS):
        line = lines.readline(LONGEST_LINE)
        if line in (b"\r\n", b"\n"):
            return told
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not line.endswith(b"\n"):
            break
        told[name.strip().lower()] = value.strip()
    raise ConnectionError("the headers of the answer have no end")


def _body(lines: BinaryIO, headers: Mapping[str, str], most: int) -> tuple[bytes, bool]:
    """Return the beginning of a body, and whether it was read to its end."""
    if "transfer-encoding" in headers:
        return _chunks(lines, most)
    size = headers.get("content-length", "")
    if not size:
        return lines.read(most), False
    if not (size.isascii() and size.isdecimal()):
        raise ConnectionError("the length of the answer is no number")
    body = lines.read(min(int(size), most))
    if len(body) < min(int(size), most):
        raise ConnectionError("the answer ended early")
    return body, len(body) == int(size)


def _chunks(lines: BinaryIO, most: int) -> tuple[bytes, bool]:
    body = b""
    while True:
        found = SIZE.fullmatch(lines.readline(LONGEST_LINE))
        if found is None:
            raise ConnectionError("the answer is not in chunks")
        size = int(found[1], 16)
        if not size:
            _headers(lines)
            return body, True
        part = lines.read(min(size, most - len(body)))
        body += part
        if len(part) < size:
            return body, False
        if lines.readline(3) not in (b"\r\n", b"\n"):
            raise ConnectionError("a chunk of the answer has no end")
