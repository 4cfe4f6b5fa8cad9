"""Means over irregular steps are those of every second, and holes are never filled."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.grid.series import Step, clip, mean, tidy, until_next

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


@given(st.lists(steps, max_size=8))
def test_what_was_said_last_counts(said: list[Step]) -> None:
    made = tidy(said)
    told = by_second(said)
    assert {at: (s.value, s.is_estimated) for at, s in by_second(made).items()} == {
        at: (s.value, s.is_estimated) for at, s in told.items()
    }
    assert all(a.end_s <= b.start_s for a, b in itertools.pairwise(made))


@given(st.lists(steps, max_size=8), st.integers(0, 80), st.integers(1, 40))
def test_a_mean_is_weighted_by_time(said: list[Step], start: int, length: int) -> None:
    made, told = tidy(said), by_second(said)
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


def test_a_source_that_fell_silent_is_not_believed_for_ever() -> None:
    points = [(0, 1.0), (100, 2.0), (1000, 3.0)]
    assert until_next(points, 5000, 300) == [
        Step(0, 100, 1.0),
        Step(100, 400, 2.0),
        Step(1000, 1300, 3.0),
    ]


def test_a_point_at_the_end_holds_nowhere() -> None:
    assert until_next([(10, 1.0)], 10, 300) == []
