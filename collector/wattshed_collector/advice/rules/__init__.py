"""Rules that find advice; each looks at full hours and claims what it can show."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wattshed_collector.advice.look import Look
from wattshed_collector.advice.model import Advice
from wattshed_collector.advice.rates import Span
from wattshed_collector.store.client import Client

from . import batch, idle, other_hour, placement, power_cap, precision

Rule = Callable[[Look], Iterable[Advice]]
RULES: tuple[Rule, ...] = (
    idle.find,
    precision.find,
    batch.find,
    placement.find,
    power_cap.find,
    other_hour.find,
)


def find(client: Client, span: Span) -> list[Advice]:
    """Return what all rules find in ``span``, the largest first."""
    look = Look(client, span)
    found = alone(advice for rule in RULES for advice in rule(look))
    return sorted(found, key=lambda advice: (-advice.joules_per_month, advice.id))


def alone(found: Iterable[Advice]) -> list[Advice]:
    """Return of the advice about one subject the one that saves most joules.

    The others are about the same joules; once that is done they are found again with their size.
    What saves no joules but grams stands beside it.
    """
    kept: dict[tuple[str, str], Advice] = {}
    for advice in found:
        key = advice.subject, "" if advice.joules_per_month else advice.kind
        if key not in kept or kept[key].joules_per_month < advice.joules_per_month:
            kept[key] = advice
    return list(kept.values())
