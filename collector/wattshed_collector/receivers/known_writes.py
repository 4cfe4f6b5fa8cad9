"""Series of a remote write that came before: known by the bytes of their labels, not parsed again.

Prometheus mixes series anew for each request, so it is a series and not a body that is known.
Behind its labels stand its samples, of eighteen bytes each, or nine where the value is zero (until
the year 2109), whose numbers are gathered by arrays. What counts here is metrics that are not about
energy, kept or not; all else, and whatever is odd in any way, is left for the reader that takes
messages apart.
Source: https://prometheus.io/docs/specs/prw/remote_write_spec/, prompb/types.proto
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from wattshed_collector.normalise import wire
from wattshed_collector.store.insert import Column, Frame

from .book import Book
from .masks import Words, words_of
from .others import TABLE, Others

SERIES = 0x0A
SAMPLE, SAMPLE_BYTES = b"\x12\x10\x09", 18
"""How a sample begins that has a value, eight bytes that follow."""
ZERO, ZERO_BYTES = b"\x12\x07\x10", 9
"""One that has none, since zero is not written; its time follows."""
TIME_TAG = 0x10
TIME_BYTES, WIDTH = 6, 8
VALUE_TO_TIME = 7
"""From a value to the eight bytes that end with its time."""
GROUPS = 6
"""Of seven bits, of which a time is made."""
MORE = 0x80_80_80_80_80
"""The bits that say of all groups but the last that another follows."""
ALL_MORE = 0x80_80_80_80_80_80
STALE_BITS = 0x7FF0_0000_0000_0002
"""The NaN by which Prometheus marks the end of a series."""
UNWANTED = -1
MOST_BYTES = 96 * 2**20
"""Of what is remembered; beyond, nothing is until ``ANEW_SECONDS`` are over since it began."""
ENTRY_BYTES = 300
ANEW_SECONDS = 600.0

Numbers = NDArray[np.int64]


class Found(NamedTuple):
    """What of a request is known: its rows, how many samples nobody wants, and what is left."""

    frame: Frame | None
    unwanted: int
    rest: bytes


@dataclass(slots=True)
class _Memory:
    """Series by number; ``hashes`` are those that a sender's bound counts."""

    began: float
    numbers: dict[bytes, int] = field(default_factory=dict)
    book: Book = field(default_factory=Book)
    metrics: array[int] = field(default_factory=lambda: array("i"))
    labels: array[int] = field(default_factory=lambda: array("i"))
    hashes: list[int] = field(default_factory=list)
    admitted: dict[str, tuple[Set[int], set[int]]] = field(default_factory=dict)
    """By sender the series that it may write to this hour, and which of them were looked up."""
    size: int = 0


