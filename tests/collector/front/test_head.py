"""Whatever the lane reads of a head is what aiohttp reads of it; all else goes to aiohttp."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wattshed_collector.front.head import LONGEST, REQUEST, Head, Unread, read

FAST = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
PLAIN = (
    "Host: a.example:9740",
    "Content-Type: application/x-protobuf",
    "Content-Encoding: gzip",
    "Authorization: Bearer wsd_x",
    "Content-Length: 12",
)


def head(*lines: str) -> bytes:
    return REQUEST + "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n"


def by_aiohttp(data: bytes) -> tuple[RawRequestMessage, bool] | None:
    """What aiohttp reads of a head and whether it upgrades; None where it refuses or waits."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16, auto_decompress=False)
        try:
            messages, upgraded, _ = parser.feed_data(data)
        except HttpProcessingError:
            return None
        return (messages[0][0], upgraded) if messages else None
    finally:
        loop.close()


FRAGMENTS = st.sampled_from(
    ["\r\n", "\n", "\r", " ", "\t", ":", "\0", "\x7f", "\xe9", ",", "0", "+", "-", "1", "chunked",
     "Transfer-Encoding: chunked\r\n", "Content-Length: 3\r\n", "Host: b\r\n", "close", "Expect",
     "Upgrade: h2c\r\n", "Connection: close\r\n", " folded\r\n", "X: y\r\n", "GET / HTTP/1.1\r\n"]
)  # fmt: skip


@FAST
@given(
    st.permutations(PLAIN),
    st.lists(st.tuples(st.integers(0, 250), st.integers(0, 3), FRAGMENTS), max_size=3),
)
def test_what_is_read_is_what_aiohttp_reads(
    lines: list[str], edits: list[tuple[int, int, str]]
) -> None:
    data = head(*lines)
    for at, dropped, put in edits:
        data = data[:at] + put.encode("latin-1") + data[at + dropped :]
    found = read(data + b"0123456789ab")
    if isinstance(found, Unread):
        assert edits
        return
    mine, size, begin = found
    told = by_aiohttp(data[:begin])
    assert told is not None
    message, upgraded = told
    fields = message.headers
    assert (message.method, message.path, message.version) == ("POST", "/v1/metrics", (1, 1))
    assert not any((message.chunked, message.should_close, message.upgrade, upgraded))
    assert fields.getall("Content-Length") == [str(size)]
    assert fields.getall("Host") == [mine.host]
    assert fields.getall("Authorization", [""]) == [mine.authorization]
    assert fields.getall("Content-Encoding", [""]) == [mine.encoding]
    assert fields.getall("Content-Type") == ["application/x-protobuf"]
    assert data[:begin].endswith(b"\r\n\r\n")
    assert mine.again(data) == (size, begin)


@FAST
@given(st.text("0123456789+- \t\rx", max_size=12))
def test_a_head_that_is_known_is_read_as_one_that_is_not(digits: str) -> None:
    known = read(head(*PLAIN))
    assert not isinstance(known, Unread)
    other = head(*PLAIN[:-1], f"Content-Length: {digits}")
    again, anew = known[0].again(other), read(other)
    if again is not None:
        assert not isinstance(anew, Unread)
        assert anew[1:] == again
        assert isinstance(anew[0], Head)


def odd(*lines: str, drop: str = "\n") -> bytes:
    return head(*(line for line in PLAIN if not line.startswith(drop)), *lines)


@pytest.mark.parametrize(
    "data",
    [
        b"GET /v1/metrics HTTP/1.1\r\n\r\n",
        b"\r\n" + head(*PLAIN),
        head(*PLAIN).replace(b"HTTP/1.1", b"HTTP/1.0"),
        head(*PLAIN).replace(b"\r\n", b"\n"),
        REQUEST + b"Host: a\nX",
        head("A: " + "b" * LONGEST, *PLAIN),
        head(*(f"X-{n}: y" for n in range(70)), *PLAIN),
        odd("Transfer-Encoding: chunked"),
        odd("Expect: 100-continue"),
        odd("Upgrade: h2c"),
        odd("Connection: close"),
        odd("Connection: keep-alive, upgrade"),
        odd("Origin: https://a.example"),
        odd("Sec-Fetch-Site: same-origin"),
        odd("Proxy-Connection: close"),
        odd("Host: b"),
        odd("X: 1", "x: 2"),
        odd("X : 1"),
        odd("X: \xe9"),
        odd("X:"),
        odd("X: 1", " folded"),
        odd(drop="Host"),
        odd(drop="Content-Length"),
        odd(drop="Content-Type"),
        odd("Content-Type: application/x-protobuf; a=b", drop="Content-Type"),
        odd("Content-Type: application/json", drop="Content-Type"),
        *(odd(f"Content-Length: {n}", drop="Content-L") for n in ("0", "012", "+1", "1,1", "1 1")),
        odd("Content-Length: 1234567890", drop="Content-L"),
    ],
)
def test_odd(data: bytes) -> None:
    assert read(data) is Unread.ODD


@given(st.integers(0, len(head(*PLAIN)) - 1))
def test_a_part_is_waited_for(size: int) -> None:
    assert read(head(*PLAIN)[:size]) is Unread.MORE


def test_what_is_said_is_read() -> None:
    found: Any = read(head(*PLAIN) + b"rest")
    assert (found[0].host, found[0].authorization, found[0].encoding) == (
        "a.example:9740", "Bearer wsd_x", "gzip"
    )  # fmt: skip
    assert found[1:] == (12, len(head(*PLAIN)))
