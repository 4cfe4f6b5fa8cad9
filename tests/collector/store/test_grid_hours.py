"""Which hours another price changes, held against a look at every second."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.store.grid_hours import HOUR_S, Said, differing

END = 4 * HOUR_S
said = st.dictionaries(
    st.integers(0, 24).map(lambda n: n * 600),
    st.tuples(
        st.integers(0, 24).map(lambda n: n * 600),
        st.none() | st.sampled_from([1.0, 2.0]),
        st.sampled_from(["EUR/kWh", "CHF/kWh"]),
    ),
    max_size=6,
)


def at(known: dict[int, Said], second: int) -> tuple[float, str] | None:
    starts = [start for start, (end, _, _) in known.items() if start <= second < end]
    _, value, unit = known[max(starts)] if starts else (0, None, "")
    return None if value is None else (value, unit)


@given(said, said, st.integers(0, 3))
def test_hours_in_which_another_price_counts(
    was: dict[int, Said], becomes: dict[int, Said], first: int
) -> None:
    found = differing(was, becomes, (first * HOUR_S, END))
    assert found == {
        second // HOUR_S * HOUR_S
        for second in range(first * HOUR_S, END, 300)
        if at(was, second) != at(becomes, second)
    }


def test_what_is_said_again_changes_nothing() -> None:
    known: dict[int, Said] = {0: (END, 0.3, "EUR/kWh"), 600: (1200, None, "EUR/kWh")}
    assert differing(known, dict(known), (0, END)) == set()
