"""Time windows as people write them: ``24h``, ``90m``, ``7d``, or an instant in ISO 8601."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from wattshed_collector.errors import InvalidInput
from wattshed_collector.instant import LATEST_S, of_text

if TYPE_CHECKING:
    from aiohttp import web

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
GRAFANA_UNITS_S = UNITS_S | {"M": 30 * 86400, "y": 365 * 86400}
LONGEST_S = 10 * 366 * 86400


def window(
    since: str, until: str, now: float, longest_seconds: float = LONGEST_S
) -> tuple[int, int]:
    """Return [start, end) in Unix seconds. ``until`` may be empty for now.

    ``since`` is a length before the end (``24h``) or an instant (``2026-01-31T08:00Z``). Raises
    InvalidInput with a sentence that says what is accepted.
    """
    end = _instant(until, "write an instant") if until else int(now)
    length = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", since)
    if length:
        start = end - round(min(float(length[1]) * UNITS_S[length[2]], 2 * LONGEST_S))
    else:
        start = _instant(since, "write a length such as 90m, 24h or 7d, or an instant")
    if end > LATEST_S:
        raise InvalidInput(f"{until!r} is later than the year 2105", "window")
    if end - start > longest_seconds:
        said = "ten years" if longest_seconds == LONGEST_S else f"{longest_seconds / 86400:g} days"
        raise InvalidInput(f"the window from {since!r} is longer than {said}", "window")
    if not 0 <= start < end:
        raise InvalidInput(f"the window from {since!r} to {until or 'now'!r} is empty", "window")
    return start, end


def asked_window(request: web.Request, longest_seconds: float = LONGEST_S) -> tuple[int, int]:
    """Return the window that a request names by ``?since=24h&until=``."""
    since, until = request.query.get("since", "24h"), request.query.get("until", "")
    return window(since, until, time.time(), longest_seconds)


def length_seconds(text: str, name: str) -> int:
    """Return a length such as 90m, 8h or 14d in seconds. Raises InvalidInput."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)([smhdw])", text)
    seconds = round(float(found[1]) * UNITS_S[found[2]]) if found else 0
    if not 0 < seconds <= LONGEST_S:
        raise InvalidInput(f"{name}={text!r}: write a length such as 90m, 8h or 14d", name)
    return seconds


def instant_or_length(text: str, name: str, now: int) -> int:
    """Return an instant, or the one a length from now; empty: now. Raises InvalidInput."""
    if not text:
        return now
    if re.fullmatch(r"[\d.]+[smhdw]", text):
        return now + length_seconds(text, name)
    return _instant(text, f"{name}: write a length from now such as 12h, or an instant")


def range_ms(
    begin: str, end: str, now: float, longest_seconds: float = LONGEST_S
) -> tuple[int, int]:
    """Return a window in Unix milliseconds as Grafana's URLs write one.

    ``now``, ``now-6h``, Unix milliseconds, or an instant. Raises InvalidInput with a sentence that
    says what is accepted.
    """
    first, last = _grafana_ms(begin, now), _grafana_ms(end, now)
    if last > LATEST_S * 1000:
        raise InvalidInput(f"{end!r} is later than the year 2105", "window")
    if last - first > longest_seconds * 1000:
        raise InvalidInput(f"from {begin!r} to {end!r} is longer than is answered", "window")
    if not 0 <= first < last:
        raise InvalidInput(f"the window from {begin!r} to {end!r} is empty", "window")
    return first, last


def _grafana_ms(text: str, now: float) -> int:
    if text == "now":
        return int(now * 1000)
    if ago := re.fullmatch(r"now-(\d{1,9})([smhdwMy])", text):
        return int((now - int(ago[1]) * GRAFANA_UNITS_S[ago[2]]) * 1000)
    if re.fullmatch(r"\d{10,15}", text):
        return int(text)
    return 1000 * _instant(text, "write now, now-6h, Unix milliseconds, or an instant")


def _instant(text: str, advice: str) -> int:
    try:
        return int(of_text(text))
    except ValueError:
        raise InvalidInput(
            f"{text!r} is not a time: {advice} such as 2026-01-31T08:00Z", "window"
        ) from None
