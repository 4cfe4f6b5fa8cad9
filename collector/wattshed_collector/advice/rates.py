"""What a joule of a site stands for: facility joules, money and grams, as means over a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from wattshed_collector.store.client import Client

from .model import MONTH_S, UNKNOWN, Known

_HOURS = """
SELECT site, toUnixTimestamp(t), sum(v.joules),
       if(countIf(isNull(v.facility_joules)) > 0, NULL, sum(v.facility_joules)),
       if(uniqExactIf(v.currency, isNotNull(v.cost)) = 1, sum(v.cost), NULL),
       sumIf(v.joules, isNotNull(v.cost)), maxIf(v.currency, isNotNull(v.cost)),
       sumOrNull(v.carbon_g), sumIf(v.facility_joules, isNotNull(v.carbon_g)),
       any(v.carbon_g_per_kwh), any(v.zone), any(v.carbon_method), any(v.carbon_source),
       toUnixTimestamp(any(v.carbon_said))
FROM v_site_1h AS v
WHERE t >= fromUnixTimestamp({since:UInt32}) AND t < fromUnixTimestamp({until:UInt32})
  AND v.joules > 0
GROUP BY site, t ORDER BY site, t
"""

_WITHIN = "t >= fromUnixTimestamp({since:UInt32}) AND t < fromUnixTimestamp({until:UInt32})"
_TOLD = f"""
SELECT site, toUnixTimestamp(t), 'factor', source, toUnixTimestamp(said_ts) FROM v_factor_1h
WHERE kind = 'price' AND {_WITHIN}
"""
_SERIES = f"""
SELECT zone, toUnixTimestamp(t), 'hourly', source, toUnixTimestamp(said_ts) FROM v_grid_1h
WHERE kind = 'price' AND {_WITHIN}
"""
"""Prices as an operator told them of a site, and as a series of its zone, where he did not."""


@dataclass(frozen=True, slots=True)
class Span:
    """Full hours [since_s, until_s), Unix seconds, in which waste is looked for."""

    since_s: int
    until_s: int

    @property
    def hours(self) -> float:
        return (self.until_s - self.since_s) / 3600

    @property
    def confidence(self) -> float:
        """A week tells of a month; a day does not know of weekends."""
        return min(0.95, 0.6 + 0.35 * self.hours / 168)

    def per_month(self, amount: float) -> float:
        return amount * MONTH_S / (self.until_s - self.since_s)


@dataclass(frozen=True, slots=True)
class Rate:
    """Per joule of a device: ``facility`` joules and money; grams per facility joule. None:
    unknown."""

    facility: float | None = None
    cost: float | None = None
    currency: str = ""
    grams: float | None = None
    price: Known = UNKNOWN
    carbon: Known = UNKNOWN


@dataclass(frozen=True, slots=True)
class Size:
    """What joules of devices come to in a month, with the PUE where it is known. Money is that of
    the devices' own joules, as in the ledger; grams are those of the facility's."""

    joules: float
    are_facility: bool
    cost: float | None
    currency: str
    grams: float | None
    price: Known = UNKNOWN
    carbon: Known = UNKNOWN


Rates = Mapping[str, Rate]


@dataclass(frozen=True, slots=True)
class Hour:
    """What a site drew in a full hour; ``paid_joules`` and ``clean_joules`` are those of devices
    with a price and those of the facility with an intensity. None: not known."""

    site: str
    hour_s: int
    joules: float
    facility_joules: float | None
    cost: float | None
    paid_joules: float
    currency: str
    grams: float | None
    clean_joules: float | None
    g_per_kwh: float | None
    carbon: Known = UNKNOWN
    price: Known = UNKNOWN


def hours(client: Client, span: Span) -> list[Hour]:
    """Return the hours of each site within ``span``."""
    asked = {"since": span.since_s, "until": span.until_s}
    told, series = _known(client, _TOLD, asked), _known(client, _SERIES, asked)
    found = []
    for *row, zone, method, source, said in client.rows(_HOURS, asked):
        site, at = row[:2]
        price = told.get((site, at)) or series.get((zone, at), UNKNOWN)
        found.append(replace(Hour(*row), carbon=Known(method, source, said), price=price))
    return found


def _known(client: Client, sql: str, asked: Mapping[str, int]) -> dict[tuple[str, int], Known]:
    return {(place, at): Known(*said) for place, at, *said in client.rows(sql, asked)}


def rates(known: Iterable[Hour]) -> dict[str, Rate]:
    """Return the rates of each site over its hours."""
    return {
        site: _rate(list(of_site))
        for site, of_site in groupby(sorted(known, key=_place), key=lambda hour: hour.site)
    }


def _place(hour: Hour) -> tuple[str, int]:
    return hour.site, hour.hour_s


def _rate(known: Sequence[Hour]) -> Rate:
    facility = [hour.facility_joules for hour in known if hour.facility_joules is not None]
    moneys = {hour.currency for hour in known if hour.cost is not None}
    one = len(moneys) == 1  # money of several kinds has no sum
    cost = _ratio((hour.cost, hour.paid_joules) for hour in known) if one else None
    return Rate(
        sum(facility) / sum(hour.joules for hour in known) if len(facility) == len(known) else None,
        cost,
        max(moneys) if cost is not None else "",
        _ratio((hour.grams, hour.clean_joules) for hour in known),
        together(hour.price for hour in known if cost is not None and hour.cost is not None),
        together(hour.carbon for hour in known if hour.grams is not None),
    )


def together(known: Iterable[Known]) -> Known:
    """Return how several factors are known together: the oldest said time, if each has one."""
    every = set(known)
    said = [one.said_s for one in every if one.said_s is not None]
    return Known(
        ", ".join(sorted({one.method for one in every} - {""})),
        ", ".join(sorted({one.source for one in every} - {""})),
        min(said) if said and len(said) == len(every) else None,
    )


def _ratio(parts: Iterable[tuple[float | None, float | None]]) -> float | None:
    """Return the ratio of the sums of what is known, None where that is nothing."""
    known = [(amount, of) for amount, of in parts if amount is not None and of is not None]
    total = sum(of for _, of in known)
    return sum(amount for amount, _ in known) / total if total else None


def size(joules: float, site: str, span: Span, known: Rates) -> Size:
    """Return what ``joules`` of the devices of ``site`` within ``span`` come to in a month."""
    rate = known.get(site, Rate())
    month = span.per_month(joules)
    facility = month * rate.facility if rate.facility is not None else None
    return Size(
        month if facility is None else facility,
        facility is not None,
        None if rate.cost is None else month * rate.cost,
        rate.currency,
        None if facility is None or rate.grams is None else facility * rate.grams,
        rate.price,
        rate.carbon,
    )
