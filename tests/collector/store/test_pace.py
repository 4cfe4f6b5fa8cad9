"""The writer's rests: none for a few requests, a tenth of the time for many, bounded for more."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed_collector.store.pace import SAVED_SECONDS, Pace


def test_a_few_requests_in_a_row_are_written_without_a_rest() -> None:
    pace = Pace(0.1, 1.5)
    assert [pace.rest_seconds(n * 0.03, 0.02) for n in range(10)] == [0.0] * 10


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.001, 0.15), min_size=300, max_size=400))
def test_writing_takes_its_share_in_the_long_run(costs: list[float]) -> None:
    pace, now, wrote = Pace(0.1, 1.5), 0.0, 0.0
    for cost in costs:
        now += cost
        wrote += cost
        now += pace.rest_seconds(now, cost)
    assert wrote <= 0.1 * now + SAVED_SECONDS + max(costs)


def test_a_rest_is_bounded_and_what_was_overspent_is_forgotten() -> None:
    pace = Pace(0.1, 1.5)
    assert pace.rest_seconds(0.0, 60.0) == pytest.approx(1.5)
    assert pace.rest_seconds(1.5, 0.0) == 0.0
