"""What was saved against brute force by the second."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.grid.series import Step, tidy
from wattshed_collector.grid.shift import J_PER_KWH, shifted

MINUTE = 60
steps = st.lists(
    st.builds(
        lambda start, length, value: Step(start, start + length, value),
        st.integers(-600, 900),
        st.integers(1, 900),
        st.none() | st.integers(0, 900).map(float),
    ),
    max_size=6,
).map(tidy)


@given(
    steps,
    st.dictionaries(
        st.integers(0, 15).map(lambda n: n * MINUTE), st.integers(1, 10**7), max_size=6
    ),
    st.integers(0, 600),
)
def test_by_the_second(said: list[Step], joules: dict[int, int], shift: int) -> None:
    told = {at: s.value for s in said for at in range(s.start_s, s.end_s) if s.value is not None}

    def cost(earlier: int) -> float | None:
        seconds = [(at, j / MINUTE) for m, j in joules.items() for at in range(m, m + MINUTE)]
        if any(at - earlier not in told for at, _ in seconds):
            return None
        return sum(j / J_PER_KWH * told[at - earlier] for at, j in seconds)

    found = shifted({m: float(j) for m, j in joules.items()}, said, shift)
    for ours, theirs in ((found.cost, cost(0)), (found.cost_at_once, cost(shift))):
        assert (ours is None) == (theirs is None)
        assert theirs is None or ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)
    if found.cost is None or found.cost_at_once is None:
        assert found.saved is None
    else:
        assert found.saved == pytest.approx(found.cost_at_once - found.cost)
    assert found.joules == sum(joules.values())


def test_a_kilowatt_for_an_hour_two_hours_later() -> None:
    said = [Step(0, 7200, 400.0), Step(7200, 10800, 100.0)]
    drawn = {7200 + n * MINUTE: 60_000.0 for n in range(60)}
    found = shifted(drawn, said, 7200)
    assert found.cost == pytest.approx(100.0)
    assert found.cost_at_once == pytest.approx(400.0)
    assert found.saved == pytest.approx(300.0)