class KnownWrites:
    """Takes what is known out of requests; for one thread at a time."""

    def __init__(
        self,
        others: Others,
        monotonic: Callable[[], float] = time.monotonic,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._others = others
        self._monotonic = monotonic
        self._most_bytes = most_bytes
        self._known = _Memory(monotonic())

    def take(self, request: bytes, sender: str, most: int) -> Found:
        """Return what of a request is known; nothing where it has more than ``most`` samples."""
        nothing = Found(None, 0, request)
        numbers, places, rest = array("i"), array("q"), list[bytes]()
        unwanted, at = list[int](), 0
        known = self._known.numbers
        try:
            while at < len(request):
                begin = at
                if request[at] != SERIES:
                    return nothing
                size, at = wire.varint(request, at + 1)
                end = at + size
                if end > len(request):
                    return nothing
                first, said = _samples(request, at, end)
                number = known.get(request[at:first])
                if number is None or not said:
                    rest.append(request[begin:end])
                elif number == UNWANTED:
                    unwanted += said
                else:
                    numbers.extend([number] * len(said))
                    places.extend(said)
                at = end
        except DecodeError:
            return nothing
        if len(numbers) + len(unwanted) > most:
            return nothing
        if unwanted and _times(words_of(request), np.array(unwanted, np.int64)) is None:
            return nothing
        if not numbers:
            return Found(None, len(unwanted), b"".join(rest))
        frame = self._frame(request, np.array(numbers), np.array(places), sender)
        return nothing if frame is None else Found(frame, len(unwanted), b"".join(rest))

    def knows(self, labels: bytes) -> bool:
        """Return whether a series is remembered by these bytes."""
        return labels in self._known.numbers

    def note(self, series: bytes, labels: bytes, metric: str, text: str | None) -> None:
        """Remember a series as it came; ``labels`` is the part of it before its samples, ``text``
        None where nobody wants it."""
        if _samples(series, 0, len(series))[0] != len(labels) or not series.startswith(labels):
            return
        known = self._known
        if known.size + known.book.size > self._most_bytes:
            if self._monotonic() - known.began < ANEW_SECONDS:
                return
            known = self._known = _Memory(self._monotonic())
        if labels in known.numbers:
            return
        known.size += len(labels) + ENTRY_BYTES
        if text is None:
            known.numbers[labels] = UNWANTED
            return
        known.numbers[labels] = len(known.hashes)
        known.metrics.append(known.book.place(metric))
        known.labels.append(known.book.place(text))
        known.hashes.append(hash((metric, text)))

    def _frame(
        self, request: bytes, numbers: NDArray[np.int32], places: Numbers, sender: str
    ) -> Frame | None:
        """Return the rows of known series, None where one of them is in doubt."""
        words = words_of(request)
        times = _times(words, places)
        if times is None:
            return None
        said = np.where(places > 0, words[places], np.uint64(0))
        is_value = said != STALE_BITS
        if not is_value.all():
            times, said, numbers = times[is_value], said[is_value], numbers[is_value]
        values, ts_ms = said.view(np.float64), _time(times)
        if not len(values):
            return self._rows(numbers, ts_ms, values, sender)
        span_ms = int(ts_ms.min()), int(ts_ms.max())
        if not np.isfinite(values).all() or not self._admits(numbers, span_ms, sender):
            return None
        return self._rows(numbers, ts_ms, values, sender)

    def _admits(self, numbers: NDArray[np.int32], span_ms: tuple[int, int], sender: str) -> bool:
        within = self._others.written(span_ms, sender)
        if within is None:
            return False
        memory = self._known
        known, looked = memory.admitted.get(sender, (None, set[int]()))
        if known is not within:
            looked = set()
            memory.admitted[sender] = within, looked
        new = set(numbers.tolist()) - looked
        if not all(memory.hashes[number] in within for number in new):
            return False
        looked |= new
        return True

    def _rows(
        self, numbers: NDArray[np.int32], ts_ms: Numbers, values: NDArray[np.float64], sender: str
    ) -> Frame:
        memory, count = self._known, len(numbers)
        book = memory.book

        def one(text: str) -> Column:
            return Column(np.full(count, book.place(text), np.int32), None, book.texts)

        metrics = np.frombuffer(memory.metrics, np.int32)[numbers]
        labels = np.frombuffer(memory.labels, np.int32)[numbers]
        return Frame(
            TABLE,
            {
                "metric": Column(metrics, None, book.texts),
                "labels": Column(labels, None, book.texts),
                "kind": one(""),
                "unit": one(""),
                "sender": one(sender),
                "ts": Column(ts_ms),
                "value": Column(values),
            },
        )


def _samples(request: bytes, at: int, end: int) -> tuple[int, list[int]]:
    """Return where the samples begin with which a series ends, and of each where its value stands;
    where that is zero, what is negative is where the eight bytes stand that end with its time."""
    said: list[int] = []
    while True:
        begin = end - SAMPLE_BYTES
        if (
            begin >= at
            and request.startswith(SAMPLE, begin)
            and request[end - TIME_BYTES - 1] == TIME_TAG
        ):
            said.append(begin + len(SAMPLE))
            end = begin
        elif end - ZERO_BYTES >= at and request.startswith(ZERO, end - ZERO_BYTES):
            said.append(WIDTH - end)
            end -= ZERO_BYTES
        else:
            said.reverse()
            return end, said


def _times(words: Words, places: Numbers) -> Words | None:
    """Return the six bytes of the time of each sample, None where those of one are no whole
    number."""
    times = words[np.where(places > 0, places + VALUE_TO_TIME, -places)] >> np.uint64(16)
    return times if ((times & ALL_MORE) == MORE).all() else None


def _time(times: Words) -> Numbers:
    """Return varints of six groups as numbers."""
    made = times & np.uint64(0x7F)
    for group in range(1, GROUPS):
        made |= (times >> np.uint64(8 * group) & np.uint64(0x7F)) << np.uint64(7 * group)
    return made.astype(np.int64)
