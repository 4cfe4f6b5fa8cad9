"""Requests over real sockets to who answers well, badly, slowly or not at all."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from wattshed.place import Access, Endpoint, endpoint
from wattshed.sending import Answer, Http

Talk = Callable[[socket.socket], None]


@contextmanager
def listening(talk: Talk, file: Path | None = None) -> Iterator[Endpoint]:
    """Accept connections and let ``talk`` have each, until the end of the block."""
    listener = socket.socket(socket.AF_UNIX if file else socket.AF_INET)
    listener.bind(str(file) if file else ("127.0.0.1", 0))
    listener.listen()

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    talk(connection)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        if file:
            yield endpoint(f"unix:{file}")
        else:
            yield endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}")
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def saying(answer: bytes, seen: list[bytes]) -> Talk:
    def talk(connection: socket.socket) -> None:
        data = b""
        while not data.endswith(b"[1]"):
            data += connection.recv(65536)
        seen.append(data)
        connection.sendall(answer)

    return talk


OK = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"accepted": 1}'


@pytest.mark.parametrize("local", [False, True])
def test_a_request_and_its_answer(local: bool, tmp_path: Path) -> None:
    seen: list[bytes] = []
    with listening(saying(OK, seen), tmp_path / "s" if local else None) as to:
        assert Http(to, Access(token="t0ken"))(b"[1]", 5.0) == Answer(200, '{"accepted": 1}')
    head, _, body = seen[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert body == b"[1]"
    assert lines[0] == "POST /v1/outcomes HTTP/1.1"
    host = "localhost" if local else f"127.0.0.1:{to.port}"
    assert {f"Host: {host}", "Authorization: Bearer t0ken", "Content-Length: 3"} <= {*lines}


def test_a_user_is_shown_where_there_is_no_token() -> None:
    seen: list[bytes] = []
    with listening(saying(OK, seen)) as to:
        Http(to, Access(user="alice", password="sesame"))(b"[1]", 5.0)
    assert b"\r\nAuthorization: Basic YWxpY2U6c2VzYW1l\r\n" in seen[0]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.0 503 Busy\r\n\r\nlater", 503),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n", 200),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300_000, 200),
    ],
)
def test_answers_of_all_kinds(answer: bytes, status: int) -> None:
    with listening(saying(answer, [])) as to:
        assert Http(to)(b"[1]", 5.0).status == status


@pytest.mark.parametrize("answer", [b"", b"HTTP/2 200\r\n\r\n", b"SSH-2.0-x\r\n", b"\0" * 70_000])
def test_garbage_is_no_answer(answer: bytes) -> None:
    with listening(saying(answer, [])) as to, pytest.raises(OSError, match=r"HTTP|reset"):
        Http(to)(b"[1]", 5.0)


def dripping(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"H")
        time.sleep(0.02)


def silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


@pytest.mark.parametrize("talk", [dripping, silent])
def test_nothing_stretches_the_time(talk: Talk) -> None:
    with listening(talk) as to, pytest.raises(TimeoutError):
        Http(to)(b"[1]", 0.15)


def test_nobody_there(tmp_path: Path) -> None:
    for to in ("http://127.0.0.1:9", f"unix:{tmp_path}/absent"):
        with pytest.raises(OSError, match=r"refused|No such file"):
            Http(endpoint(to))(b"[1]", 1.0)


def test_over_tls_with_an_authority_of_ones_own(certificates: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection.dup(), server_side=True) as secure:
            saying(OK, [])(secure)

    with listening(talk) as plain:
        to = endpoint(f"https://localhost:{plain.port}")
        trusted = Access(ca_file=str(certificates / "ca.pem"))
        assert Http(to, trusted)(b"[1]", 5.0).status == 200
        with pytest.raises(ssl.SSLError):
            Http(to)(b"[1]", 5.0)


def test_a_token_that_no_header_can_carry() -> None:
    with pytest.raises(ValueError, match="token"):
        Http(endpoint("http://127.0.0.1:9"), Access(token="a\nb"))
