"""A model that is served in batches of two sizes, all else alike.

Answers take longer where batches are larger: whether they may is for the owner to say.
"""

from __future__ import annotations

from collections.abc import Iterator

from wattshed_collector.advice.look import Look
from wattshed_collector.advice.model import Advice, Effort, Kind
from wattshed_collector.advice.swapped import advice_of
from wattshed_collector.advice.ways import swaps

SURE = 0.8
_REASON = "Model, precision and hardware are the same; latency is not measured here"


def find(look: Look) -> Iterator[Advice]:
    """Give advice for each workload whose outcomes cost less in batches of another size."""
    known = (made for made in look.made if made.batch_class)
    for swap in swaps(
        known,
        lambda made: (
            *(made.site, made.ai_model, made.precision, made.hardware, made.phase),
            made.workload_kind,
        ),
        lambda made: made.batch_class,
    ):
        title = (
            f"Run {swap.dear.ai_model} of {swap.dear.workload} in batches of "
            f"{swap.cheap.batch_class} as {swap.cheap.workload} does"
        )
        advice = advice_of(look, swap, Kind.BATCH, title, _REASON, Effort.MEDIUM, SURE)
        if advice is not None:
            yield advice
