"""What rules look at: full hours of a store, with what their joules stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from wattshed_collector.store.client import Client

from .outlook import Outlook, outlooks
from .rates import Hour, Rates, Span, hours, rates
from .runs import Run, runs
from .ways import CACHED, Made, made


@dataclass(frozen=True)
class Look:
    """What several rules need is asked for once, and only if one does."""

    client: Client
    span: Span

    @cached_property
    def hours(self) -> tuple[Hour, ...]:
        return tuple(hours(self.client, self.span))

    @cached_property
    def rates(self) -> Rates:
        return rates(self.hours)

    @cached_property
    def made(self) -> tuple[Made, ...]:
        """What workloads made and took for it."""
        return tuple(one for one in self._every if one.outcome != CACHED)

    @cached_property
    def cached(self) -> tuple[Made, ...]:
        """Prompt tokens that a cache spared, beside the joules of who was spared them."""
        return tuple(one for one in self._every if one.outcome == CACHED)

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        return tuple(runs(self.client, self.span))

    @cached_property
    def outlooks(self) -> Mapping[str, Outlook]:
        """Of each site whose intensity is known."""
        return outlooks(self.client, self.span)

    @cached_property
    def _every(self) -> tuple[Made, ...]:
        return tuple(made(self.client, self.span))
