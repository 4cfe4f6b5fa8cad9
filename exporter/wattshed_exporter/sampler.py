"""Reads every source on time, in a thread of its own, and hands ticks to the outputs.

A source may hang, fail, vanish or come back; the others do not notice. A read that takes longer
than the deadline turns its devices into gaps until it returns, and what it returns is still used.
What can be pulled is replaced as a whole after each read, so that nobody waits for a lock.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .config import Config
from .errors import DevicesChanged, NoData, SourceError
from .integrate import Meter
from .model import Batch, Detail, Device, Kind, Reading, Tick
from .outputs import Output, Snapshot
from .sources import METERS, Sample, Source
from .telemetry import Telemetry

log = logging.getLogger(__name__)
T = TypeVar("T")

RETRY_SECONDS = 60.0
"""Longest time between two tries to discover the devices of a source."""
POLL_SECONDS = 0.25
SOON_SECONDS = 0.05
CLOSE_SECONDS = 0.3
HOST_KINDS = frozenset({Kind.CPU, Kind.HOST, Kind.MODULE, Kind.BOARD})
"""Kinds that measure the CPU, so that nothing has to be estimated."""

Wait = Callable[[float], bool]
"""Waits so many seconds; returns True when it is time to stop."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The time of day in milliseconds, and a clock for intervals in seconds."""

    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    monotonic: Callable[[], float] = time.monotonic


