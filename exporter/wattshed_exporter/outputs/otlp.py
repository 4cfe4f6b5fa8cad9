"""The push side: OTLP over HTTP, from a thread of its own and a queue that never grows too long.

While the collector is away ticks wait in the queue; when it is full the oldest go first and are
counted. A request that the collector may accept later is sent again, one that it never will is
counted as rejected. Sending twice is harmless, because a tick is identified by device and time.
"""

from __future__ import annotations

import http.client
import logging
import random
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from wattshed_exporter import __version__
from wattshed_exporter.config import Config
from wattshed_exporter.model import Batch, Device, Workload
from wattshed_exporter.telemetry import Telemetry

from .protobuf import WORKLOADS_KEPT, Encoder, rejected_points

log = logging.getLogger(__name__)

PATH = "/v1/metrics"
BATCH_TICKS = 5000
RETRYABLE = frozenset({429, 502, 503, 504})
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
LONGEST_RETRY_AFTER_SECONDS = 300.0
CLOSE_SECONDS = 1.2
"""Time for the last batch, so that the whole program is gone within two seconds of a signal."""
SAY_EVERY_SECONDS = 60.0


class Retry(Exception):
    """The collector did not take a request but may take it later; ``after`` is its wish."""

    def __init__(self, message: str, after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class Otlp:
    """Pushes batches to one collector."""

    name = "otlp"

    def __init__(
        self,
        config: Config,
        telemetry: Telemetry,
        *,
        first_backoff_seconds: float = FIRST_BACKOFF_SECONDS,
    ) -> None:
        self._config = config.otlp
        self._telemetry = telemetry
        self._first_backoff_seconds = first_backoff_seconds
        self._encoder = Encoder(resource(config), __version__)
        self._client = Client(config.otlp.endpoint, config.otlp.token, config.otlp.timeout_seconds)
        self._changed = threading.Condition()
        self._devices: dict[str, Device] = {}
        self._workloads: dict[str, Workload] = {}
        self._queue: deque[Batch] = deque()
        self._queued = 0
        self._since = 0.0
        self._sending = False
        self._hurry = False
        self._give_up_at = float("inf")
        self._said_at = float("-inf")
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self._thread.start()

    def put(self, batch: Batch) -> None:
        with self._changed:
            # Descriptions wait beside the queue, so that dropping old ticks does not lose them.
            self._devices.update((d.key, d) for d in batch.devices)
            self._workloads.update((w.key, w) for w in batch.workloads)
            while len(self._workloads) > WORKLOADS_KEPT:
                del self._workloads[next(iter(self._workloads))]
            if not self._queue:
                self._since = time.monotonic()
            for part in pieces(batch):
                self._queue.append(part)
                self._queued += weight(part)
            dropped = self._trim()
            self._changed.notify_all()
        self._telemetry.handed_over(self.name, "dropped", dropped)

    @property
    def waiting(self) -> int:
        """Ticks in the queue, without those being sent just now."""
        return self._queued

    def ready(self) -> bool:
        return self._queued < min(self._config.queue_ticks, 4 * BATCH_TICKS) / 2

    def flush(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            while self._queue or self._sending:
                left = deadline - time.monotonic()
                if left <= 0 or not self._thread.is_alive():
                    break
                self._changed.wait(left)
            self._hurry = False
            return not self._queue and not self._sending

    def close(self) -> None:
        with self._changed:
            self._give_up_at = min(self._give_up_at, time.monotonic() + CLOSE_SECONDS)
            self._changed.notify_all()
        self._thread.join(CLOSE_SECONDS + 0.1)
        if not self._thread.is_alive():
            self._client.close()
        with self._changed:
            left = sum(len(b.ticks) for b in self._queue)
            self._queue.clear()
            self._queued = 0
        self._telemetry.handed_over(self.name, "dropped", left)

    @property
    def _closing(self) -> bool:
        return self._give_up_at != float("inf")

    def _trim(self) -> int:
        dropped = 0
        while self._queued > self._config.queue_ticks:
            oldest = self._queue.popleft()
            self._queued -= weight(oldest)
            dropped += len(oldest.ticks)
        return dropped

    def _run(self) -> None:
        while True:
            batch = self._take()
            if batch is None:
                return
            try:
                self._deliver(batch)
            except Exception:
                # A batch that cannot be encoded must not end the pushing of those that can.
                log.exception("a batch could not be sent")
                self._telemetry.handed_over(self.name, "rejected", len(batch.ticks))
            with self._changed:
                self._sending = False
                self._changed.notify_all()

    def _take(self) -> Batch | None:
        """Wait until a batch is due and take it; None when closing and there is none."""
        with self._changed:
            while True:
                if self._closing and (not self._queue or time.monotonic() >= self._give_up_at):
                    return None
                due = self._since + self._config.batch_seconds - time.monotonic()
                full = self._queued >= BATCH_TICKS
                if self._queue and (due <= 0 or full or self._closing or self._hurry):
                    self._sending = True
                    return self._gather()
                self._changed.wait(due if self._queue else None)

    def _gather(self) -> Batch:
        parts = [self._queue.popleft()]
        size = weight(parts[0])
        while self._queue and size + weight(self._queue[0]) <= BATCH_TICKS:
            parts.append(self._queue.popleft())
            size += weight(parts[-1])
        self._queued -= size
        self._since = time.monotonic()
        devices, self._devices = tuple(self._devices.values()), {}
        workloads, self._workloads = tuple(self._workloads.values()), {}
        return replace(join(parts), devices=devices, workloads=workloads)

    def _deliver(self, batch: Batch) -> None:
        body = zlib_gzip(self._encoder.request(batch))
        backoff = self._first_backoff_seconds
        while True:
            try:
                rejected = self._post(body)
            except Retry as retry:
                wait = max(retry.after_seconds, backoff * random.uniform(0.5, 1.0))
                self._say("%s; sending again", retry)
                if not self._pause(wait):
                    self._telemetry.handed_over(self.name, "dropped", len(batch.ticks))
                    return
                backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)
            else:
                lost = min(rejected, len(batch.ticks))
                self._telemetry.handed_over(self.name, "rejected", lost)
                self._telemetry.handed_over(self.name, "sent", len(batch.ticks) - lost)
                return

    def _post(self, body: bytes) -> int:
        """Send once; return how many points were rejected for good."""
        status, answer, after = self._client.post(body)
        if 200 <= status < 300:
            rejected, why = rejected_points(answer)
            if rejected:
                self._say("the collector rejected %d data points: %s", rejected, why)
            return rejected
        if status in RETRYABLE:
            raise Retry(f"the collector answered {status}", after)
        self._say("the collector refused a batch for good: %d %s", status, _words(answer))
        return BATCH_TICKS

    def _pause(self, seconds: float) -> bool:
        """Wait before the next try; False once there is no time left for one."""
        until = time.monotonic() + seconds
        with self._changed:
            was_closing = self._closing
            while (now := time.monotonic()) < until:
                if self._closing and not was_closing:
                    return True  # close() woke us up: one last try at once
                if until > self._give_up_at:
                    return False
                self._changed.wait(until - now)
            return now < self._give_up_at

    def _say(self, message: str, *told: object) -> None:
        now = time.monotonic()
        if now - self._said_at >= SAY_EVERY_SECONDS:
            self._said_at = now
            log.warning(message, *told)


class Client:
    """One kept-alive connection to the collector."""

    def __init__(self, endpoint: str, token: str, timeout_seconds: float) -> None:
        parts = urlsplit(endpoint)
        path = parts.path.rstrip("/")
        self._path = path if path.endswith(PATH) else path + PATH
        self._headers = {
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "gzip",
            "User-Agent": f"wattshed-exporter/{__version__}",
        }
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._connection = kind(parts.hostname or "", parts.port, timeout=timeout_seconds)
        self._fresh = True

    def post(self, body: bytes) -> tuple[int, bytes, float]:
        """Return status, body and the seconds of Retry-After; raise ``Retry`` without an answer."""
        try:
            return self._once(body)
        except (OSError, http.client.HTTPException) as error:
            stale = not self._fresh and not isinstance(error, TimeoutError)
            self.close()
            if not stale:
                raise Retry(f"the collector cannot be reached: {error or type(error)}") from error
        # The collector closed a connection that had been idle; a new one is worth a try at once.
        try:
            return self._once(body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Retry(f"the collector cannot be reached: {error or type(error)}") from error

    def _once(self, body: bytes) -> tuple[int, bytes, float]:
        self._connection.request("POST", self._path, body, self._headers)
        response = self._connection.getresponse()
        answer = response.read()
        self._fresh = False
        return response.status, answer, retry_after(response.getheader("Retry-After", ""))

    def close(self) -> None:
        self._connection.close()
        self._fresh = True


def resource(config: Config) -> dict[str, str]:
    """Return the resource attributes of an exporter; empty ones are left out when encoded."""
    return {
        "service.name": "wattshed-exporter",
        "service.version": __version__,
        "host.name": config.node,
        "wattshed.node": config.node,
        "wattshed.site": config.site,
        "wattshed.tier": config.tier,
        "wattshed.cluster": config.cluster,
    }


def weight(batch: Batch) -> int:
    """Return how much of the queue a batch takes, in ticks."""
    return len(batch.ticks) + len(batch.allocations) + len(batch.outcomes)


def pieces(batch: Batch) -> Iterator[Batch]:
    """Cut a batch into parts of at most ``BATCH_TICKS`` of one kind, without descriptions."""
    if weight(batch) <= BATCH_TICKS:
        if weight(batch):
            yield replace(batch, devices=(), workloads=())
        return
    for at in range(0, len(batch.ticks), BATCH_TICKS):
        yield Batch(ticks=batch.ticks[at : at + BATCH_TICKS])
    for at in range(0, len(batch.allocations), BATCH_TICKS):
        yield Batch(allocations=batch.allocations[at : at + BATCH_TICKS])
    for at in range(0, len(batch.outcomes), BATCH_TICKS):
        yield Batch(outcomes=batch.outcomes[at : at + BATCH_TICKS])


def join(parts: list[Batch]) -> Batch:
    """Return one batch that holds what the parts hold, in order."""
    return Batch(
        ticks=tuple(t for part in parts for t in part.ticks),
        allocations=tuple(a for part in parts for a in part.allocations),
        outcomes=tuple(o for part in parts for o in part.outcomes),
    )


def zlib_gzip(body: bytes) -> bytes:
    """Compress at the cheapest level, with a gzip header."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


def retry_after(header: str) -> float:
    """Return the seconds that a Retry-After header asks for, 0 where it makes no sense."""
    if header.isdecimal():
        return min(float(header), LONGEST_RETRY_AFTER_SECONDS)
    try:
        seconds = parsedate_to_datetime(header).timestamp() - time.time() if header else 0.0
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def _words(answer: bytes) -> str:
    return " ".join(answer[:200].decode(errors="replace").split())
