"""One unary gRPC call over a unix socket: HTTP/2 by the package h2, and no more of gRPC than that.

grpcio does the same, for 23 MiB of resident memory and six threads, where h2 takes 4 MiB
(``python -m bench.kubelet``). Every call has a connection of its own, so that a server which
started anew is found under the same path. Sources: "gRPC over HTTP2" and "Status codes and their
use in gRPC" of gRPC's documentation; RFC 9113.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from wattshed_exporter.errors import NoData, SourceError

if TYPE_CHECKING:
    from h2.connection import H2Connection

MISSING = "is asked with the package h2: pip install 'wattshed[k8s]'"
PREFIX_BYTES = 5
"""In front of a message: whether it is compressed, and its length in four bytes."""
CHUNK_BYTES = 65536
LONGEST_MESSAGE = 200
STATUS = {
    "4": "timeout",
    "7": "permission",
    "8": "exhausted",
    "12": "unimplemented",
    "14": "unavailable",
    "16": "unauthorized",
}
"""Reasons for the error counter by the code of gRPC's status; any other is ``grpc_error``."""


def call(
    path: Path,
    method: str,
    message: bytes,
    *,
    deadline_seconds: float,
    most_bytes: int,
    monotonic: Callable[[], float] = time.monotonic,
) -> bytes:
    """Call ``method`` (such as ``/v1.Service/Method``) and return the message that it answers.

    Raises:
        NoData: there is no such socket.
        SourceError: ``missing_package``, ``permission``, ``unavailable``, ``timeout``,
            ``too_large`` (more than ``most_bytes``), ``malformed`` (not gRPC), ``config``, or a
            reason of ``STATUS``.
    """
    until = monotonic() + deadline_seconds
    with _connect(path, deadline_seconds) as link:
        try:
            connection = _request(path, method, message, deadline_seconds)
            return _exchange(link, connection, most_bytes, lambda: until - monotonic())
        except TimeoutError as error:
            told = f"{path}: no answer within {deadline_seconds:g} s"
            raise SourceError(told, "timeout") from error
        except SourceError as error:
            raise SourceError(f"{path} {error}", error.reason) from error
        except OSError as error:
            raise SourceError(f"{path}: the connection broke: {error}", "unavailable") from error


def _connect(path: Path, seconds: float) -> socket.socket:
    link = socket.socket(socket.AF_UNIX)
    try:
        link.settimeout(seconds)
        link.connect(str(path))
    except OSError as error:
        link.close()
        raise _absent(path, error) from error
    return link


def _absent(path: Path, error: OSError) -> SourceError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NoData(f"there is no socket {path}")
    if isinstance(error, PermissionError):
        return SourceError(f"{path} may not be opened", "permission")
    if isinstance(error, TimeoutError):
        return SourceError(f"{path}: no connection in time", "timeout")
    if error.errno is None:  # the address does not fit in the system's structure
        return SourceError(f"{path} is no path of a socket: {error}", "config")
    return SourceError(f"{path}: nobody answers: {error}", "unavailable")


def _request(path: Path, method: str, message: bytes, seconds: float) -> H2Connection:
    """Return a connection that has the whole request ready to be sent."""
    try:
        from h2.config import H2Configuration
        from h2.connection import H2Connection
    except ModuleNotFoundError as error:
        raise SourceError(MISSING, "missing_package") from error
    connection = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    connection.initiate_connection()
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "wattshed"),
        ("grpc-timeout", f"{max(1, round(seconds * 1000))}m"),
    ]
    connection.send_headers(1, headers)
    body = bytes(1) + len(message).to_bytes(4, "big") + message
    connection.send_data(1, body, end_stream=True)
    return connection


def _exchange(
    link: socket.socket, connection: H2Connection, most_bytes: int, left: Callable[[], float]
) -> bytes:
    """Send what is ready and take in what comes until the answer has ended."""
    from h2.exceptions import H2Error

    answer = Answer(most_bytes)
    while not answer.ended:
        remaining = left()
        if remaining <= 0:
            raise TimeoutError
        link.settimeout(remaining)
        if ready := connection.data_to_send():
            link.sendall(ready)
        data = link.recv(CHUNK_BYTES)
        if not data:
            raise ConnectionResetError("it was closed before the answer")
        try:
            answer.take(connection, connection.receive_data(data))
        except (H2Error, UnicodeError) as error:
            raise SourceError(f"does not speak HTTP/2: {error!r:.120}", "malformed") from error
    return answer.message()


class Answer:
    """What has come back so far of one call."""

    def __init__(self, most_bytes: int) -> None:
        self.ended = False
        self._most_bytes = most_bytes
        self._headers: dict[str, str] = {}
        self._body = bytearray()

    def take(self, connection: H2Connection, events: Iterable[object]) -> None:
        from h2 import events as kinds

        for event in events:
            if isinstance(event, kinds.ResponseReceived | kinds.TrailersReceived):
                self._headers.update((str(n), str(v)) for n, v in event.headers or ())
            elif isinstance(event, kinds.DataReceived):
                self._add(event.data or b"")
                connection.acknowledge_received_data(event.flow_controlled_length or 0, 1)
            elif isinstance(event, kinds.StreamEnded):
                self.ended = True
            elif isinstance(event, kinds.StreamReset | kinds.ConnectionTerminated):
                raise SourceError(f"broke off the call ({event.error_code})", "unavailable")

    def message(self) -> bytes:
        """Return the one message of a call that succeeded."""
        status = self._headers.get("grpc-status")
        if status is None:
            http = self._headers.get(":status", "no status")
            raise SourceError(f"does not speak gRPC: HTTP status {http}", "malformed")
        if status != "0":
            said = unquote(self._headers.get("grpc-message", ""))[:LONGEST_MESSAGE]
            reason = STATUS.get(status, "grpc_error")
            raise SourceError(f"refused: status {status:.8}: {said}", reason)
        if len(self._body) < PREFIX_BYTES or len(self._body) != PREFIX_BYTES + self._size():
            raise SourceError("answers no whole message", "malformed")
        if self._body[0]:
            raise SourceError("answers compressed, which nobody asked for", "malformed")
        return bytes(self._body[PREFIX_BYTES:])

    def _size(self) -> int:
        return int.from_bytes(self._body[1:PREFIX_BYTES], "big")

    def _add(self, data: bytes) -> None:
        self._body += data
        if max(len(self._body), self._size()) > self._most_bytes + PREFIX_BYTES:
            raise SourceError(f"answers more than {self._most_bytes} bytes", "too_large")
