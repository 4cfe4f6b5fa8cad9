"""What a joule stands for is a ratio of sums over what is known."""

from __future__ import annotations

import pytest

from wattshed_collector.advice.rates import Hour, Rate, Span, rates, size

KNOWN = Hour("dub", 0, 100.0, 150.0, 2.0, 100.0, "EUR", 30.0, 150.0, 200.0)
BARE = Hour("dub", 3600, 300.0, None, None, 0.0, "", None, None, None)


def test_ratios_are_of_sums() -> None:
    more = Hour("dub", 3600, 300.0, 330.0, 4.0, 300.0, "EUR", 18.0, 330.0, 50.0)
    found = rates([more, KNOWN])["dub"]
    assert found == Rate(480 / 400, 6 / 400, "EUR", 48 / 480)


def test_an_hour_without_a_pue_leaves_the_facility_unknown_and_the_rest_as_it_is() -> None:
    assert rates([KNOWN, BARE])["dub"] == Rate(None, 2 / 100, "EUR", 30 / 150)
    assert rates([BARE])["dub"] == Rate()
    assert rates([]) == {}


def test_a_size_without_rates_is_of_devices_and_costs_nothing_known() -> None:
    span = Span(0, 86_400)
    big = size(10.0, "nowhere", span, {})
    assert (big.are_facility, big.cost, big.grams, big.currency) == (False, None, None, "")
    assert big.joules == pytest.approx(300.0)
    known = size(10.0, "dub", span, rates([KNOWN]))
    assert known.are_facility
    assert known.joules == pytest.approx(450.0)
    assert known.grams == pytest.approx(450.0 * 0.2)


def test_money_of_two_currencies_has_no_sum() -> None:
    dollars = Hour("dub", 3600, 300.0, 330.0, 4.0, 300.0, "USD", 18.0, 330.0, 50.0)
    found = rates([KNOWN, dollars])["dub"]
    assert (found.cost, found.currency) == (None, "")
    assert found.facility == 480 / 400
