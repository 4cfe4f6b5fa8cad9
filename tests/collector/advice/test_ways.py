"""Which way is cheaper, of ways that are alike in all but one thing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.advice.rates import Rate, Span
from wattshed_collector.advice.rules.precision import is_as_good
from wattshed_collector.advice.ways import LEAST_RATIO, Made, Swap, others, overhead, sized, swaps
from wattshed_collector.quality import Score

MADE = Made(
    *("chat", "inference", "assist", "ada", "llama", "bf16", "8", "", "H100", "dub", "datacenter"),
    *("token_out", 1000.0, 50e6, None),
)
CHEAP = replace(MADE, workload="lean", precision="fp8", count=4000.0, joules=80e6)
SPAN = Span(0, 30 * 86400)


def by_precision(*rows: Made) -> list[Swap]:
    return list(swaps(rows, lambda made: made.ai_model, lambda made: made.precision))


def test_the_saving_is_the_difference_for_what_was_made() -> None:
    (swap,) = by_precision(MADE, CHEAP)
    assert (swap.dear, swap.cheap) == (MADE, CHEAP)
    assert swap.saved_joules == 1000 * (50e3 - 20e3)


def test_ways_that_are_not_alike_or_do_not_differ_are_not_compared() -> None:
    assert by_precision(MADE, replace(CHEAP, ai_model="qwen")) == []
    assert by_precision(MADE, replace(CHEAP, precision="bf16")) == []
    assert by_precision(MADE, replace(CHEAP, outcome="request")) == []
    assert list(swaps((MADE, CHEAP), lambda _: 0, lambda m: m.precision, lambda _: False)) == []


def test_a_kind_of_outcome_that_denies_the_saving_counts() -> None:
    prompts = replace(MADE, outcome="token_in", count=1000.0)
    same = replace(CHEAP, outcome="token_in", count=1600.0)
    assert by_precision(MADE, CHEAP, prompts, same) == []
    half = replace(same, count=3200.0)
    (swap,) = by_precision(MADE, CHEAP, prompts, half)
    assert swap.dear.outcome == "token_in"
    assert swap.saved_joules == 1000 * (50e3 - 25e3)


def test_what_the_meters_leave_open_is_not_claimed() -> None:
    (swap,) = by_precision(replace(MADE, doubt=5e6), replace(CHEAP, doubt=8e6))
    assert swap.is_clear
    assert by_precision(replace(MADE, doubt=30e6), replace(CHEAP, doubt=8e6)) == []


def test_the_largest_workload_stands_for_its_way() -> None:
    small = replace(CHEAP, workload="small", count=10.0, joules=1.0)
    (swap,) = by_precision(MADE, small, CHEAP)
    assert swap.cheap == CHEAP


@given(
    st.lists(
        st.builds(
            lambda name, precision, count, joules: replace(
                MADE, workload=name, precision=precision, count=count, joules=joules
            ),
            st.sampled_from("abcd"),
            st.sampled_from(("bf16", "fp8", "int4")),
            st.floats(1, 1e6),
            st.floats(0, 1e9),
        ),
        unique_by=lambda made: made.way,
        max_size=8,
    )
)
def test_every_swap_is_worth_it_and_no_way_has_two(rows: list[Made]) -> None:
    found = by_precision(*rows)
    assert len({swap.dear.way for swap in found}) == len(found)
    for swap in found:
        assert swap.dear.precision != swap.cheap.precision
        assert swap.saved_joules >= LEAST_RATIO * swap.dear.joules > 0
    for row in rows:
        least = min((other.each for other in rows if other.precision != row.precision), default=0.0)
        if row.each <= least:
            assert row.way not in {swap.dear.way for swap in found}


def test_each_way_has_the_rates_of_its_site() -> None:
    swap = Swap(MADE, replace(CHEAP, site="reno"))
    rates = {"dub": Rate(1.5, 2e-8, "EUR", 1e-4), "reno": Rate(1.2, 1e-8, "EUR", 2e-4)}
    big = sized(swap, SPAN, rates)
    assert big is not None
    assert big.are_facility
    assert big.joules == pytest.approx(50e6 * 1.5 - 20e6 * 1.2)
    assert big.cost == pytest.approx(50e6 * 2e-8 - 20e6 * 1e-8)
    assert big.grams == pytest.approx(50e6 * 1.5 * 1e-4 - 20e6 * 1.2 * 2e-4)
    assert (overhead("dub", big, rates), overhead("reno", big, rates)) == (1.5, 1.2)
    beside = others(swap, [MADE, swap.cheap], SPAN, big, rates)
    assert beside.units_per_hour * SPAN.hours == pytest.approx(1000)
    assert beside.other_units_per_hour * SPAN.hours == pytest.approx(4000)
    assert beside.other_joules_per_unit == pytest.approx(96e6 / 4000)
    other = sized(swap, SPAN, {**rates, "reno": Rate(None, 1e-8, "USD", None)})
    assert other is not None
    assert not other.are_facility
    assert other.joules == pytest.approx(30e6)
    assert (other.cost, other.currency, other.grams) == (None, "", None)
    beside = others(swap, [MADE, swap.cheap], SPAN, other, rates)
    assert beside.other_joules_per_unit == pytest.approx(80e6 / 4000)


def test_what_is_made_beside_the_two_ways_stays_as_well() -> None:
    swap = Swap(MADE, CHEAP)
    big = sized(swap, SPAN, {})
    assert big is not None
    third = replace(MADE, ai_model="qwen", count=1000.0, joules=10e6)
    away = [
        replace(third, workload="stranger"),
        replace(third, site="reno"),
        replace(third, outcome="request"),
    ]
    beside = others(swap, [MADE, CHEAP, third, *away], SPAN, big, {})
    assert beside.other_units_per_hour * SPAN.hours == pytest.approx(5000)
    assert beside.other_joules_per_unit == pytest.approx(90e6 / 5000)


def test_too_little_is_not_worth_a_word() -> None:
    small = Swap(replace(MADE, count=100.0, joules=5e6), CHEAP)
    assert small.saved_joules == 3e6
    assert sized(small, SPAN, {}) is None
    # Nor is what the overhead of the other site takes.
    rates = {"dub": Rate(1.0), "reno": Rate(2.4)}
    assert sized(Swap(MADE, replace(CHEAP, site="reno")), SPAN, rates) is None


def said(precision: str, score: float, metric: str = "mmlu", better: str = "higher") -> Score:
    return Score("llama", precision, metric, score, better, 0)


@pytest.mark.parametrize(
    ("scores", "is_good"),
    [
        ([], False),
        ([said("fp8", 0.9)], False),
        ([said("bf16", 0.9)], False),
        ([said("bf16", 0.8), said("fp8", 0.81)], True),
        ([said("bf16", 0.8), said("fp8", 0.793)], True),
        ([said("bf16", 0.8), said("fp8", 0.791)], False),
        ([said("bf16", 5, "ppl", "lower"), said("fp8", 5.04, "ppl", "lower")], True),
        ([said("bf16", 5, "ppl", "lower"), said("fp8", 5.06, "ppl", "lower")], False),
        ([said("bf16", 5, "ppl", "lower"), said("fp8", 5, "ppl", "higher")], False),
        ([said("bf16", 0.8), said("fp8", 0.8), said("bf16", 9, "em"), said("fp8", 8, "em")], False),
        ([said("bf16", 0.8), said("fp8", 0.8), said("bf16", 9, "em")], True),
        ([said("bf16", 0.8), replace(said("fp8", 0.8), workload="others")], False),
        ([said("bf16", 0.8), replace(said("fp8", 0.8), workload="lean")], True),
        ([said("bf16", 0.0), said("fp8", 0.0)], True),
        ([said("bf16", 0.0), said("fp8", -0.1)], False),
    ],
)
def test_as_good_is_what_scores_of_both_say(scores: list[Score], is_good: bool) -> None:
    assert is_as_good(Swap(MADE, CHEAP), scores, 0.01) is is_good
