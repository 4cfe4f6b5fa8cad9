"""Requests as they are read from a connection, and everything that is none."""

from __future__ import annotations

import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wattshed_exporter.web.request import (
    LONGEST_LINE,
    MOST_HEADERS,
    REASONS,
    Refused,
    Request,
    head,
    read_request,
)


def read(*lines: bytes) -> Request | None:
    return read_request(io.BytesIO(b"\r\n".join((*lines, b"", b""))))


def status(*lines: bytes) -> int:
    with pytest.raises(Refused) as refused:
        read(*lines)
    return refused.value.status


def test_a_request_and_its_headers() -> None:
    told = read(b"GET /a?b HTTP/1.1", b"Host: here", b"ACCEPT:x \t", b"accept: y", b"Empty:")
    assert told == Request(
        "GET", "/a?b", (1, 1), {"host": "here", "accept": "x, y", "empty": ""}
    )  # fmt: skip
    assert read_request(io.BytesIO(b"")) is None
    assert read_request(io.BytesIO(b"\r\nGET / HTTP/1.0\nA: b\n\n")) == Request(
        "GET", "/", (1, 0), {"a": "b"}
    )


@pytest.mark.parametrize(
    ("version", "headers", "stays"),
    [
        (b"1.1", (), True), (b"1.0", (), False), (b"1.0", (b"Connection: Keep-Alive",), True),
        (b"1.1", (b"Connection: upgrade, Close",), False), (b"1.1", (b"Content-Length: 0",), False),
        (b"1.1", (b"Transfer-Encoding: chunked",), False),
    ],
)  # fmt: skip
def test_a_connection_stays_where_the_next_request_is_found(
    version: bytes, headers: tuple[bytes, ...], stays: bool
) -> None:
    told = read(b"GET / HTTP/" + version, *headers)
    assert told is not None
    assert told.stays is stays


@pytest.mark.parametrize(
    "line",
    [
        b"GET", b"GET /", b"GET  / HTTP/1.1", b"GET / HTTP/1.1 ", b"GET / http/1.1",
        b" GET / HTTP/1.1", b"GET /\x00 HTTP/1.1",
        "GET /ä HTTP/1.1".encode(), b"GET / HTTP/11", b"GET /\tHTTP/1.1",
    ],
)  # fmt: skip
def test_what_is_no_request_line_is_refused(line: bytes) -> None:
    assert status(line) == 400


@pytest.mark.parametrize(
    "line", [b"no colon", b": no name", b"a : b", b" folded: line", b"\xff: x", b"a b: c"]
)
def test_what_is_no_header_is_refused(line: bytes) -> None:
    assert status(b"GET / HTTP/1.1", b"A: b", line) == 400


def test_the_end_in_the_midst_of_the_headers_is_no_request() -> None:
    for said in (b"GET / HTTP/1.1\r\nA: b", b"GET / HTTP/1.1\r\n"):
        with pytest.raises(Refused, match="Bad Request"):
            read_request(io.BytesIO(said))


def test_there_are_bounds() -> None:
    start = b"GET / HTTP/1.1"
    assert status(b"GET /" + b"a" * LONGEST_LINE + b" HTTP/1.1") == 414
    assert status(start, b"A: " + b"a" * LONGEST_LINE) == 431
    assert read(start, *(b"A%d: b" % n for n in range(MOST_HEADERS)))
    assert status(start, *(b"A%d: b" % n for n in range(MOST_HEADERS + 1))) == 431
    assert status(b"GET / HTTP/2.0") == 505
    assert status(b"BREW / HTTP/1.1") == 501


@given(st.binary())
@example(b"GET / HTTP/1.1\r\n\r\n")
def test_whatever_comes_is_a_request_or_refused(said: bytes) -> None:
    told, why = None, 400
    try:
        told = read_request(io.BytesIO(said))
    except Refused as refused:
        why = refused.status
    assert why in REASONS
    assert told is None or told.target


def test_an_answer_begins_with_its_status_and_headers() -> None:
    told = head(503, [("A", "b")]).decode()
    assert told.startswith("HTTP/1.1 503 Service Unavailable\r\nServer: wattshed-exporter/")
    assert told.endswith(" GMT\r\nA: b\r\n\r\n")
