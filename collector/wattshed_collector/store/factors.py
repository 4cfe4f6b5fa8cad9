"""What a site adds to its joules: PUE, prices, ..., each valid from a time until the next one."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wattshed_collector.factor import Factor

from . import ledger_state
from .client import Client
from .versions import following

HOUR_S = 3600
CHARGED = ("pue", "price")
"""The kinds that stand beside joules in the ledger; others are set against them in views."""
Key = tuple[str, str, int]
"""Kind, site, and from when on (Unix seconds)."""
Starts = Mapping[tuple[str, str], Sequence[int]]
"""By kind and site the times from which a factor holds, ascending."""


def put(client: Client, factors: Sequence[Factor], now_s: float) -> int:
    """Write ``factors`` and mark the hours that they change; return how many hours those are.

    Marked are hours of which the store knows anything; the rest is charged when there is something.
    What says no more than was known marks none, and neither does what is not charged.
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
    known = _known(client)
    news = [f for f in factors if f.kind in CHARGED and known.get(_key(f)) != (f.value, f.unit)]
    starts = _starts([*known, *map(_key, factors)])
    during = {_during(factor, starts, first, end) for factor in news}
    hours = {hour for some in during for hour in some}
    # Before, so that nothing is lost with us, and after, because the ledger may come in between.
    ledger_state.mark_dirty(client, hours)
    client.insert("factor", columns)
    ledger_state.mark_dirty(client, hours)
    return len(hours)


def listed(client: Client) -> list[dict[str, Any]]:
    """Return every factor that counts, by kind, site and time."""
    return client.records(
        "SELECT kind, site, toUnixTimestamp(start_ts) AS start, value, unit, source "
        "FROM factor FINAL ORDER BY kind, site, start_ts"
    )


def _known(client: Client) -> dict[Key, tuple[float | None, str]]:
    """Return value and unit of what was told of each kind, site and time."""
    rows = client.rows(
        "SELECT toString(kind), toString(site), toUnixTimestamp(start_ts), value, toString(unit) "
        "FROM factor FINAL WHERE kind IN {kinds:Array(String)}",
        {"kinds": list(CHARGED)},
    )
    return {(kind, site, start): (value, unit) for kind, site, start, value, unit in rows}


def _key(factor: Factor) -> Key:
    return factor.kind, factor.site, factor.start_s


def _starts(keys: Iterable[Key]) -> Starts:
    found: dict[tuple[str, str], set[int]] = {}
    for kind, site, start in keys:
        found.setdefault((kind, site), set()).add(start)
    return {of: sorted(times) for of, times in found.items()}


def _during(factor: Factor, starts: Starts, first: int, end: int) -> range:
    """Return the hours in [first, end), Unix seconds, in which ``factor`` holds."""
    same = starts[factor.kind, factor.site]
    later = same[bisect.bisect_right(same, factor.start_s) :][:1]
    begin = max(first, factor.start_s // HOUR_S * HOUR_S)
    return range(begin, min(end, *later) if later else end, HOUR_S)
