"""Bodies of metrics that are not about energy, once they came before: gathered, and not parsed.

What the parser made of a body is kept beside the places of its numbers, resource by resource. One
with the same bytes between its numbers is the same rows with other times and values. Only what was
taken in whole is kept so; whatever is odd in any way goes to the parser again. The texts of rows
are places in a book that all of them share, so that a request of a thousand resources is one frame,
and nobody looks at its texts again before they are written.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence, Set
from typing import NamedTuple

import numpy as np

from wattshed_collector.normalise.otlp_places import Places, places, resource_of
from wattshed_collector.normalise.slots import Odd
from wattshed_collector.store.insert import Column, Frame
from wattshed_collector.store.texts import encoded
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch

from .book import Book
from .grid import NANOS_PER_MS, Times
from .masks import Mask, Words, words_of
from .others import TABLE, TEXTS, Others, Series
from .otlp_decoding import RECEIVER, Decoded, Decoder, Way
from .parts import Floats
from .resources import apart, together
from .shelves import Layouts

SERIES_BYTES = 100
"""Of a row: the hash of its series in a set."""
SEEN = 50_000
"""Resources that are remembered, twice at most: a body is kept when one of its length comes
again."""
MOST_BOOK_BYTES = 128 * 2**20
"""Of the texts that are shared; beyond, all is forgotten that refers to them."""


class Rows(Mask):
    """The rows of one resource. ``frame`` is what the parser made of ``body``.

    Raises Odd where the numbers in the body are not those of the rows.
    """

    def __init__(self, body: bytes, spots: Places, frame: Frame, book: Book) -> None:
        self.count, self.distributions = len(spots.times), spots.distributions
        super().__init__(body, np.array([*spots.times, *spots.values, *spots.beside], np.intp))
        self._integers = np.array(spots.integers, np.intp)
        self._counts = np.array(spots.counts, np.intp)
        said = [frame.columns[name].values.tolist() for name in TEXTS]
        self.texts = book.texts
        self.codes = np.stack([book.places(texts) for texts in said])
        """Shape (len(TEXTS), rows)."""
        metrics, labels, *_ = said
        self.series = Series(map(hash, zip(metrics, labels, strict=True)))
        self.size += self.codes.nbytes + SERIES_BYTES * self.count
        ts_ms, values = self.numbers(words_of(body)[self._places])
        told = frame.columns["ts"].values, frame.columns["value"].values
        if not (np.array_equal(ts_ms // NANOS_PER_MS, told[0]) and np.array_equal(values, told[1])):
            raise Odd("the numbers are elsewhere")

    def numbers(self, words: Words) -> tuple[Words, Floats]:
        """Return the times in nanoseconds and the values of a body that matches."""
        said = words[self.count : 2 * self.count]
        values = said.view(np.float64)
        if len(self._integers) or len(self._counts):
            values = values.copy()
            values[self._integers] = said.view(np.int64)[self._integers]
            values[self._counts] = said[self._counts]
        return words[: self.count], values


class Known(NamedTuple):
    """Rows that are known, and the numbers that a body says of them."""

    rows: Rows
    words: Words


class KnownOthers:
    """Decodes protobuf bodies, what it does not know by ``parser``; from any thread.

    ``counters`` count outcomes, whether they are kept beside or not: the parser always has them,
    because what they say may be told by later requests alone.
    """

    def __init__(
        self,
        parser: Decoder,
        others: Others,
        counters: Set[str],
        telemetry: Telemetry,
        most_book_bytes: int = MOST_BOOK_BYTES,
    ) -> None:
        self._parser = parser
        self._others = others
        self._counters = counters
        self._telemetry = telemetry
        self._most_book_bytes = most_book_bytes
        self._book, self._layouts = Book(), Layouts[Rows]()
        self._seen, self._seen_before = set[int](), set[int]()
        self._lock = threading.Lock()

    def at_once(self, body: bytes, sender: str) -> Decoded | None:
        """Return what a body says whose rows are all known, None for any other."""
        known: list[Known] = []
        for part in apart(body):
            found = self._find(part)
            if found is None:
                return None
            known.append(found)
        try:
            frame = self._frame(known, sender)
        except Odd:
            return None
        self._count(Way.LAYOUT)
        return Batch(), (frame,)

    def decode(self, body: bytes, sender: str) -> Decoded:
        """Return what a request says. Raises InvalidInput."""
        parts = apart(body)
        found = list(map(self._find, parts))
        frames = self._frames(found, sender)
        rest = [part for part, known in zip(parts, found, strict=True) if known is None]
        self._count(Way.PARSED if rest else Way.LAYOUT)
        if not rest:
            return Batch(), frames
        decoded = self._parser.decode(b"".join(rest), sender)
        self._learn(rest, decoded)
        return together([(Batch(), frames), decoded]) if frames else decoded

    def _frames(self, found: list[Known | None], sender: str) -> tuple[Frame, ...]:
        """Return the rows that are known. What is in doubt of them is None in ``found`` then."""
        known = [one for one in found if one is not None]
        try:
            return (self._frame(known, sender),) if known else ()
        except Odd:
            pass
        frames: list[Frame] = []
        for at, one in enumerate(found):
            try:
                frames += [self._frame([one], sender)] if one is not None else []
            except Odd:
                found[at] = None
        return tuple(frames)

    def _count(self, way: Way) -> None:
        self._telemetry.count("bodies_total", receiver=RECEIVER, way=way)

    def _find(self, body: bytes) -> Known | None:
        with self._lock:
            found = self._layouts.find(body)
        return None if found is None else Known(*found)

    def _frame(self, known: Sequence[Known], sender: str) -> Frame:
        """Return the rows of several resources. Raises Odd where one of them is in doubt."""
        texts = known[0].rows.texts
        told = [rows.numbers(words) for rows, words in known]
        nanos, values = (np.concatenate(said) for said in zip(*told, strict=True))
        ts_ms: Times = (nanos // NANOS_PER_MS).astype(np.int64)
        series = [rows.series for rows, _ in known]
        span_ms = int(ts_ms.min()), int(ts_ms.max())
        if not np.isfinite(values).all() or not self._others.admits(series, span_ms, sender):
            raise Odd("a number or a series that may not be kept")
        if any(rows.texts is not texts for rows, _ in known):
            raise Odd("texts of two books")
        if simplified := sum(rows.distributions for rows, _ in known):
            self._telemetry.count("simplified_total", simplified, receiver=RECEIVER)
        codes = np.concatenate([rows.codes for rows, _ in known], axis=1)
        with self._lock:
            who = self._book.place(sender) if self._book.texts is texts else None
        columns = {name: Column(code, None, texts) for name, code in zip(TEXTS, codes, strict=True)}
        columns["sender"] = _one_text(sender, who, texts, len(values))
        return Frame(TABLE, {**columns, "ts": Column(ts_ms), "value": Column(values)})

    def _is_first(self, parts: Sequence[bytes]) -> bool:
        """Return whether none of them has the resource and the length of one that came before.

        Raises Odd.
        """
        marks = set(map(_mark, parts))
        with self._lock:
            is_first = marks.isdisjoint(self._seen) and marks.isdisjoint(self._seen_before)
            if len(self._seen) > SEEN:
                self._seen, self._seen_before = set(), self._seen
            self._seen |= marks
        return is_first

    def _learn(self, parts: Sequence[bytes], decoded: Decoded) -> None:
        batch, frames = decoded
        if batch or batch.rejected or len(frames) != 1:
            return
        (frame,) = frames
        if not isinstance(frame, Frame) or frame.table != TABLE:
            return
        if not self._counters.isdisjoint(frame.columns["metric"].values.tolist()):
            return
        try:
            if self._is_first(parts):
                return
            spots = list(map(places, parts))
            for part, found, cut in _cut(parts, spots, frame):
                # One by one, because the event loop waits for the lock as well.
                with self._lock:
                    rows = Rows(part, found, cut, self._writable())
                    self._layouts.keep(rows)
        except Odd:
            return

    def _writable(self) -> Book:
        if self._book.size > self._most_book_bytes:
            self._book, self._layouts = Book(), Layouts()
        return self._book


def _cut(
    parts: Sequence[bytes], spots: Sequence[Places], frame: Frame
) -> Iterator[tuple[bytes, Places, Frame]]:
    """Yield the parts of a request that have rows, each with its own. Raises Odd where there are
    other ones."""
    if sum(len(part.times) for part in spots) != len(frame):
        raise Odd("other rows than there are numbers")
    at = 0
    for part, found in zip(parts, spots, strict=True):
        until = at + len(found.times)
        if until > at:
            own = {name: column.at(slice(at, until)) for name, column in frame.columns.items()}
            yield part, found, Frame(frame.table, own)
        at = until


def _one_text(text: str, place: int | None, texts: Sequence[bytes], count: int) -> Column:
    if place is None:  # the book was closed meanwhile
        return Column(np.zeros(count, np.int32), None, (encoded(text),))
    return Column(np.full(count, place, np.int32), None, texts)


def _mark(part: bytes) -> int:
    """Return what a request of one resource has in common with the next. Raises Odd."""
    return hash((len(part), resource_of(part)))
