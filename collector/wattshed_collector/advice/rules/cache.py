"""A model that is served twice alike, where one finds more prompts in a cache and takes less.

What prompts have in common is a matter of the traffic, and two loads differ in more than that: the
advice is to look whether requests can be sent to where their prefixes are, and is as unsure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from wattshed_collector.advice.look import Look
from wattshed_collector.advice.model import Advice, Effort, Kind
from wattshed_collector.advice.swapped import advice_of
from wattshed_collector.advice.ways import Made, Swap, swaps

LEAST_DIFFERENCE = 0.1
"""Of the shares of prompt tokens that came from a cache; less is chance."""
SURE = 0.4
KINDS = ("request", "token_out")
"""Kinds of outcome that are the same with and without a cache."""

Shares = Mapping[tuple[str, ...], float]
"""The part of the prompt tokens that came from a cache, 0 to 1, by way."""


def find(look: Look) -> Iterator[Advice]:
    """Give advice for each workload whose outcomes cost less where more comes from a cache."""
    shares = _shares(look)
    known = (made for made in look.made if made.outcome in KINDS and made.way in shares)
    for swap in swaps(known, _alike, lambda made: made.workload, lambda s: _fits(s, shares)):
        dear, cheap = shares[swap.dear.way], shares[swap.cheap.way]
        title = f"Let {swap.dear.workload} find more of its prompts in a cache"
        reason = (
            f"Of its prompt tokens {dear:.0%} came from a cache, of those of "
            f"{swap.cheap.workload} {cheap:.0%}, on the same hardware in the same precision and "
            "batches. Whether its prompts recur as often is not measured"
        )
        advice = advice_of(look, swap, Kind.CACHE, title, reason, Effort.MEDIUM, SURE)
        if advice is not None:
            yield advice


def _alike(made: Made) -> tuple[str, ...]:
    return (
        *(made.site, made.ai_model, made.precision, made.batch_class, made.hardware, made.phase),
        made.workload_kind,
    )


def _fits(swap: Swap, shares: Shares) -> bool:
    return shares[swap.cheap.way] - shares[swap.dear.way] >= LEAST_DIFFERENCE


def _shares(look: Look) -> dict[tuple[str, ...], float]:
    """Return the shares of ways whose server says both, and found anything at all."""
    tokens = {made.way: made.count for made in look.made if made.outcome == "token_in"}
    cached = {made.way: made.count for made in look.cached}
    return {way: found / (found + tokens[way]) for way, found in cached.items() if way in tokens}
