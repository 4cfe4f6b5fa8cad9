"""Means over irregular steps are those of every second, and holes are never filled."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.grid.series import Step, clip, layered, mean, tidy, under, usual_length

values = st.none() | st.integers(-50, 900).map(float)
steps = st.builds(
    lambda start, length, value, estimated: Step(start, start + length, value, estimated),
    st.integers(0, 60),
    st.integers(0, 20),
    values,
    st.none() | st.booleans(),
)


def by_second(said: list[Step]) -> dict[int, Step]:
    return {at: step for step in said for at in range(step.start_s, step.end_s)}


def shown(said: list[Step]) -> dict[int, Step]:
    """What counts at each second: who starts last, then who is last."""
    ranked = sorted(enumerate(said), key=lambda one: (one[1].start_s, one[0]))
    return by_second([step for _, step in ranked])


@given(st.lists(steps, max_size=8))
def test_of_several_the_one_that_starts_last_counts(said: list[Step]) -> None:
    made = tidy(said)
    told = shown(said)
    assert {at: (s.value, s.is_estimated) for at, s in by_second(made).items()} == {
        at: (s.value, s.is_estimated) for at, s in told.items()
    }
    assert all(a.end_s <= b.start_s for a, b in itertools.pairwise(made))


@given(st.lists(steps, max_size=8), st.integers(0, 80), st.integers(1, 40))
def test_a_mean_is_weighted_by_time(said: list[Step], start: int, length: int) -> None:
    made, told = tidy(said), shown(said)
    seconds = [told.get(at) for at in range(start, start + length)]
    known = [s for s in seconds if s is not None and s.value is not None]
    found = mean(made, start, start + length)
    assert found.known_s == len(known)
    assert found.estimated_s == sum(1 for s in known if s.is_estimated)
    if len(known) < length:
        assert found.value is None
    else:
        exact = sum(Fraction(s.value or 0) for s in known) / length
        assert found.value == pytest.approx(float(exact), rel=1e-12, abs=1e-12)


def test_an_irregular_series_is_not_averaged_by_row() -> None:
    made = [Step(0, 300, 100.0), Step(300, 600, 100.0), Step(600, 3600, 400.0)]
    assert mean(made, 0, 3600).value == 350.0


def test_an_empty_time_has_no_mean() -> None:
    assert mean([Step(0, 10, 1.0)], 5, 5).value is None


def test_clipped() -> None:
    made = [Step(0, 10, 1.0), Step(20, 30, 2.0)]
    assert clip(made, 5, 25) == [Step(5, 10, 1.0), Step(20, 25, 2.0)]
    assert clip(made, 10, 20) == []


@given(st.lists(st.lists(steps, max_size=5), max_size=3))
def test_a_layer_counts_where_it_knows_a_value(said: list[list[Step]]) -> None:
    made = layered(*map(tidy, said))
    told: dict[int, float | None] = {}
    for layer in said:
        known = shown(layer).items()
        told.update((at, step.value) for at, step in known if step.value is not None)
    assert {at: step.value for at, step in by_second(made).items()} == told
    assert all(a.end_s <= b.start_s for a, b in itertools.pairwise(made))


@given(st.lists(steps, max_size=5), st.lists(steps, max_size=5))
def test_nothing_is_known_under_another(said: list[Step], over: list[Step]) -> None:
    made = by_second(under(tidy(said), tidy(over)))
    hidden = by_second(over)
    assert {at: step.value for at, step in made.items() if step.value is not None} == {
        at: step.value
        for at, step in shown(said).items()
        if step.value is not None and at not in hidden
    }


HOUR = 3600


@pytest.mark.parametrize(
    ("gaps", "usual"),
    [
        ([], 900),
        ([14 * HOUR], 14 * HOUR),
        # Hours with a hole of a month, and with a hole of two hours twice in a hundred.
        ([HOUR] * 30 + [720 * HOUR] + [HOUR] * 30, HOUR),
        ([HOUR] * 98 + [2 * HOUR] * 2, HOUR),
        # Days and nights, and weekends.
        ([16 * HOUR, 8 * HOUR] * 5, 16 * HOUR),
        (([16 * HOUR, 8 * HOUR] * 4 + [16 * HOUR, 56 * HOUR]) * 4, 56 * HOUR),
        # Nothing comes again: the lower one of the two in the middle.
        ([5 * HOUR, HOUR, 700 * HOUR, 2 * HOUR], 2 * HOUR),
    ],
)
def test_for_how_long_a_value_holds_that_says_no_end(gaps: list[int], usual: int) -> None:
    starts = list(itertools.accumulate(gaps, initial=1000))
    assert usual_length(starts, 900) == usual
