"""Integrals over absolute time that a daily plan gives in closed form, with bounded wander."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import accumulate

from .fleet import MINUTES

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
COMMISSIONED_MS = 1_704_067_200_000
"""When every counter stood at zero: 2024-01-01 UTC."""

LIVE_STEP_MS = 10_000
"""Also the step in the history of a meter without a counter: a longer one would be gaps, and rows
of an earlier run between those of a later one would cut its integral to pieces."""
OCTAVES: tuple[tuple[int, float], ...] = (
    (LIVE_STEP_MS, 0.25),
    (MINUTE_MS, 0.15),
    (10 * MINUTE_MS, 0.25),
    (HOUR_MS, 0.2),
)
"""Time scales of the wander in ms, and the share of the headroom that each may take (sum < 1)."""


class Curve:
    """Integral of a daily plan of rates plus wander, in closed form.

    Rates are in thousandths per second, so that the integral over milliseconds is an integer in
    millionths (milliwatts give microjoules). The wander of one octave is interpolated between
    random knots; it is bounded by the calmest minute around a knot, which keeps every rate within
    its headroom and the integral growing. Without headroom there is no wander.
    """

    __slots__ = ("_day", "_last", "_octaves", "_prefix", "_rates", "_zero")

    def __init__(
        self, seed: int, key: str, rates: list[int], headroom: Sequence[int] | None = None
    ) -> None:
        self._rates = rates
        self._prefix = [0, *accumulate(rate * MINUTE_MS for rate in rates)]
        self._day = self._prefix[-1]
        self._octaves = [
            (period, _salt(f"{seed}/{key}/{period}"), _calm(headroom, period, part))
            for period, part in OCTAVES
            if headroom is not None
        ]
        self._last: tuple[range, list[int]] = (range(0), [])
        self._zero = 0
        self._zero = self.total(COMMISSIONED_MS)

    def rate(self, minute: int) -> int:
        return self._rates[minute]

    def total(self, ts_ms: int) -> int:
        """Return the integral from ``COMMISSIONED_MS`` to ``ts_ms``."""
        day, rest = divmod(ts_ms - COMMISSIONED_MS, DAY_MS)
        minute, ms = divmod(rest, MINUTE_MS)
        total = day * self._day + self._prefix[minute] + self._rates[minute] * ms - self._zero
        for period, salt, calm in self._octaves:
            knot, ms = divmod(ts_ms, period)
            here = _knot(salt, knot, period, calm)
            if ms:
                here += (_knot(salt, knot + 1, period, calm) - here) * ms // period
            total += here
        return total

    def totals(self, times: range) -> list[int]:
        """Return the integrals to ``times``; the latest are kept, for a meter that contains it."""
        if self._last[0] != times:
            self._last = times, [self.total(ts) for ts in times]
        return self._last[1]


def fraction(text: str) -> float:
    """Return a number in [0, 1) that belongs to the text."""
    return _salt(text) / 2**64


def _salt(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _calm(headroom: Sequence[int], period: int, fraction: float) -> list[int]:
    """Return the amplitude per knot of a day: a fraction of the least headroom around it."""
    width = max(1, period // MINUTE_MS)
    ahead = max(width, 2 if period < MINUTE_MS else 1)
    return [
        int(fraction * min(headroom[m % MINUTES] for m in range(start - width, start + ahead)))
        for start in range(0, MINUTES, width)
    ]


def _knot(salt: int, knot: int, period: int, calm: Sequence[int]) -> int:
    """Return the wander at a knot: uniform within half the amplitude, from a hash of its number."""
    amplitude = calm[knot * period % DAY_MS * len(calm) // DAY_MS]
    mixed = (salt ^ knot) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    mixed = (mixed ^ mixed >> 32) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    return ((mixed >> 48) - 32768) * amplitude * period >> 16
