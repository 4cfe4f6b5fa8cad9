"""Which charged hours cost something else by what is about to be said of the grid.

Only prices are charged (``rate_sql``); intensities are set against joules where they are asked for.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Mapping, Sequence

from wattshed_collector.grid.series import uppermost

from . import ledger_state
from .client import Client

HOUR_S = 3600
Said = tuple[int, float | None, str]
"""Until when (Unix seconds), the value, and its unit."""
Span = tuple[int, int]
"""[start, end), Unix seconds."""
_PRICES = """
SELECT toUnixTimestamp(t), toUnixTimestamp(end_ts), value, unit FROM v_grid
WHERE kind = 'price' AND zone = {zone:String}
  AND t < fromUnixTimestamp({until:UInt32}) AND end_ts > fromUnixTimestamp({since:UInt32})
"""
_LIES = """
SELECT toUnixTimestamp(since), toUnixTimestamp(until) FROM v_site_zone WHERE zone = {zone:String}
"""


def repriced(client: Client, zone: str, says: Mapping[int, Said]) -> set[int]:
    """Return the charged hours (Unix seconds) that prices by their start, once written, change.

    Those are hours that began while a site lay in ``zone``, and in which another price counts, or
    one in another unit, than before: what is said again changes none.
    """
    charged = _charged(client)
    since = max(charged[0], min(says, default=charged[1]))
    lies = client.rows(_LIES, {"zone": zone}) if since < charged[1] else []
    if not lies:
        return set()
    asked = {"zone": zone, "since": since, "until": charged[1]}
    was: dict[int, Said] = {
        start: (end, value, whose) for start, end, value, whose in client.rows(_PRICES, asked)
    }
    return {
        hour
        for hour in differing(was, was | dict(says), (since, charged[1]))
        if any(begin <= hour < end for begin, end in lies)
    }


def moved(client: Client, zone: str, since_s: int) -> set[int]:
    """Return the charged hours that may cost something else where a site lies in ``zone`` from
    ``since_s`` on: of since ever those of which a price of the zone says anything."""
    first, end = _charged(client)
    first = max(first, -(-since_s // HOUR_S) * HOUR_S)
    if since_s or first >= end:
        return set(range(first, end, HOUR_S))
    rows = client.rows(_PRICES, {"zone": zone, "since": first, "until": end})
    spans = ((max(start, first), min(until, end)) for start, until, _, _ in rows)
    return {hour for span in spans for hour in _hours(*span)}


def differing(was: Mapping[int, Said], becomes: Mapping[int, Said], within: Span) -> set[int]:
    """Return the hours within a span in which one of the values by start differs from the other."""
    before, after = (_seen(said, within) for said in (was, becomes))
    edges = sorted({edge for start, end, _ in (*before, *after) for edge in (start, end)})
    return {
        hour
        for start, end in itertools.pairwise(edges)
        if _at(before, start) != _at(after, start)
        for hour in _hours(start, end)
    }


def _seen(said: Mapping[int, Said], within: Span) -> list[tuple[int, int, tuple[float, str]]]:
    """Return what counts when, by the rule of ``series.tidy``; what is not known is left out."""
    starts = [at for at in sorted(said) if said[at][0] > at]
    cut = (
        (max(start, within[0]), min(end, within[1]), said[starts[index]])
        for index, start, end in uppermost([(at, said[at][0]) for at in starts])
    )
    return [
        (start, end, (value, unit))
        for start, end, (_, value, unit) in cut
        if end > start and value is not None
    ]


def _at(seen: Sequence[tuple[int, int, tuple[float, str]]], at: int) -> tuple[float, str] | None:
    index = bisect.bisect_right(seen, at, key=_start) - 1
    return seen[index][2] if index >= 0 and seen[index][1] > at else None


def _start(piece: tuple[int, int, tuple[float, str]]) -> int:
    return piece[0]


def _hours(start: int, end: int) -> Iterator[int]:
    yield from range(start // HOUR_S * HOUR_S, end, HOUR_S)


def _charged(client: Client) -> Span:
    """Return from which hour on, and until when, anything can have been charged."""
    found = ledger_state.extent(client)
    return (found[0], found[1] + HOUR_S) if found else (0, 0)
