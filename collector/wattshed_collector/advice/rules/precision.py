"""A model that is served in two precisions on the same hardware, where the cheaper is as good.

As good is what scores say that users gave: no metric of both may be worse than the limit of
quality drift allows. Without a score of both there is no advice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wattshed_collector.advice.look import Look
from wattshed_collector.advice.model import Advice, Effort, Kind
from wattshed_collector.advice.swapped import advice_of
from wattshed_collector.advice.ways import Made, Swap, swaps
from wattshed_collector.quality import Score, Way, score_of
from wattshed_collector.store import quality

SURE = 0.85


def find(look: Look) -> Iterator[Advice]:
    """Give advice for each workload whose model is served in a cheaper precision that is no worse.

    The size of batches may differ too; the advice says so.
    """
    scores = quality.latest(look.client)
    most = quality.limits(look.client)["drift_ratio"]
    for swap in swaps(
        look.made,
        lambda made: (made.site, made.ai_model, made.hardware, made.phase, made.workload_kind),
        lambda made: (made.precision, made.batch_class),
        lambda swap: swap.dear.precision != swap.cheap.precision and is_as_good(swap, scores, most),
    ):
        advice = advice_of(
            look, swap, Kind.PRECISION, _title(swap), _reason(swap, scores), Effort.MEDIUM, SURE
        )
        if advice is not None:
            yield advice


def is_as_good(swap: Swap, scores: Sequence[Score], most: float) -> bool:
    """Return whether some metric scores both ways and none is worse than by ``most``, a ratio."""
    pairs = list(_pairs(swap, scores))
    return bool(pairs) and all(_worse(dear, cheap) <= most for dear, cheap in pairs)


def _worse(dear: Score, cheap: Score) -> float:
    """Return by how much of the dearer way's score the cheaper one is worse; inf: who can tell."""
    was, then = dear.score, cheap.score
    if dear.better != cheap.better or was is None or then is None:
        return float("inf")
    lost = was - then if dear.better == "higher" else then - was
    return max(0.0, lost / abs(was)) if was else (0.0 if lost <= 0 else float("inf"))


def _pairs(swap: Swap, scores: Sequence[Score]) -> Iterator[tuple[Score, Score]]:
    for metric in dict.fromkeys(score.metric for score in scores):
        dear, cheap = (_score(made, metric, scores) for made in (swap.dear, swap.cheap))
        if dear is not None and cheap is not None:
            yield dear, cheap


def _score(made: Made, metric: str, scores: Sequence[Score]) -> Score | None:
    way = Way(made.ai_model, made.precision, made.batch_class, made.hardware, None)
    of = (s for s in scores if s.metric == metric and s.workload in ("", made.workload))
    return score_of(way, of)


def _title(swap: Swap) -> str:
    dear, cheap = swap.dear, swap.cheap
    batches = "" if dear.batch_class == cheap.batch_class else f", batches {cheap.batch_class}"
    return (
        f"Serve {dear.ai_model} of {dear.workload} in {cheap.precision}{batches} "
        f"as {cheap.workload} does"
    )


def _reason(swap: Swap, scores: Sequence[Score]) -> str:
    said = (
        f"{dear.metric} {dear.score:.4g} in {swap.dear.precision}, {cheap.score:.4g} in "
        f"{swap.cheap.precision}"
        for dear, cheap in _pairs(swap, scores)
    )
    return "Scores: " + "; ".join(said)