class Worker:
    """Drives one source. ``step`` and ``watch`` do one thing each, so that tests need no thread.

    ``snapshot`` is what the source has last read; it is replaced, never changed. ``tried`` says
    that discovery has come to an end once, ``absent`` that there is nothing to read here.
    """

    def __init__(
        self,
        source: Source,
        config: Config,
        outputs: Sequence[Output],
        telemetry: Telemetry,
        clock: Clock,
        boot_ms: int | None = None,
    ) -> None:
        self.source = source
        self.standby: Callable[[], float | None] = lambda: None
        self.snapshot = Snapshot()
        self.tried = self.absent = self.up = self.finished = False
        self.reads = 0
        self._deadline_seconds = config.deadline_seconds
        self._outputs = outputs
        self._telemetry = telemetry
        self._clock = clock
        # Only a meter of this machine starts with it; a recording may be of any machine.
        self._boot_ms = boot_ms if source.name in METERS else None
        self._meters: dict[str, Meter] = {}
        self._discovered = self._more = self._overdue = False
        self._lock = threading.Lock()
        self._began: float | None = None
        self._due: float | None = None
        self._next_gap = 0.0
        self._failures = 0
        self._trouble = ""

    @property
    def measures_host(self) -> bool:
        return any(device.kind in HOST_KINDS for device in self.snapshot.devices)

    @property
    def idle(self) -> bool:
        """Whether it was found that there is nothing to read, or nothing that can be read."""
        return self.tried and (self.absent or bool(self._trouble))

    def run(self, stop: threading.Event) -> None:
        """Step until stopped or finished, then close the source.

        That is done in this thread, because a driver that hangs may hold up its closing as well.
        """
        while not stop.is_set():
            delay = self.step()
            if delay is None or (delay > 0 and stop.wait(delay)):
                break
        self.close()

    def step(self) -> float | None:
        """Discover or read once; return the seconds until the next step, None for never."""
        rest = self.standby()
        if self.finished:
            return None
        if rest is not None:
            self._forget("superseded")
            self.tried = rest >= RETRY_SECONDS
            return rest
        if not self._discovered:
            return self._discover()
        if self._more and not all(output.ready() for output in self._outputs):
            return SOON_SECONDS
        return self._read()

    def watch(self) -> None:
        """Turn the devices of a source that hangs into gaps; called from another thread."""
        ticks: list[Tick] = []
        with self._lock:
            now = self._clock.monotonic()
            if self._began is None or now - self._began <= self._deadline_seconds:
                return
            self.tried = True
            if not self._overdue:
                self._overdue, self._next_gap = True, now
                self._fail("deadline", f"no answer within {self._deadline_seconds:g} s")
            if now >= self._next_gap:
                self._next_gap = now + self.source.interval_seconds
                ticks = self._gaps("deadline", self._meters)
        self._emit(Batch(ticks=tuple(ticks)))

    def close(self) -> None:
        """Give back the handles of the source."""
        try:
            self.source.close()
        except Exception:
            log.exception("source %s cannot be closed", self.source.name)

    def _discover(self) -> float:
        """Look for devices; return the seconds until the next try, 0 where it succeeded."""
        delay = RETRY_SECONDS
        try:
            self._adopt(self._timed(self.source.discover))
        except NoData as nothing:
            log.debug("source %s: %s", self.source.name, nothing)
            self._forget("device_gone")
        except Exception as error:
            self._blame(error)
            delay = min(2.0**self._failures, RETRY_SECONDS)
            self._failures += 1
        else:
            self._failures, delay = 0, 0.0
        self.tried = True
        return delay

    def _adopt(self, devices: Sequence[Device]) -> None:
        """Take the devices that were found; one that was known before keeps its meter."""
        with self._lock:
            known = self._meters
            gone = self._gaps("device_gone", set(known).difference(d.key for d in devices))
            self._meters = {d.key: self._meter(d, known.get(d.key)) for d in devices}
            self._publish(())
        self._discovered, self.absent = True, False
        self._emit(Batch(devices=tuple(devices), ticks=tuple(gone)))
        self._telemetry.set("wattshed_source_devices", len(devices), self.source.name)
        log.info("source %s: devices: %d", self.source.name, len(devices))

    def _meter(self, device: Device, known: Meter | None) -> Meter:
        if known is not None:
            known.device = device
            return known
        return Meter(device, max(1, round(self.source.interval_seconds * 1000)), self._boot_ms)

    def _forget(self, reason: str) -> None:
        """Have nothing to read, without that being a fault."""
        with self._lock:
            gone = self._gaps(reason, self._meters)
            self._meters = {}
            self.snapshot = Snapshot()
        self.absent, self.up, self._discovered = True, False, False
        if gone:
            self._emit(Batch(ticks=tuple(gone)))
            self._telemetry.set("wattshed_source_up", 0, self.source.name)
            self._telemetry.set("wattshed_source_devices", 0, self.source.name)

    def _read(self) -> float | None:
        self._telemetry.add("wattshed_source_reads_total", 1, self.source.name)
        try:
            sample = self._timed(self.source.read)
            self._use(sample)
        except DevicesChanged as change:
            log.info("source %s: %s", self.source.name, change)
            self._telemetry.add("wattshed_source_errors_total", 1, self.source.name, change.reason)
            self._discovered = self._more = False
            return self._discover() or self._until_next()
        except Exception as error:
            self._more = False
            self._blame(error)
            return self._until_next()
        self._more, self.finished = sample.more, sample.finished
        if self.finished:
            return None
        return 0.0 if sample.more else self._until_next()

    def _use(self, sample: Sample) -> None:
        with self._lock:
            ticks = self._feed(sample.readings)
            self._publish(ticks, sample.details)
            rejected = self._rejected()
        for reason, count in (*rejected.items(), *sample.rejected.items()):
            self._telemetry.add("wattshed_source_errors_total", count, self.source.name, reason)
        self._emit(
            Batch(
                ticks=tuple(ticks),
                details=tuple(sample.details),
                workloads=tuple(sample.workloads),
                allocations=tuple(sample.allocations),
                outcomes=tuple(sample.outcomes),
            )
        )
        self.reads += 1
        self.up = True
        self._telemetry.set("wattshed_source_up", 1, self.source.name)
        if self._trouble:
            log.info("source %s: reads again", self.source.name)
            self._trouble = ""

    def _feed(self, readings: Iterable[Reading]) -> list[Tick]:
        ticks = []
        for reading in readings:
            meter = self._meters.get(reading.device)
            tick = meter.feed(reading) if meter is not None else None
            if tick is not None:
                ticks.append(tick)
            elif meter is None:
                name = self.source.name
                self._telemetry.add("wattshed_source_errors_total", 1, name, "unknown_device")
        return ticks

    def _rejected(self) -> dict[str, int]:
        total: dict[str, int] = {}
        for meter in self._meters.values():
            for reason, count in meter.rejected.items():
                total[reason] = total.get(reason, 0) + count
            meter.rejected.clear()
        return total

    def _gaps(self, reason: str, keys: Iterable[str]) -> list[Tick]:
        now_ms = self._clock.now_ms()
        ticks = self._feed([Reading(key, now_ms, gap=reason) for key in keys])
        self._publish(ticks)
        return ticks

    def _publish(self, ticks: Iterable[Tick], told: Iterable[Detail] = ()) -> None:
        details = {k: d for k, d in self.snapshot.details.items() if k[1] in self._meters}
        details.update(((d.metric, d.device, d.attributes), d) for d in told)
        latest = {k: t for k, t in self.snapshot.ticks.items() if k in self._meters}
        latest.update((tick.device, tick) for tick in ticks)
        unknown = {
            (key, reason): ms / 1000
            for key, meter in self._meters.items()
            for reason, ms in meter.unknown_ms.items()
        }
        devices = tuple(meter.device for meter in self._meters.values())
        self.snapshot = Snapshot(devices, latest, unknown, details)

    def _blame(self, error: Exception) -> None:
        """Count an error of the source and turn its devices into gaps."""
        reason = error.reason if isinstance(error, SourceError) else "exception"
        if reason == "exception" and self._trouble != reason:
            log.error("source %s failed unexpectedly", self.source.name, exc_info=error)
        with self._lock:
            self._fail(reason, str(error))
            ticks = self._gaps(reason, self._meters)
        self._emit(Batch(ticks=tuple(ticks)))

    def _fail(self, reason: str, message: str) -> None:
        self.up, self.absent = False, False
        self._telemetry.set("wattshed_source_up", 0, self.source.name)
        self._telemetry.add("wattshed_source_errors_total", 1, self.source.name, reason)
        if self._trouble != reason:
            log.warning("source %s: %s: %s", self.source.name, reason, message)
            self._trouble = reason

    def _emit(self, batch: Batch) -> None:
        if not batch:
            return
        for output in self._outputs:
            try:
                output.put(batch)
            except Exception:
                log.exception("output %s failed", output.name)
                self._telemetry.handed_over(output.name, "dropped", len(batch.ticks))

    def _timed(self, call: Callable[[], T]) -> T:
        began = self._clock.monotonic()
        with self._lock:
            self._began, self._overdue = began, False
        try:
            return call()
        finally:
            took = self._clock.monotonic() - began
            with self._lock:
                self._began = None
            self._telemetry.add("wattshed_source_read_seconds_total", took, self.source.name)

    def _until_next(self) -> float:
        """Return the seconds until the next beat; beats that were missed are left out."""
        interval, now = self.source.interval_seconds, self._clock.monotonic()
        beat = now if self._due is None else self._due
        self._due = beat + interval * max(1, math.ceil((now - beat) / interval))
        return max(0.0, self._due - now)


