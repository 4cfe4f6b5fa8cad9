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
from wattshed_collector.normalise.page_lines import Lines, PageLines, split
from wattshed_collector.normalise.slots import Moved, Odd
from wattshed_collector.receivers.arrays import Floats, Tables, facts
from wattshed_collector.receivers.grid import Times
from wattshed_collector.store.insert import Frame
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
    ) -> None:
        self._lines = lines
        self._state = state
        self._origin = origin = state.origin
        self._others = others
        self._foreign = foreign
        self._normaliser = normaliser
        page = own_page(lines.series, origin, foreign, normaliser)
        self._own = None if page is None else _Own(page)
        kept = [others.keeps(series.name) for series in lines.series]
        self._kept = [at for at, is_kept in enumerate(kept) if is_kept]
        places = [foreign.place(series, origin) for series in lines.series]
        self._of_concern = [
            place.thing is not None or place.counts or place.tells for place in places
        ]
        names = [series.name for series in lines.series]
        read = [place for place, name in zip(places, names, strict=True) if others.reads(name)]
        self._unknown = sum(place.unknown for place in read)
        of_use = sum(place.thing is not None or place.counts for place in read)
        self._ignored = len(read) - self._unknown - of_use

    def read(self, lines: Lines, scraped_ms: int) -> Read:
        """Return what a page with these lines says. Raises Odd."""
        values = self._lines.values(lines)
        if self._own is not None:
            batch, frames, claims = self._own.read(values, scraped_ms, self._normaliser)
            self._foreign.took(self._origin, scraped_ms, claims)
        else:
            said = [
                sample
                for sample, wanted in zip(
                    map(Sample, self._lines.series, values, repeat(scraped_ms)),
                    self._of_concern,
                    strict=True,
                )
                if wanted
            ]
            rejected: Counter[str] = Counter()
            found, _ = self._foreign.points(said, self._origin, rejected)
            batch, frames = self._normaliser.batch(found, rejected), ()
        rest = Counter(batch.rejected)
        rest["unknown_metric"] += self._unknown
        frames += self._others.frames(self._samples(values, scraped_ms), self._state, rest)
        if any(rest.values()):  # the same batch may be returned for many pages
            batch = replace(batch, rejected=dict(+rest))
        return Read(batch, frames, self._ignored)

    def _samples(self, values: list[float], scraped_ms: int) -> list[Sample]:
        series = self._lines.series
        return [Sample(series[at], values[at], scraped_ms) for at in self._kept]


class _Said(NamedTuple):
    batch: Batch
    frames: tuple[Frame, ...]
    claims: list[tuple[str, int]]


class _Own:
    """A page of our own exporter, as places among its numbers."""

    def __init__(self, page: OwnPage) -> None:
        self._page = page
        self._times = sorted(line for line in {*page.reads, *page.starts} if line >= 0)
        self._tables: Tables | None = None

    def read(self, values: list[float], scraped_ms: int, normaliser: Normaliser) -> _Said:
        if not all(is_time(values[line]) for line in self._times):
            raise Odd("a time that is none")
        numbers = np.array(values)
        times = np.zeros(len(values) + 2, np.int64)
        times[SCRAPED], times[UNSAID] = scraped_ms, 0
        times[self._times] = np.rint(numbers[self._times] * 1000)
        if self._tables is None:
            self._learn(times)
        try:
            batch, frames = self._rows(numbers, times, normaliser)
        except Moved:
            self._learn(times)
            batch, frames = self._rows(numbers, times, normaliser)
        claims = [(claim, int(times[read])) for claim, read in self._page.claims]
        return _Said(batch, frames, claims)

    def _learn(self, times: Times) -> None:
        page = self._page
        self._tables = Tables(page.slots, times[page.reads].tolist())
        order = self._tables.order
        self._lines = np.array(page.lines, np.intp)[order]
        self._reads = np.array(page.reads, np.intp)[order]
        self._starts = np.array(page.starts, np.intp)[order]

    def _rows(
        self, numbers: Floats, times: Times, normaliser: Normaliser
    ) -> tuple[Batch, tuple[Frame, ...]]:
        assert self._tables is not None
        return facts(
            self._tables,
            times[self._reads],
            numbers[self._lines],
            times[self._starts],
            normaliser,
        )


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

    def read(self, page: bytes, scraped_ms: int, state: TargetState) -> Read:
        """Return what a page says. Raises InvalidInput where it is refused as a whole."""
        if state.sees_series:
            return self._reader.read(page, scraped_ms, state)
        lines = _split(page)
        if state.page is not None and lines is not None:
            try:
                return state.page.read(lines, scraped_ms)
            except Odd:
                pass
        read = self._reader.read(page, scraped_ms, state)
        if lines is not None:
            self._learn(lines, state)
        return read

    def _learn(self, lines: Lines, state: TargetState) -> None:
        """Remember a page whose lines came twice; what changes each time is not worth it."""
        mark = hash(lines[0])
        if mark != state.mark:
            state.mark, state.page = mark, None
        elif state.page is None:
            try:
                known = PageLines(lines, state.known, self._others.wanted)
                state.page = KnownPage(known, state, self._foreign, self._normaliser, self._others)
            except Odd:
                state.page = None


def _split(page: bytes) -> Lines | None:
    try:
        return split(page)
    except Odd:
        return None
