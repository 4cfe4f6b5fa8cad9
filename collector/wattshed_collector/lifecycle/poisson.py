"""How far a rate of rare events may be off: the exact interval of a Poisson count.

Garwood (1936): the rates under which what was counted, or more, and what was counted, or less, are
as unlikely as the confidence leaves. Found by bisection on the distribution itself; of more than a
thousand events by Wilson and Hilferty's approximation, which is closer than 1 in 10,000 there.
"""

from __future__ import annotations

import math
from statistics import NormalDist

STEPS = 200
MANY = 1000


def interval(count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the lower and the upper mean under which ``count`` events are still likely.

    Raises ValueError for a count below 0 and a confidence that is not between 0 and 1.
    """
    if count < 0 or not 0 < confidence < 1:
        raise ValueError("count at least 0 events, with a confidence between 0 and 1")
    tail = (1 - confidence) / 2
    if count > MANY:
        return _nearly(count, tail), _nearly(count + 1, 1 - tail)
    low = 0.0 if count == 0 else _mean(count - 1, 1 - tail)
    return low, _mean(count, tail)


def _nearly(count: int, probability: float) -> float:
    ninth = 1 / (9 * count)
    z = NormalDist().inv_cdf(probability)
    return float(count * (1 - ninth + z * math.sqrt(ninth)) ** 3)


def _mean(count: int, probability: float) -> float:
    """Return the mean at which at most ``count`` events are of this probability."""
    low, high = 0.0, count + 20 + 20 * math.sqrt(count + 1)
    for _ in range(STEPS):
        middle = (low + high) / 2
        if at_most(count, middle) > probability:
            low = middle
        else:
            high = middle
        if high - low <= 1e-12 * high:
            break
    return (low + high) / 2


def at_most(count: int, mean: float) -> float:
    """Return the probability of at most ``count`` events where ``mean`` are expected."""
    if mean == 0:
        return 1.0
    terms = (math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count + 1))
    return math.fsum(terms)
