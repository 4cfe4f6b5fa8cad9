"""Answers as they are read from a connection without TLS, and everything that is none."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_exporter.outputs.plain_http import MOST_HEADERS, Answer, Plain, read_answer

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def read(said: bytes, most: int = 100) -> Answer:
    return read_answer(io.BytesIO(said), most)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (OK + b"Content-Length: 3\r\n\r\nabcd", Answer(200, "", b"abc", True)),
        (OK + b"content-length:0\n\n", Answer(200, "", b"", True)),
        (OK + b"Connection: Close\r\nContent-Length: 1\r\n\r\na", Answer(200, "", b"a", False)),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", Answer(200, "", b"a", False)),
        (OK + b"\r\nto the end", Answer(200, "", b"to the end", False)),
        (b"HTTP/1.1 204\r\n\r\n", Answer(204, "", b"", True)),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n",
         Answer(200, "", b"", True)),
        (b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
         Answer(503, "7", b"", True)),
        (CHUNKED + b"2\r\nab\r\n1;x=y\r\nc\r\n0\r\nTrailer: 1\r\n\r\n",
         Answer(200, "", b"abc", True)),
        (OK + b"Content-Length: 200\r\n\r\n" + b"a" * 200, Answer(200, "", b"a" * 100, False)),
        (CHUNKED + b"c8\r\n" + b"a" * 200 + b"\r\n0\r\n\r\n", Answer(200, "", b"a" * 100, False)),
    ],
)  # fmt: skip
def test_answers(said: bytes, answer: Answer) -> None:
    assert read(said) == answer


@pytest.mark.parametrize(
    "said",
    [
        b"", b"nonsense\r\n\r\n", b"HTTP/2 200 OK\r\n\r\n", OK, OK + b"no colon\r\n\r\n",
        OK + b"A: b", OK + b"A: b\r\n" * (MOST_HEADERS + 1) + b"\r\n",
        OK + b"Content-Length: -1\r\n\r\n", OK + b"Content-Length: 3\r\n\r\nab",
        CHUNKED, CHUNKED + b"x\r\n", CHUNKED + b"1\r\nab\r\n", CHUNKED + b"0\r\n",
    ],
)  # fmt: skip
def test_what_is_no_answer_is_an_error_of_the_connection(said: bytes) -> None:
    with pytest.raises(ConnectionError):
        read(said)


@given(st.binary(), st.sampled_from([b"", OK, OK + b"\r\n", CHUNKED, CHUNKED + b"5\r\n"]))
def test_whatever_comes_is_an_answer_or_an_error(said: bytes, before: bytes) -> None:
    try:
        size = len(read(before + said).body)
    except ConnectionError:
        size = 0
    assert size <= 100


@pytest.mark.parametrize("size", [0, 1, 60_000, 8_000_000])
def test_a_request_arrives_whole_however_much_of_it_one_call_takes(size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    came = list[bytes]()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            peer, _ = server.accept()
            with peer, peer.makefile("rb") as lines:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += lines.readline()
                came.extend((head, lines.read(size)))
                peer.sendall(OK + b"Content-Length: 0\r\n\r\n")

        thread = threading.Thread(target=take)
        thread.start()
        to = Plain("127.0.0.1", server.getsockname()[1], 30.0)
        try:
            assert to.post("/p", body, {"A": "b"}, 100).status == 200
        finally:
            thread.join()
            to.close()
    assert came[0].startswith(b"POST /p HTTP/1.1\r\nHost: ")
    assert f"Content-Length: {size}\r\n".encode() in came[0]
    assert came[1] == body


def test_pushing_without_tls_does_not_load_openssl() -> None:
    code = """
import sys
from wattshed_exporter.__main__ import build_outputs
from wattshed_exporter.config import Config, Otlp
from wattshed_exporter.telemetry import Telemetry
(output,) = build_outputs(Config(otlp=Otlp(endpoint="http://127.0.0.1:9")), Telemetry())
output.close()
print(*sorted(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "wattshed_exporter.outputs.plain_http" in loaded
    assert not loaded & {"ssl", "_ssl", "_hashlib", "http.client", "email", "prometheus_client"}
