"""Pages whose lines are known: numbers are read, and those of our own exporter go to rows at once.

The first pages of a target are read sample by sample, and so is any page on which something odd is
said. Of other exporters the samples go to their dialect as ever; only the reading is cheaper.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import repeat
from typing import NamedTuple

import numpy as np

from wattshed_collector.normalise.dialect import Sample
from wattshed_collector.normalise.facts import Normaliser
from wattshed_collector.normalise.foreign import Foreign
from wattshed_collector.normalise.page_layout import SCRAPED, UNSAID, OwnPage, is_time, own_page
from wattshed_collector.normalise.page_lines import PageLines, mark
from wattshed_collector.normalise.slots import Moved, Odd, Slots
from wattshed_collector.receivers.arrays import Tables, facts
from wattshed_collector.receivers.grid import Times
from wattshed_collector.receivers.parts import Floats
from wattshed_collector.receivers.shapes import Shapes, structure
from wattshed_collector.store.stacks import Numbers, Rows
from wattshed_exporter.model import Batch

from .other_samples import OtherSamples
from .pages import PageReader, Read
from .state import TargetState


class KnownPage:
    """What is remembered of a target's page: its lines, and what they mean."""

    def __init__(
        self,
        lines: PageLines,
        state: TargetState,
        foreign: Foreign,
        normaliser: Normaliser,
        others: OtherSamples,
        slots: Slots,
        shapes: Shapes,
    ) -> None:
        self._lines = lines
        self._state = state
        self._origin = origin = state.origin
        self._count = state.samples
        self._others = others
        self._foreign = foreign
        self._normaliser = normaliser
        page = own_page(lines.series, origin, foreign, slots)
        self._own = None if page is None else _Own(page, shapes)
        kept = [others.keeps(series.name) for series in lines.series]
        self._kept = np.flatnonzero(kept).tolist()
        places = [foreign.place(series, origin) for series in lines.series]
        self._of_concern = [
            place.thing is not None or place.counts or place.tells for place in places
        ]
        names = [series.name for series in lines.series]
        read = [place for place, name in zip(places, names, strict=True) if others.reads(name)]
        self._unknown = sum(place.unknown for place in read)
        of_use = sum(place.thing is not None or place.counts for place in read)
        self._ignored = len(read) - self._unknown - of_use

    def read(self, page: bytes, scraped_ms: int) -> Read:
        """Return what a page with these lines says. Raises Odd."""
        values = self._lines.values(page)
        self._state.samples = self._count  # another page may have come between that was refused
        if self._own is not None:
            batch, told, read_ms = self._own.read(values, scraped_ms, self._normaliser)
            frames: tuple[Rows, ...] = told
            self._foreign.took(self._origin, scraped_ms, self._own.claims, read_ms)
        else:
            said = [
                sample
                for sample, wanted in zip(
                    map(Sample, self._lines.series, values.tolist(), repeat(scraped_ms)),
                    self._of_concern,
                    strict=True,
                )
                if wanted
            ]
            rejected: Counter[str] = Counter()
            found, _ = self._foreign.points(said, self._origin, rejected)
            batch, frames = self._normaliser.batch(found, rejected), ()
        if not (self._unknown or self._kept or batch.rejected):
            return Read(batch, frames, self._ignored)
        rest = Counter(batch.rejected)
        rest["unknown_metric"] += self._unknown
        if self._kept:
            frames += self._others.frames(self._samples(values, scraped_ms), self._state, rest)
        if any(rest.values()):  # the same batch may be returned for many pages
            batch = replace(batch, rejected=dict(+rest))
        return Read(batch, frames, self._ignored)

    def _samples(self, values: Floats, scraped_ms: int) -> list[Sample]:
        series = self._lines.series
        said = values[self._kept].tolist()
        return [
            Sample(series[at], one, scraped_ms) for at, one in zip(self._kept, said, strict=True)
        ]


class _Said(NamedTuple):
    batch: Batch
    rows: tuple[Numbers, ...]
    read_ms: list[int]
    """Of each of the claims."""


class _Own:
    """A page of our own exporter, as places among its numbers."""

    def __init__(self, page: OwnPage, shapes: Shapes) -> None:
        self._page = page
        self._shapes = shapes
        # As arrays: of a list each use would make one.
        self.claims = tuple(claim for claim, _ in page.claims)
        """What the page measures."""
        self._claimed = np.array([read for _, read in page.claims], np.intp)
        told = page.lines, page.reads, page.starts
        self._lines, self._reads, self._starts = (np.array(places, np.intp) for places in told)
        times = np.unique((self._reads, self._starts))
        self._times = times[times >= 0]
        self._tables: Tables | None = None

    def read(self, numbers: Floats, scraped_ms: int, normaliser: Normaliser) -> _Said:
        seconds = numbers[self._times]
        if not all(map(is_time, seconds.tolist())):
            raise Odd("a time that is none")
        times = np.zeros(len(numbers) + 2, np.int64)
        times[SCRAPED], times[UNSAID] = scraped_ms, 0
        times[self._times] = np.rint(seconds * 1000)
        if self._tables is None:
            self._learn(times)
        try:
            batch, rows = self._rows(numbers, times, normaliser)
        except Moved:
            self._learn(times)
            batch, rows = self._rows(numbers, times, normaliser)
        return _Said(batch, rows, times[self._claimed].tolist())

    def _learn(self, times: Times) -> None:
        page = self._page
        begun = [line != UNSAID for line in page.starts]
        whole = [False] * len(begun)
        told = structure(page.slots, times[self._reads].tolist(), begun, whole)
        self._tables = Tables(self._shapes.of(told), page.slots)

    def _rows(
        self, numbers: Floats, times: Times, normaliser: Normaliser
    ) -> tuple[Batch, tuple[Numbers, ...]]:
        assert self._tables is not None
        words = self._tables.shape.words(
            times[self._reads], numbers[self._lines], times[self._starts]
        )
        batch, _, rows = facts(self._tables, words, normaliser)
        return batch, rows


class KnownPages:
    """Reads pages by what is remembered of their target; ``reader`` takes the others."""

    def __init__(
        self,
        reader: PageReader,
        normaliser: Normaliser,
        foreign: Foreign,
        others: OtherSamples | None = None,
    ) -> None:
        self._reader = reader
        self._normaliser = normaliser
        self._foreign = foreign
        self._others = others or OtherSamples()
        self._slots, self._shapes = Slots(normaliser), Shapes()

    def read(self, page: bytes, scraped_ms: int, state: TargetState) -> Read:
        """Return what a page says. Raises InvalidInput where it is refused as a whole."""
        if state.sees_series:
            return self._reader.read(page, scraped_ms, state)
        if state.page is not None:
            try:
                return state.page.read(page, scraped_ms)
            except Odd:
                pass
        read = self._reader.read(page, scraped_ms, state)
        self._learn(page, state)
        return read

    def _learn(self, page: bytes, state: TargetState) -> None:
        """Remember a page whose lines came twice; what changes each time is not worth it."""
        found = mark(page)
        if found != state.mark:
            state.mark, state.page = found, None
        elif state.page is None:
            try:
                known = PageLines(page, state.known, self._others.wanted)
                state.page = KnownPage(
                    known,
                    state,
                    self._foreign,
                    self._normaliser,
                    self._others,
                    self._slots,
                    self._shapes,
                )
            except Odd:
                state.page = None
