"""The round in which every plug-in is asked who holds what, in a thread of its own.

A plug-in that fails, hangs or finds nothing to ask leaves the others alone. One that fails is
believed for three more rounds, because a kubelet that restarts has not taken anybody's device away.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from wattshed_exporter.activity import Holdings
from wattshed_exporter.errors import NoData, SourceError
from wattshed_exporter.model import Batch, Device, Workload
from wattshed_exporter.outputs import Output
from wattshed_exporter.telemetry import Telemetry
from wattshed_exporter.usage import Usage
from wattshed_exporter.worker import RETRY_SECONDS, Clock

from . import Allocator, Meters, Told
from .combine import combine
from .tenure import Tenure

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

log = logging.getLogger(__name__)
T = TypeVar("T")

BELIEVED_ROUNDS = 3
"""Rounds for which a plug-in that fails is believed to mean what it said last."""
TELL_SECONDS = 600.0
"""Time after which a workload is told again, for a collector that has lost it."""
CLOSE_SECONDS = 0.3
NEAR_MS = 500
"""A round that is no further from its beat than this counts as being on it."""
FIRST_SECONDS = 1.0
"""Time before the first round, in which sources find their devices."""


class Late(Exception):
    """A call that did not come back in time, and may still be under way."""


class Caller:
    """Calls what may hang, in a thread of its own that is given up where it does."""

    def __init__(self) -> None:
        self._thread: _Line | None = None

    def __call__(self, call: Callable[[], T], seconds: float) -> T:
        """Return what the call does; ``Late`` where it takes longer, and it goes on alone."""
        thread = self._thread or _Line()
        self._thread = None
        done = thread.ask(call)
        if not done.wait(seconds):
            thread.end()
            raise Late
        self._thread = thread
        if thread.error is not None:
            raise thread.error
        return thread.result  # type: ignore[return-value]

    def close(self) -> None:
        if self._thread is not None:
            self._thread.end()


class _Line:
    """One thread that does one thing after another."""

    def __init__(self) -> None:
        self.result: object = None
        self.error: Exception | None = None
        self._bell = threading.Semaphore(0)
        self._call: Callable[[], object] | None = None
        self._done = threading.Event()
        threading.Thread(target=self._run, name="allocations-call", daemon=True).start()

    def ask(self, call: Callable[[], object]) -> threading.Event:
        self._call, self._done = call, threading.Event()
        self.result = self.error = None
        self._bell.release()
        return self._done

    def end(self) -> None:
        self._call = None
        self._bell.release()

    def _run(self) -> None:
        while True:
            self._bell.acquire()
            call, done = self._call, self._done
            if call is None:
                return
            try:
                self.result = call()
            except Exception as error:
                self.error = error
            done.set()


class Beat:
    """The multiples of an interval on the clock of the wall, so that rounds fall on full minutes.

    Where the interval divides a minute, that is: the ledger works by minutes.
    """

    def __init__(self, interval_seconds: float) -> None:
        self._interval_ms = max(1, round(interval_seconds * 1000))
        self._near_ms = min(NEAR_MS, self._interval_ms // 10)

    def nearest(self, now_ms: int) -> int:
        """Return the beat that a time is near, else the time itself."""
        past_ms = (now_ms + self._near_ms) % self._interval_ms - self._near_ms
        return now_ms - past_ms if past_ms <= self._near_ms else now_ms

    def seconds_from(self, now_ms: int) -> float:
        """Return the seconds to the next beat; one that is near has been."""
        wait_ms = self._interval_ms - now_ms % self._interval_ms
        return (wait_ms + (self._interval_ms if wait_ms <= self._near_ms else 0)) / 1000


@dataclass(slots=True)
class _PlugIn:
    """One plug-in and how it is doing."""

    allocator: Allocator
    told: Told = field(default_factory=Told)
    failures: int = 0
    ask_at: float = float("-inf")
    trouble: str = ""
    busy: bool = False
    up: bool | None = None


class Rounds:
    """Asks all plug-ins once a round, and hands on what they say together.

    ``step`` does one round, so that tests need no thread.

    Args:
        allocators: whom to ask, in the order in which they count.
        config: names of this machine, time between rounds, deadline, folder of what is kept.
        devices: the devices that there are now.
        usage: what processes and instances used since the last round.
        outputs: who gets workloads and allocations.
        holdings: who else wants to know that a device is held.
        settle: called after each round with the time up to which all allocations are told.
        call: calls what may hang, with a deadline in seconds; raises ``Late``.
    """

    def __init__(
        self,
        allocators: Sequence[Allocator],
        config: Config,
        devices: Callable[[], Sequence[Device]],
        usage: Usage,
        outputs: Sequence[Output],
        holdings: Holdings,
        telemetry: Telemetry,
        *,
        settle: Callable[[int], None] = lambda until_ms: None,
        clock: Clock | None = None,
        call: Callable[[Callable[[], Told], float], Told] | None = None,
    ) -> None:
        self._plug_ins = [_PlugIn(allocator) for allocator in allocators]
        self._config = config
        self._devices = devices
        self._usage = usage
        self._outputs = outputs
        self._holdings = holdings
        self._telemetry = telemetry
        self._settle = settle
        self._clock = clock or Clock()
        self._caller = Caller()
        self._call = call or self._caller
        self._tenure = Tenure(
            config.state_dir / "allocations.json" if config.state_dir else None,
            round(config.allocations.longest_window_seconds * 1000),
        )
        self._beat = Beat(config.allocations.interval_seconds)
        self._told: dict[str, tuple[Workload, float]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="allocations", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End after the present round, keep what goes on, and give back every handle."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)
        self._emit(Batch(allocations=tuple(self._tenure.end())))
        self._tenure.save()
        self._caller.close()
        for plug_in in self._plug_ins:
            with suppress(Exception):
                plug_in.allocator.close()

    def step(self) -> float:
        """Do one round; return the seconds until the next."""
        now_ms = self._beat.nearest(self._clock.now_ms())
        devices = {device.key: device for device in self._devices()}
        if not devices:
            self._settle(self._tenure.known_ms(now_ms))
            return self._until_next()
        processes, asked, instances = self._usage.since_last(now_ms)
        meters = Meters(now_ms, devices, instances, processes, asked)
        for plug_in in self._plug_ins:
            self._ask(plug_in, meters)
        if self._stop.is_set():
            # What goes on may have been kept for the next start by now.
            return 0.0
        said = [(p.allocator.name, p.told) for p in self._plug_ins]
        combined = combine(said, meters, self._config.node, self._config.cluster)
        for (name, reason), count in combined.rejected.items():
            self._count(name, reason, count)
        allocations = self._tenure.round(now_ms, combined.held)
        self._holdings.take([*allocations, *self._tenure.going_on()])
        self._emit(Batch(workloads=self._news(combined.workloads), allocations=tuple(allocations)))
        self._settle(self._tenure.known_ms(now_ms))
        return self._until_next()

    def _run(self) -> None:
        wait = FIRST_SECONDS
        while not self._stop.wait(wait):
            try:
                wait = self.step()
            except Exception:
                log.exception("a round of allocations failed unexpectedly; the next one follows")
                wait = self._until_next()

    def _ask(self, plug_in: _PlugIn, meters: Meters) -> None:
        """Ask one plug-in, unless it is still busy or it is too early to try again."""
        name, began = plug_in.allocator.name, self._clock.monotonic()
        if began < plug_in.ask_at:
            return
        if plug_in.busy:
            self._failed(plug_in, "deadline", "still no answer")
            return
        self._telemetry.add("wattshed_source_reads_total", 1, name)

        def read() -> Told:
            plug_in.busy = True
            try:
                return plug_in.allocator.read(meters)
            finally:
                plug_in.busy = False

        try:
            told = self._call(read, self._config.deadline_seconds)
        except Late:
            seconds = self._config.deadline_seconds
            self._failed(plug_in, "deadline", f"no answer within {seconds:g} s")
        except NoData as nothing:
            self._absent(plug_in, str(nothing))
        except SourceError as error:
            self._failed(plug_in, error.reason, str(error))
        except Exception as error:
            if plug_in.trouble != "exception":
                log.error("allocations by %s failed unexpectedly", name, exc_info=error)
            self._failed(plug_in, "exception", str(error))
        else:
            self._succeeded(plug_in, told)
        took = self._clock.monotonic() - began
        self._telemetry.add("wattshed_source_read_seconds_total", took, name)

    def _succeeded(self, plug_in: _PlugIn, told: Told) -> None:
        plug_in.told, plug_in.failures = told, 0
        for reason, count in told.rejected.items():
            self._count(plug_in.allocator.name, reason, count)
        if plug_in.trouble:
            log.info("allocations by %s: reads again", plug_in.allocator.name)
            plug_in.trouble = ""
        self._tell_up(plug_in, True)

    def _absent(self, plug_in: _PlugIn, why: str) -> None:
        """Have nothing to ask, without that being a fault; try again in a while."""
        log.debug("allocations by %s: %s", plug_in.allocator.name, why)
        plug_in.told, plug_in.failures, plug_in.trouble = Told(), 0, ""
        plug_in.ask_at = self._clock.monotonic() + RETRY_SECONDS
        self._tell_up(plug_in, None)

    def _failed(self, plug_in: _PlugIn, reason: str, message: str) -> None:
        name = plug_in.allocator.name
        plug_in.failures += 1
        if plug_in.failures > BELIEVED_ROUNDS:
            plug_in.told = Told()
        self._count(name, reason)
        if plug_in.trouble != reason:
            log.warning("allocations by %s: %s: %s", name, reason, message)
            plug_in.trouble = reason
        self._tell_up(plug_in, False)

    def _tell_up(self, plug_in: _PlugIn, up: bool | None) -> None:
        if up is plug_in.up:
            return
        plug_in.up = up
        if up is None:
            self._telemetry.clear("wattshed_source_up", plug_in.allocator.name)
        else:
            self._telemetry.set("wattshed_source_up", float(up), plug_in.allocator.name)

    def _count(self, name: str, reason: str, count: int = 1) -> None:
        self._telemetry.add("wattshed_source_errors_total", count, name, reason)

    def _news(self, workloads: Sequence[Workload]) -> tuple[Workload, ...]:
        """Return the workloads that are new, changed, or were told long ago."""
        now = self._clock.monotonic()
        known, self._told = self._told, {}
        news = []
        for workload in workloads:
            last, at = known.get(workload.key, (None, now))
            if last != workload or now - at >= TELL_SECONDS:
                news.append(workload)
                at = now
            self._told[workload.key] = workload, at
        return tuple(news)

    def _emit(self, batch: Batch) -> None:
        if not batch:
            return
        for output in self._outputs:
            try:
                output.put(batch)
            except Exception:
                log.exception("output %s failed", output.name)

    def _until_next(self) -> float:
        """Return the seconds until the next beat; beats that were missed are left out."""
        return self._beat.seconds_from(self._clock.now_ms())
