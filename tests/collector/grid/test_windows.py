"""The solver against brute force, second by second."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.grid.profile import same_hours
from wattshed_collector.grid.series import Step, tidy
from wattshed_collector.grid.windows import best

steps = st.lists(
    st.builds(
        lambda start, length, value: Step(start, start + length, value),
        st.integers(0, 40),
        st.integers(1, 15),
        st.none() | st.integers(-5, 30).map(float),
    ),
    max_size=8,
).map(tidy)


def by_second(said: list[Step]) -> dict[int, float]:
    return {
        at: step.value
        for step in said
        if step.value is not None
        for at in range(step.start_s, step.end_s)
    }


@given(steps, st.integers(1, 12), st.integers(0, 30), st.integers(0, 40))
def test_a_window_is_the_earliest_of_the_cheapest(
    said: list[Step], run: int, earliest: int, room: int
) -> None:
    told = by_second(said)
    windows = (range(at, at + run) for at in range(earliest, earliest + room - run + 1))
    costs = {w.start: sum(told[s] for s in w) for w in windows if all(s in told for s in w)}
    plan = best(said, run, earliest, earliest + room, interruptible=False)
    if not costs:
        assert plan is None
        return
    assert plan is not None
    assert plan.pieces == ((plan.start_s, plan.start_s + run),)
    assert plan.mean * run == pytest.approx(min(costs.values()), abs=1e-9)
    assert costs[plan.start_s] == min(costs.values())
    assert plan.start_s == min(at for at, cost in costs.items() if cost == min(costs.values()))


@given(steps, st.integers(1, 12), st.integers(0, 30), st.integers(0, 40))
def test_who_may_be_interrupted_takes_the_cheapest_seconds(
    said: list[Step], run: int, earliest: int, room: int
) -> None:
    told = {at: v for at, v in by_second(said).items() if earliest <= at < earliest + room}
    plan = best(said, run, earliest, earliest + room, interruptible=True)
    if len(told) < run:
        assert plan is None
        return
    assert plan is not None
    seconds = [s for start, end in plan.pieces for s in range(start, end)]
    assert len(seconds) == len(set(seconds)) == run
    assert sum(told[s] for s in seconds) == pytest.approx(sum(sorted(told.values())[:run]))
    assert plan.mean * run == pytest.approx(sum(told[s] for s in seconds))
    assert all(a[1] < b[0] for a, b in itertools.pairwise(plan.pieces))


def test_what_waiting_saves() -> None:
    said = [Step(0, 3600, 400.0), Step(3600, 7200, 100.0)]
    plan = best(said, 1800, 0, 7200, interruptible=False)
    assert plan is not None
    assert (plan.start_s, plan.mean, plan.mean_at_once) == (3600, 100.0, 400.0)
    assert plan.saved_ratio == 0.75


def test_nobody_knows_what_running_at_once_would_be() -> None:
    plan = best([Step(3600, 7200, 100.0)], 1800, 0, 7200, interruptible=False)
    assert plan is not None
    assert plan.mean_at_once is None
    assert plan.saved_ratio is None


def test_a_negative_price_has_no_ratio() -> None:
    plan = best([Step(0, 10, -1.0), Step(10, 20, -3.0)], 10, 0, 20, interruptible=False)
    assert plan is not None
    assert plan.mean == -3.0
    assert plan.saved_ratio is None


HOUR, DAY = 3600, 86400


def test_an_hour_is_like_that_hour_of_the_last_days() -> None:
    now = 10 * DAY + 5 * HOUR + 1200
    history = [
        Step(at, at + HOUR, 100.0 * (at % DAY // HOUR) + at // DAY) for at in range(0, now, HOUR)
    ]
    made = same_hours(tidy(history), now, now + DAY, now, days=2)
    assert made[0] == Step(now, 10 * DAY + 6 * HOUR, 508.5, is_estimated=True)
    assert made[1].value == 608.5
    assert made[-1] == Step(11 * DAY + 5 * HOUR, now + DAY, 508.5, is_estimated=True)
    # Hour four of today is over and counts.
    assert made[-2].value == 409.5


def test_an_hour_of_which_nothing_is_known_stays_unknown() -> None:
    made = same_hours([Step(0, HOUR, 5.0)], DAY, DAY + 2 * HOUR, DAY, days=3)
    assert [step.value for step in made] == [5.0, None]
