"""What a kilowatt hour is worth at a place: by the factor of its site, else the series of its zone.

The same precedence, instant by instant, as that by which the ledger charges (``rate_sql``).
"""

from __future__ import annotations

from dataclasses import dataclass

from wattshed_collector.grid.series import Step, clip, layered, under

from . import grid
from .client import Client
from .grid import Told

SIGNALS = {
    "carbon": "carbon_g_per_kwh",
    "carbon_marginal": "",
    "price": "price",
}
"""What can be asked for, and the kind of factor that an operator may have told for a site."""
_PER_KWH = {"J": 3.6e6, "Wh": 1e3, "kWh": 1.0, "MWh": 1e-3}
_FACTOR = """
SELECT toUnixTimestamp(since), toUnixTimestamp(until), value, unit, source FROM v_factor
WHERE kind = {kind:String} AND site = {site:String} AND isNotNull(value)
  AND until > since AND since < fromUnixTimestamp({until:UInt32})
  AND until > fromUnixTimestamp({since:UInt32})
ORDER BY since
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A site and the zone in which it lies ("": in none), or with ``by_zone`` a zone alone."""

    site: str
    zone: str
    by_zone: bool


def place(client: Client, site: str, zone: str) -> Place:
    """Return the place that somebody names by its site, or by its zone."""
    return Place("", zone, True) if zone else Place(site, grid.zone_of(client, site), False)


def factor(client: Client, signal: str, where: Place, since_s: int, until_s: int) -> Told | None:
    """Return what an operator told of a site within [since_s, until_s), Unix seconds, per kWh;
    None: nothing.

    It is in the currency of the first price that is known, "" where none is. Another's value is
    None: the zone's price does not count then, and money of two kinds is not compared.
    """
    kind = SIGNALS[signal]
    if where.by_zone or not kind:
        return None
    asked = {"kind": kind, "site": where.site, "since": since_s, "until": until_s}
    rows = client.rows(_FACTOR, asked)
    if not rows:
        return None
    made = [_per_kwh(kind, value, unit) for _, _, value, unit, _ in rows]
    known = (n for n, (value, _) in enumerate(made) if value is not None)
    first = next(known, None)
    unit, source = ("", "") if first is None else (made[first][1], str(rows[first][4]))
    steps = [
        Step(since, until, value if its == unit else None)
        for (since, until, *_), (value, its) in zip(rows, made, strict=True)
    ]
    return Told(kind, where.zone, unit, source, 0, clip(steps, since_s, until_s))


def actual(client: Client, signal: str, where: Place, since_s: int, until_s: int) -> Told:
    """Return what it was within [since_s, until_s), Unix seconds, per kWh in one unit."""
    told = factor(client, signal, where, since_s, until_s)
    newest = grid.newest(client, signal, where.zone, since_s, until_s)
    unit, source = (newest.unit, newest.source) if newest else ("", "")
    if told and told.unit:
        unit, source = told.unit, told.source
    own = told.steps if told else []
    steps = grid.steps(client, signal, where.zone, since_s, until_s, unit)
    return Told(signal, where.zone, unit, source, 0, layered(under(steps, own), own))


def _per_kwh(kind: str, value: float, unit: str) -> tuple[float | None, str]:
    if kind != "price":
        return value, "g/kWh"
    money, _, per = unit.partition("/")
    scale = _PER_KWH.get(per)
    return (None if scale is None else value * scale), f"{money}/kWh"
