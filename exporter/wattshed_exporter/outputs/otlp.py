"""The push side: OTLP over HTTP, through a store that never grows too large.

Ticks are gathered, encoded and compressed once, kept in a store (on disk with a ``state_dir``) and
sent from there by a thread of its own, so that no outage and no slow collector holds up reading.
Sending twice is harmless, because a tick is identified by device and time.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from wattshed_exporter import __version__
from wattshed_exporter.config import Config
from wattshed_exporter.model import Batch, Device, Workload
from wattshed_exporter.spool import Lost, Memory, Store
from wattshed_exporter.spool_disk import Disk
from wattshed_exporter.telemetry import Telemetry

from .joined import gzipped
from .otlp_client import Client
from .otlp_sender import Jitter, Sender
from .protobuf import WORKLOADS_KEPT, Encoder

T = TypeVar("T")

log = logging.getLogger(__name__)

BATCH_TICKS = 5000
TICK_BYTES = 512
"""Memory of a tick that waits to be encoded, with its share of a batch; measured: 400 to 600."""
READY_BODIES = 4
URGENT_SECONDS = 0.5
"""How long what somebody waits for is gathered: each request that is kept is sent by itself."""
CLOSE_SECONDS = 1.2
"""Time for the last requests, so that the whole program is gone within two seconds of a signal."""
STORE_CLOSE_SECONDS = 0.5
DAMAGES = frozenset({"torn", "corrupt", "unreadable"})


class Otlp:
    """Pushes batches to one collector.

    Raises:
        ConfigError: where another exporter uses the state_dir, or TLS cannot use its files.
    """

    name = "otlp"

    def __init__(
        self,
        config: Config,
        telemetry: Telemetry,
        *,
        store: Store | None = None,
        jitter: Jitter = random.uniform,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._telemetry = telemetry
        self._batch_seconds = config.otlp.batch_seconds
        self._encoder = Encoder(resource(config), __version__, monotonic)
        client = Client(config.otlp)
        self._store = store or build_store(config, self._lost)
        self._changed = threading.Condition()
        self._devices: dict[str, Device] = {}
        self._workloads: dict[str, Workload] = {}
        self._pending: deque[Batch] = deque()
        # What waits here waits for milliseconds, unless a disk hangs.
        self._most_pending = max(2 * BATCH_TICKS, config.otlp.memory_bytes // TICK_BYTES)
        self._weight = 0
        self._since = 0.0
        self._entered = self._left = self._taken_to = self._kept_to = self._lost_to = 0
        """Numbers of parts, in the order in which they come and go."""
        self._urgent_to = 0
        self._urgent_at = float("inf")
        self._sync_at = float("inf")
        self._packing = True
        self._hurry = self._closing = False
        self._bodies = 0
        self._stumbled = False
        self._sender = Sender(
            client,
            self._store,
            telemetry,
            self._changed,
            config.otlp.drain_per_second,
            told=self._publish,
            jitter=jitter,
        )
        self._packer = threading.Thread(target=self._pack, name="otlp-pack", daemon=True)
        self._packer.start()

    def put(self, batch: Batch) -> None:
        with self._changed:
            self._enter(batch)
            dropped = self._trim()
            self._changed.notify_all()
        self._telemetry.handed_over(self.name, "dropped", dropped)

    def keep(self, batch: Batch, seconds: float) -> bool:
        """Put a batch and wait for so long until it is in the store; return whether it is.

        What is in the store on disk outlives the process.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            before = self._entered
            self._enter(batch)
            last = self._urgent_to = self._entered
            self._urgent_at = min(self._urgent_at, time.monotonic() + URGENT_SECONDS)
            self._changed.notify_all()
            while self._kept_to < last and self._lost_to <= before:
                if (left := deadline - time.monotonic()) <= 0:
                    return False
                self._changed.wait(left)
            return self._lost_to <= before

    def _enter(self, batch: Batch) -> None:
        # Descriptions wait beside the ticks, so that dropping old ones does not lose them.
        self._devices.update((d.key, d) for d in batch.devices)
        self._workloads.update((w.key, w) for w in batch.workloads)
        while len(self._workloads) > WORKLOADS_KEPT:
            del self._workloads[next(iter(self._workloads))]
        if not self._pending:
            self._since = time.monotonic()
        for part in pieces(batch):
            self._pending.append(part)
            self._weight += weight(part)
            self._entered += 1

    def ready(self) -> bool:
        return self._weight < 2 * BATCH_TICKS and self._bodies <= READY_BODIES

    def flush(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        with self._changed:
            self._hurry = True
            self._sender.hurry(True)
            while not self._idle():
                left = deadline - time.monotonic()
                if left <= 0 or not self._packer.is_alive():
                    break
                self._changed.wait(left)
            self._hurry = False
            self._sender.hurry(False)
            return self._idle()

    def close(self) -> None:
        until = time.monotonic() + CLOSE_SECONDS
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._packer.join(CLOSE_SECONDS)
        self._sender.close(max(0.0, until - time.monotonic()))
        with self._changed:
            left = sum(len(b.ticks) for b in self._pending)
            self._pending.clear()
            self._weight = 0
        if left:
            log.warning("%d ticks could not be kept and are lost", left)
        self._telemetry.handed_over(self.name, "dropped", left)
        # In a thread of its own, because a disk that hangs may not hold up the end.
        closer = threading.Thread(target=self._let_go, name="otlp-close", daemon=True)
        closer.start()
        closer.join(STORE_CLOSE_SECONDS)

    def _let_go(self) -> None:
        level = self._store.level()
        if level.bodies and level.on_disk:
            log.info(
                "requests that wait for the next start: %d, ticks: %d", level.bodies, level.ticks
            )
        self._store.close()
        self._publish()

    def _is_closing(self) -> bool:
        return self._closing

    def _idle(self) -> bool:
        return not self._pending and not self._packing and not self._store.level().bodies

    def _trim(self) -> int:
        dropped = 0
        while self._weight > self._most_pending:
            oldest = self._pending.popleft()
            self._weight -= weight(oldest)
            self._leave(1)
            self._lost_to = self._left
            dropped += len(oldest.ticks)
        return dropped

    def _leave(self, parts: int) -> None:
        self._left += parts
        if self._left >= self._urgent_to:
            self._urgent_at = float("inf")

    def _pack(self) -> None:
        """Gather, encode and keep until closing."""
        self._guarded(partial(self._store.open, self._is_closing), 0)
        self._sender.wake(live=False)
        parts: list[Batch] | None = []
        while parts is not None:
            self._guarded(partial(self._keep, parts), sum(len(part.ticks) for part in parts))
            sync_seconds = self._guarded(self._store.sync, 0)
            self._guarded(self._publish, 0)
            with self._changed:
                self._packing = False
                self._kept_to = self._taken_to
                self._sync_at = time.monotonic() + (sync_seconds or float("inf"))
                self._changed.notify_all()
            parts = self._take()

    def _guarded(self, step: Callable[[], T], ticks: int) -> T | None:
        """Do a step; one that fails in a way that nobody foresaw costs only its own ticks."""
        try:
            return step()
        except Exception:
            if not self._stumbled:
                log.exception("packing failed unexpectedly; it goes on")
            self._stumbled = True
            self._telemetry.handed_over(self.name, "dropped", ticks)
            return None

    def _take(self) -> list[Batch] | None:
        """Wait until ticks are due, none where the store wants a sync; return None at the end."""
        with self._changed:
            while True:
                if self._closing and not self._pending:
                    return None
                now = time.monotonic()
                due = self._since + self._batch_seconds if self._pending else float("inf")
                due = min(due, self._urgent_at)
                full = self._weight >= BATCH_TICKS
                if self._pending and (due <= now or full or self._closing or self._hurry):
                    self._packing = True
                    return self._gather()
                if self._sync_at <= now:
                    return []
                next_at = min(due, self._sync_at)
                self._changed.wait(None if next_at == float("inf") else next_at - now)

    def _gather(self) -> list[Batch]:
        parts = [self._pending.popleft()]
        size = weight(parts[0])
        while self._pending and size + weight(self._pending[0]) <= BATCH_TICKS:
            parts.append(self._pending.popleft())
            size += weight(parts[-1])
        self._weight -= size
        self._leave(len(parts))
        self._taken_to = self._left
        self._since = time.monotonic()
        devices, self._devices = tuple(self._devices.values()), {}
        workloads, self._workloads = tuple(self._workloads.values()), {}
        parts[0] = replace(parts[0], devices=devices, workloads=workloads)
        return parts

    def _keep(self, parts: Sequence[Batch]) -> None:
        """Encode parts into one request and keep it; a part that cannot be encoded goes alone."""
        if not parts:
            return
        ticks = sum(len(part.ticks) for part in parts)
        try:
            body = gzipped(self._encoder.pieces(*parts))
        except Exception:
            if len(parts) > 1:
                for part in parts:
                    self._keep([part])
                return
            log.exception("a batch could not be sent")
            self._telemetry.handed_over(self.name, "rejected", ticks)
            return
        self._store.put(body, ticks, newest_ms(parts))
        self._sender.wake(live=True)

    def _lost(self, reason: str, bodies: int, ticks: int) -> None:
        if reason == "closed":
            log.warning(
                "requests that could not be sent and are lost: %d, ticks: %d", bodies, ticks
            )
        damaged = reason in DAMAGES
        told = "wattshed_spool_damaged_total" if damaged else "wattshed_spool_dropped_total"
        self._telemetry.add(told, bodies, self.name, reason)
        self._telemetry.handed_over(self.name, "dropped", ticks)

    def _publish(self) -> None:
        level = self._store.level()
        self._bodies = level.bodies
        self._telemetry.set("wattshed_spool_bytes", level.size_bytes, self.name)
        self._telemetry.set("wattshed_spool_bodies", level.bodies, self.name)
        self._telemetry.set("wattshed_spool_on_disk", level.on_disk, self.name)
        oldest = "wattshed_spool_oldest_timestamp_seconds"
        if level.oldest_ms is None:
            self._telemetry.clear(oldest, self.name)
        else:
            self._telemetry.set(oldest, level.oldest_ms / 1000, self.name)


def build_store(config: Config, lost: Lost) -> Store:
    """Return where requests wait: in the state_dir if there is one, else in memory."""
    memory = Memory(config.otlp.memory_bytes, lost)
    if config.state_dir is None:
        return memory
    return Disk(config.state_dir / "spool", config.otlp.spool_bytes, memory, lost)


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
    """Return how much of a request a batch takes, in ticks."""
    return len(batch.ticks) + len(batch.details) + len(batch.allocations) + len(batch.outcomes)


def pieces(batch: Batch) -> Iterator[Batch]:
    """Cut a batch into parts of at most ``BATCH_TICKS`` of one kind, without descriptions."""
    if weight(batch) <= BATCH_TICKS:
        if weight(batch):
            yield replace(batch, devices=(), workloads=())
        return
    for at in range(0, len(batch.ticks), BATCH_TICKS):
        yield Batch(ticks=batch.ticks[at : at + BATCH_TICKS])
    for at in range(0, len(batch.details), BATCH_TICKS):
        yield Batch(details=batch.details[at : at + BATCH_TICKS])
    for at in range(0, len(batch.allocations), BATCH_TICKS):
        yield Batch(allocations=batch.allocations[at : at + BATCH_TICKS])
    for at in range(0, len(batch.outcomes), BATCH_TICKS):
        yield Batch(outcomes=batch.outcomes[at : at + BATCH_TICKS])


def newest_ms(parts: Iterable[Batch]) -> int:
    """Return the latest event time in some batches, in milliseconds."""
    times: set[int] = set()
    for part in parts:
        times.update(t.ts_ms for t in part.ticks)
        times.update(d.ts_ms for d in part.details)
        times.update(a.end_ms for a in part.allocations)
        times.update(o.ts_ms for o in part.outcomes)
    return max(times)
