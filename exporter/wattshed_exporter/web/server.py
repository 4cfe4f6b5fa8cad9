"""A small HTTP server for one program: a thread per connection, kept alive, within limits.

``http.server`` parses requests and bounds their lines and headers. What is ours is that a
connection is wrapped in TLS in its own thread, so that a handshake that hangs holds up nobody,
that nothing wakes up while nobody asks, and that one answer is one write.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

from wattshed_exporter import __version__

from .policy import Policies, Policy

log = logging.getLogger(__name__)

REQUEST_SECONDS = 10.0
"""Longest wait for the next byte of a handshake or a request, and for an answer to be taken."""
IDLE_SECONDS = 120.0
"""How long a connection may wait for its next request; Prometheus asks again within a minute."""
LINGER_SECONDS, LINGER_READS = 1.0, 8
MOST_CONNECTIONS = 128
BACKLOG = 64
REST_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Answer:
    """What a path says: the status, such as ``200 OK``, the type and the body."""

    status: int
    content_type: str
    body: bytes


Route = Callable[[str, str], Answer]
"""Answers a path, given the value of the ``Accept`` header."""


class Server:
    """Listens from the moment it is made and answers from ``start`` to ``close``.

    Args:
        address: where to listen; port 0 takes a free one, see ``address``.
        route: answers GET and HEAD.
        policies: TLS, authentication and headers.
        max_requests: how many may be answered at a time, 0 for no limit; others get 503.
    """

    def __init__(
        self, address: tuple[str, int], route: Route, policies: Policies, max_requests: int = 0
    ) -> None:
        self.route = route
        self.policies = policies
        self.max_requests = max_requests
        self.busy = threading.Semaphore(max_requests or MOST_CONNECTIONS)
        self._listener = _listener(*address)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._closed = False
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, name="http", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Listen no more and cut off who is still connected."""
        self._closed = True
        if self._thread.is_alive():
            # Closing alone would not wake up the thread that waits in accept.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._thread.join()
        self._listener.close()
        with self._lock:
            for connection in self._open:
                _cut(connection)

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, peer = self._listener.accept()
            except OSError as error:
                if not self._closed:  # such as too many open files
                    log.warning("no connection can be accepted: %s", error.strerror)
                    time.sleep(REST_SECONDS)
                continue
            with self._lock:
                full = len(self._open) >= MOST_CONNECTIONS
                if not full:
                    self._open.add(connection)
            if full:
                log.debug("%s: refused, there are %d connections", peer[0], MOST_CONNECTIONS)
                connection.close()
                continue
            try:
                threading.Thread(
                    target=self._serve, args=(connection, peer), name="http-connection", daemon=True
                ).start()
            except RuntimeError as error:  # no more threads
                log.warning("no connection can be served: %s", error)
                self._forget(connection)

    def _serve(self, plain: socket.socket, peer: Any) -> None:
        connection = plain
        try:
            plain.settimeout(REQUEST_SECONDS)
            policy = self.policies.now()
            if policy.context is not None:
                connection = _secured(plain, policy)
                with self._lock:
                    self._open.discard(plain)
                    self._open.add(connection)
            _Handler(connection, peer, self)  # type: ignore[arg-type]
        except OSError as error:
            log.debug("%s: %s", peer[0], error)
        except Exception:
            if not self._closed:  # else the socket was taken away under its hands
                log.exception("a connection failed unexpectedly")
        finally:
            self._forget(connection)

    def _forget(self, connection: socket.socket) -> None:
        if not self._closed:
            _let_read(connection)
        with self._lock:
            self._open.discard(connection)
        _cut(connection)
        connection.close()


def _listener(host: str, port: int) -> socket.socket:
    """Return a socket that listens; ``::`` stands for both families of addresses."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _secured(plain: socket.socket, policy: Policy) -> socket.socket:
    """Return the connection in TLS; ``OSError`` where the client does not speak it, or may not."""
    from . import tls

    assert policy.context is not None
    # From here on ``plain`` is detached; what fails closes the wrapped one.
    secure = policy.context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
    try:
        secure.do_handshake()
        sans = policy.allowed_sans
        if sans and not tls.has_allowed_name(secure, sans):
            raise PermissionError("the client's certificate holds no name of client_allowed_sans")
    except BaseException:
        secure.close()
        raise
    return secure


def _let_read(connection: socket.socket) -> None:
    """Say that no more comes and wait a little for the other side to close.

    To close over bytes that were not read, such as a body that was refused, would reset the
    connection and could take the answer away again (RFC 9112, section 9.6).
    """
    with suppress(OSError, ValueError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(LINGER_SECONDS)
        for _ in range(LINGER_READS):
            if not connection.recv(65536):
                break


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):  # it may have been closed by the other side
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: Server  # type: ignore[assignment]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 8192

    def handle_one_request(self) -> None:
        self.connection.settimeout(IDLE_SECONDS)
        try:
            if not self.rfile.peek(1):  # type: ignore[attr-defined]
                self.close_connection = True
                return
        except TimeoutError:
            self.close_connection = True
            return
        self.connection.settimeout(REQUEST_SECONDS)
        super().handle_one_request()

    def do_GET(self) -> None:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # the body is not read, so nothing can follow it
        policy = self.server.policies.now()
        if not policy.limit.allows():
            self._say(policy, Answer(429, PLAIN, b"too many requests\n"))
        elif policy.auth is not None and not self._is_known(policy):
            self._say(policy, Answer(401, PLAIN, b"who are you?\n"))
        elif self.command not in ("GET", "HEAD"):
            self.close_connection = True
            self._say(policy, Answer(405, PLAIN, b"only GET and HEAD\n"))
        elif not self.server.busy.acquire(blocking=False):
            most = self.server.max_requests or MOST_CONNECTIONS
            said = f"{most} requests are being answered, try again later\n"
            self._say(policy, Answer(503, PLAIN, said.encode()))
        else:
            try:
                self._say(policy, self._routed())
            finally:
                self.server.busy.release()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_GET

    def _is_known(self, policy: Policy) -> bool:
        told = self.headers.get("Authorization", "")
        return bool(told) and policy.auth is not None and policy.auth.allows(told)

    def _routed(self) -> Answer:
        try:
            path = self.path.partition("?")[0]
            return self.server.route(path, self.headers.get("Accept", ""))
        except Exception:
            log.exception("%s cannot be answered", self.path)
            return Answer(500, PLAIN, b"this cannot be answered; the log says why\n")

    def _say(self, policy: Policy, answer: Answer) -> None:
        body = answer.body
        self.send_response(answer.status)
        for name, value in policy.headers:
            self.send_header(name, value)
        if answer.status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="wattshed", charset="UTF-8"')
        if answer.status == 200 and accepts_gzip(self.headers.get("Accept-Encoding", "")):
            body = zlib.compress(body, 1, wbits=31)
            self.send_header("Content-Encoding", "gzip")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.send_header("Vary", "Accept, Accept-Encoding")
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return f"wattshed-exporter/{__version__}"

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)


PLAIN = "text/plain; charset=utf-8"


def accepts_gzip(header: str) -> bool:
    """Return whether ``Accept-Encoding`` names gzip with a weight above nothing (RFC 9110)."""
    for offer in header.split(","):
        coding, _, weight = (part.strip().lower() for part in offer.partition(";"))
        if coding in ("gzip", "x-gzip"):
            name, _, number = weight.replace(" ", "").partition("=")
            try:
                return name != "q" or float(number) > 0
            except ValueError:
                return False
    return False
