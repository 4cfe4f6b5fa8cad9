"""Which hours an edge reaches into, against the rule written out for one edge at a time."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.ledger_edges import EDGE, HEAD, HOUR_S, TAIL, Edges, beyond, none, ordered

HOUR = 500_000 * HOUR_S

Row = tuple[int, ...]
NEAR = st.sampled_from([0, 1, 2, 5])
SMALL = st.integers(0, 1)


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    """Edges of a few hours and devices, each once."""
    keys = draw(st.sets(st.tuples(st.integers(0, 2), st.integers(1, 4)), max_size=6))
    found = []
    for hour, device in keys:
        at = HOUR + hour * HOUR_S
        before, after = draw(NEAR), draw(NEAR)
        found.append(
            (
                at,
                device,
                draw(SMALL),
                draw(SMALL),
                at - before * HOUR_S if before else 0,
                at + after * HOUR_S if after else 0,
                *(draw(SMALL) for _ in range(4)),
            )
        )
    return found


def edges(said: list[Row]) -> Edges:
    """As two shards would give them."""
    half = len(said) // 2
    return ordered([np.array(part, EDGE) for part in (said[half:], said[:half])])


def expected(said: list[Row], known: list[Row]) -> set[int]:
    names = EDGE.names or ()
    before = {row[:2]: dict(zip(names, row, strict=True)) for row in known}
    found: set[int] = set()
    for row in said:
        edge, was = dict(zip(names, row, strict=True)), before.get(row[:2])
        if not edge["last"] and not (edge["hour_before"] and edge["hour_beyond"]):
            continue
        if edge["hour_before"] and (was is None or any(was[n] != edge[n] for n in HEAD)):
            found.update(range(edge["hour_before"], edge["hour"], HOUR_S))
        if edge["hour_beyond"] and (was is None or any(was[n] != edge[n] for n in TAIL)):
            found.update(range(edge["hour"] + HOUR_S, edge["hour_beyond"] + HOUR_S, HOUR_S))
    return found


@given(rows(), rows())
def test_as_the_rule_says_of_each_edge(said: list[Row], known: list[Row]) -> None:
    assert beyond(edges(said), edges(known)) == expected(said, known)


def test_what_is_as_it_was_reaches_nowhere() -> None:
    row = (HOUR, 7, 1, 2, HOUR - HOUR_S, HOUR + 2 * HOUR_S, 0, 0, 1, 1)
    assert beyond(edges([row]), none()) == {HOUR - HOUR_S, HOUR + HOUR_S, HOUR + 2 * HOUR_S}
    assert beyond(edges([row]), edges([row])) == set()
