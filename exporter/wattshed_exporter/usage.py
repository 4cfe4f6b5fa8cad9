"""What processes and MIG instances use of devices, gathered from reading to reading for the rounds.

Sources read processes more often than anybody asks who they belong to; what each used between two
rounds is the mean over the readings in between.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from .model import Instance, ProcessUse
from .sources import Sample


class Usage:
    """Takes samples from the threads of the sources, and is asked once a round.

    Args:
        fresh_seconds: how long what was read is passed on where nothing newer came.
    """

    def __init__(self, fresh_seconds: float = 60.0) -> None:
        self._fresh_ms = fresh_seconds * 1000
        self._lock = threading.Lock()
        self._readings: dict[str, list[dict[int, ProcessUse]]] = {}
        """For each device the uses by process of its latest readings."""
        self._passed_on: set[str] = set()
        self._read_ms: dict[str, int] = {}
        self._instances: dict[str, tuple[Instance, ...]] = {}

    def take(self, source: str, sample: Sample) -> None:
        """Remember what a sample says of processes and instances, if it does."""
        if sample.processes is None and sample.instances is None:
            return
        with self._lock:
            if sample.instances is not None:
                self._instances[source] = tuple(sample.instances)
            if sample.processes is not None:
                read = {r.device: r.ts_ms for r in sample.readings if not r.gap}
                self._take(read, sample.processes)

    def since_last(
        self, now_ms: int
    ) -> tuple[tuple[ProcessUse, ...], frozenset[str], tuple[Instance, ...]]:
        """Return what processes used since the last call, of which devices, and the instances."""
        with self._lock:
            for device in [d for d, ms in self._read_ms.items() if abs(now_ms - ms) > self._fresh_ms]:
                del self._read_ms[device], self._readings[device]
            self._passed_on = set(self._readings)
            uses = [u for readings in self._readings.values() for u in _means(readings)]
            fresh = (i for told in self._instances.values() for i in told)
            instances = tuple(i for i in fresh if abs(now_ms - i.ts_ms) <= self._fresh_ms)
            return tuple(uses), frozenset(self._readings), instances

    def _take(self, read: dict[str, int], processes: Iterable[ProcessUse]) -> None:
        uses: dict[str, dict[int, ProcessUse]] = {device: {} for device in read}
        for use in processes:
            if use.device in uses:
                uses[use.device][use.pid] = use
        for device, ts_ms in read.items():
            if device in self._passed_on:
                self._passed_on.discard(device)
                self._readings[device] = []
            self._readings.setdefault(device, []).append(uses[device])
            self._read_ms[device] = ts_ms


def _means(readings: list[dict[int, ProcessUse]]) -> Iterable[ProcessUse]:
    """Yield what each process used on average; in a reading that it is not in, it used nothing."""
    latest: dict[int, ProcessUse] = {}
    for reading in readings:
        latest.update(reading)
    for pid, use in latest.items():
        told = [reading[pid].sm_ratio for reading in readings if pid in reading]
        known = [ratio for ratio in told if ratio is not None]
        mean = sum(known) / len(readings) if len(known) == len(told) else None
        yield ProcessUse(use.device, pid, use.ts_ms, mean, use.memory_used_bytes)
