"""A small HTTP server for one program: a thread per connection, kept alive, within limits.

A connection is wrapped in TLS in its own thread, so that a handshake that hangs holds up nobody,
nothing wakes up while nobody asks, and one answer is one write. Where there are as many connections
as there may be, the one that has been idle longest makes room: else whoever may connect could lock
Prometheus out without a password, by doing nothing.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import socket
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .policy import Policies, Policy
from .request import Refused, Request, head, length, read_body, read_request

log = logging.getLogger(__name__)

REQUEST_SECONDS = 10.0
"""Longest time for a handshake, for a whole request to come, and for an answer to be taken."""
IDLE_SECONDS = 120.0
"""How long a connection may wait for its next request; Prometheus asks again within a minute."""
LINGER_SECONDS, LINGER_READS = 1.0, 8
WARN_SECONDS = 60.0
MOST_CONNECTIONS = 128
BACKLOG = 64
REST_SECONDS = 0.1
ANSWERED = frozenset({"GET", "HEAD"})
MOST_BODY_BYTES = 1 << 20
PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a path says: the status, such as ``200 OK``, the type and the body."""

    status: int
    content_type: str
    body: bytes


Route = Callable[[str, str], Answer]
"""Answers a path, given the value of the ``Accept`` header."""
Take = Callable[[bytes, Mapping[str, str]], Answer]
"""Answers a body that was posted, given the headers."""
NOTHING_TAKEN: Mapping[str, Take] = {}


@dataclass(frozen=True, slots=True)
class Local:
    """A socket file to listen on, and its permissions."""

    file: Path
    mode: int


@dataclass(slots=True, eq=False)
class Visit:
    """A connection, and since when it has waited for a request that is answered."""

    socket: socket.socket
    idle_since: float
    answering: bool = False


class Server:
    """Listens from the moment it is made and answers from ``start`` to ``close``.

    Args:
        address: where to listen; port 0 takes a free one, see ``address``, which is a socket
            file and 0 where that is a file.
        route: answers GET and HEAD.
        policies: TLS, authentication and headers.
        max_requests: how many may be answered at a time, 0 for no limit; others get 503.
        request_seconds: how long a whole request may take to come.
        takes: what is posted to some paths.
    """

    def __init__(
        self,
        address: tuple[str, int] | Local,
        route: Route,
        policies: Policies,
        max_requests: int = 0,
        request_seconds: float = REQUEST_SECONDS,
        takes: Mapping[str, Take] = NOTHING_TAKEN,
    ) -> None:
        self.route = route
        self.takes = takes
        self.policies = policies
        self.max_requests = max_requests
        self.request_seconds = request_seconds
        self.busy = threading.Semaphore(max_requests or MOST_CONNECTIONS)
        self._local = address if isinstance(address, Local) else None
        self._listener = _local(address) if isinstance(address, Local) else _listener(*address)
        told = self._listener.getsockname()
        self.address: tuple[str, int] = (told, 0) if isinstance(told, str) else told[:2]
        self._closed = False
        self._lock = threading.Lock()
        self._open: set[Visit] = set()
        self._warned_at = -WARN_SECONDS
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
        if self._local is not None:
            self._local.file.unlink(missing_ok=True)
        with self._lock:
            for visit in self._open:
                _cut(visit.socket)

    def answer(
        self, request: Request, policy: Policy, free: bool, body: Callable[[], bytes]
    ) -> Answer:
        """Return what a request is answered under a policy, and while there is room for it.

        ``body`` reads what is posted; OSError where that does not come.
        """
        if not policy.limit.allows():
            return Answer(429, PLAIN, b"too many requests\n")
        if policy.auth is not None:
            told = request.headers.get("authorization", "")
            if not told or not policy.auth.allows(told):
                return Answer(401, PLAIN, b"who are you?\n")
        path = request.target.partition("?")[0]
        take = self.takes.get(path) if request.method == "POST" else None
        if take is None and request.method not in ANSWERED:
            return Answer(405, PLAIN, b"only GET and HEAD\n")
        if not free:
            most = self.max_requests or MOST_CONNECTIONS
            said = f"{most} requests are being answered, try again later\n"
            return Answer(503, PLAIN, said.encode())
        try:
            posted = body() if take is not None else b""
        except Refused as refused:
            return Answer(refused.status, PLAIN, f"{refused}\n".encode())
        try:
            if take is not None:
                return take(posted, request.headers)
            return self.route(path, request.headers.get("accept", ""))
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
            visit = Visit(connection, time.monotonic())
            if not self._admit(visit):
                connection.close()
                continue
            try:
                threading.Thread(
                    target=self._serve, args=(visit, peer), name="http-connection", daemon=True
                ).start()
            except RuntimeError as error:  # no more threads
                log.warning("no connection can be served: %s", error)
                self._forget(visit)

    def _admit(self, visit: Visit) -> bool:
        """Let a connection in, for that which has been idle longest if need be."""
        with self._lock:
            full = len(self._open) >= MOST_CONNECTIONS
            if full:
                idle = [v for v in self._open if not v.answering]
                longest = min(idle, key=lambda v: v.idle_since, default=None)
                if longest is not None:
                    self._open.discard(longest)
                    _cut(longest.socket)
            admitted = len(self._open) < MOST_CONNECTIONS
            if admitted:
                self._open.add(visit)
        if full and visit.idle_since - self._warned_at >= WARN_SECONDS:
            self._warned_at = visit.idle_since
            log.warning("there are %d connections, and another one: %s", MOST_CONNECTIONS,
                        "the one idle longest is cut" if admitted else "refused")  # fmt: skip
        return admitted

    def _serve(self, visit: Visit, peer: Any) -> None:
        try:
            visit.socket.settimeout(self.request_seconds)
            policy = self.policies.now()
            if policy.context is not None:
                with self._lock:
                    # From here on the plain one is detached.
                    visit.socket = policy.context.wrap_socket(
                        visit.socket, server_side=True, do_handshake_on_connect=False
                    )
                _secure(visit.socket, policy)
            _Conversation(visit, self).run()
        except OSError as error:
            log.debug("%s: %s", peer, error)
        except Exception:
            if not self._closed:  # else the socket was taken away under its hands
                log.exception("a connection failed unexpectedly")
        finally:
            self._forget(visit)

    def _forget(self, visit: Visit) -> None:
        if not self._closed:
            _let_read(visit.socket)
        with self._lock:
            self._open.discard(visit)
        _cut(visit.socket)
        visit.socket.close()


NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


def _listener(host: str, port: int) -> socket.socket:
    """Return a socket that listens; ``::`` and nothing stand for both families of addresses."""
    if host:
        return _listening(host, port)
    try:
        return _listening("::", port)
    except OSError as error:
        if error.errno not in NO_IPV6:
            raise
        return _listening("0.0.0.0", port)


def _listening(host: str, port: int) -> socket.socket:
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


def _local(where: Local) -> socket.socket:
    """Return a socket that listens on a file, in the place of one where nobody listens any more."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        if where.file.is_socket():
            with socket.socket(socket.AF_UNIX) as other:
                if other.connect_ex(str(where.file)) == 0:
                    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            where.file.unlink()
        listener.bind(str(where.file))
        where.file.chmod(where.mode)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _secure(connection: Any, policy: Policy) -> None:
    """Begin to speak TLS; ``OSError`` where the client does not, or may not."""
    from . import tls

    connection.do_handshake()
    sans = policy.allowed_sans
    if sans and not tls.has_allowed_name(connection, sans):
        raise PermissionError("the client's certificate holds no name of client_allowed_sans")


def _let_read(connection: socket.socket) -> None:
    """Say that no more comes and wait a little for the other side to close.

    To close over bytes that were not read, such as a body that was refused, would reset the
    connection and could take the answer away again (RFC 9112, section 9.6).
    """
    with suppress(OSError, ValueError):
        socket.socket.shutdown(connection, socket.SHUT_WR)
        connection.settimeout(LINGER_SECONDS)
        for _ in range(LINGER_READS):
            if not connection.recv(65536):
                break


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):  # it may have been closed by the other side
        # Not that of TLS, which would take the session away from the thread that reads.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


class _Incoming(io.RawIOBase):
    """What comes in until a moment, however slowly; ``TimeoutError`` after it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._until = 0.0

    def within(self, seconds: float) -> None:
        """Set the moment, so many seconds from now."""
        self._until = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request does not come to its end")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Conversation:
    """Requests and answers of one connection, one after the other."""

    def __init__(self, visit: Visit, server: Server) -> None:
        self._visit = visit
        self._connection = visit.socket
        self._server = server
        self._incoming = _Incoming(visit.socket)
        self._lines = io.BufferedReader(self._incoming)

    def run(self) -> None:
        if self._connection.family != socket.AF_UNIX:
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        with self._lines:
            while self._waits() and self._once():
                pass

    def _waits(self) -> bool:
        """Return whether another request begins before too long."""
        self._incoming.within(IDLE_SECONDS)
        try:
            return bool(self._lines.peek(1))
        except TimeoutError:
            return False
        finally:
            self._incoming.within(self._server.request_seconds)

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
        self._visit.answering = True
        try:
            answer = self._server.answer(request, policy, free, lambda: self._body(request))
            self._say(policy, answer, request, stays)
        finally:
            self._visit.idle_since, self._visit.answering = time.monotonic(), False
            if free:
                self._server.busy.release()
        return stays

    def _body(self, request: Request) -> bytes:
        """Read what is posted; who asks first whether it may come is told that it may."""
        size = length(request, MOST_BODY_BYTES)
        if request.headers.get("expect", "").lower() == "100-continue":
            self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return read_body(self._lines, size)

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
        self._connection.settimeout(REQUEST_SECONDS)
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
