"""What a site adds to its joules: PUE, prices, ..., each valid from a time until the next one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wattshed_collector.factor import Factor

from .client import Client

HOUR_S = 3600
LONGEST_S = 10 * 366 * 86_400


def put(client: Client, factors: Sequence[Factor], now_s: float) -> int:
    """Write ``factors`` and mark the hours that they change; return how many hours those are."""
    columns: dict[str, list[Any]] = {
        "kind": [factor.kind for factor in factors],
        "site": [factor.site for factor in factors],
        "start_ts": [factor.start_s for factor in factors],
        "value": [factor.value for factor in factors],
        "unit": [factor.unit for factor in factors],
        "source": [factor.source for factor in factors],
        "version": [int(now_s * 1e6)] * len(factors),
    }
    known = [(str(kind), str(site), start) for kind, site, start in client.rows(STARTS)]
    hours = {hour for factor in factors for hour in _hours(factor, known, now_s)}
    client.insert("factor", columns)
    if hours:
        client.insert("dirty", {"hour": sorted(hours)})
    return len(hours)


def listed(client: Client) -> list[dict[str, Any]]:
    """Return every factor that counts, by kind, site and time."""
    return client.records(
        "SELECT kind, site, toUnixTimestamp(start_ts) AS start, value, unit, source "
        "FROM factor FINAL ORDER BY kind, site, start_ts"
    )


STARTS = "SELECT kind, site, toUnixTimestamp(start_ts) FROM factor FINAL"


def _hours(factor: Factor, known: Sequence[tuple[str, str, int]], now_s: float) -> range:
    later = [
        start
        for kind, site, start in known
        if (kind, site) == (factor.kind, factor.site) and start > factor.start_s
    ]
    end = min([*later, int(now_s)])
    first = max(factor.start_s, end - LONGEST_S) // HOUR_S * HOUR_S
    return range(first, end, HOUR_S) if factor.start_s < end else range(0)
