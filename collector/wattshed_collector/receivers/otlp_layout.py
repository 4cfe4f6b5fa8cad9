"""OTLP bodies whose layout is known: their numbers are gathered, and nothing is parsed.

All numbers of a data point are eight bytes wide, so two bodies of one sender that hold the same
series differ in nothing else. The first body of a layout is scanned; the bytes between the numbers
are kept, and a body that has the same ones at the same places is read by array operations. What is
odd in any way is parsed by the stock library and goes point by point, so that every way ends in
the same rows.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from wattshed_collector.normalise.facts import Normaliser
from wattshed_collector.normalise.foreign import Foreign
from wattshed_collector.normalise.otlp_scan import Scanner, Spots
from wattshed_collector.normalise.slots import Moved, Odd
from wattshed_collector.store.insert import Frame
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch

from .arrays import Floats, Tables, facts
from .grid import Places
from .otlp_decoding import Decoded, Decoder

RECEIVER = "otlp"
NANOS_PER_MS = 1_000_000
MOST_BYTES = 256 * 2**20
"""Of layouts that are kept."""
STALE_SECONDS = 120.0
"""A layout that was of use since then does not make room for another: of a circle of senders that
is a little too large, else none would find its own."""
MOST_ALIKE = 8
"""Layouts of one length and beginning."""
SEEN = 50_000
Key = tuple[int, bytes]
"""The length of a body and what stands before its first number."""


class Way(StrEnum):
    """How a body was read: the metric ``bodies_total`` counts each."""

    LAYOUT = "layout"
    SCANNED = "scanned"
    PARSED = "parsed"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a body says; ``newest_ms`` is the latest event time in it."""

    batch: Batch
    frames: tuple[Frame, ...]
    newest_ms: int


