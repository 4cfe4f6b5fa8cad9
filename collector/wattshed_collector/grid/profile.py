"""A stand-in for a forecast: each hour is expected to be like that hour of the last days."""

from __future__ import annotations

from collections.abc import Sequence

from .series import Step, mean

HOUR_S = 3600
DAY_S = 24 * HOUR_S


def same_hours(
    steps: Sequence[Step], start_s: int, end_s: int, now_s: int, days: int = 7
) -> list[Step]:
    """Return estimated steps of an hour each that cover [start_s, end_s).

    The value of an hour (of the clock in UTC) is the mean of those of the ``days`` days before
    ``now_s`` that are wholly known, None where none is.
    """
    first = start_s // HOUR_S * HOUR_S
    profile = {
        at % DAY_S: _usual(steps, at, now_s, days) for at in range(first, first + DAY_S, HOUR_S)
    }
    return [
        Step(max(at, start_s), min(at + HOUR_S, end_s), profile[at % DAY_S], is_estimated=True)
        for at in range(first, end_s, HOUR_S)
    ]


def _usual(steps: Sequence[Step], at: int, now_s: int, days: int) -> float | None:
    newest = at - (at + HOUR_S - now_s + DAY_S - 1) // DAY_S * DAY_S
    found = (
        mean(steps, begin, begin + HOUR_S).value
        for begin in range(newest, newest - days * DAY_S, -DAY_S)
    )
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known else None
