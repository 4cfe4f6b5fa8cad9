"""What processes and MIG instances use of devices, gathered from reading to reading for the rounds.

Sources read processes more often than anybody asks who they belong to; what each used between two
rounds is the mean over the readings in between.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from .model import Instance, ProcessUse
from .sources import Sample

MOST_READINGS = 64
"""Readings that are kept: where nobody asks, the oldest go."""

_Uses = dict[tuple[str, int], ProcessUse]
"""By device, or MIG instance, and process."""


@dataclass(slots=True)
class _Read:
    """What one source has read since the last round."""

    readings: deque[_Uses] = field(default_factory=lambda: deque(maxlen=MOST_READINGS))
    asked: frozenset[str] = frozenset()
    ts_ms: int = 0
    is_passed_on: bool = False


class Usage:
    """Takes samples from the threads of the sources, and is asked once a round.

    Args:
        fresh_seconds: how long what was read is passed on where nothing newer came.
    """

    def __init__(self, fresh_seconds: float = 60.0) -> None:
        self._fresh_ms = fresh_seconds * 1000
        self._lock = threading.Lock()
        self._read: dict[str, _Read] = {}
        self._instances: dict[str, tuple[Instance, ...]] = {}

    def take(self, source: str, sample: Sample) -> None:
        """Remember what a sample says of processes and instances, if it does."""
        if sample.processes is None and sample.instances is None:
            return
        with self._lock:
            if sample.instances is not None:
                self._instances[source] = tuple(sample.instances)
            if sample.processes is not None:
                self._take(self._read.setdefault(source, _Read()), sample, sample.processes)
            else:
                self._read.pop(source, None)

    def since_last(
        self, now_ms: int
    ) -> tuple[tuple[ProcessUse, ...], frozenset[str], tuple[Instance, ...]]:
        """Return what processes used since the last call, of which devices, and the instances.

        The devices are those all of whose processes are known; of a board in MIG mode it is only
        known in which instance each runs.
        """
        with self._lock:
            for read in self._read.values():
                read.is_passed_on = True
            fresh = [r for r in self._read.values() if abs(now_ms - r.ts_ms) <= self._fresh_ms]
            told = (i for instances in self._instances.values() for i in instances)
            instances = tuple(i for i in told if abs(now_ms - i.ts_ms) <= self._fresh_ms)
            asked = frozenset().union(*(r.asked for r in fresh))
            uses = tuple(use for r in fresh for use in _means(r.readings))
            return uses, asked.difference(i.device for i in instances), instances

    def _take(self, read: _Read, sample: Sample, processes: Sequence[ProcessUse]) -> None:
        if read.is_passed_on:
            read.readings.clear()
            read.is_passed_on = False
        silent = {reading.device for reading in sample.readings if reading.gap}
        read.asked = frozenset(r.device for r in sample.readings).difference(silent)
        read.ts_ms = max((r.ts_ms for r in sample.readings), default=read.ts_ms)
        read.readings.append({(u.device, u.pid): u for u in processes if u.device not in silent})


def _means(readings: Collection[_Uses]) -> Iterable[ProcessUse]:
    """Yield what each process used on average; in a reading that it is not in, it used nothing."""
    latest: _Uses = {}
    for reading in readings:
        latest.update(reading)
    for place, use in latest.items():
        told = [reading[place].sm_ratio for reading in readings if place in reading]
        known = [ratio for ratio in told if ratio is not None]
        mean = sum(known) / len(readings) if len(known) == len(told) else None
        yield ProcessUse(use.device, use.pid, use.ts_ms, mean, use.memory_used_bytes)
