"""What a kilowatt hour is worth at a place: by the factor of its site, else the series of its zone.

The same precedence, instant by instant, as that by which the ledger charges (``rate_sql``).
"""

from __future__ import annotations

from dataclasses import dataclass

from wattshed_collector.grid.series import Step, clip, layered

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
WHERE kind = {kind:String} AND site = {site:String} AND until > since ORDER BY since
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


def factor(client: Client, signal: str, where: Place) -> Told | None:
    """Return what an operator told of a site, per kWh; None: nothing. A price in another currency
    than the last one is not known."""
    kind = SIGNALS[signal]
    rows = client.rows(_FACTOR, {"kind": kind, "site": where.site}) if kind else []
    if where.by_zone or not rows:
        return None
    made = [_per_kwh(kind, value, unit) for _, _, value, unit, _ in rows]
    known = [(n, unit) for n, (value, unit) in enumerate(made) if value is not None]
    if not known:
        return None
    last, unit = known[-1]
    steps = [
        Step(since, until, value if its == unit else None)
        for (since, until, *_), (value, its) in zip(rows, made, strict=True)
    ]
    return Told(kind, where.zone, unit, str(rows[last][4]), 0, steps)


def actual(client: Client, signal: str, where: Place, since_s: int, until_s: int) -> Told:
    """Return what it was within [since_s, until_s), Unix seconds, per kWh in one unit."""
    told = factor(client, signal, where)
    newest = grid.newest(client, signal, where.zone)
    is_told = told is not None and is_known(told, since_s, until_s)
    unit = told.unit if told and is_told else newest.unit if newest else ""
    steps = grid.steps(client, signal, where.zone, since_s, until_s, unit)
    source = told.source if told and is_told else newest.source if newest else ""
    own = clip(told.steps, since_s, until_s) if told and is_told else []
    return Told(signal, where.zone, unit, source, 0, layered(steps, own))


def is_known(told: Told, since_s: int, until_s: int) -> bool:
    """Return whether ``told`` knows any value within [since_s, until_s), Unix seconds."""
    return any(step.value is not None for step in clip(told.steps, since_s, until_s))


def _per_kwh(kind: str, value: float | None, unit: str) -> tuple[float | None, str]:
    if kind != "price":
        return value, "g/kWh"
    money, _, per = unit.partition("/")
    scale = _PER_KWH.get(per)
    known = None if value is None or scale is None else value * scale
    return known, f"{money}/kWh"
