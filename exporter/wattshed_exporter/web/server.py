"""A small HTTP server for one program: a thread per connection, kept alive, within limits.

A connection is wrapped in TLS in its own thread, so that a handshake that hangs holds up nobody,
nothing wakes up while nobody asks, and one answer is one write.
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
from typing import Any

from .policy import Policies, Policy
from .request import Refused, Request, head, read_request

log = logging.getLogger(__name__)

REQUEST_SECONDS = 10.0
"""Longest wait for the next byte of a handshake or a request, and for an answer to be taken."""
IDLE_SECONDS = 120.0
"""How long a connection may wait for its next request; Prometheus asks again within a minute."""
LINGER_SECONDS, LINGER_READS = 1.0, 8
MOST_CONNECTIONS = 128
BACKLOG = 64
REST_SECONDS = 0.1
ANSWERED = frozenset({"GET", "HEAD"})
PLAIN = "text/plain; charset=utf-8"


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

    def answer(self, request: Request, policy: Policy, free: bool) -> Answer:
        """Return what a request is answered under a policy, and while there is room for it."""
        if not policy.limit.allows():
            return Answer(429, PLAIN, b"too many requests\n")
        if policy.auth is not None:
            told = request.headers.get("authorization", "")
            if not told or not policy.auth.allows(told):
                return Answer(401, PLAIN, b"who are you?\n")
        if request.method not in ANSWERED:
            return Answer(405, PLAIN, b"only GET and HEAD\n")
        if not free:
            most = self.max_requests or MOST_CONNECTIONS
            said = f"{most} requests are being answered, try again later\n"
            return Answer(503, PLAIN, said.encode())
        try:
            return self.route(request.target.partition("?")[0], request.headers.get("accept", ""))
        except Exception:
            log.exception("%s cannot be answered", request.target)
            return Answer(500, PLAIN, b"this cannot be answered; the log says why\n")

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
            _Conversation(connection, self).run()
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


class _Conversation:
    """Requests and answers of one connection, one after the other."""

    def __init__(self, connection: socket.socket, server: Server) -> None:
        self._connection = connection
        self._server = server
        self._lines = connection.makefile("rb")

    def run(self) -> None:
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        with self._lines:
            while self._waits() and self._once():
                pass

    def _waits(self) -> bool:
        """Return whether another request begins before too long."""
        self._connection.settimeout(IDLE_SECONDS)
        try:
            return bool(self._lines.peek(1))
        except TimeoutError:
            return False
        finally:
            self._connection.settimeout(REQUEST_SECONDS)

    def _once(self) -> bool:
        """Answer one request; return whether another may follow."""
        policy = self._server.policies.now()
        try:
            request = read_request(self._lines)
        except Refused as refused:
            said = f"{refused.status} {refused}\n".encode()
            self._say(policy, Answer(refused.status, PLAIN, said), None)
            return False
        if request is None:
            return False
        stays = request.stays and request.method in ANSWERED
        free = self._server.busy.acquire(blocking=False)
        try:
            self._say(policy, self._server.answer(request, policy, free), request, stays)
        finally:
            if free:
                self._server.busy.release()
        return stays

    def _say(
        self, policy: Policy, answer: Answer, request: Request | None, stays: bool = False
    ) -> None:
        body, told = answer.body, list(policy.headers)
        if answer.status == 401:
            told.append(("WWW-Authenticate", 'Basic realm="wattshed", charset="UTF-8"'))
        asked = request.headers if request is not None else {}
        if answer.status == 200 and accepts_gzip(asked.get("accept-encoding", "")):
            body = zlib.compress(body, 1, wbits=31)
            told.append(("Content-Encoding", "gzip"))
        if not stays:
            told.append(("Connection", "close"))
        told.append(("Vary", "Accept, Accept-Encoding"))
        told.append(("Content-Type", answer.content_type))
        told.append(("Content-Length", str(len(body))))
        silent = request is not None and request.method == "HEAD"
        self._connection.sendall(head(answer.status, told) + (b"" if silent else body))


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
