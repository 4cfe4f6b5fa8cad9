"""An operator's own rule to one that is applied like those of the known servers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

from .book import Book, named
from .rules import Choice, Match, Rule, Server, Term


class Told(Protocol):
    """What an operator says of a counter; see ``config.outcomes.OutcomeRule``."""

    @property
    def metric(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def labels(self) -> dict[str, str]: ...
    @property
    def model_label(self) -> str: ...
    @property
    def source_labels(self) -> tuple[str, ...]: ...
    @property
    def scale(self) -> float: ...


def matcher(label: str, text: str) -> Match:
    """Return what ``text``, ``!=text``, ``=~regex`` or ``!~regex`` asks of a label.

    Raises re.error where it is no regular expression.
    """
    for mark, is_pattern, unless in (("=~", True, False), ("!~", True, True), ("!=", False, True)):
        if text.startswith(mark):
            said = text.removeprefix(mark)
            return Match(label, re.compile(said if is_pattern else re.escape(said)), unless)
    return Match(label, re.compile(re.escape(text)))


class ToldJob(Protocol):
    """What a job says of outcomes; see ``config.scrape.Job``."""

    @property
    def outcomes(self) -> tuple[str, ...]: ...
    @property
    def outcome_rules(self) -> tuple[Told, ...]: ...


def book_of(job: ToldJob) -> Book:
    """Return the rules by which the pages of a job are read."""
    return named(job.outcomes, servers(job.outcome_rules))


def servers(rules: Iterable[Told]) -> tuple[Server, ...]:
    """Return each rule as a server of its own, named after its metric."""
    return tuple(map(_server, rules))


def _server(told: Told) -> Server:
    where = tuple(matcher(label, text) for label, text in told.labels.items())
    return Server(
        name=told.metric,
        title=told.metric,
        prefixes=("",),
        rules=(Rule(told.kind, (Choice(Term(told.metric, where)),), told.scale),),
        model=(told.model_label,) if told.model_label else (),
        source=frozenset(told.source_labels) if told.source_labels else None,
        exact=True,
        tested="",
    )
