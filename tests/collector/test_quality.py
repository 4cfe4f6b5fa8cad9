"""Which way to serve is dominated: held against every pair, and what is never guessed."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.quality import Score, Way, compare, dominators, score_of

FEW = st.integers(0, 6).map(float)
"""Few values, so that ties are common."""
POINTS = st.lists(st.tuples(FEW, FEW), max_size=12)

SCORE = Score("llama", "fp8", "rouge-l", 0.4, "higher", 1000)


def dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[0] and a[1] >= b[1] and a != b


@given(POINTS)
def test_dominators_are_those_of_every_pair(points: list[tuple[float, float]]) -> None:
    found = dominators(points)
    for at, point in enumerate(points):
        rivals = [n for n, other in enumerate(points) if dominates(other, point)]
        least = min(rivals, key=lambda n: (points[n][0], -points[n][1], n), default=None)
        assert found[at] == least


@given(POINTS)
def test_what_dominates_is_not_dominated(points: list[tuple[float, float]]) -> None:
    found = dominators(points)
    assert all(found[best] is None for best in found if best is not None)
    assert not points or None in found


@given(POINTS, st.sampled_from(["higher", "lower"]))
def test_savings_are_differences_of_joules(points: list[tuple[float, float]], better: str) -> None:
    ways = [Way("m", str(at), "", "", joules) for at, (joules, _) in enumerate(points)]
    scores = [
        Score("m", str(at), "top1", score if better == "higher" else -score, better, 0)
        for at, (_, score) in enumerate(points)
    ]
    for (joules, _), verdict in zip(points, compare(ways, scores), strict=True):
        assert (verdict.best is None) == (verdict.state == "front")
        if verdict.best is not None:
            assert verdict.saved_joules == joules - points[verdict.best][0] >= 0


def test_a_score_of_another_way_is_not_borrowed() -> None:
    way = Way("llama", "fp8", "8-16", "H200", 1.0)
    assert score_of(way, [SCORE]) == SCORE
    for other in (
        replace(SCORE, precision="fp16"),
        replace(SCORE, batch_class="1"),
        replace(SCORE, hardware="A100"),
    ):
        assert score_of(way, [other]) is None


def test_the_score_that_says_most_exactly_what_it_is_of_counts() -> None:
    way = Way("llama", "fp8", "8-16", "H200", 1.0)
    exact = replace(SCORE, batch_class="8-16", hardware="H200", at_ms=1)
    newer = replace(SCORE, hardware="H200", at_ms=99)
    assert score_of(way, [SCORE, newer, exact]) == exact
    assert score_of(way, [SCORE, newer]) == newer
    own = replace(SCORE, workload="chat", at_ms=2)
    assert score_of(way, [own, exact]) == own


def test_what_is_not_known_stands_apart() -> None:
    ways = [
        Way("llama", "fp8", "", "", 2.0, 1.9, 2.1),
        Way("llama", "fp16", "", "", 5.0, 4.0, 6.0),
        Way("llama", "int4", "", "", 1.0),
        Way("mistral", "fp8", "", "", None),
    ]
    scores = [
        SCORE,
        replace(SCORE, precision="fp16"),
        replace(SCORE, model="mistral"),
    ]
    found = compare(ways, scores)
    assert [v.state for v in found] == ["front", "dominated", "no_score", "no_joules"]
    assert (found[1].best, found[1].saved_joules, found[1].is_clear) == (0, 3.0, True)
    ways[1] = replace(ways[1], low=2.0)
    assert compare(ways, scores)[1].is_clear is False
    ways[1] = replace(ways[1], low=None)
    assert compare(ways, scores)[1].is_clear is None


def test_scores_that_disagree_on_what_is_better_are_not_compared() -> None:
    ways = [Way("llama", "fp8", "", "", 2.0), Way("llama", "fp16", "", "", 5.0)]
    scores = [SCORE, replace(SCORE, precision="fp16", better="lower")]
    assert [v.state for v in compare(ways, scores)] == ["mixed", "mixed"]
