"""What rules look at: full hours of a store, with what their joules stand for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from wattshed_collector.store.client import Client

from .rates import Hour, Rates, Span, hours, rates
from .ways import Made, made


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
        return tuple(made(self.client, self.span))
