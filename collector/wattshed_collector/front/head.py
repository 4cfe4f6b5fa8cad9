"""Heads of requests that the lane takes; all others are odd, and somebody else judges them.

What is taken is a strict part of RFC 9112: one request line, names and values of printable ASCII,
no header twice, a length that is said once. Nothing that changes where a request ends, or whether
and when its body comes, is among it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

REQUEST = b"POST /v1/metrics HTTP/1.1\r\n"
KIND = b"application/x-protobuf"
END = b"\r\n\r\n"
LONGEST = 8000
"""Bytes of a head; aiohttp takes a little more of each line."""
MOST_FIELDS = 64
NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VALUE = re.compile(rb"[\t -~]+")
LENGTH = re.compile(rb"[1-9][0-9]{0,8}")
MOST_DIGITS = 9
ODD = frozenset(
    {
        b"transfer-encoding", b"expect", b"upgrade", b"te", b"trailer", b"keep-alive",
        b"http2-settings", b"origin",
    }
)  # fmt: skip
"""Headers that somebody else judges, beside those that begin as ``ODD_BEGINNINGS``."""
ODD_BEGINNINGS = (b"sec-", b"proxy-")


class Unread(Enum):
    """Why there is no head: it is not whole, or not for the lane."""

    MORE = "more"
    ODD = "odd"


@dataclass(frozen=True, slots=True)
class Head:
    """What a head says. The next one of a connection is mostly the same but for its length, so the
    bytes ``before`` and ``after`` the digits of that are kept."""

    before: bytes
    after: bytes
    host: str
    authorization: str
    encoding: str

    def again(self, data: bytes) -> tuple[int, int] | None:
        """Return the body's length and place where ``data`` begins with the same head."""
        before = self.before
        if not data.startswith(before):
            return None
        at = len(before)
        end = data.find(b"\r", at, at + MOST_DIGITS + 1)
        digits = data[at:end]
        if end < 0 or not data.startswith(self.after, end):
            return None
        if not digits.isdigit() or digits[0] == 0x30:
            return None
        return int(digits), end + len(self.after)


def read(data: bytes) -> tuple[Head, int, int] | Unread:
    """Return the head with which ``data`` begins, and the body's length and place."""
    if not data.startswith(REQUEST):
        return Unread.MORE if REQUEST.startswith(data) else Unread.ODD
    end = data.find(END, len(REQUEST) - 2, LONGEST)
    if end < 0:
        # Of lines that end as they should not, the end might never come.
        whole = len(data) >= LONGEST or data.count(b"\n") != data.count(b"\r\n")
        return Unread.ODD if whole else Unread.MORE
    found = _fields(data[len(REQUEST) : end])
    if found is None:
        return Unread.ODD
    fields, digits_at = found
    length = fields.get(b"content-length", b"")
    connection = fields.get(b"connection", b"keep-alive").lower()
    if not (
        LENGTH.fullmatch(length)
        and b"host" in fields
        and fields.get(b"content-type") == KIND
        and connection == b"keep-alive"
    ):
        return Unread.ODD
    at, body = len(REQUEST) + digits_at, end + len(END)
    head = _head(data[:at], data[at + len(length) : body], fields)
    return head, int(length), body


def _head(before: bytes, after: bytes, fields: dict[bytes, bytes]) -> Head:
    names = b"host", b"authorization", b"content-encoding"
    return Head(before, after, *(fields.get(name, b"").decode("ascii") for name in names))


def _fields(lines: bytes) -> tuple[dict[bytes, bytes], int] | None:
    """Return the values by lower-case name and where the length's digits begin, None where a line
    is odd."""
    fields: dict[bytes, bytes] = {}
    at = digits_at = 0
    for line in lines.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        name, told = name.lower(), value.strip(b" \t")
        if not (colon and NAME.fullmatch(name) and VALUE.fullmatch(told)):
            return None
        if name in fields or name in ODD or name.startswith(ODD_BEGINNINGS):
            return None
        if name == b"content-length":
            digits_at = at + line.index(told, len(name) + 1)
        fields[name] = told
        at += len(line) + 2
    return (fields, digits_at) if len(fields) <= MOST_FIELDS else None
