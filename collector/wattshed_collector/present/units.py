"""Numbers as people read them: SI prefixes, three significant digits, "unknown" for what is not.

The page formats in the browser with ``page/units.js``; a test holds the two against each other.
"""

from __future__ import annotations

import math
from decimal import Decimal

UNKNOWN = "unknown"
PREFIXES = ("n", "µ", "m", "", "k", "M", "G", "T", "P", "E")
_FIRST = -9
"""Decimal exponent of the first prefix."""

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400


def joules(value: float | None, kwh: bool = False) -> str:
    """Return for example ``12.3 MJ``, with ``kwh`` also ``12.3 MJ (3.42 kWh)``."""
    text = _si(value, "J")
    return f"{text} ({watt_hours(value)})" if kwh and text != UNKNOWN else text


def watt_hours(value: float | None) -> str:
    """Return joules as watt-hours, for example ``3.42 kWh``."""
    return _si(None if value is None else value / HOUR_S, "Wh")


def watts(value: float | None) -> str:
    return _si(value, "W")


def count(value: float | None) -> str:
    """Return ``1,234`` below ten thousand, above it for example ``1.2 M``."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == int(value) and abs(value) < 10_000:
        return f"{int(value):,}"
    return _si(value, "").rstrip() if abs(value) >= 1 else f"{float(f'{value:.2g}'):g}"


def percent(ratio: float | None) -> str:
    """Return for example ``31.4 %``; only exactly nothing is 0 % and only everything is 100 %."""
    if ratio is None or not math.isfinite(ratio):
        return UNKNOWN
    if 0 < abs(ratio) < 0.001:
        return "< 0.1 %" if ratio > 0 else "> -0.1 %"
    if 0.999 < ratio < 1:
        return "> 99.9 %"
    return f"{ratio * 100 or 0.0:.1f}".removesuffix(".0") + " %"


def seconds(value: float | None) -> str:
    """Return the two largest units, for example ``3 h 12 min``."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if 0 < value < 0.001:
        return "< 1 ms"
    if value < MINUTE_S:
        return f"{float(f'{value:.2g}'):g} s"
    whole = math.floor(value + 0.5)
    if whole < HOUR_S:
        return _pair(whole, MINUTE_S, "min", 1, "s")
    if whole < 2 * DAY_S:
        return _pair(whole, HOUR_S, "h", MINUTE_S, "min")
    return _pair(whole, DAY_S, "d", HOUR_S, "h")


def celsius(value: float | None) -> str:
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.0f} °C"


def _pair(whole: int, big: int, big_unit: str, small: int, small_unit: str) -> str:
    rest = whole % big // small
    return f"{whole // big} {big_unit}" + (f" {rest} {small_unit}" if rest else "")


def _si(value: float | None, unit: str) -> str:
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return f"0 {unit}"
    rounded = Decimal(f"{value:.2e}")
    group = min(max((rounded.adjusted() - _FIRST) // 3, 0), len(PREFIXES) - 1)
    scaled = rounded.scaleb(-(_FIRST + 3 * group))
    places = min(max(2 - scaled.adjusted(), 0), 2)
    return f"{scaled:.{places}f} {PREFIXES[group]}{unit}"


def money(amount: float | None, currency: str) -> str:
    if amount is None:
        return UNKNOWN
    return f"{amount:,.2f} {currency}" if abs(amount) >= 1 else f"{amount:.2g} {currency}"


def grams(value: float | None) -> str:
    """Return for example ``12.3 kg``; from a million grams on tonnes."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    rounded = float(f"{value:.2e}")
    return _si(rounded / 1e6, "t") if abs(rounded) >= 1e6 else _si(value, "g")
