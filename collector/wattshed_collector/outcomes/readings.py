"""A page, or what has come of one, to readings of counters: a pure function of its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field

from wattshed_collector.normalise.dialect import Key, Labels, Series

from .book import PROCESS_START, Book, Use
from .rules import Choice, Rule, Server, Term

PASSED_ON = "ray_"
"""Ray's agent shows the metrics of all processes of its node."""
LATEST_S = 4_000_000_000
"""Beyond, a number is no Unix time in seconds."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One number. ``labels`` are those that tell it from others of its rule, ``key`` the same.

    ``parts`` are the numbers that it was made of; ``start_ms`` is since when it counts, a Unix
    time, None where that is not said.
    """

    server: Server
    rule: Rule
    choice: Choice
    key: Key
    labels: Labels
    value: float
    parts: tuple[float, ...]
    start_ms: int | None = None


@dataclass(slots=True)
class _Rows:
    """The rows of one metric of a server by their labels, and since when each counts."""

    values: dict[Key, tuple[Order, float]] = field(default_factory=dict)
    labels: dict[Key, Labels] = field(default_factory=dict)
    starts: dict[Key, int] = field(default_factory=dict)
    passed_on: set[Key] = field(default_factory=set)
    """Rows that another process shows than the one that counts."""
    is_ranked: bool = False
    """Whether of several ranks one was taken."""

    def add(self, key: Key, series: Series, order: Order, value: float) -> None:
        """Take a row; of two that are one the first in the order counts."""
        known = self.values.get(key)
        if known is None or order < known[0]:
            self.values[key] = order, value
            self.labels[key] = series.labels
        if series.name.startswith(PASSED_ON):
            self.passed_on.add(key)


Order = tuple[tuple[int, ...], int]
"""Ranks, and the place of a spelling among others."""
Seen = Set[tuple[str, str]]
"""Metrics by server: the terms' names of those that a target showed at any time."""
NOTHING: Mapping[Series, int] = {}


@dataclass(slots=True)
class _Sum:
    """The numbers of a term under one set of labels, added up."""

    labels: Labels
    value: float = 0.0
    start_ms: int | None = None


class _Page:
    """The rows of a page by server and metric."""

    def __init__(
        self, book: Book, rows: Mapping[Series, float], starts: Mapping[Series, int]
    ) -> None:
        self._metrics: dict[tuple[str, str], _Rows] = {}
        self._servers: set[str] = set()
        self._process_ms: int | None = None
        for series, value in rows.items():
            for use in book.uses(series.name):
                self._add(use, series, value, starts.get(series))
        for series, value in rows.items():
            if not 0 < value < LATEST_S:
                continue
            if series.name == PROCESS_START:
                self._process_ms = round(value * 1000)
            for use in book.creations(series.name):
                self._of(use.server, use.metric).starts[series.key] = round(value * 1000)

    def _add(self, use: Use, series: Series, value: float, start_ms: int | None) -> None:
        ranks = use.server.rank_of(series.labels)
        if ranks is None:
            return
        self._servers.add(use.server.name)
        key, of = series.key, self._of(use.server, use.metric)
        if ranks:
            key = tuple(pair for pair in key if pair[0] not in use.server.ranks)
            of.is_ranked = of.is_ranked or any(ranks)
        of.add(key, series, (ranks, use.order), value)
        if start_ms is not None:
            of.starts[key] = start_ms

    def shows(self, server: Server) -> bool:
        return server.name in self._servers

    def is_ranked(self, server: Server, term: Term) -> bool:
        return self._of(server, term.name).is_ranked

    def says(self, server: Server, metric: str) -> bool:
        return bool(self._of(server, metric).values)

    def sums(self, server: Server, term: Term) -> dict[Key, _Sum]:
        """Return the numbers of a term by the labels that tell them apart."""
        rows, found = self._of(server, term.name), dict[Key, _Sum]()
        for key, (_, value) in rows.values.items():
            labels = rows.labels[key]
            if not term.fits(labels):
                continue
            own = {name: text for name, text in labels.items() if server.tells(name, term)}
            of = found.setdefault(tuple(sorted(own.items())), _Sum(own))
            of.value += value
            # Of several the sum has no beginning.
            is_one = not term.over and server.source is None
            of.start_ms = self._start(server, rows, key) if is_one else None
        return found

    def _start(self, server: Server, rows: _Rows, key: Key) -> int | None:
        is_its = server.tells_start and key not in rows.passed_on
        return rows.starts.get(key, self._process_ms if is_its else None)

    def _of(self, server: Server, metric: str) -> _Rows:
        return self._metrics.setdefault((server.name, metric), _Rows())


def readings(
    book: Book,
    rows: Mapping[Series, float],
    *,
    whole: bool = True,
    seen: Seen = frozenset(),
    starts: Mapping[Series, int] = NOTHING,
) -> Iterator[Reading]:
    """Yield what rows of one instant of one target say.

    Where they are not ``whole``, more of them may still come: then only what further rows could not
    change to something better is said. A worse choice is never taken of a target that has ``seen``
    all of a better one. ``starts`` are since when series count, Unix milliseconds.
    """
    page = _Page(book, rows, starts)
    for server in filter(page.shows, book.servers):
        for rule in server.rules:
            done: set[Key] = set()
            for choice in _choices(server, rule, seen) if whole else rule.choices[:1]:
                for key, reading in _chosen(page, server, rule, choice, whole, seen):
                    if key not in done:
                        done.add(key)
                        yield reading


def _choices(server: Server, rule: Rule, seen: Seen) -> Iterator[Choice]:
    for choice in rule.choices:
        yield choice
        if seen and all((server.name, term.name) in seen for term in choice.terms):
            return


def _chosen(
    page: _Page, server: Server, rule: Rule, choice: Choice, whole: bool, seen: Seen
) -> Iterator[tuple[Key, Reading]]:
    if not whole and _is_of_several(page, server, choice):
        return
    less = {} if choice.less is None else page.sums(server, choice.less)
    for key, of in page.sums(server, choice.of).items():
        if choice.less is None:
            parts: tuple[float, ...] = (of.value,)
        elif key in less:
            parts = of.value, less[key].value
        elif whole and _is_zero(page, server, choice.less, seen):
            parts = of.value, 0.0
        else:
            continue
        value = (parts[0] - sum(parts[1:])) * rule.scale
        yield key, Reading(server, rule, choice, key, of.labels, value, parts, of.start_ms)


def _is_of_several(page: _Page, server: Server, choice: Choice) -> bool:
    """Return whether one number is made of several rows of one metric."""
    return server.source is not None or any(
        term.over or page.is_ranked(server, term) for term in choice.terms
    )


def _is_zero(page: _Page, server: Server, term: Term, seen: Seen) -> bool:
    """Return whether no series means 0: not where there was one before, which may yet come."""
    if not term.zero_beside or (server.name, term.name) in seen:
        return False
    return page.says(server, term.zero_beside)
