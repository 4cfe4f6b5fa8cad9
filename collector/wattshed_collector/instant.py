"""An instant as people, files and services write it: ISO 8601 or Unix seconds, UTC by default."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

LATEST_S = 4_291_747_199
"""The end of 2105: what the store's times can hold."""


def unix_seconds(said: Any) -> float:
    """Return Unix seconds of a number of them, or of a text such as ``2026-01-31T08:00Z``.

    Raises ValueError where it is neither, or not between 1970 and 2105.
    """
    try:
        at = of_text(said) if isinstance(said, str) else _of_number(said)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{said!r} is not a time such as 2026-01-31T08:00Z") from None
    if not 0 <= at <= LATEST_S:
        raise ValueError(f"{said!r} is not a time between 1970 and 2105")
    return at


def of_text(said: str) -> float:
    """Return Unix seconds of ISO 8601, of whatever year. Raises ValueError."""
    found = datetime.fromisoformat(said)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _of_number(said: Any) -> float:
    if isinstance(said, bool):
        raise TypeError(said)
    return float(said)
