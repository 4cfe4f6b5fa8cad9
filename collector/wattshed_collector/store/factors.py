"""What a site adds to its joules: PUE, prices, ..., each valid from a time until the next one."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from typing import Any

from wattshed_collector.factor import Factor

from . import ledger_state
from .client import Client
from .versions import following

HOUR_S = 3600
Starts = Mapping[tuple[str, str], Sequence[int]]
"""By kind and site the times from which a factor holds, ascending."""


def put(client: Client, factors: Sequence[Factor], now_s: float) -> int:
    """Write ``factors`` and mark the hours that they change; return how many hours those are.

    Marked are hours of which the store knows anything; the rest is charged when there is something.
    """
    columns: dict[str, list[Any]] = {
        "kind": [factor.kind for factor in factors],
        "site": [factor.site for factor in factors],
        "start_ts": [factor.start_s for factor in factors],
        "value": [factor.value for factor in factors],
        "unit": [factor.unit for factor in factors],
        "source": [factor.source for factor in factors],
        "said_ts": [int(now_s)] * len(factors),
        "version": [following(client, "factor", now_s)] * len(factors),
    }
    first, last = ledger_state.extent(client) or (0, 0)
    end = min(last + HOUR_S, int(now_s))
    starts = _starts(client, factors)
    during = {_during(factor, starts, first, end) for factor in factors}
    hours = {hour for some in during for hour in some}
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


def _starts(client: Client, factors: Sequence[Factor]) -> Starts:
    found: dict[tuple[str, str], set[int]] = {(f.kind, f.site): set() for f in factors}
    said = [(factor.kind, factor.site, factor.start_s) for factor in factors]
    for kind, site, start in (*client.rows(STARTS), *said):
        if (kind, site) in found:
            found[kind, site].add(start)
    return {key: sorted(times) for key, times in found.items()}


def _during(factor: Factor, starts: Starts, first: int, end: int) -> range:
    """Return the hours in [first, end), Unix seconds, in which ``factor`` holds."""
    same = starts[factor.kind, factor.site]
    later = same[bisect.bisect_right(same, factor.start_s) :][:1]
    begin = max(first, factor.start_s // HOUR_S * HOUR_S)
    return range(begin, min(end, *later) if later else end, HOUR_S)
