"""What the hours of a place were, and what could be expected of them beforehand.

Each hour is expected to be like that hour of the seven days before, as ``grid.profile`` has it for
``when`` without a forecast.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from wattshed_collector.store.client import Client

from .rates import Span

HOUR_S = 3600
DAY_S = 24 * HOUR_S
PROFILE_DAYS = 7
"""As ``grid.profile`` has it."""
_CARBON = """
SELECT site, toUnixTimestamp(t), g_per_kwh FROM v_carbon_1h
WHERE t >= fromUnixTimestamp({since:UInt32}) AND t < fromUnixTimestamp({until:UInt32})
  AND isNotNull(g_per_kwh)
"""

Profile = Sequence[float | None]
"""What each hour of the day, in UTC, is expected to be; None: not known."""


class Outlook:
    """What a zone's hours were (``g_per_kwh`` by hour, Unix seconds), and were expected to be."""

    def __init__(self, g_per_kwh: Mapping[int, float]) -> None:
        self.known = g_per_kwh
        self._profiles: dict[int, Profile] = {}

    def expected(self, now_s: int) -> Profile:
        """Return the profile as it was known at a full hour."""
        found = self._profiles.get(now_s)
        if found is None:
            first = now_s - now_s % DAY_S
            hours = (first + hour * HOUR_S for hour in range(24))
            found = self._profiles[now_s] = [self._usual(at, now_s) for at in hours]
        return found

    def _usual(self, at: int, now_s: int) -> float | None:
        newest = at if at + HOUR_S <= now_s else at - DAY_S
        days = range(newest, newest - PROFILE_DAYS * DAY_S, -DAY_S)
        known = [value for day in days if (value := self.known.get(day)) is not None]
        return sum(known) / len(known) if known else None


def outlooks(client: Client, span: Span) -> dict[str, Outlook]:
    """Return what a kilowatt hour emitted at each site, within ``span`` and the days before."""
    asked = {"since": span.since_s - PROFILE_DAYS * DAY_S, "until": span.until_s}
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for site, at, value in client.rows(_CARBON, asked):
        found[site][at] = value
    return {site: Outlook(known) for site, known in found.items()}
