"""All sources of one exporter: a thread for each, a watch over their deadlines, one snapshot."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from .activity import Holdings
from .baseline import Baselines
from .config import Config
from .model import Detail, Device, Tick
from .outputs import Output, Snapshot
from .sources import HOLDING_DRIVERS, MADE_UP, Source
from .telemetry import Telemetry
from .usage import Usage
from .worker import RETRY_SECONDS, SOON_SECONDS, Clock, Worker

CLOSE_SECONDS = 0.3
USAGE_ROUNDS = 3
"""Rounds of details for which what processes used is passed on where nothing newer comes."""
LEAST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.01, 5.0

Wait = Callable[[float], bool]
"""Waits so many seconds, or less; returns True when it is time to stop."""


class Sampler:
    """All sources of one exporter.

    Args:
        sources: what to read.
        outputs: who gets the ticks.
        config: for the deadline, the thresholds of idleness and the folder of what was learned.
        telemetry: where health is counted.
        fallbacks: sources that are read only while no other one measures the host.
        boot_ms: when this machine started.
        wake: ends the wait that ``run`` was given early; called when a source has finished.
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
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        used = clock or Clock()
        self.baselines = Baselines(config.state_dir, config.idle.window_seconds, used.now_ms)
        self.holdings = Holdings()
        self.usage = Usage(USAGE_ROUNDS * config.detail_seconds)
        self._release_seconds = config.release_seconds
        self._monotonic = used.monotonic
        self._wake = wake
        shared = self.baselines, self.holdings, boot_ms, self.usage
        workers = [
            Worker(source, config, outputs, telemetry, used, *shared)
            for source in (*sources, *fallbacks)
        ]
        self._primary, spare = workers[: len(sources)], workers[len(sources) :]
        for worker in spare:
            worker.standby = self._rest
        self.workers = workers

    def run(self, wait: Wait) -> None:
        """Read until ``wait`` says to stop or every source has finished; each closes itself."""
        threads = [
            threading.Thread(target=self._drive, args=(w,), name=w.source.name, daemon=True)
            for w in self.workers
        ]
        for thread in threads:
            thread.start()
        # A read that begins while this thread sleeps cannot be overdue before it wakes.
        while not wait(self._watch()) and not self.finished:
            self.baselines.save_if_due(self._monotonic())
        for worker in self.workers:
            worker.stop()
        until = time.monotonic() + CLOSE_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        self.baselines.save()

    def release(self) -> None:
        """Let sources that hold a driver give it back for a while, so that it can be unloaded."""
        for worker in self.workers:
            if worker.source.name in HOLDING_DRIVERS:
                worker.release(self._release_seconds)

    def resume(self) -> None:
        """Take up again what was released."""
        for worker in self.workers:
            worker.resume()

    def _drive(self, worker: Worker) -> None:
        worker.run()
        self._wake()

    def _watch(self) -> float:
        pause = min((worker.watch() for worker in self.workers), default=LONGEST_PAUSE_SECONDS)
        return max(LEAST_PAUSE_SECONDS, pause)

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

    def devices(self) -> list[Device]:
        """Return the devices of this machine: those of recordings may be of any, or of none."""
        here = [w for w in self.workers if w.source.name not in MADE_UP]
        return list({d.key: d for w in here for d in w.snapshot.devices}.values())

    def health(self) -> Mapping[str, bool]:
        """Return for each source that is here whether it reads in time."""
        return {w.source.name: w.up for w in self.workers if not w.absent}

    def _rest(self) -> float | None:
        """Return how long a fallback rests: the others come first."""
        if not all(worker.tried for worker in self._primary):
            return SOON_SECONDS
        return RETRY_SECONDS if any(w.measures_host for w in self._primary) else None
