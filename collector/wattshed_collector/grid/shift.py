"""What a job that was held saved against running at once: the same joules, so much earlier."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .series import Step, mean

MINUTE_S = 60
J_PER_KWH = 3.6e6


@dataclass(frozen=True, slots=True)
class Shifted:
    """Of ``joules`` in all. What they cost as they were drawn, and had they been drawn earlier.

    Both are in the unit of the steps times kWh (grams, money), None where any part is unknown.
    """

    joules: float
    cost: float | None
    cost_at_once: float | None

    @property
    def saved(self) -> float | None:
        if self.cost is None or self.cost_at_once is None:
            return None
        return self.cost_at_once - self.cost


def shifted(joules: Mapping[int, float], steps: Sequence[Step], shift_s: int) -> Shifted:
    """Return what was saved by drawing ``joules`` (by full minute, Unix seconds) ``shift_s`` later.

    Within a minute the joules are taken to be drawn evenly; ``steps`` are tidy.
    """
    return Shifted(
        math.fsum(joules.values()), _cost(joules, steps, 0), _cost(joules, steps, shift_s)
    )


def _cost(joules: Mapping[int, float], steps: Sequence[Step], earlier_s: int) -> float | None:
    parts = []
    at = 0
    for minute in sorted(joules):
        begin = minute - earlier_s
        while at < len(steps) and steps[at].end_s <= begin:
            at += 1
        each = _mean(steps, at, begin, begin + MINUTE_S)
        if each is None:
            return None
        parts.append(joules[minute] / J_PER_KWH * each)
    return math.fsum(parts)


def _mean(steps: Sequence[Step], at: int, begin: int, end: int) -> float | None:
    """Most minutes lie within one step."""
    if at < len(steps) and steps[at].start_s <= begin and steps[at].end_s >= end:
        return steps[at].value
    return mean(steps, begin, end).value
