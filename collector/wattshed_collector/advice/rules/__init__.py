"""Rules that find advice; each looks at full hours and claims what it can show."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from wattshed_collector.advice.look import Look
from wattshed_collector.advice.model import Advice
from wattshed_collector.advice.rates import Span
from wattshed_collector.advice.shares import shared
from wattshed_collector.store.client import Client

from . import (
    batch,
    cache,
    idle,
    other_hour,
    other_zone,
    placement,
    power_cap,
    precision,
    smaller,
)

Rule = Callable[[Look], Iterable[Advice]]
RULES: tuple[Rule, ...] = (
    idle.find,
    precision.find,
    batch.find,
    placement.find,
    smaller.find,
    cache.find,
    power_cap.find,
    other_hour.find,
    other_zone.find,
)


def find(client: Client, span: Span, settled: Collection[str] = ()) -> list[Advice]:
    """Return what all rules find in ``span``, the largest first; ``settled`` as in ``alone``."""
    look = Look(client, span)
    every = alone((advice for rule in RULES for advice in rule(look)), settled)
    found = shared(client, span, every)
    return sorted(found, key=lambda advice: (-advice.joules_per_month, advice.id))


def alone(found: Iterable[Advice], settled: Collection[str] = ()) -> list[Advice]:
    """Return of the advice about one subject the one that saves most joules.

    The others are about the same joules; once that is done they are found again with their size.
    Beside it stands what saves no joules: the one that saves most grams. What is ``settled``, by
    id, holds no other up: it was dismissed, or it was done before all that is looked at.
    """
    kept: dict[tuple[str, bool, str], Advice] = {}
    for advice in found:
        own = advice.id if advice.id in settled else ""
        key = advice.subject, advice.joules_per_month > 0, own
        if key not in kept or _size(kept[key]) < _size(advice):
            kept[key] = advice
    return list(kept.values())


def _size(advice: Advice) -> tuple[float, float]:
    return advice.joules_per_month, advice.g_per_month or 0.0
