"""HTTP/1.1 as far as a page of metrics needs it: a request, a small body, and an answer's head.

``http.server`` does the same, with the mail parser and TLS behind it: 5 MB and a quarter of the
start. Lines and headers are bounded, and what is not plainly HTTP is refused. Source: RFC 9112.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from wattshed_exporter import __version__

LONGEST_LINE = 65536
MOST_HEADERS = 100
REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    411: "Length Required",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
REQUEST_LINE = re.compile(rb"([!-~]+) ([!-~]+) HTTP/([0-9])\.([0-9])")
HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*", re.DOTALL)


class Lines(Protocol):
    """What lines and bodies are read from."""

    def readline(self, size: int, /) -> bytes: ...

    def read(self, size: int, /) -> bytes: ...


class Refused(Exception):
    """What was sent is no request that is answered; nothing more is read from the connection."""

    def __init__(self, status: int) -> None:
        super().__init__(REASONS[status])
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """The names of headers are in small letters; of a header that came twice both values."""

    method: str
    target: str
    version: tuple[int, int]
    headers: Mapping[str, str]

    @property
    def stays(self) -> bool:
        """Whether the connection may carry another request: what has a body is not read on."""
        if "content-length" in self.headers or "transfer-encoding" in self.headers:
            return False
        wish = {w.strip().lower() for w in self.headers.get("connection", "").split(",")}
        return "close" not in wish and (self.version >= (1, 1) or "keep-alive" in wish)


def read_request(lines: Lines) -> Request | None:
    """Return the next request, None where the other side sends none.

    Raises:
        Refused: with the status that says why.
        OSError: where the connection fails or takes too long.
    """
    line = _line(lines, 414)
    if line in (b"\r\n", b"\n"):  # left over from a request before
        line = _line(lines, 414)
    if not line:
        return None
    found = REQUEST_LINE.fullmatch(line.rstrip(b"\r\n"))
    if found is None:
        raise Refused(400)
    version = int(found[3]), int(found[4])
    if version[0] != 1:
        raise Refused(505)
    method = found[1].decode("ascii")
    if method not in METHODS:
        raise Refused(501)
    return Request(method, found[2].decode("ascii"), version, _headers(lines))


def length(request: Request, most: int) -> int:
    """Return how long a request's body is. Raises Refused where that is not said, or too long."""
    told = request.headers.get("content-length", "")
    if "transfer-encoding" in request.headers or not (told.isascii() and told.isdecimal()):
        raise Refused(411)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(415)
    if len(told) > 12 or int(told) > most:
        raise Refused(413)
    return int(told)


def read_body(lines: Lines, size: int) -> bytes:
    """Return a body; raises Refused where it ends early, OSError where it takes too long."""
    body = lines.read(size)
    if len(body) < size:
        raise Refused(400)
    return body


def _headers(lines: Lines) -> Mapping[str, str]:
    told: dict[str, str] = {}
    for _ in range(MOST_HEADERS + 1):
        line = _line(lines, 431)
        if line in (b"\r\n", b"\n"):
            return told
        found = HEADER.fullmatch(line.rstrip(b"\r\n"))
        if found is None or not line.endswith(b"\n"):
            raise Refused(400)
        name, value = found[1].decode("ascii").lower(), found[2].decode("latin-1")
        told[name] = f"{told[name]}, {value}" if name in told else value
    raise Refused(431)


def _line(lines: Lines, status: int) -> bytes:
    line = lines.readline(LONGEST_LINE + 1)
    if len(line) > LONGEST_LINE:
        raise Refused(status)
    return line


def head(status: int, headers: list[tuple[str, str]]) -> bytes:
    """Return what stands before the body of an answer."""
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    told = [("Server", f"wattshed-exporter/{__version__}"), ("Date", date), *headers]
    lines = "".join(f"{name}: {value}\r\n" for name, value in told)
    return f"HTTP/1.1 {status} {REASONS[status]}\r\n{lines}\r\n".encode("latin-1", "replace")
