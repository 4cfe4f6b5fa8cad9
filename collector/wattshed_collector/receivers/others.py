"""Metrics that are not about energy on their way in: which are kept, how many series, as one frame.

A series is a metric and its labels. What one sender may write to within an hour is bounded, because
a label with a new value in each request would fill the store with series that nobody can read.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from math import isfinite
from operator import attrgetter
from weakref import ReferenceType, ref

import numpy as np

from wattshed_collector.normalise.dialect import Sample
from wattshed_collector.normalise.dialect import Series as PrometheusSeries
from wattshed_collector.normalise.facts import Limits
from wattshed_collector.normalise.other import Other, labels_text
from wattshed_collector.store.insert import Column, Frame

TABLE = "metric_sample"
HOUR_S = 3600
MOST_NAMES = 50_000
"""Names of which it is remembered whether they are kept."""
MOST_NAME = 256
TEXTS = ("metric", "labels", "kind", "unit")


class Written(set[int]):
    """The series to which a sender has written in an hour, by their hashes; it only grows."""


class Series:
    """Some series by the hashes of their metrics and labels; asked in vain only once an hour."""

    def __init__(self, hashes: Iterable[int]) -> None:
        self._hashes = frozenset(hashes)
        # Weakly: what is remembered for days would keep the series of its last hour alive.
        self._within: ReferenceType[Written] | None = None

    def are_within(self, known: Written) -> bool:
        """Return whether all are among those that are known."""
        if self._within is None or self._within() is not known:
            if not self._hashes <= known:
                return False
            self._within = ref(known)
        return True


class Others:
    """Decides what of other metrics is kept; may be called from several threads."""

    def __init__(
        self,
        keep: Iterable[str],
        max_series: int,
        limits: Limits,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._globs = tuple(keep)
        self._max_series = max_series
        self._limits = limits
        self._now = now
        self._lock = threading.Lock()
        self._wanted: dict[str, bool] = {}
        self._series: dict[str, Written] = {}
        self._hour = 0

    def __bool__(self) -> bool:
        """Whether anything is kept."""
        return bool(self._globs)

    def wants(self, metric: str) -> bool:
        """Return whether a metric of that name is kept."""
        told = self._wanted.get(metric)
        if told is None:
            told = any(fnmatchcase(metric, glob) for glob in self._globs)
            if len(self._wanted) >= MOST_NAMES:
                self._wanted.clear()
            if len(metric) <= MOST_NAME:
                self._wanted[metric] = told
        return told

    def frame(
        self, samples: Iterable[Other], sender: str, rejected: Counter[str]
    ) -> tuple[Frame, ...]:
        """Return the samples that can be kept as rows, none where there are none.

        The others are counted in ``rejected`` by reason.
        """
        now = self._now()
        kept: list[Other] = []
        with self._lock:
            known = self._known(sender, now)
        for sample in samples:
            reason = self._limits.doubt(sample.ts_ms, now * 1000)
            if not isfinite(sample.value):
                reason = "not_finite"
            elif not reason and hash(sample[:2]) not in known:
                with self._lock:  # not for longer, because the event loop waits for it as well
                    reason = self._new(sample, known)
            if reason:
                rejected[reason] += 1
            else:
                kept.append(sample)
        return (rows(kept, sender),) if kept else ()

    def admits(self, series: Iterable[Series], span_ms: tuple[int, int], sender: str) -> bool:
        """Return whether samples of these series can all be kept, the first and the last at these
        times: a sender has written to all of them this hour."""
        known = self.written(span_ms, sender)
        return known is not None and all(some.are_within(known) for some in series)

    def written(self, span_ms: tuple[int, int], sender: str) -> Written | None:
        """Return to which series (hashes of metric and labels) a sender has written this hour: a
        set that only grows, another each hour. None where samples of these times are in doubt."""
        now = self._now()
        if any(self._limits.doubt(ts_ms, now * 1000) for ts_ms in span_ms):
            return None
        with self._lock:
            return self._known(sender, now)

    def _known(self, sender: str, now: float) -> Written:
        hour = int(now // HOUR_S)
        if hour != self._hour:
            self._series.clear()
            self._hour = hour
        return self._series.setdefault(sender, Written())

    def _new(self, sample: Other, known: set[int]) -> str:
        if not sample.metric or len(sample.metric) > MOST_NAME:
            return "bad_name"
        series = hash(sample[:2])
        if series not in known and len(known) >= self._max_series:
            return "too_many_series"
        known.add(series)
        return ""


def of_prometheus(
    samples: Iterable[Sample], rejected: Counter[str], target: Mapping[str, str] | None = None
) -> list[Other]:
    """Return the samples of series of any name; their labels are written once per series.

    ``target`` are the labels of the target whose page says them, which they carry as well.
    """
    found: list[Other] = []
    for series, value, ts_ms in samples:
        if text := text_of(series, target):
            found.append(Other(series.name, text, ts_ms, value))
        else:
            rejected["labels_too_long"] += 1
    return found


def text_of(series: PrometheusSeries, target: Mapping[str, str] | None = None) -> str:
    """Return the labels of a series as they are stored, "" where they are too long."""
    if series.text is None:
        series.text = labels_text(_under(target or {}, series.labels)) or ""
    return series.text


def _under(target: Mapping[str, str], labels: Mapping[str, str]) -> dict[str, str]:
    """Return a series' labels with its target's; its own of the same name are renamed, as
    Prometheus does it."""
    made = dict(target)
    for name, text in labels.items():
        own = name
        while own in made or (own != name and own in labels):
            own = f"exported_{own}"
        made[own] = text
    return made


def rows(samples: list[Other], sender: str) -> Frame:
    """Return samples as rows of their table."""
    columns = {name: _texts(list(map(attrgetter(name), samples))) for name in TEXTS}
    columns["sender"] = _texts([sender] * len(samples))
    columns["ts"] = Column(np.array([sample.ts_ms for sample in samples], np.int64))
    columns["value"] = Column(np.array([sample.value for sample in samples], np.float64))
    return Frame(TABLE, columns)


def _texts(values: list[str]) -> Column:
    return Column(np.array(values, dtype=object))
