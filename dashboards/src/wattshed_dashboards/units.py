"""Names of Grafana's units that a board may use; another is an error, not a plain number.

Source: ``valueFormats/categories`` of @grafana/data 13.2; those of energy, time, data and rates.
A prefix with any text behind it is a unit of one's own: ``si:J/tok`` scales, ``suffix:`` does not.
"""

from __future__ import annotations

_NAMES = (
    "none string short sishort percent percentunit bool_yes_no locale sci",
    "watt kwatt megwatt mwatt joule watth kwatth volt amp massg masskg masst celsius litre",
    "currencyUSD currencyEUR currencyGBP currencyJPY currencyCHF",
    "bytes decbytes Bps binBps bps pps hertz rotrpm flops",
    "ns µs ms s m h d dtdurations dtdurationms clocks",
    "dateTimeAsIso dateTimeAsLocal dateTimeFromNow",
    "cps ops reqps rps wps iops eps mps recps rowsps",
)
KNOWN = frozenset(name for names in _NAMES for name in names.split())
PREFIXES = ("si:", "suffix:", "prefix:", "currency:", "count:", "time:")


def is_unit(name: str) -> bool:
    """Return whether Grafana knows how to write a number of this unit."""
    return name in KNOWN or any(name.startswith(p) and name != p for p in PREFIXES)
