"""Senders over HTTP: each sends body after body, and one that was not acknowledged again."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)

from .book import Answer, Book
from .machines import Body

TIMEOUT_S = 60.0
RECONNECT_S = 0.02
POLL_S = 0.2


class Sender:
    """Sends until it is stopped, has nothing more, or has had ``enough``; reconnects by itself.

    ``address`` is the local address that it sends from: without tokens, that is who it is.
    ``patience_seconds`` is the longest that it waits when it is told to come again later.
    """

    def __init__(
        self,
        bodies: Iterable[Body],
        book: Book,
        *,
        address: str = "127.0.0.1",
        patience_seconds: float = 1.0,
        pause_seconds: float = 0.0,
        compresses: bool = False,
    ) -> None:
        self.enough = threading.Event()
        self.stop = threading.Event()
        self.slowest_seconds = 0.0
        """Longest time from the first try of a body until it was acknowledged."""
        self._bodies = iter(bodies)
        self._book = book
        self._address = address
        self._patience_seconds = patience_seconds
        self._pause_seconds = pause_seconds
        self._compresses = compresses
        self._connection: HTTPConnection | None = None

    def run(self, port: int) -> None:
        """Send to a port of this machine until there is nothing more to do."""
        try:
            while not self.stop.is_set() and not self.enough.is_set():
                body = next(self._bodies, None)
                if body is None:
                    return
                began = time.monotonic()
                self._deliver(body, port)
                self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
                self.stop.wait(self._pause_seconds)
        finally:
            self._hang_up()

    def _deliver(self, body: Body, port: int) -> None:
        while not self.stop.is_set():
            try:
                answer = self._post(body, self._connected(port))
            except (OSError, HTTPException):
                self._hang_up()
                self.stop.wait(RECONNECT_S)
                continue
            self._book.answered(body, answer)
            if answer.status not in (429, 500, 502, 503, 504):
                return
            told = answer.retry_after_seconds
            wait = self._patience_seconds if told is None else min(told, self._patience_seconds)
            self.stop.wait(wait)

    def _connected(self, port: int) -> HTTPConnection:
        if self._connection is None:
            source = (self._address, 0)
            connection = HTTPConnection("127.0.0.1", port, TIMEOUT_S, source_address=source)
            self._connection = connection
            connection.connect()
        return self._connection

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _post(self, body: Body, connection: HTTPConnection) -> Answer:
        headers, data = dict(body.headers), body.data
        if self._compresses:
            headers["Content-Encoding"], data = "gzip", gzip.compress(data, 1)
        self._book.trying(body)
        try:
            connection.request("POST", body.path, data, headers)
            answer = read(connection.getresponse())
        except (OSError, HTTPException):
            self._book.broke_off()
            raise
        if connection.sock is None:  # the server has closed it with its answer
            self._hang_up()
        return answer


def read(response: HTTPResponse) -> Answer:
    """Read an answer to its end."""
    data, later = response.read(), response.getheader("Retry-After")
    if response.status != 200:
        return Answer(response.status, None if later is None else float(later))
    if response.getheader("Content-Type", "").startswith("application/json"):
        return Answer(200, rejected=sum(json.loads(data)["rejected"].values()))
    told = ExportMetricsServiceResponse.FromString(data)
    return Answer(200, rejected=told.partial_success.rejected_data_points)


@contextmanager
def sending(senders: Sequence[Sender], port: int) -> Iterator[list[threading.Thread]]:
    """Have all of them send in threads of their own; they are stopped when the block ends."""
    threads = [threading.Thread(target=s.run, args=(port,), daemon=True) for s in senders]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        for sender in senders:
            sender.stop.set()
        for thread in threads:
            thread.join(TIMEOUT_S)


def finish(senders: Sequence[Sender], threads: Sequence[threading.Thread], seconds: float) -> bool:
    """Let each deliver what it has begun; return whether all did within the time."""
    for sender in senders:
        sender.enough.set()
    return done(threads, seconds)


def ended(threads: Sequence[threading.Thread], moved: Callable[[], int], seconds: float) -> bool:
    """Wait until the senders have nothing more; return whether they came to an end.

    They may take as long as they like while ``moved`` grows, and no longer than ``seconds`` while
    it does not.
    """
    last, until = moved(), time.monotonic() + seconds
    while not done(threads, POLL_S):
        if (now := moved()) != last:
            last, until = now, time.monotonic() + seconds
        elif time.monotonic() > until:
            return False
    return True


def done(threads: Sequence[threading.Thread], seconds: float) -> bool:
    """Wait until the senders have nothing more; return whether that was within the time."""
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)
