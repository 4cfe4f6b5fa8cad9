"""Scores of models that users supply, and which of several ways to serve one is worth its joules.

What a way costs and how good it is stand side by side; neither is turned into the other. A way is
dominated where another takes no more joules per outcome and is no worse, and is better in one of
the two. A score that nobody gave is not guessed: such a way is compared with none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

BETTER = ("higher", "lower")
KINDS = ("score", "calibration")


@dataclass(frozen=True, slots=True)
class Score:
    """``score`` by ``metric`` at ``at_ms`` (Unix milliseconds), None where it is taken back.

    ``batch_class``, ``hardware`` and ``workload`` may be "": it holds for any. A ``calibration`` is
    what later scores of the same key are set against.
    """

    model: str
    precision: str
    metric: str
    score: float | None
    better: str
    at_ms: int
    kind: str = "score"
    batch_class: str = ""
    hardware: str = ""
    workload: str = ""
    samples: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to serve: its joules per outcome, less and more its uncertainty, None: not known."""

    model: str
    precision: str
    batch_class: str
    hardware: str
    joules: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison says of a way.

    ``state``: front (nothing dominates it), dominated, no_score, no_joules, or mixed (the scores
    do not agree on which direction is better). ``best`` is the place of the way that takes the
    least joules and is no worse, None where none takes less; ``saved_joules`` what that takes less
    per outcome, of the loads that both served. ``is_clear``: whether the two stay apart within
    their uncertainties, None where those are not known.
    """

    state: str
    score: Score | None = None
    best: int | None = None
    saved_joules: float | None = None
    is_clear: bool | None = None


def score_of(way: Way, scores: Iterable[Score]) -> Score | None:
    """Return the score that says most exactly what it is of, of those the latest; None: no score.

    A score of another batch class, hardware or precision is no score of this way.
    """
    fitting = [score for score in scores if _fits(score, way)]
    return max(fitting, key=_exactness, default=None)


def compare(ways: Sequence[Way], scores: Sequence[Score]) -> list[Verdict]:
    """Return a verdict on each way; ``scores`` are of one metric, at most one for each key."""
    found = [score_of(way, scores) for way in ways]
    if len({score.better for score in found if score is not None}) > 1:
        return [Verdict("mixed" if score else "no_score", score) for score in found]
    points = {
        at: (way.joules, goodness)
        for at, (way, score) in enumerate(zip(ways, found, strict=True))
        if way.joules is not None and (goodness := _goodness(score)) is not None
    }
    places = list(points)
    beaten = dict(zip(places, dominators(list(points.values())), strict=True))
    verdicts = []
    for at, score in enumerate(found):
        if at not in points:
            verdicts.append(Verdict("no_joules" if score else "no_score", score))
        elif (place := beaten[at]) is None:
            verdicts.append(Verdict("front", score))
        else:
            best = places[place]
            saved = points[at][0] - points[best][0]
            clear = _is_clear(ways[at], ways[best])
            verdicts.append(Verdict("dominated", score, best, saved, clear))
    return verdicts


def dominators(points: Sequence[tuple[float, float]]) -> list[int | None]:
    """Return for each (joules, goodness) the place of the point that dominates it at least joules.

    None: nothing dominates it. Of several such points the one of most goodness, then the first.
    """
    found: list[int | None] = [None] * len(points)
    best: int | None = None
    for at in sorted(range(len(points)), key=lambda at: (-points[at][1], points[at][0], at)):
        joules, goodness = points[at]
        if best is None or joules < points[best][0]:
            best = at
        elif points[best] != (joules, goodness):
            found[at] = best
    return found


def _is_clear(way: Way, best: Way) -> bool | None:
    return None if way.low is None or best.high is None else best.high < way.low


def _fits(score: Score, way: Way) -> bool:
    named = (score.batch_class, way.batch_class), (score.hardware, way.hardware)
    same = score.model == way.model and score.precision == way.precision
    return same and all(said in ("", known) for said, known in named)


def _exactness(score: Score) -> tuple[bool, int, int, str, str]:
    named = sum(map(bool, (score.batch_class, score.hardware)))
    key = score.batch_class, score.hardware
    return bool(score.workload), named, score.at_ms, *key


def _goodness(score: Score | None) -> float | None:
    if score is None or score.score is None:
        return None
    return score.score if score.better == "higher" else -score.score
