"""What a joule of a site stands for: facility joules, money and grams, as means over a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wattshed_collector.store.client import Client

from .model import MONTH_S

_RATES = """
SELECT site, max(currency),
       if(countIf(isNull(facility_joules)) > 0, NULL, sum(facility_joules) / sum(joules)),
       sumIf(cost, isNotNull(cost)) / nullIf(sumIf(joules, isNotNull(cost)), 0),
       sumIf(carbon_g, isNotNull(carbon_g))
           / nullIf(sumIf(facility_joules, isNotNull(carbon_g)), 0)
FROM v_site_1h
WHERE t >= fromUnixTimestamp({since:UInt32}) AND t < fromUnixTimestamp({until:UInt32})
  AND joules > 0
GROUP BY site
"""


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


@dataclass(frozen=True, slots=True)
class Size:
    """What joules of devices come to in a month, with the PUE where it is known."""

    joules: float
    are_facility: bool
    cost: float | None
    currency: str
    grams: float | None


Rates = Mapping[str, Rate]


def rates(client: Client, span: Span) -> dict[str, Rate]:
    """Return the rates of each site over ``span``."""
    asked = {"since": span.since_s, "until": span.until_s}
    return {
        str(site): Rate(facility, cost, str(currency) if cost is not None else "", grams)
        for site, currency, facility, cost, grams in client.rows(_RATES, asked)
    }


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
    )
