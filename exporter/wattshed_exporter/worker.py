"""Drives one source: reads it on time, and hands what it says to the outputs and to whoever pulls.

A source may hang, fail, vanish or come back; the others do not notice. A read that takes longer
than the deadline turns its devices into gaps until it returns, and what it returns is still used.
What can be pulled is replaced after each read and never changed, so that nobody waits for a lock;
what did not change stays the same object, so that whoever renders it can see that.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeVar

from .activity import Activity, Holdings
from .baseline import Baselines
from .config import Config
from .errors import DevicesChanged, NoData, SourceError
from .guards import ClockWatch
from .integrate import Meter
from .model import Batch, Detail, Device, Kind, Reading, Tick
from .outputs import Output, Snapshot
from .sources import METERS, Sample, Source
from .split import GAP_INTERVALS
from .telemetry import Telemetry
from .usage import Usage

log = logging.getLogger(__name__)
T = TypeVar("T")

RETRY_SECONDS = 60.0
"""Longest time between two tries to discover the devices of a source."""
SOON_SECONDS = 0.05
DETAIL_ROUNDS = 3
"""Rounds of details after which one that is not said again is no longer true."""
BOTH_SECONDS, BOTH_TRIES = 0.1, 5
EXPECTED = frozenset({"suspended", "not_discharging", "export", "first_read", "no_interval"})
"""Why a device says nothing although it is read well."""
HOST_KINDS = frozenset({Kind.CPU, Kind.HOST, Kind.MODULE, Kind.BOARD})
"""Kinds that measure the CPU, so that nothing has to be estimated."""


DETAIL_KEY = attrgetter("metric", "device", "attributes")
DetailKey = tuple[str, str, tuple[str, ...]]
"""Metric, device and the values of the metric's own labels."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The time of day in milliseconds, and a clock for intervals in seconds."""

    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    monotonic: Callable[[], float] = time.monotonic

    def both(self) -> tuple[int, float]:
        """Return both at one instant: again, where the process was held up in between."""
        now_ms, monotonic = 0, self.monotonic()
        for _ in range(BOTH_TRIES):
            since, now_ms, monotonic = monotonic, self.now_ms(), self.monotonic()
            if monotonic - since < BOTH_SECONDS:
                break
        return now_ms, monotonic


