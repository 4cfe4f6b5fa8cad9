"""Allocations out of scrapes: who holds a device from one scrape to the next, as few long rows.

What was said at one scrape holds until the next, at most ``MOST_INTERVALS`` intervals later; after
a longer silence nobody is known to hold anything. A workload that goes on having a device to itself
is one allocation that grows, begun anew at each full hour UTC; where a device is shared, each
window is its own, because activities belong to windows. A window that comes again is said again in
the same words, so a request that is repeated changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wattshed_exporter import semconv

from . import Point
from .dialect import Hold

HOUR_MS = 3_600_000
MOST_INTERVALS = 3
CACHE = 100_000


@dataclass(slots=True)
class Stretch:
    """One allocation as it was last said."""

    start_ms: int
    end_ms: int
    alone: bool


class Tenure:
    """Remembers the last two allocations of each holder of a device."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], list[Stretch]] = {}

    def learn(self, rows: Iterable[tuple[str, str, int, int, bool]]) -> None:
        """Take over what the store knows of recent allocations.

        A row is device, workload, start, end, and whether the workload had the device to itself.
        """
        for device, workload, start_ms, end_ms, alone in rows:
            self._held[device, workload] = [Stretch(start_ms, end_ms, alone)]

    def end_ms(self, device: str, workload: str) -> int | None:
        """Return until when a holder is known to have held a device."""
        known = self._held.get((device, workload))
        return known[-1].end_ms if known else None

    def points(self, hold: Hold) -> Iterator[Point]:
        """Yield the allocations that a window makes or makes longer."""
        for start_ms, end_ms in _hours(hold.start_ms, hold.end_ms):
            stretch = self._stretch(hold, start_ms, end_ms)
            told = {**hold.workload, "hw.id": hold.device}
            told[semconv.ALLOCATION_METHOD_ATTRIBUTE] = hold.method
            if hold.activity is not None:
                told[semconv.ALLOCATION_ACTIVITY_ATTRIBUTE] = hold.activity
            metric, unit = semconv.ALLOCATION.otel, semconv.ALLOCATION.unit
            yield Point(metric, unit, hold.share, stretch.end_ms, told, stretch.start_ms)

    def _stretch(self, hold: Hold, start_ms: int, end_ms: int) -> Stretch:
        known = self._held.pop((hold.device, hold.workload_key), [])
        self._held[hold.device, hold.workload_key] = known
        if len(self._held) > CACHE:
            del self._held[next(iter(self._held))]
        window = Stretch(start_ms, end_ms, hold.alone)
        for stretch in known:
            if stretch.start_ms <= start_ms and end_ms <= stretch.end_ms:
                return stretch if hold.alone and stretch.alone else window
        if known and end_ms <= known[-1].end_ms:
            return window
        grows = hold.alone and bool(known) and known[-1].alone and start_ms % HOUR_MS != 0
        if grows and known[-1].end_ms == start_ms:
            known[-1].end_ms = end_ms
            return known[-1]
        known.append(window)
        del known[:-2]
        return window


def _hours(start_ms: int, end_ms: int) -> Iterator[tuple[int, int]]:
    while start_ms < end_ms:
        until = min(end_ms, start_ms - start_ms % HOUR_MS + HOUR_MS)
        yield start_ms, until
        start_ms = until
