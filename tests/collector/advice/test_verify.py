"""Saving is measured for the same units, and the verdict follows from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.advice.model import MONTH_S
from wattshed_collector.advice.verify import After, Verdict, verify, verify_grams

DAY = 86400.0


@pytest.mark.parametrize(
    ("after", "verdict", "saved"),
    [
        (After(2 * DAY, 48, 0.0), Verdict.VERIFIED, 4800.0),
        (After(2 * DAY, 48, 2400.0), Verdict.VERIFIED, 2400.0),
        (After(2 * DAY, 48, 2401.0), Verdict.PARTLY, 2399.0),
        (After(2 * DAY, 48, 4800.0), Verdict.NOT_VERIFIED, 0.0),
        (After(2 * DAY, 48, 6000.0), Verdict.NOT_VERIFIED, -1200.0),
        (After(DAY - 1, 24, 0.0), Verdict.TOO_EARLY, 2400.0),
        (After(2 * DAY, 48, None), Verdict.UNKNOWN, None),
        (After(0.0, 0, None), Verdict.UNKNOWN, None),
    ],
)
def test_a_hundred_joules_an_hour(after: After, verdict: Verdict, saved: float | None) -> None:
    found = verify(100.0, 100.0 * MONTH_S / 3600, after)
    assert (found.verdict, found.saved_joules) == (verdict, saved)
    assert found.expected_joules == pytest.approx(100.0 * after.seconds / 3600)


def test_fewer_outcomes_are_no_saving() -> None:
    # Half as many tokens at the same joules each: nothing was saved.
    found = verify(2.0, 1e6, After(2 * DAY, 5000, 10_000.0))
    assert (found.saved_joules, found.verdict) == (0.0, Verdict.NOT_VERIFIED)


@given(st.floats(0.1, 1e6), st.floats(0, 1), st.integers(24, 1000))
def test_a_fix_is_measured_as_it_was_planted(rate: float, left: float, hours: int) -> None:
    month = rate * MONTH_S / 3600
    found = verify(rate, month, After(hours * 3600.0, hours, rate * left * hours))
    assert found.ratio == pytest.approx(1 - left, abs=1e-9)
    assert found.saved_joules_per_month == pytest.approx(month * (1 - left), abs=1e-6 * month)


@pytest.mark.parametrize(
    ("seconds", "saved", "verdict"),
    [
        (2 * DAY, 4800.0, Verdict.VERIFIED),
        (2 * DAY, 2000.0, Verdict.PARTLY),
        (2 * DAY, 0.0, Verdict.NOT_VERIFIED),
        (2 * DAY, -5.0, Verdict.NOT_VERIFIED),
        (DAY - 1, 4800.0, Verdict.TOO_EARLY),
        (2 * DAY, None, Verdict.UNKNOWN),
    ],
)
def test_grams_are_held_against_grams(
    seconds: float, saved: float | None, verdict: Verdict
) -> None:
    found = verify_grams(100.0 * MONTH_S / 3600, After(seconds, saved_g=saved))
    assert (found.verdict, found.saved_g, found.saved_joules) == (verdict, saved, None)
    assert found.expected_g == pytest.approx(100.0 * seconds / 3600)


@given(st.lists(st.tuples(st.integers(0, 99), st.floats(0, 1e6)), min_size=1, max_size=6))
def test_what_parts_of_a_time_saved_is_what_the_whole_did(parts: list[tuple[int, float]]) -> None:
    each = [
        verify(7.0, 1e6, After(hours * 3600.0, hours, joules)).saved_joules or 0.0
        for hours, joules in parts
    ]
    hours, joules = sum(h for h, _ in parts), sum(j for h, j in parts if h)
    whole = verify(7.0, 1e6, After(hours * 3600.0, hours, joules)).saved_joules or 0.0
    assert sum(each) == pytest.approx(whole, abs=1e-6)
