"""Advice to make the same outcomes in another way."""

from __future__ import annotations

from .evidence import stated
from .look import Look
from .model import Advice, Baseline, Effort, Kind, Measure
from .ways import Swap, others, overhead, sized

UNSURE = 0.8
"""Of the confidence, where the meters do not state their uncertainty."""
EVIDENCE = """SELECT workload, ai_model, precision, batch_class, hardware, site, outcome,
       sum(v.count) AS made, sum(v.loaded_joules) AS joules, joules / made AS joules_each
FROM v_outcome_1h AS v
WHERE workload IN {workloads} AND outcome = {outcome} AND isNotNull(v.loaded_joules)
  AND t >= toDateTime({since}, 'UTC') AND t < toDateTime({until}, 'UTC')
GROUP BY ALL ORDER BY joules_each DESC"""


def advice_of(
    look: Look, swap: Swap, kind: Kind, title: str, reason: str, effort: Effort, sure: float
) -> Advice | None:
    """Return the advice, None where it saves too little; ``sure`` is the most it can be, 0 to 1."""
    big = sized(swap, look.span, look.rates)
    if big is None:
        return None
    dear, cheap = swap.dear, swap.cheap
    return Advice(
        kind=kind,
        subject=f"{dear.workload}@{dear.site}",
        title=title,
        reason=f"{_each(swap)}. {reason}",
        joules_per_month=big.joules,
        are_facility_joules=big.are_facility,
        cost_per_month=big.cost,
        currency=big.currency,
        price=big.price,
        g_per_month=big.grams,
        carbon=big.carbon,
        confidence=round(
            sure * look.span.confidence * (UNSURE if swap.is_clear is None else 1.0), 2
        ),
        effort=effort,
        evidence=stated(
            EVIDENCE,
            workloads=sorted({dear.workload, cheap.workload}),
            outcome=dear.outcome,
            since=look.span.since_s,
            until=look.span.until_s,
        ),
        baseline=Baseline(
            measure=Measure.JOULES_PER_OUTCOME,
            joules_per_unit=dear.each * overhead(dear.site, big, look.rates),
            workload="\n".join(dict.fromkeys((dear.workload, cheap.workload))),
            site=dear.site if dear.site == cheap.site else "",
            outcome=dear.outcome,
            others=others(swap, look.made, look.span, big, look.rates),
        ),
        site=dear.site if dear.site == cheap.site else "",
        team=dear.team,
        owner=dear.owner,
        numbers={
            "outcomes": dear.count,
            "joules_per_outcome": dear.each,
            "other_outcomes": cheap.count,
            "other_joules_per_outcome": cheap.each,
        },
    )


def _each(swap: Swap) -> str:
    dear, cheap = swap.dear, swap.cheap
    return (
        f"{dear.workload} took {dear.each:.3g} J for each {dear.outcome}, "
        f"{cheap.workload} {cheap.each:.3g} J, of the loads that each had"
    )
