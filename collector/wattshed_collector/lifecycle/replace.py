"""Keep or replace: after how many years the same work on new hardware has paid for making it.

What the old device cost to make and to buy is spent either way and counts for nothing. The new one
brings its embodied carbon and its price; from then on the same work takes fewer joules. Both are
even when what was saved has reached what it brought, or never: because nothing is saved, because
the grid gets clean or power cheap before, or because the old device would have gone earlier anyway.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

YEAR_S = 365.25 * 86400
J_PER_KWH = 3.6e6


@dataclass(frozen=True, slots=True)
class Change:
    """The old and the new at the same work, in watts of the facility (with its PUE).

    ``remaining_years``: for how long the old one would be kept. Intensities change by
    ``carbon_change`` a year (-0.05: 5 % less), prices by ``price_change``. None: not known.
    """

    old_watts: float
    new_watts: float
    remaining_years: float
    g_per_kwh: float | None = None
    price_per_kwh: float | None = None
    embodied_kg: float | None = None
    purchase_price: float | None = None
    carbon_change: float = 0.0
    price_change: float = 0.0

    def __post_init__(self) -> None:
        if not (self.old_watts >= 0 and self.new_watts >= 0 and self.remaining_years > 0):
            raise ValueError("watts are at least 0, and the old device has years to go")
        if min(self.carbon_change, self.price_change) <= -1:
            raise ValueError("nothing can fall by all of itself in a year")

    @property
    def saved_kwh_per_year(self) -> float:
        return (self.old_watts - self.new_watts) * YEAR_S / J_PER_KWH


@dataclass(frozen=True, slots=True)
class Even:
    """``years`` until both are even; None: never within the remaining life, or not known.

    ``brought`` (grams or money) is what the new one costs to begin with, ``saved_first_year`` what
    it saves in its first year, ``left`` what is saved in all by the end of the remaining life.
    """

    years: float | None
    brought: float | None
    saved_first_year: float | None
    left: float | None
    reason: str


def carbon(of: Change) -> Even:
    """Return when the grams are even."""
    if of.embodied_kg is None:
        return Even(None, None, None, None, "the embodied carbon of the new one is not known")
    if of.g_per_kwh is None:
        return Even(None, of.embodied_kg * 1000, None, None, "the grid's intensity is not known")
    rate = of.saved_kwh_per_year * of.g_per_kwh
    return _even(of.embodied_kg * 1000, rate, of.carbon_change, of.remaining_years)


def money(of: Change) -> Even:
    """Return when the money is even."""
    if of.purchase_price is None:
        return Even(None, None, None, None, "the price of the new one is not known")
    if of.price_per_kwh is None:
        return Even(None, of.purchase_price, None, None, "the price of power is not known")
    rate = of.saved_kwh_per_year * of.price_per_kwh
    return _even(of.purchase_price, rate, of.price_change, of.remaining_years)


def saved(rate: float, change: float, years: float) -> float:
    """Return what is saved in ``years`` at ``rate`` a year at first, by ``change`` a year more."""
    growth = math.log1p(change)
    return rate * (years if growth == 0 else math.expm1(growth * years) / growth)


def _even(brought: float, rate: float, change: float, remaining_years: float) -> Even:
    first = saved(rate, change, 1.0)
    left = saved(rate, change, remaining_years) - brought
    if brought <= 0:
        return Even(0.0, brought, first, left, "")
    if rate <= 0:
        return Even(None, brought, first, left, "never: the new one does not save at the same work")
    years = _years(brought / rate, math.log1p(change))
    if years > remaining_years:
        told = "never" if math.isinf(years) else f"after {years:.1f} years"
        why = f"{told}: the old one would be kept for {remaining_years:.3g} years"
        return Even(None, brought, first, left, why)
    return Even(years, brought, first, left, "")


def _years(simple: float, growth: float) -> float:
    """Return the years in which what grows by e^growth a year adds up to ``simple`` first years."""
    grown = simple * growth
    if grown == 0:
        return simple
    return math.log1p(grown) / growth if grown > -1 else math.inf
