"""What a rule is made of: which series count, what is taken off, how they are told apart.

A reading of one counter is one stream: its source are the labels that tell it from the others of
its server. So the engines of a server and the reasons why requests ended are added up where they
are asked for, and each may restart, vanish and come back for itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

TOTAL = "_total"
CACHED_INCLUDED = "cached_included"
"""The server does not say how many prompt tokens came from a cache: they are in the number."""
CAVEATS = {CACHED_INCLUDED: "tokens that came from a cache are counted as computed"}


@dataclass(frozen=True, slots=True)
class Match:
    """A label whose whole value has to match; a label that is not there is ""."""

    label: str
    pattern: re.Pattern[str]
    unless: bool = False

    def fits(self, labels: Mapping[str, str]) -> bool:
        return (self.pattern.fullmatch(labels.get(self.label, "")) is None) is self.unless

    def __str__(self) -> str:
        return f"{self.label}{'!~' if self.unless else '=~'}{self.pattern.pattern}"


def only(label: str, *values: str) -> Match:
    """Return a match of any of some values."""
    return Match(label, re.compile("|".join(map(re.escape, values))))


def without(label: str, *values: str) -> Match:
    """Return a match of all but some values."""
    return Match(label, re.compile("|".join(map(re.escape, values))), unless=True)


@dataclass(frozen=True, slots=True)
class Term:
    """Series of one metric, by its name without the server's prefix.

    Of a histogram ``part`` is ``sum`` or ``count``. Labels of ``over`` divide one number, and what
    they divide is added up within a page. ``zero_beside`` is another metric of the server: where
    that is told, no series of this one means 0, because it begins only with the first event.
    """

    metric: str
    where: tuple[Match, ...] = ()
    over: tuple[str, ...] = ()
    zero_beside: str = ""
    part: str = ""

    def fits(self, labels: Mapping[str, str]) -> bool:
        return all(match.fits(labels) for match in self.where)

    @property
    def spent(self) -> frozenset[str]:
        """Labels that do not tell its numbers apart."""
        return frozenset(self.over) | {match.label for match in self.where if not match.unless}

    @property
    def name(self) -> str:
        return f"{self.metric}_{self.part}" if self.part else self.metric

    def __str__(self) -> str:
        where = ", ".join(map(str, self.where))
        return f"{self.name}{{{where}}}" if where else self.name


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to come to a number: ``of``, minus ``less`` where there is that.

    ``caveat`` is a key of ``CAVEATS`` where the number is not quite what it is called. It becomes a
    part of the stream's source, so that it stays with the number.
    """

    of: Term
    less: Term | None = None
    caveat: str = ""

    @property
    def terms(self) -> Iterator[Term]:
        yield self.of
        if self.less is not None:
            yield self.less

    def __str__(self) -> str:
        return " - ".join(map(str, self.terms))


@dataclass(frozen=True, slots=True)
class Rule:
    """A kind of outcome, and the ways to it, the best first: a version has what it has."""

    kind: str
    choices: tuple[Choice, ...]
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Server:
    """One server's counters.

    Args:
        name: by which a job asks for it.
        prefixes: what its metrics begin with, in any version and through any wrapper.
        model: labels that may name the model, the first that does counts.
        ranks: labels of processes that repeat the same tokens, of which the first counts.
        replicas: labels of engines that do not repeat one another: where one is there, ranks are of
            its engine, and the lowest counts; else only those that are 0.
        source: labels that tell its counters apart; None: all but those of the target.
        auto: whether it is recognised by its metrics. What stands before engines and counts the
            same again is read only where a job names it.
        exact: whether a metric has just the name that is written.
        tells_start: whether the page's process is the one that counts, so that its start is theirs.
        tested: what its rules are tested on: ``recorded`` or ``documentation``.
    """

    name: str
    title: str
    prefixes: tuple[str, ...]
    rules: tuple[Rule, ...]
    model: tuple[str, ...] = ()
    ranks: tuple[str, ...] = ()
    replicas: tuple[str, ...] = ()
    source: frozenset[str] | None = None
    auto: bool = True
    exact: bool = False
    tells_start: bool = False
    tested: str = "documentation"
    facts: str = ""
    notes: tuple[str, ...] = ()

    def rank_of(self, labels: Mapping[str, str]) -> tuple[int, ...] | None:
        """Return the ranks of a series, () where it has none, None where it repeats another."""
        told = [labels.get(rank, "") for rank in self.ranks]
        if not any(told):
            return ()
        ranks = tuple(int(text) if text.isdecimal() else len(text) for text in told)
        return ranks if not any(ranks) or any(map(labels.get, self.replicas)) else None

    def tells(self, label: str, term: Term) -> bool:
        """Return whether a label tells one number of a term from another."""
        if label in term.spent or label in self.ranks:
            return False
        return self.source is None or label in self.source or label in self.model

    def model_of(self, labels: Mapping[str, str]) -> str:
        return next((labels[name] for name in self.model if labels.get(name)), "")

    def spellings(self, term: Term) -> list[str]:
        """Return the names that a metric may have, those that end with ``_total`` first."""
        if term.part or self.exact:
            return [prefix + term.name for prefix in self.prefixes]
        plain = term.metric.removesuffix(TOTAL)
        return [prefix + name for name in (plain + TOTAL, plain) for prefix in self.prefixes]
