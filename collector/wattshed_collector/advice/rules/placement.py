"""A model that runs at the edge and in a data centre in the same precision.

What the network between draws is not measured, and a device that is left without work still draws
its idle watts until it is switched off: the advice is no surer than that.
"""

from __future__ import annotations

from collections.abc import Iterator

from wattshed_collector.advice.look import Look
from wattshed_collector.advice.model import Advice, Effort, Kind
from wattshed_collector.advice.swapped import advice_of
from wattshed_collector.advice.ways import swaps

TIERS = {"edge": "at the edge", "datacenter": "in the data centre"}
SURE = 0.5
_REASON = (
    "Same model and precision. The network between is not measured, batches and deadlines may "
    "differ, and the device that is left saves its idle watts only if it is switched off"
)


def find(look: Look) -> Iterator[Advice]:
    """Give advice for each workload whose outcomes cost less at the other tier."""
    for swap in swaps(
        (made for made in look.made if made.tier in TIERS),
        lambda made: (made.ai_model, made.precision, made.phase),
        lambda made: made.tier,
    ):
        title = (
            f"Run {swap.dear.ai_model} of {swap.dear.workload} {TIERS[swap.cheap.tier]} "
            f"as {swap.cheap.workload} does"
        )
        advice = advice_of(look, swap, Kind.PLACEMENT, title, _REASON, Effort.HIGH, SURE)
        if advice is not None:
            yield advice
