"""Keep or replace: the closed form held against adding up months, one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.lifecycle.replace import Change, carbon, money, saved

MONTHS = 12


def month_by_month(brought: float, rate: float, change: float, years: int) -> int | None:
    """The month in which the sum of what each month saves reaches what was brought."""
    total = 0.0
    for month in range(years * MONTHS):
        # A month saves what its two halves' rates say; finer pieces than a month do not matter.
        pieces = 20
        total += sum(
            rate / MONTHS / pieces * (1 + change) ** ((month + (n + 0.5) / pieces) / MONTHS)
            for n in range(pieces)
        )
        if total >= brought:
            return month
    return None


@given(
    old=st.floats(50, 2000),
    new=st.floats(10, 2000),
    kg=st.floats(1, 2000),
    intensity=st.floats(5, 1000),
    change=st.floats(-0.4, 0.3),
    years=st.integers(1, 12),
)
def test_grams_are_even_in_the_month_in_which_they_add_up(
    old: float, new: float, kg: float, intensity: float, change: float, years: int
) -> None:
    of = Change(old, new, float(years), intensity, embodied_kg=kg, carbon_change=change)
    found = carbon(of)
    month = month_by_month(kg * 1000, of.saved_kwh_per_year * intensity, change, years)
    assert found.brought == kg * 1000
    if found.years is None:
        assert month is None or month == years * MONTHS - 1
        assert found.reason
    else:
        assert month is not None or found.years == pytest.approx(years, rel=1e-3)
        if month is not None:
            assert month / MONTHS - 1e-3 <= found.years <= (month + 1) / MONTHS + 1e-3


@given(change=st.floats(-0.5, 0.5), years=st.integers(1, 20))
def test_what_is_saved_in_years_is_the_sum_of_each(change: float, years: int) -> None:
    first = saved(1000.0, change, 1.0)
    each = sum(first * (1 + change) ** year for year in range(years))
    assert saved(1000.0, change, years) == pytest.approx(each, rel=1e-9)


def test_a_watt_for_a_year() -> None:
    """100 W less are 876.6 kWh a year: at 0.25 a kilowatt hour 438.3 are even after two years."""
    of = Change(500, 400, 5.0, 200.0, 0.25, 164.0, 438.3)
    assert money(of).years == pytest.approx(2.0)
    assert carbon(of).years == pytest.approx(164_000 / (876.6 * 200))
    assert money(of).left == pytest.approx(3 * 219.15)


def test_never_and_not_known_say_why() -> None:
    worse = Change(400, 500, 5.0, 200.0, 0.25, 164.0, 1000.0)
    assert carbon(worse).years is money(worse).years is None
    assert "does not save" in carbon(worse).reason
    assert carbon(worse).left is not None
    slow = Change(500, 499, 3.0, 200.0, 0.25, 164.0, 1000.0)
    assert (
        "after 114.1 years: the old one would be kept for 3 years"
        in money(Change(500, 499, 3.0, price_per_kwh=1.0, purchase_price=1000.24)).reason
    )
    assert "after" in carbon(slow).reason
    clean = Change(500, 400, 50.0, 100.0, embodied_kg=500.0, carbon_change=-0.3)
    assert carbon(clean).reason.startswith("never: the old one")
    unknown = Change(500, 400, 5.0)
    assert (carbon(unknown).years, money(unknown).years) == (None, None)
    assert "is not known" in carbon(unknown).reason
    assert "is not known" in carbon(Change(500, 400, 5.0, embodied_kg=1.0)).reason
    assert "is not known" in money(Change(500, 400, 5.0, purchase_price=1.0)).reason


def test_what_costs_nothing_is_even_at_once() -> None:
    assert carbon(Change(500, 400, 5.0, 200.0, embodied_kg=0.0)).years == 0.0


@pytest.mark.parametrize(
    "wrong", [{"remaining_years": 0.0}, {"old_watts": -1.0}, {"carbon_change": -1.0}]
)
def test_what_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Change(**{"old_watts": 2.0, "new_watts": 1.0, "remaining_years": 1.0} | wrong)
