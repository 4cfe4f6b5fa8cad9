"""What is posted to a server, over TCP and through a socket file."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import bcrypt
import pytest

from wattshed_exporter.web import server as module
from wattshed_exporter.web.policy import Policies
from wattshed_exporter.web.server import PLAIN, Answer, Local, Server

USERS = f"basic_auth_users: {{alice: {bcrypt.hashpw(b'sesame', bcrypt.gensalt(4)).decode()}}}\n"
ALICE = b"Authorization: Basic YWxpY2U6c2VzYW1l\r\n"


def take(body: bytes, headers: Mapping[str, str]) -> Answer:
    return Answer(200, PLAIN, body[::-1] + headers.get("idempotency-key", "").encode())


def site(where: tuple[str, int] | Local = ("127.0.0.1", 0), rules: Path | None = None) -> Server:
    server = Server(
        where,
        lambda path, accept: Answer(404, PLAIN, b"nothing"),
        Policies(rules),
        request_seconds=1.0,
        takes={"/in": take},
    )
    server.start()
    return server


@pytest.fixture
def server() -> Iterator[Server]:
    with closing(site()) as server:
        yield server


def say(where: str | tuple[str, int], data: bytes) -> bytes:
    family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
    with socket.socket(family) as connection:
        connection.settimeout(5)
        connection.connect(where)
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_body_is_handed_over(server: Server) -> None:
    head = b"POST /in?x HTTP/1.1\r\nContent-Length: 3\r\nIdempotency-Key: k\r\n\r\n"
    said = say(server.address, head + b"abc")
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert said.endswith(b"\r\n\r\ncbak")


def test_who_asks_first_whether_it_may_come(server: Server) -> None:
    with socket.create_connection(server.address, timeout=120) as connection:
        head = b"POST /in HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        connection.sendall(head)
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    ("request_lines", "status"),
    [
        (b"POST /in HTTP/1.1\r\n\r\n", 411),
        (b"POST /in HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", 411),
        (b"POST /in HTTP/1.1\r\nContent-Length: -3\r\n\r\n", 411),
        (b"POST /in HTTP/1.1\r\nContent-Length: 3\r\nContent-Encoding: gzip\r\n\r\nabc", 415),
        (b"POST /in HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (module.MOST_BODY_BYTES + 1), 413),
        (b"POST /in HTTP/1.1\r\nContent-Length: %s\r\n\r\n" % (b"9" * 5000), 413),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"PUT /in HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"GET /in HTTP/1.1\r\nConnection: close\r\n\r\n", 404),
    ],
)
def test_what_cannot_be_taken(server: Server, request_lines: bytes, status: int) -> None:
    assert say(server.address, request_lines).startswith(b"HTTP/1.1 %d " % status)


def test_a_body_that_breaks_off_or_never_comes(server: Server) -> None:
    with socket.create_connection(server.address, timeout=120) as connection:
        connection.sendall(b"POST /in HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")
    assert say(server.address, b"POST /in HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc") == b""


def test_nobody_posts_without_a_name(tmp_path: Path) -> None:
    rules = tmp_path / "web.yml"
    rules.write_text(USERS)
    head = b"POST /in HTTP/1.1\r\nContent-Length: 3\r\n"
    with closing(site(rules=rules)) as server:
        assert say(server.address, head + b"\r\nabc").startswith(b"HTTP/1.1 401 ")
        assert say(server.address, head + ALICE + b"\r\nabc").startswith(b"HTTP/1.1 200 ")


def test_a_socket_file(tmp_path: Path) -> None:
    file = tmp_path / "s.sock"
    request = b"POST /in HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
    with closing(site(Local(file, 0o620))) as server:
        assert server.address == (str(file), 0)
        assert stat.S_IMODE(file.stat().st_mode) == 0o620
        assert say(str(file), request).endswith(b"\r\n\r\ncba")
        with pytest.raises(OSError, match="in use"):
            site(Local(file, 0o600))
    assert not file.exists()


def test_a_socket_file_that_somebody_left_is_replaced_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(file))
    with closing(site(Local(file, 0o600))):
        assert say(str(file), b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").startswith(
            b"HTTP/1.1"
        )
    file.write_text("precious")
    with pytest.raises(OSError, match="in use"):
        site(Local(file, 0o600))
    assert file.read_text() == "precious"
