"""OTLP bodies whose layout is known: their numbers are gathered, and nothing is parsed.

All numbers of a data point are eight bytes wide, so two bodies of one sender that hold the same
series differ in nothing else. The first body of a layout is scanned, put in order where a Collector
in between wrote it in an order of its own; the bytes between the numbers are kept, and a body that
has the same ones at the same places is read by array operations. What is odd in any way is parsed
by the stock library and goes point by point, so that every way ends in the same rows.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wattshed_collector.normalise.facts import Normaliser
from wattshed_collector.normalise.foreign import Foreign
from wattshed_collector.normalise.otlp_order import ordered
from wattshed_collector.normalise.otlp_scan import Scanner, Spots
from wattshed_collector.normalise.slots import Moved, Odd
from wattshed_collector.store.stacks import Numbers
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch

from .arrays import Tables, facts
from .grid import NANOS_PER_MS
from .masks import Mask, Words, words_of
from .otlp_decoding import RECEIVER, Decoded, QuickDecoder, Way
from .resources import apart, together
from .shapes import Shape, Shapes, structure
from .shelves import Layouts


@dataclass(frozen=True, slots=True)
class Reading:
    """What a body says; ``newest_ms`` is the latest event time in it."""

    batch: Batch
    rows: tuple[Numbers, ...]
    newest_ms: int


class Layout(Mask):
    """The series of a body, the places of their numbers and the bytes between those."""

    def __init__(self, body: bytes, spots: Spots, shapes: Shapes) -> None:
        times = np.array(spots.times, np.intp)
        times_ms = (words_of(body)[times] // NANOS_PER_MS).tolist()
        whole = [False] * len(times)
        for at in spots.integers:
            whole[at] = True
        shape = shapes.of(structure(spots.slots, times_ms, list(map(bool, spots.starts)), whole))
        self._tables = Tables(shape, spots.slots)
        order = shape.order
        values = np.array(spots.values, np.intp)[order]
        starts = np.array(spots.starts, np.intp)[order][shape.starts]
        active = np.array([place for _, place in spots.activities], np.intp)
        super().__init__(body, np.concatenate((times[order], values, starts, active)))
        self._numbers = len(self._places) - len(active)
        self._activities = _among(shape, [at for at, _ in spots.activities])
        self.size += self._tables.size_bytes

    def read(self, words: Words, normaliser: Normaliser) -> Reading:
        """Return what the numbers of a body that matches say. Raises Odd where they do not suit."""
        activities: list[tuple[int, float]] = []
        if self._activities:
            said = words[self._numbers :].view(np.float64).tolist()
            activities = list(zip(self._activities, said, strict=True))
            words = words[: self._numbers]
        batch, newest_ms, rows = facts(self._tables, words, normaliser, activities)
        return Reading(batch, rows, newest_ms)


def _among(shape: Shape, places: Sequence[int]) -> list[int]:
    """Return where some numbers stand among those of which points are made."""
    back = {at: place for place, at in enumerate(shape.others)}
    return [back[at] for at in places]


class LayoutDecoder:
    """Decodes protobuf bodies; ``parser`` takes what is odd. May be called from several threads."""

    def __init__(
        self,
        normaliser: Normaliser,
        foreign: Foreign,
        parser: QuickDecoder,
        telemetry: Telemetry,
        layouts: Layouts[Layout] | None = None,
    ) -> None:
        self._normaliser = normaliser
        self._foreign = foreign
        self._parser = parser
        self._telemetry = telemetry
        self._layouts = layouts or Layouts()
        self._scanner, self._shapes = Scanner(normaliser), Shapes()
        self._lock, self._scanning = threading.Lock(), threading.Lock()

    def decode(self, body: bytes, sender: str) -> Decoded:
        """Return what an ``ExportMetricsServiceRequest`` says. Raises InvalidInput."""
        first, *others = apart(body)
        try:
            found = [self._noted(*self._read(first))]
        except Odd:  # what is not from our exporter is read as a whole
            return self._parser.decode(body, sender)
        return together([*found, *(self._part(other, sender) for other in others)])

    def at_once(self, body: bytes, sender: str) -> Decoded | None:
        """Return what a body of a known layout says, None for any other, or where it is odd."""
        return self._at_once(body) or self._parser.at_once(body, sender)

    def _at_once(self, body: bytes) -> Decoded | None:
        read: list[Reading] = []
        for part in apart(body):
            with self._lock:
                known = self._layouts.find(part)
            if known is None:
                return None
            layout, words = known
            try:
                read.append(layout.read(words, self._normaliser))
            except Odd:
                return None
        return together([self._noted(reading, Way.LAYOUT) for reading in read])

    def _part(self, body: bytes, sender: str) -> Decoded:
        try:
            return self._noted(*self._read(body))
        except Odd:
            return self._parser.decode(body, sender)

    def _noted(self, reading: Reading, way: Way) -> Decoded:
        self._telemetry.count("bodies_total", receiver=RECEIVER, way=way)
        self._foreign.saw(reading.batch, reading.newest_ms)
        return reading.batch, reading.rows

    def _read(self, body: bytes) -> tuple[Reading, Way]:
        with self._lock:
            known = self._layouts.find(body)
        if known is not None:
            layout, words = known
            try:
                return layout.read(words, self._normaliser), Way.LAYOUT
            except Moved:
                with self._lock:
                    self._layouts.drop(layout)
        return self._learn(body), Way.SCANNED

    def _learn(self, body: bytes) -> Reading:
        with self._scanning:
            spots = self._scan(body)
            if not spots.slots:
                raise Odd("no points")
            layout = Layout(body, spots, self._shapes)
        words = layout.match(body)
        assert words is not None
        with self._lock:
            self._layouts.keep(layout)
        return layout.read(words, self._normaliser)

    def _scan(self, body: bytes) -> Spots:
        try:
            return self._scanner.scan(body)
        except Odd:
            if (found := ordered(body)) is None:
                raise
        return found.spots(self._scanner.scan(found.body))