class Sampler:
    """All sources of one exporter.

    Args:
        sources: what to read.
        outputs: who gets the ticks.
        config: for the deadline.
        telemetry: where health is counted.
        fallbacks: sources that are read only while no other one measures the host.
        boot_ms: when this machine started.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        outputs: Sequence[Output],
        config: Config,
        telemetry: Telemetry,
        *,
        fallbacks: Sequence[Source] = (),
        boot_ms: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        used = clock or Clock()
        workers = [
            Worker(source, config, outputs, telemetry, used, boot_ms)
            for source in (*sources, *fallbacks)
        ]
        self._primary, spare = workers[: len(sources)], workers[len(sources) :]
        for worker in spare:
            worker.standby = self._rest
        self.workers = workers

    def run(self, wait: Wait) -> None:
        """Read until ``wait`` says to stop or every source has finished; each closes itself."""
        stop = threading.Event()
        threads = [
            threading.Thread(target=w.run, args=(stop,), name=w.source.name, daemon=True)
            for w in self.workers
        ]
        for thread in threads:
            thread.start()
        while not wait(POLL_SECONDS) and not self.finished:
            for worker in self.workers:
                worker.watch()
        stop.set()
        until = time.monotonic() + CLOSE_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    @property
    def finished(self) -> bool:
        return all(worker.finished for worker in self.workers)

    def settled(self, reads: int) -> bool:
        """Return whether every source has read so often, or has nothing to read."""
        return all(w.finished or w.reads >= reads or w.idle for w in self.workers)

    def snapshot(self) -> Snapshot:
        """Return the latest of all sources; of two devices with one key the first counts."""
        parts = [worker.snapshot for worker in self.workers]
        devices: dict[str, Device] = {}
        ticks: dict[str, Tick] = {}
        unknown: dict[tuple[str, str], float] = {}
        details: dict[tuple[str, str, tuple[str, ...]], Detail] = {}
        for part in reversed(parts):
            ticks.update(part.ticks)
            details.update(part.details)
            unknown.update(part.unknown_seconds)
        for part in parts:
            for device in part.devices:
                devices.setdefault(device.key, device)
        return Snapshot(tuple(devices.values()), ticks, unknown, details)

    def health(self) -> Mapping[str, bool]:
        """Return for each source that is here whether it reads in time."""
        return {w.source.name: w.up for w in self.workers if not w.absent}

    def _rest(self) -> float | None:
        """Return how long a fallback rests: the others come first."""
        if not all(worker.tried for worker in self._primary):
            return SOON_SECONDS
        return RETRY_SECONDS if any(w.measures_host for w in self._primary) else None
