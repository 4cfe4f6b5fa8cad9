"""Joules and time per outcome by power limit, and the limit that takes least within a slowdown.

See You et al., "Zeus", NSDI 2023: the least energy is mostly below the highest limit, and for some
jobs at little loss of speed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """What an outcome (an epoch, a step) took at a power limit and size of batches."""

    limit_watts: float
    joules: float
    seconds: float
    batch: str = ""


def best(points: Iterable[Point], now: Point, most_slowdown: float) -> Point:
    """Return the point of least joules that takes at most ``most_slowdown`` (a ratio) longer than
    ``now``, the quicker of two alike; ``now`` itself where none takes less."""
    fitting = (p for p in points if p.seconds <= now.seconds * (1 + most_slowdown))
    least = min(fitting, key=lambda p: (p.joules, p.seconds, p.limit_watts), default=now)
    return least if least.joules < now.joules else now
