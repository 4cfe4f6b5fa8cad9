"""SCI = (O + M) per R, what is missing, how rare events are counted, and the table of figures."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.lifecycle.embodied import amortised_g, table
from wattshed_collector.lifecycle.poisson import at_most, interval
from wattshed_collector.lifecycle.sci import NO_EMBODIED, NO_OUTCOMES, NO_PUE, Footprint, sci

grams = st.none() | st.floats(0, 1e9)


@given(st.floats(0, 1e12), grams, grams)
def test_the_score_is_the_sum_over_the_outcomes(
    outcomes: float, operational: float | None, embodied: float | None
) -> None:
    found = sci(Footprint(outcomes, operational, embodied))
    if operational is None or embodied is None or outcomes == 0:
        assert found.g_per_outcome is None
    else:
        assert found.g_per_outcome == pytest.approx((operational + embodied) / outcomes)
    assert (NO_OUTCOMES in found.reasons) is (outcomes == 0)


def test_bounds_are_of_embodied_carbon_and_reasons_are_kept() -> None:
    found = sci(Footprint(10, 100.0, 20.0, 10.0, 40.0))
    assert (found.low_g_per_outcome, found.g_per_outcome, found.high_g_per_outcome) == (11, 12, 14)
    part = sci(Footprint(10, None, 20.0, reasons=(NO_PUE,)))
    assert (part.g_per_outcome, part.embodied_g_per_outcome) == (None, 2.0)
    assert part.reasons == (NO_PUE,)
    assert sci(Footprint(0, 1.0, None, reasons=(NO_EMBODIED,))).reasons == (
        NO_EMBODIED, NO_OUTCOMES,
    )  # fmt: skip


def test_164_kg_over_5_years_are_3_7_g_an_hour() -> None:
    assert amortised_g(164, 5, 3600) == pytest.approx(3.74, abs=0.01)


@pytest.mark.parametrize(
    ("model", "kg"),
    [
        ("NVIDIA A100-SXM4-80GB", 318),
        ("NVIDIA A100 80GB PCIe", 318),
        ("NVIDIA H100 80GB HBM3", 164),
        ("NVIDIA H100 PCIe", 164),
        ("NVIDIA GeForce RTX 4090", 60),
        ("NVIDIA RTX A1000", None),
        ("NVIDIA GH100X", None),
        ("NVIDIA H200", None),
    ],
)
def test_of_whom_the_table_knows(model: str, kg: float | None) -> None:
    found = [one for one in table() if re.search(one.pattern, model.lower())]
    assert [one.kg for one in found] == ([] if kg is None else [kg])


def test_each_figure_says_its_source_and_how_far_it_may_be_off() -> None:
    for one in table():
        assert 0 < one.low_kg < one.kg < one.high_kg
        assert 2010 < one.year <= 2026
        assert len(one.source) > 40


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(0, 0.0, 3.688879), (1, 0.025318, 5.571643), (10, 4.795389, 18.390356)],
)
def test_intervals_as_tables_of_garwood_have_them(count: int, low: float, high: float) -> None:
    assert list(interval(count)) == pytest.approx([low, high], abs=1e-5)


@given(st.integers(0, 900), st.sampled_from([0.5, 0.9, 0.95]))
def test_the_tails_are_what_the_confidence_leaves(count: int, confidence: float) -> None:
    low, high = interval(count, confidence)
    tail = (1 - confidence) / 2
    assert at_most(count, high) == pytest.approx(tail, rel=1e-6)
    if count:
        assert 1 - at_most(count - 1, low) == pytest.approx(tail, rel=1e-6)
    assert low <= count <= high


def test_many_events_are_nearly_as_exact() -> None:
    for bound, tail, below in zip(interval(1001), (0.975, 0.025), (1000, 1001), strict=True):
        assert at_most(below, bound) == pytest.approx(tail, rel=5e-3)
    low, high = interval(10**8)
    assert math.isclose(high - low, 2 * 1.96 * 10**4, rel_tol=1e-3)


@pytest.mark.parametrize(("count", "confidence"), [(-1, 0.9), (1, 0.0), (1, 1.0)])
def test_no_interval_of_nonsense(count: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        interval(count, confidence)
