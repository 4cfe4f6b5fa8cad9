"""Answers out of bytes: however they are cut, the same comes out; what is odd is refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.receivers.scrape.reply import Failed, Reply, ReplyReader

LIMIT = 1000
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
BODIES = st.binary(max_size=300)


def fed(data: bytes, cuts: list[int], limit: int = LIMIT) -> Reply:
    """Feed an answer in pieces, then the end of the connection."""
    reader = ReplyReader(limit)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        if start == end:
            continue
        reply = reader.feed(data[start:end])
        if reply is not None:
            assert end == len(data), "an answer was complete before its end"
            return reply
    return reader.end()


def chunked(parts: list[bytes], trailer: bytes = b"") -> bytes:
    body = b"".join(b"%x;x=1\r\n%s\r\n" % (len(part), part) for part in parts if part)
    return body + b"0\r\n" + trailer + b"\r\n"


@given(BODIES, st.lists(st.integers(0, 10**6), max_size=6))
def test_a_body_with_a_length(body: bytes, cuts: list[int]) -> None:
    head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-length: %d\r\n\r\n" % len(body)
    said = fed(head + body, cuts)
    assert (said.status, said.body, said.keep) == (200, body, True)


@given(st.lists(BODIES, max_size=3), st.lists(st.integers(0, 10**6), max_size=6))
def test_a_body_in_chunks(parts: list[bytes], cuts: list[int]) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
    said = fed(head + chunked(parts, b"X: y\r\n"), cuts)
    assert (said.body, said.keep) == (b"".join(parts), True)


@given(BODIES, st.lists(st.integers(0, 10**6), max_size=6))
def test_a_body_up_to_the_end_of_the_connection(body: bytes, cuts: list[int]) -> None:
    said = fed(b"HTTP/1.0 200\r\nA: b\r\n\r\n" + body, cuts)
    assert (said.status, said.body, said.keep) == (200, body, False)


@given(st.binary(max_size=200), st.sampled_from([b"", OK, OK + CHUNKED]))
def test_any_bytes_are_an_answer_or_refused(data: bytes, start: bytes) -> None:
    reader, reply, reason = ReplyReader(50), None, ""
    try:
        reply = reader.feed(start + data) or reader.end()
    except Failed as error:
        reason = error.reason
    if reply is None:
        assert reason in {"malformed", "too_large", "cut_off"}
    else:
        assert len(reply.body) <= 50


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "cut_off"),
        (OK, "cut_off"),
        (OK + b"Content-Length: 5\r\n\r\nabc", "cut_off"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n", "cut_off"),
        (OK + b"Content-Length: 1001\r\n\r\n", "too_large"),
        (OK + b"\r\n" + b"x" * 1001, "too_large"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n", "too_large"),
        (OK + b"Content-Length: -1\r\n\r\n", "malformed"),
        (OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", "malformed"),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "malformed"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "malformed"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", "malformed"),
        (OK + b"no colon\r\n\r\n", "malformed"),
        (OK + b"A: b\r\n folded\r\n\r\n", "malformed"),
        (b"HTTP/2 200\r\n\r\n", "malformed"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "malformed"),
        (OK + b"A: " + b"b" * 70_000, "malformed"),
    ],
)
def test_what_is_refused(answer: bytes, reason: str) -> None:
    with pytest.raises(Failed) as caught:
        fed(answer, [])
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("head", "keep"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (OK + b"Content-Length: 0\r\nConnection: Close\r\n\r\n", False),
        (OK + b"Content-Length: 0\r\n\r\nsurplus", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
    ],
)
def test_whether_another_answer_may_follow(head: bytes, keep: bool) -> None:
    said = fed(head, [])
    assert (said.body, said.keep) == (b"", keep)
