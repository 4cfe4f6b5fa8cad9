"""Rules that find advice; each looks at full hours and claims what it can show."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wattshed_collector.advice.model import Advice
from wattshed_collector.advice.rates import Rates, Span, rates
from wattshed_collector.store.client import Client

from . import idle

Rule = Callable[[Client, Span, Rates], Iterable[Advice]]
RULES: tuple[Rule, ...] = (idle.find,)


def find(client: Client, span: Span) -> list[Advice]:
    """Return what all rules find in ``span``, the largest first."""
    known = rates(client, span)
    found = [advice for rule in RULES for advice in rule(client, span, known)]
    return sorted(found, key=lambda advice: (-advice.joules_per_month, advice.id))
