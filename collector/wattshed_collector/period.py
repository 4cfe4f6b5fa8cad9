"""Calendar months and weeks as people name them: ``2026-10`` and ``2026-W44``, in UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from .errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Period:
    """A month or an ISO 8601 week, [start_s, end_s) in Unix seconds, and when the one before began.

    ``kind`` is month or week, ``name`` what it is called, ``before`` what the one before is called.
    """

    kind: str
    name: str
    start_s: int
    end_s: int
    before: str
    before_s: int


def month(name: str) -> Period:
    """Return the month of a name such as 2026-10. Raises InvalidInput."""
    if not re.fullmatch(r"\d{4}-\d{2}", name):
        raise InvalidInput(f"month={name!r}: write a month such as 2026-10", "month")
    try:
        start = datetime.strptime(name, "%Y-%m").replace(tzinfo=UTC)
        end = (start + timedelta(days=31)).replace(day=1)
        before = (start - timedelta(days=1)).replace(day=1)
        return _period("month", name, start, end, f"{before:%Y-%m}", before)
    except (ValueError, OverflowError):
        raise InvalidInput(f"month={name!r}: there is no such month", "month") from None


def week(name: str) -> Period:
    """Return the week of a name such as 2026-W44, from Monday on. Raises InvalidInput."""
    found = re.fullmatch(r"(\d{4})-W(\d{2})", name)
    if not found:
        raise InvalidInput(f"week={name!r}: write an ISO week such as 2026-W44", "week")
    try:
        start = datetime.fromisocalendar(int(found[1]), int(found[2]), 1).replace(tzinfo=UTC)
        end, before = start + timedelta(days=7), start - timedelta(days=7)
        return _period("week", name, start, end, f"{before:%G-W%V}", before)
    except (ValueError, OverflowError):
        raise InvalidInput(f"week={name!r}: there is no such week", "week") from None


def asked(month_name: str, week_name: str, now_s: float) -> Period:
    """Return the period that is named; with neither, the last month that is over."""
    if month_name and week_name:
        raise InvalidInput("name either a month or a week", "month")
    if week_name:
        found = week(week_name)
    elif month_name:
        found = month(month_name)
    else:
        this = datetime.fromtimestamp(now_s, UTC).replace(day=1)
        found = month(f"{this - timedelta(days=1):%Y-%m}")
    if found.start_s >= now_s or found.before_s < 0:
        raise InvalidInput(f"the {found.kind} {found.name} is not in the past", found.kind)
    return found


def _period(
    kind: str, name: str, start: datetime, end: datetime, before: str, before_start: datetime
) -> Period:
    at, to, from_ = (int(time.timestamp()) for time in (start, end, before_start))
    return Period(kind, name, at, to, before, from_)
