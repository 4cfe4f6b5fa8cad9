"""What all answers have in common: JSON, instants in ISO 8601, numbers that may be missing."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from wattshed_collector.instant import of_text

from . import ProviderError

T = TypeVar("T")


def read(name: str, body: bytes, take: Callable[[Any], T]) -> T:
    """Return what ``take`` makes of the JSON of ``body``; raises ProviderError where it cannot."""
    try:
        return take(json.loads(body))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ProviderError(f"{name}: the answer cannot be read: {error!r}") from error


def instant(text: str) -> int:
    """Return Unix seconds of ``2026-01-31T08:00Z`` and the like; UTC where no zone is named."""
    return int(of_text(text))


def iso(at_s: int) -> str:
    """Return ``2026-01-31T08:00Z``, which all of them read."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%MZ")


def value(said: Any, scale: float = 1.0) -> float | None:
    """Return a number, None where there is none; a NaN is none."""
    if said is None or isinstance(said, bool):
        return None
    found = float(said) * scale
    return found if math.isfinite(found) else None


def length_of(starts: Sequence[int], default_s: int) -> int:
    """Return how long a step lasts, by the shortest distance of two starts."""
    gaps = [b - a for a, b in itertools.pairwise(starts) if b > a]
    return min(gaps, default=default_s)


def spans(start_s: int, end_s: int, most_s: int) -> Iterator[tuple[int, int]]:
    """Yield [start_s, end_s) in parts of ``most_s`` at most, as services answer."""
    for since in range(start_s, end_s, most_s):
        yield since, min(since + most_s, end_s)