class Worker:
    """Drives one source. ``step`` and ``watch`` do one thing each, so that tests need no thread.

    ``snapshot`` is what the source has last read; it is replaced, never changed. ``tried`` says
    that discovery has come to an end once, ``absent`` that there is nothing to read here, and
    ``released`` that the source has given back its handles for a while.
    """

    def __init__(
        self,
        source: Source,
        config: Config,
        outputs: Sequence[Output],
        telemetry: Telemetry,
        clock: Clock,
        baselines: Baselines | None = None,
        holdings: Holdings | None = None,
        boot_ms: int | None = None,
        usage: Usage | None = None,
    ) -> None:
        self.source = source
        self.standby: Callable[[], float | None] = lambda: None
        self.snapshot = Snapshot()
        self.tried = self.absent = self.up = self.finished = self.released = False
        self.reads = 0
        self._config = config
        self._outputs = outputs
        self._telemetry = telemetry
        self._count_read = telemetry.counter("wattshed_source_reads_total", source.name)
        self._count_seconds = telemetry.counter("wattshed_source_read_seconds_total", source.name)
        self._clock = clock
        self._baselines = baselines or Baselines(None, config.idle.window_seconds)
        self._holdings = holdings or Holdings()
        self._usage = usage or Usage()
        # Only a meter of this machine starts with it; a recording may be of any machine.
        self._boot_ms = boot_ms if source.name in METERS else None
        self._meters: dict[str, Meter] = {}
        self._activities: dict[str, Activity] = {}
        self._watch = ClockWatch()
        self._discovered = self._more = self._overdue = self._stopped = False
        self._up_told: bool | None = None
        self._lock = threading.Lock()
        self._bell = threading.Lock()
        self._bell.acquire()
        self._began: float | None = None
        self._due: float | None = None
        self._released_until: float | None = None
        self._next_gap = self._next_details = self._next_expiry = 0.0
        self._told_at: dict[DetailKey, float] = {}
        self._silent = 0
        self._failures = 0
        self._trouble = ""

    @property
    def measures_host(self) -> bool:
        return any(device.kind in HOST_KINDS for device in self.snapshot.devices)

    @property
    def idle(self) -> bool:
        """Whether it was found that there is nothing to read, or nothing that can be read."""
        return self.tried and (self.absent or bool(self._trouble))

    def run(self) -> None:
        """Step until stopped or finished, then close the source.

        That is done in this thread, because a driver that hangs may hold up its closing as well.
        """
        while not self._stopped:
            delay = self.step()
            if delay is None:
                break
            if delay > 0:
                # A lock, because an event makes another one for each wait.
                self._bell.acquire(timeout=delay)
        self.close()

    def stop(self) -> None:
        """Let ``run`` end; called from another thread, as are the next two."""
        self._stopped = True
        self._ring()

    def release(self, seconds: float) -> None:
        """Let the source give back its handles, at the next step and for at most so long."""
        self._released_until = self._clock.monotonic() + seconds
        self._ring()

    def resume(self) -> None:
        """Take a released source up again, at the next step."""
        if self._released_until is not None:
            self._released_until = self._clock.monotonic()
            self._ring()

    def _ring(self) -> None:
        """End the present wait of ``run``, or the next one, early."""
        with suppress(RuntimeError):  # it rings already
            self._bell.release()

    def step(self) -> float | None:
        """Discover or read once; return the seconds until the next step, None for never."""
        if self.finished:
            return None
        if self._released_until is not None:
            return self._stay_released(self._released_until)
        rest = self.standby()
        if rest is not None:
            self._forget("superseded")
            self.tried = rest >= RETRY_SECONDS
            return rest
        if not self._discovered:
            return self._discover()
        if self._more and not all(output.ready() for output in self._outputs):
            return SOON_SECONDS
        return self._read()

    def watch(self) -> float:
        """Turn the devices of a source that hangs into gaps; called from another thread.

        Returns the seconds until there may be something to do again.
        """
        ticks: list[Tick] = []
        deadline = self._config.deadline_seconds
        with self._lock:
            now = self._clock.monotonic()
            if self._began is None:
                return deadline
            if now - self._began <= deadline:
                return deadline - (now - self._began)
            self.tried = True
            if not self._overdue:
                self._overdue, self._next_gap = True, now
                self._fail("deadline", f"no answer within {deadline:g} s")
            if now >= self._next_gap:
                self._next_gap = now + self.source.interval_seconds
                ticks = self._gaps("deadline", self._meters)
            pause = self._next_gap - now
        self._emit(Batch(ticks=tuple(ticks)))
        return pause

    def close(self) -> None:
        """Give back the handles of the source."""
        try:
            self.source.close()
        except Exception:
            log.exception("source %s cannot be closed", self.source.name)

    def _stay_released(self, until: float) -> float:
        """Let go, or take up again; return the seconds until the next step."""
        if not self.released:
            self.released, self._discovered, self._more = True, False, False
            with self._lock:
                ticks = self._gaps("released", self._meters)
            self._emit(Batch(ticks=tuple(ticks)))
            if not self.absent:
                self._tell_up(False)
            self._timed(self.close)  # last, and watched, because a driver may hang in it
            log.info("source %s: released", self.source.name)
        left = until - self._clock.monotonic()
        if left > 0:
            return left
        self._released_until, self.released = None, False
        log.info("source %s: taken up again", self.source.name)
        return 0.0

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
            self._activities = {d.key: self._activity(d) for d in devices}
            self._baselines.let_go(set(known).difference(self._meters))
            self._publish_anew()
        self._discovered, self.absent = True, False
        self._emit(Batch(devices=tuple(devices), ticks=tuple(gone)))
        self._telemetry.set("wattshed_source_devices", len(devices), self.source.name)
        log.info("source %s: devices: %d", self.source.name, len(devices))

    def _meter(self, device: Device, known: Meter | None) -> Meter:
        if known is not None:
            known.adopt(device)
            return known
        return Meter(device, max(1, round(self.source.interval_seconds * 1000)), self._boot_ms)

    def _activity(self, device: Device) -> Activity:
        known = self._activities.get(device.key)
        if known is not None:
            known.adopt(device)
            return known
        baseline = self._baselines.of(device.key)
        return Activity(device, self._config.idle, baseline, self._holdings)

    def _forget(self, reason: str) -> None:
        """Have nothing to read, without that being a fault."""
        with self._lock:
            gone = self._gaps(reason, self._meters)
            self._baselines.let_go(self._meters)
            self._meters, self._activities = {}, {}
            self._told_at.clear()
            self.snapshot = Snapshot()
        self.absent, self.up, self._discovered = True, False, False
        if gone:
            self._emit(Batch(ticks=tuple(gone)))
            self._telemetry.set("wattshed_source_devices", 0, self.source.name)
        if self._up_told is not None:
            self._up_told = None
            self._telemetry.clear("wattshed_source_up", self.source.name)

    def _read(self) -> float | None:
        self._count_read(1)
        try:
            sample = self._timed(self.source.read, self._count_seconds)
            self._use(sample)
        except DevicesChanged as change:
            log.info("source %s: %s", self.source.name, change)
            self._count(change.reason)
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
        if sample.allocations:
            self._holdings.take(sample.allocations)
        self._usage.take(self.source.name, sample)
        for reason, count in sample.rejected.items():
            self._count(reason, count)
        with self._lock:
            ticks, refused = self._feed(sample.readings)
            if sample.details:
                now = self._clock.monotonic()
                self._told_at.update(dict.fromkeys(map(DETAIL_KEY, sample.details), now))
            details = self._details(sample)
            self._publish(ticks, details)
        if self._outputs:
            self._emit(
                Batch(
                    ticks=tuple(ticks),
                    details=tuple(details),
                    workloads=tuple(sample.workloads),
                    allocations=tuple(sample.allocations),
                    outcomes=tuple(sample.outcomes),
                )
            )
        self.reads += 1
        if refused and any(m.refused >= GAP_INTERVALS for m in self._meters.values()):
            self._stuck()
            return
        if self._says_nothing(ticks):
            return
        self._tell_up(True)
        if self._trouble:
            log.info("source %s: reads again", self.source.name)
            self._trouble = ""

    def _says_nothing(self, ticks: Sequence[Tick]) -> bool:
        """Return whether every device has been a gap for some reads, and not as it should be."""
        nothing = all(tick.gap and tick.power_watts is None for tick in ticks)
        reasons = {tick.gap for tick in ticks} - EXPECTED if nothing else ()
        if not reasons:
            self._silent = 0
            return False
        self._silent += 1
        if self._silent >= GAP_INTERVALS and self._trouble not in reasons:
            self._fail(min(reasons), "no device gives a reading")
        return self._silent >= GAP_INTERVALS

    def _stuck(self) -> None:
        """Say that the readings of a device are all older than what it has said before."""
        self._tell_up(False)
        if self._trouble != "out_of_order":
            log.warning("source %s: readings are refused until the clock catches up with the last",
                        self.source.name)  # fmt: skip
            self._trouble = "out_of_order"

    def _feed(self, readings: Iterable[Reading]) -> tuple[list[Tick], bool]:
        """Return the ticks of readings, and whether some were refused."""
        ticks, late = self._look_at_clock()
        refused = False
        meters, activities = self._meters, self._activities
        for reading in readings:
            key = reading.device
            meter = meters.get(key)
            if meter is None:
                self._count("unknown_device")
                continue
            if late and key in late:
                continue
            tick = meter.feed(reading)
            if meter.noted:
                ticks += self._note(key, meter)
            if tick is not None:
                ticks.append(tick)
                activities[key].feed(tick, reading)
            else:
                refused = True
        return ticks, refused

    def _look_at_clock(self) -> tuple[list[Tick], set[str]]:
        """Where the clock was set, return the gaps that it leaves and the devices of those gaps.

        Their readings are left out once, because some of them may be stamped before the step.
        """
        before_ms = self._watch.wall_ms
        now_ms, monotonic = self._clock.both()
        step_ms = self._watch.step_ms(now_ms, monotonic)
        if not step_ms:
            return [], set()
        self._count("clock_step")
        name = self.source.name
        log.warning("source %s: the clock was set by %+.1f s", name, step_ms / 1000)
        following = {k: m for k, m in self._meters.items() if m.follows(before_ms)}
        ticks = []
        for key, meter in following.items():
            tick = meter.clock_set(step_ms, now_ms)
            if tick is not None:
                ticks.append(tick)
                self._activities[key].clock_set(tick)
            if meter.noted:
                ticks += self._note(key, meter)
        return ticks, set(following)

    def _note(self, key: str, meter: Meter) -> list[Tick]:
        """Count what a meter did not believe; return the ticks that it takes back in part."""
        meter.noted = False
        for reason, count in meter.rejected.items():
            self._count(reason, count)
        meter.rejected.clear()
        unknown = {(key, reason): ms / 1000 for reason, ms in meter.unknown_ms.items()}
        old = self.snapshot
        if any(old.unknown_seconds.get(k) != seconds for k, seconds in unknown.items()):
            told = {**old.unknown_seconds, **unknown}
            self.snapshot = Snapshot(old.devices, old.ticks, told, old.details)
        amended, meter.amended = meter.amended, []
        if amended:
            self._activities[key].amend(amended)
        return amended

    def _details(self, sample: Sample) -> Sequence[Detail]:
        """Return the details that a source told and, when it is time, those learned here."""
        now = self._clock.monotonic()
        if now < self._next_details and not sample.finished:
            return sample.details
        self._next_details = now + self._config.detail_seconds
        details = list(sample.details)
        for key, activity in self._activities.items():
            details += activity.details()
            ratio, tick = self._meters[key].counter.ratio, self.snapshot.ticks.get(key)
            if ratio is not None and tick is not None:
                details.append(Detail(key, "wattshed_energy_agreement_ratio", tick.ts_ms, ratio))
        return details

    def _gaps(self, reason: str, keys: Iterable[str]) -> list[Tick]:
        now_ms = self._clock.now_ms()
        ticks, _ = self._feed([Reading(key, now_ms, gap=reason) for key in keys])
        self._publish(ticks, ())
        return ticks

    def _publish(self, ticks: Sequence[Tick], told: Sequence[Detail]) -> None:
        """Publish what is new; what is not stays the same object."""
        old = self.snapshot
        latest, details = old.ticks, old.details
        if ticks:
            latest = dict(latest)
            for tick in ticks:
                latest[tick.device] = tick
        if told:
            details = dict(details)
            for d in told:
                details[d.metric, d.device, d.attributes] = d
        self.snapshot = Snapshot(old.devices, latest, old.unknown_seconds, self._fresh(details))

    def _fresh(self, details: Mapping[DetailKey, Detail]) -> Mapping[DetailKey, Detail]:
        """Return the details without those that their source has long not said again.

        What was learned here is kept as long as the device, because nobody else knows better.
        """
        now = self._clock.monotonic()
        if now < self._next_expiry:
            return details
        round_seconds = max(self._config.detail_seconds, self.source.interval_seconds)
        self._next_expiry = now + round_seconds
        oldest = now - DETAIL_ROUNDS * round_seconds
        stale = [key for key, at in self._told_at.items() if at < oldest]
        for key in stale:
            del self._told_at[key]
        if details.keys().isdisjoint(stale):
            return details
        return {key: d for key, d in details.items() if key not in set(stale)}

    def _publish_anew(self) -> None:
        """Publish the devices there are now, and of the rest what is theirs."""
        old, known = self.snapshot, self._meters
        self.snapshot = Snapshot(
            tuple(meter.device for meter in known.values()),
            {k: t for k, t in old.ticks.items() if k in known},
            {k: s for k, s in old.unknown_seconds.items() if k[0] in known},
            {k: d for k, d in old.details.items() if k[1] in known},
        )

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
        self.absent = False
        self._tell_up(False)
        self._count(reason)
        if self._trouble != reason:
            log.warning("source %s: %s: %s", self.source.name, reason, message)
            self._trouble = reason

    def _tell_up(self, up: bool) -> None:
        self.up = up
        if up is not self._up_told:
            self._up_told = up
            self._telemetry.set("wattshed_source_up", float(up), self.source.name)

    def _count(self, reason: str, count: int = 1) -> None:
        self._telemetry.add("wattshed_source_errors_total", count, self.source.name, reason)

    def _emit(self, batch: Batch) -> None:
        if not batch:
            return
        for output in self._outputs:
            try:
                output.put(batch)
            except Exception:
                log.exception("output %s failed", output.name)
                self._telemetry.handed_over(output.name, "dropped", len(batch.ticks))

    def _timed(
        self, call: Callable[[], T], count: Callable[[float], None] = lambda seconds: None
    ) -> T:
        """Do what may hang under the eyes of ``watch``, and count its seconds."""
        began = self._clock.monotonic()
        with self._lock:
            self._began, self._overdue = began, False
        try:
            return call()
        finally:
            took = self._clock.monotonic() - began
            with self._lock:
                self._began = None
            count(took)

    def _until_next(self) -> float:
        """Return the seconds until the next beat; beats that were missed are left out."""
        interval, now = self.source.interval_seconds, self._clock.monotonic()
        beat = now if self._due is None else self._due
        self._due = beat + interval * max(1, math.ceil((now - beat) / interval))
        return max(0.0, self._due - now)
