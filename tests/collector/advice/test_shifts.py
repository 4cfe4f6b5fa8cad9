"""Which runs could have waited, against the solver of windows for runs that draw evenly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.advice.shifts import HOUR_S, Run, shifts
from wattshed_collector.grid.series import Step
from wattshed_collector.grid.windows import best

KWH = 3.6e6
HOURS = range(0, 40 * HOUR_S, HOUR_S)


def run(hours: int, others: frozenset[int] = frozenset(), name: str = "a", device: int = 1) -> Run:
    return Run(name, (device,), {n * HOUR_S: KWH for n in range(hours)}, others)


@given(
    st.integers(1, 6),
    st.lists(st.integers(1, 9), min_size=40, max_size=40),
    st.sets(st.sampled_from(HOURS)),
    st.sets(st.sampled_from(HOURS), max_size=4),
)
def test_the_best_wait_is_that_of_all_waits(
    hours: int, grams: list[int], others: set[int], unknown: set[int]
) -> None:
    known = {h: float(g) for h, g in zip(HOURS, grams, strict=True) if h not in unknown}
    now = [known.get(n * HOUR_S) for n in range(hours)]
    found = shifts([run(hours, frozenset(others))], known)
    steps = [Step(h, h + HOUR_S, g) for h, g in sorted(known.items()) if h not in others]
    plan = best(steps, hours * HOUR_S, HOUR_S, (hours + 24) * HOUR_S, interruptible=False)
    at_once = sum(g for g in now if g is not None)
    if None in now or plan is None or plan.mean * hours >= at_once * (1 - 1e-9):
        assert found == []
        return
    (shift,) = found
    assert shift.grams == pytest.approx(at_once)
    assert shift.grams_then == pytest.approx(plan.mean * hours)
    assert shift.wait_s == plan.start_s


def test_what_is_drawn_in_which_hour_counts() -> None:
    joules = {0: 3 * KWH, HOUR_S: KWH}
    known = {n * HOUR_S: float(g) for n, g in enumerate((9, 9, 9, 1, 2, 9, 2, 1, 9))}
    (shift,) = shifts([Run("a", (1,), joules, frozenset())], known)
    assert (shift.wait_s, shift.saved_grams) == (3 * HOUR_S, 36 - 5)


def test_no_two_take_one_device_in_one_hour() -> None:
    known = dict.fromkeys(HOURS, 500.0) | {10 * HOUR_S: 100.0, 12 * HOUR_S: 200.0}
    runs = [run(1, name=name) for name in "ab"]
    first, second = shifts(runs, known)
    assert (first.wait_s, second.wait_s) == (10 * HOUR_S, 12 * HOUR_S)
    assert first.saved_grams + second.saved_grams == 700
    beside = [run(1, name=name, device=n) for n, name in enumerate("ab")]
    assert [shift.wait_s for shift in shifts(beside, known)] == [10 * HOUR_S] * 2


def test_what_nothing_is_known_of_is_not_moved() -> None:
    assert shifts([run(2)], {}) == []
    assert shifts([run(2)], dict.fromkeys(HOURS, 300.0)) == []
    assert shifts([], dict.fromkeys(HOURS, 300.0)) == []