class Layout:
    """The series of a body, the places of their numbers and the bytes between those."""

    def __init__(self, body: bytes, spots: Spots) -> None:
        times = np.array(spots.times, np.intp)
        times_ms = (_words(body)[times] // NANOS_PER_MS).tolist()
        self.tables = Tables(spots.slots, times_ms)
        order = self.tables.order
        starts = np.array(spots.starts, np.intp)[order]
        begun = np.flatnonzero(starts)
        whole = np.zeros(len(order), np.bool_)
        whole[spots.integers] = True
        values = np.array(spots.values, np.intp)
        active = np.array([place for _, place in spots.activities], np.intp)
        self._count = len(order)
        self._begun = begun
        self._integers = np.flatnonzero(whole[order])
        self._places: Places = np.concatenate((times[order], values[order], starts[begun], active))
        back = {at: place for place, at in enumerate(order.tolist())}
        first_other = self._count - len(self.tables.others)
        self._activities = [back[at] - first_other for at, _ in spots.activities]
        self.first = int(self._places.min())
        """Where the first number stands."""
        self.constant = self._without_numbers(body)
        self.key: Key = (len(body), body[: self.first])
        self.size = len(body) + 150 * self._count
        self.used_at = 0.0

    def fits(self, body: bytes) -> bool:
        """Return whether a body of the same length differs in nothing but numbers."""
        return self._without_numbers(body) == self.constant

    def read(self, body: bytes, normaliser: Normaliser) -> Reading:
        """Return what a body that fits says. Raises Odd where its numbers do not."""
        count = self._count
        words = _words(body)[self._places]
        times_ms = (words[:count] // NANOS_PER_MS).view(np.int64)
        last_ms = int(np.maximum.reduce(times_ms))
        values = words[count : 2 * count].view(np.float64)
        if len(self._integers):
            values = values.copy()
            integers = words[count : 2 * count].view(np.int64)[self._integers]
            values[self._integers] = integers.astype(np.float64)
        begun = len(self._begun)
        starts_ms = np.zeros(count, np.int64)
        starts_ms[self._begun] = words[2 * count : 2 * count + begun] // NANOS_PER_MS
        activities = words[2 * count + begun :].view(np.float64)
        batch, frames = facts(
            self.tables, times_ms, values, starts_ms, normaliser, self._changed(activities)
        )
        return Reading(batch, frames, last_ms)

    def _changed(self, activities: Floats) -> list[tuple[int, float]]:
        return list(zip(self._activities, activities.tolist(), strict=True))

    def _without_numbers(self, body: bytes) -> bytearray:
        rest = bytearray(body)
        _words(rest)[self._places] = 0
        return rest


class Layouts:
    """The layouts that come back, within bounds; for one thread at a time.

    Args:
        most_bytes: what is kept at most, in memory.
        monotonic: a clock in seconds.
    """

    def __init__(
        self,
        most_bytes: int = MOST_BYTES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.size = 0
        """Bytes that are kept."""
        self._most_bytes = most_bytes
        self._monotonic = monotonic
        self._known: OrderedDict[Key, list[Layout]] = OrderedDict()
        self._firsts: dict[int, Counter[int]] = {}
        """By length of a body where the first number stands, with so many of ``_known``."""
        self._seen: OrderedDict[int, None] = OrderedDict()

    def find(self, body: bytes) -> Layout | None:
        """Return the layout of a body, where it is known."""
        for first in self._firsts.get(len(body), ()):
            key = len(body), body[:first]
            for layout in self._known.get(key, ()):
                if layout.fits(body):
                    layout.used_at = self._monotonic()
                    self._known.move_to_end(key)
                    return layout
        return None

    def keep(self, layout: Layout) -> None:
        """Keep a layout that was seen before, where there is room; remember one that was not."""
        if not self._came_back(layout) or not self._make_room(layout):
            return
        alike = self._known.setdefault(layout.key, [])
        if not alike:
            self._firsts.setdefault(layout.key[0], Counter())[layout.first] += 1
        layout.used_at = self._monotonic()
        alike.append(layout)
        self.size += layout.size

    def drop(self, layout: Layout) -> None:
        """Forget a layout."""
        alike = self._known.get(layout.key, [])
        if layout not in alike:
            return
        alike.remove(layout)
        self.size -= layout.size
        if not alike:
            del self._known[layout.key]
            firsts = self._firsts[layout.key[0]]
            firsts[layout.first] -= 1
            if not firsts[layout.first]:
                del firsts[layout.first]
            if not firsts:
                del self._firsts[layout.key[0]]

    def _came_back(self, layout: Layout) -> bool:
        mark = hash(bytes(layout.constant))
        if self._seen.pop(mark, mark) is None:
            return True
        self._seen[mark] = None
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        return False

    def _make_room(self, layout: Layout) -> bool:
        stale = self._monotonic() - STALE_SECONDS
        alike = self._known.get(layout.key, [])
        if len(alike) >= MOST_ALIKE:
            oldest = min(alike, key=lambda other: other.used_at)
            if oldest.used_at > stale:
                return False
            self.drop(oldest)
        while self.size + layout.size > self._most_bytes and self._known:
            group = next(iter(self._known.values()))
            if any(other.used_at > stale for other in group):
                return False
            for other in list(group):
                self.drop(other)
        return self.size + layout.size <= self._most_bytes


class LayoutDecoder:
    """Decodes protobuf bodies; ``parser`` takes what is odd. May be called from several threads."""

    def __init__(
        self,
        normaliser: Normaliser,
        foreign: Foreign,
        parser: Decoder,
        telemetry: Telemetry,
        layouts: Layouts | None = None,
    ) -> None:
        self._normaliser = normaliser
        self._foreign = foreign
        self._parser = parser
        self._telemetry = telemetry
        self._layouts = layouts or Layouts()
        self._scanner = Scanner(normaliser)
        self._lock, self._scanning = threading.Lock(), threading.Lock()

    def decode(self, body: bytes, sender: str) -> Decoded:
        """Return what an ``ExportMetricsServiceRequest`` says. Raises InvalidInput."""
        try:
            reading, way = self._read(body)
        except Odd:
            self._telemetry.count("bodies_total", receiver=RECEIVER, way=Way.PARSED)
            return self._parser.decode(body, sender)
        return self._noted(reading, way)

    def at_once(self, body: bytes) -> Decoded | None:
        """Return what a body of a known layout says, None for any other, or where it is odd."""
        with self._lock:
            known = self._layouts.find(body)
        if known is None:
            return None
        try:
            return self._noted(known.read(body, self._normaliser), Way.LAYOUT)
        except Odd:
            return None

    def _noted(self, reading: Reading, way: Way) -> Decoded:
        self._telemetry.count("bodies_total", receiver=RECEIVER, way=way)
        self._foreign.saw(reading.batch, reading.newest_ms)
        return reading.batch, reading.frames

    def _read(self, body: bytes) -> tuple[Reading, Way]:
        with self._lock:
            known = self._layouts.find(body)
        if known is not None:
            try:
                return known.read(body, self._normaliser), Way.LAYOUT
            except Moved:
                with self._lock:
                    self._layouts.drop(known)
        return self._learn(body).read(body, self._normaliser), Way.SCANNED

    def _learn(self, body: bytes) -> Layout:
        with self._scanning:
            spots = self._scanner.scan(body)
        if not spots.slots:
            raise Odd("no points")
        layout = Layout(body, spots)
        with self._lock:
            self._layouts.keep(layout)
        return layout


def _words(body: bytes | bytearray) -> NDArray[np.uint64]:
    """Return the eight bytes from each byte on as a number, shape (len(body) - 7,)."""
    return np.ndarray((len(body) - 7,), "<u8", body, 0, (1,))
