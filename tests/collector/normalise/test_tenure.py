"""Allocations out of windows: one that grows while alone, one each where shared."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.pages import AT, STEP

from wattshed_collector.normalise.dialect import Hold
from wattshed_collector.normalise.tenure import HOUR_MS, Tenure

WORKLOAD = {"wattshed.workload.id": "w"}


def hold(start_ms: int, end_ms: int, *, alone: bool = True) -> Hold:
    share = 1.0 if alone else 0.5
    return Hold("d", WORKLOAD, start_ms, end_ms, share, "test", None, alone)


def said(tenure: Tenure, *holds: Hold) -> list[tuple[int, int, float]]:
    return [(p.start_ms, p.ts_ms, p.value) for of in holds for p in tenure.points(of)]


def test_one_alone_grows_and_a_repeat_says_the_same() -> None:
    tenure = Tenure()
    assert said(tenure, hold(AT, AT + 5)) == [(AT, AT + 5, 1.0)]
    assert said(tenure, hold(AT + 5, AT + 9)) == [(AT, AT + 9, 1.0)]
    assert said(tenure, hold(AT, AT + 5)) == [(AT, AT + 9, 1.0)]
    assert tenure.end_ms("d", "w") == AT + 9


def test_a_hole_is_not_filled() -> None:
    assert said(Tenure(), hold(AT, AT + 5), hold(AT + 6, AT + 9))[1] == (AT + 6, AT + 9, 1.0)


def test_shared_windows_stay_apart_and_do_not_become_whole() -> None:
    windows = hold(AT, AT + 5, alone=False), hold(AT + 5, AT + 9, alone=False)
    found = said(Tenure(), *windows, hold(AT + 9, AT + 12), hold(AT + 12, AT + 15))
    assert found == [
        (AT, AT + 5, 0.5),
        (AT + 5, AT + 9, 0.5),
        (AT + 9, AT + 12, 1.0),
        (AT + 9, AT + 15, 1.0),
    ]


def test_a_repeat_across_the_hour_is_no_second_allocation() -> None:
    tenure = Tenure()
    said(tenure, hold(AT - 2 * STEP, AT - STEP))
    first = said(tenure, hold(AT - STEP, AT + STEP))
    assert first == [(AT - 2 * STEP, AT, 1.0), (AT, AT + STEP, 1.0)]
    assert said(tenure, hold(AT - STEP, AT + STEP)) == first


@given(st.lists(st.integers(1, HOUR_MS), min_size=1, max_size=20), st.booleans())
def test_the_time_that_is_held_is_the_time_that_was_said(steps: list[int], alone: bool) -> None:
    tenure, at, found = Tenure(), AT + 7, dict[int, int]()
    for step in steps:
        for start, end, _ in said(tenure, hold(at, at + step, alone=alone)):
            assert end - start <= HOUR_MS
            found[start] = max(end, found.get(start, 0))
        at += step
    order = sorted(found.items())
    assert order[0][0] == AT + 7
    assert order[-1][1] == at
    assert all(end == after for (_, end), (after, _) in pairwise(order))
