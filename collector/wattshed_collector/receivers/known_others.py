"""Bodies of metrics that are not about energy, once they came before: gathered, and not parsed.

What the parser made of a body is kept beside the places of its numbers, resource by resource. One
with the same bytes between its numbers is the same rows with other times and values. Only what was
taken in whole is kept so; whatever is odd in any way goes to the parser again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import numpy as np
from google.protobuf.message import DecodeError
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

from wattshed_collector.normalise import otlp_scan as scan
from wattshed_collector.normalise.slots import Odd
from wattshed_collector.store.insert import Column, Frame
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch

from .grid import NANOS_PER_MS, Times
from .masks import Mask, Places, Words, words_of
from .others import TABLE, TEXTS, Others
from .otlp_decoding import RECEIVER, Decoded, Decoder, Way
from .parts import Floats
from .resources import apart, together
from .shelves import Layouts

TEXT_BYTES = 16
"""Of a row: its texts are shared."""
SEEN = 50_000
"""Resources that are remembered: a body is kept when one of its length comes again."""


class Rows(Mask):
    """The rows of one resource. ``frame`` is what the parser made of ``body``.

    Raises Odd where the numbers in the body are not those of the rows.
    """

    def __init__(self, body: bytes, spots: scan.Spots, frame: Frame) -> None:
        self.count = len(spots.times)
        starts = [at for at in spots.starts if at]
        super().__init__(body, np.array([*spots.times, *spots.values, *starts], np.intp))
        self._integers: Places = np.array(spots.integers, np.intp)
        self._texts = {name: frame.columns[name] for name in TEXTS}
        said = (column.values.tolist() for column in self._texts.values())
        metrics, labels, *_ = said
        self.series = frozenset(map(hash, zip(metrics, labels, strict=True)))
        self.size += self.count * TEXT_BYTES * (len(TEXTS) + 1)
        ts_ms, values = self._numbers(words_of(body)[self._places])
        told = frame.columns["ts"].values, frame.columns["value"].values
        if not (np.array_equal(ts_ms, told[0]) and np.array_equal(values, told[1])):
            raise Odd("the numbers are elsewhere")

    def read(self, words: Words, others: Others, sender: str) -> Frame:
        """Return the rows of a body that matches. Raises Odd where one of them is in doubt."""
        ts_ms, values = self._numbers(words)
        span_ms = int(ts_ms.min()), int(ts_ms.max())
        if not np.isfinite(values).all() or not others.admits(self.series, span_ms, sender):
            raise Odd("a number or a series that may not be kept")
        return Frame(
            TABLE,
            {
                **self._texts,
                "sender": Column(np.full(self.count, sender, object)),
                "ts": Column(ts_ms),
                "value": Column(values),
            },
        )

    def _numbers(self, words: Words) -> tuple[Times, Floats]:
        said = words[self.count : 2 * self.count]
        values = said.view(np.float64)
        if len(self._integers):
            values = values.copy()
            values[self._integers] = said.view(np.int64)[self._integers]
        return (words[: self.count] // NANOS_PER_MS).astype(np.int64), values


class KnownOthers:
    """Decodes protobuf bodies, what it does not know by ``parser``; from any thread."""

    def __init__(self, parser: Decoder, others: Others, telemetry: Telemetry) -> None:
        self._parser = parser
        self._others = others
        self._telemetry = telemetry
        self._layouts: Layouts[Rows] = Layouts()
        self._seen: set[int] = set()
        self._lock = threading.Lock()

    def at_once(self, body: bytes, sender: str) -> Decoded | None:
        """Return what a body says whose rows are all known, None for any other."""
        parts = apart(body)
        frames = [frame for part in parts if (frame := self._known(part, sender)) is not None]
        if len(frames) < len(parts):
            return None
        self._count(Way.LAYOUT)
        return Batch(), tuple(frames)

    def decode(self, body: bytes, sender: str) -> Decoded:
        """Return what a request says. Raises InvalidInput."""
        frames: list[Frame] = []
        rest: list[bytes] = []
        for part in apart(body):
            frame = self._known(part, sender)
            if frame is None:
                rest.append(part)
            else:
                frames.append(frame)
        known: Decoded = Batch(), tuple(frames)
        self._count(Way.PARSED if rest else Way.LAYOUT)
        if not rest:
            return known
        decoded = self._parser.decode(b"".join(rest), sender)
        self._learn(rest, decoded)
        return together([known, decoded]) if frames else decoded

    def _count(self, way: Way) -> None:
        self._telemetry.count("bodies_total", receiver=RECEIVER, way=way)

    def _known(self, body: bytes, sender: str) -> Frame | None:
        with self._lock:
            found = self._layouts.find(body)
        if found is None:
            return None
        try:
            return found[0].read(found[1], self._others, sender)
        except Odd:
            return None

    def _is_first(self, parts: Sequence[bytes]) -> bool:
        """Return whether none of them has the resource and the length of one that came before.

        Raises Odd.
        """
        marks = set(map(_mark, parts))
        with self._lock:
            is_first = marks.isdisjoint(self._seen)
            if len(self._seen) > SEEN:
                self._seen.clear()
            self._seen |= marks
        return is_first

    def _learn(self, parts: Sequence[bytes], decoded: Decoded) -> None:
        batch, frames = decoded
        if batch or batch.rejected or len(frames) != 1:
            return
        (frame,) = frames
        if not isinstance(frame, Frame) or frame.table != TABLE:
            return
        try:
            if self._is_first(parts):
                return
            found = list(_rows(parts, frame))
        except (Odd, IndexError, DecodeError):
            return
        with self._lock:
            for rows in found:
                self._layouts.keep(rows)


def _rows(parts: Sequence[bytes], frame: Frame) -> Iterator[Rows]:
    """Yield the rows of each part of a request. Raises Odd where they are not one row a point."""
    spots = list(map(places, parts))
    if sum(len(part.times) for part in spots) != len(frame):
        raise Odd("not a row a point")
    at = 0
    for part, found in zip(parts, spots, strict=True):
        until = at + len(found.times)
        if until > at:
            yield Rows(part, found, _cut(frame, at, until))
        at = until


def _cut(frame: Frame, at: int, until: int) -> Frame:
    return Frame(
        frame.table, {name: Column(c.values[at:until]) for name, c in frame.columns.items()}
    )


def _mark(part: bytes) -> int:
    """Return what a request of one resource has in common with the next. Raises Odd."""
    at, end = scan.inside(part, 0, len(part), scan.RESOURCE)
    return hash((len(part), part[at : scan.inside(part, at, end, scan.RESOURCE)[1]]))


def places(body: bytes) -> scan.Spots:
    """Return where the numbers of a request stand, whatever its metrics. Raises Odd."""
    spots = scan.Spots()
    for resource in _fields(body, 0, len(body), scan.RESOURCE):
        for scope in _fields(body, *resource, scan.SCOPE):
            for metric in _fields(body, *scope, scan.METRIC):
                for data in _fields(body, *metric, scan.GAUGE, scan.SUM):
                    for point in _points(body, *data):
                        _point(body, *point, spots)
    return spots


def _fields(body: bytes, at: int, end: int, *tags: int) -> Iterator[tuple[int, int]]:
    """Yield where the content of each field of these tags begins and ends; others hold bytes."""
    while at < end:
        tag = body[at]
        at, stop = scan.inside(body, at, end, tag)
        if tag & 7 != scan.BYTES:
            raise Odd("a field that is no message and no text")
        if tag in tags:
            yield at, stop
        at = stop


def _points(body: bytes, at: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the points that stand first in a gauge or a sum."""
    while at < end and body[at] == scan.POINT:
        at, stop = scan.inside(body, at, end, scan.POINT)
        yield at, stop
        at = stop


def _point(body: bytes, at: int, end: int, spots: scan.Spots) -> None:
    rest = NumberDataPoint.FromString(body[scan.numbers(body, at, end, spots) : end])
    if rest.WhichOneof("value") or rest.time_unix_nano or rest.start_time_unix_nano:
        raise Odd("numbers after the attributes")
