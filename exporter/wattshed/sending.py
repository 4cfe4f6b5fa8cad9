"""One request to whoever takes outcomes, within a time that nothing can stretch.

``http.client`` bounds each read and not their sum, and takes 5 MB; this is as much of HTTP/1.1 as
one answer needs (RFC 9112).
"""

from __future__ import annotations

import base64
import re
import socket
import time
from dataclasses import dataclass
from typing import Protocol

from .place import Access, Endpoint

LONGEST_ANSWER = 65536
STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r\n]")
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and the first of its words."""

    status: int
    text: str = ""


class Post(Protocol):
    """Sends a body and returns the answer; OSError where none comes."""

    def __call__(self, body: bytes, seconds: float) -> Answer: ...


class Http:
    """Sends each body over a connection of its own."""

    def __init__(self, endpoint: Endpoint, access: Access | None = None) -> None:
        access = access or Access()
        self._endpoint, self._access = endpoint, access
        told = {
            "Host": endpoint.authority,
            "User-Agent": "wattshed-client",
            "Content-Type": "application/json",
            "Connection": "close",
        }
        if access.token:
            told["Authorization"] = f"Bearer {access.token}"
        elif access.user:
            pair = f"{access.user}:{access.password}".encode()
            told["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        if any(not (text.isascii() and text.isprintable()) for text in told.values()):
            raise ValueError("the token holds a character that no header can carry")
        lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        self._head = f"POST {endpoint.path} HTTP/1.1\r\n{lines}"

    def __call__(self, body: bytes, seconds: float) -> Answer:
        until = time.monotonic() + seconds
        head = f"{self._head}Content-Length: {len(body)}\r\n\r\n".encode("ascii")
        connection = self._connected(until)
        try:
            connection.settimeout(_left(until))
            connection.sendall(head + body)
            return _answer(_received(connection, until))
        finally:
            connection.close()

    def _connected(self, until: float) -> socket.socket:
        to = self._endpoint
        if to.socket_file:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.settimeout(_left(until))
                connection.connect(to.socket_file)
            except BaseException:
                connection.close()
                raise
            return connection
        connection = socket.create_connection((to.host, to.port), _left(until))
        if to.scheme == "http":
            return connection
        import ssl

        context = ssl.create_default_context()
        if self._access.ca_file:
            context.load_verify_locations(self._access.ca_file)
        try:
            connection.settimeout(_left(until))
            return context.wrap_socket(connection, server_hostname=to.host)
        except BaseException:
            connection.close()
            raise


def _received(connection: socket.socket, until: float) -> bytes:
    """Read until the answer is whole, its end, or as much as there may be."""
    data = b""
    while len(data) < LONGEST_ANSWER and not _is_whole(data):
        connection.settimeout(_left(until))
        more = connection.recv(LONGEST_ANSWER)
        if not more:
            break
        data += more
    return data


def _is_whole(data: bytes) -> bool:
    head, found, body = data.partition(b"\r\n\r\n")
    length = LENGTH.search(head + b"\r\n")
    return bool(found and length and len(body) >= int(length[1]))


def _answer(data: bytes) -> Answer:
    found = STATUS.match(data)
    if found is None:
        raise ConnectionError("what answers speaks no HTTP")
    words = data.partition(b"\r\n\r\n")[2][:300].decode(errors="replace").split()
    return Answer(int(found[1]), " ".join(words))


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer came in time")
    return left
