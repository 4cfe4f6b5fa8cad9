"""A model that runs on a large card and, all else alike, on a smaller one at the same site.

Smaller is the model whose highest power limit that was ever seen is the lower one. The smaller card
is advised only where it takes less for the same outcomes and has carried as much in an hour, card
by card, as the large one ever had to. A slice of a MIG board is no such card: it has no meter, its
joules are a share of the board's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from wattshed_collector.advice.look import Look
from wattshed_collector.advice.model import Advice, Effort, Kind
from wattshed_collector.advice.swapped import advice_of
from wattshed_collector.advice.ways import Made, Swap, swaps

SURE = 0.6
_LIMITS = "SELECT model, max(limit_watts) FROM v_power_limit WHERE model != '' GROUP BY model"
_BUSIEST = """
SELECT o.workload, o.site, o.hardware, o.outcome, max(o.made / c.devices)
FROM (
    SELECT t, workload_id, workload, site, hardware, outcome, sum(v.count) AS made
    FROM v_outcome_1h AS v
    WHERE t >= fromUnixTimestamp({since:UInt32}) AND t < fromUnixTimestamp({until:UInt32})
      AND workload IN {workloads:Array(String)} AND hardware != ''
    GROUP BY t, workload_id, workload, site, hardware, outcome
) AS o
INNER JOIN (
    SELECT t, workload_id, uniqExact(device_id) AS devices FROM v_charge_1h
    WHERE t >= fromUnixTimestamp({since:UInt32}) AND t < fromUnixTimestamp({until:UInt32})
      AND workload_id IN (
          SELECT workload_id FROM v_workload WHERE workload IN {workloads:Array(String)})
      AND device_id IN (SELECT device_id FROM v_device WHERE kind IN ('gpu', 'module'))
    GROUP BY t, workload_id
) AS c ON c.t = o.t AND c.workload_id = o.workload_id
GROUP BY o.workload, o.site, o.hardware, o.outcome
"""
_REASON = "Model, precision and batches are the same; latency is not measured here"

Busiest = Mapping[tuple[str, str, str, str], float]
"""Outcomes of a card in its busiest hour, by workload, site, hardware and kind."""


def find(look: Look) -> Iterator[Advice]:
    """Give advice for each workload whose outcomes cost less on a smaller card of its site."""
    limits: dict[str, float] = dict(look.client.rows(_LIMITS))
    found = list(swaps(look.made, _alike, lambda made: made.hardware, lambda s: _fits(s, limits)))
    if not found:
        return
    busiest = _busiest(look, found)
    for swap in found:
        needed, carried = _peak(swap.dear, busiest), _peak(swap.cheap, busiest)
        if not 0 < needed <= carried:
            continue
        reason = (
            f"{_REASON}. In its busiest hour a {swap.dear.hardware} made {needed:.4g}, a "
            f"{swap.cheap.hardware} {carried:.4g}"
        )
        title = (
            f"Run {swap.dear.ai_model} of {swap.dear.workload} on {swap.cheap.hardware} "
            f"as {swap.cheap.workload} does"
        )
        advice = advice_of(look, swap, Kind.SMALLER_DEVICE, title, reason, Effort.MEDIUM, SURE)
        if advice is not None:
            yield advice


def _alike(made: Made) -> tuple[str, ...]:
    return (
        *(made.site, made.tier, made.ai_model, made.precision, made.batch_class, made.phase),
        made.workload_kind,
    )


def _fits(swap: Swap, limits: Mapping[str, float]) -> bool:
    """Return whether the cheaper way's card is known to be the smaller one."""
    dear, cheap = limits.get(swap.dear.hardware), limits.get(swap.cheap.hardware)
    return dear is not None and cheap is not None and cheap < dear


def _busiest(look: Look, found: list[Swap]) -> Busiest:
    asked = {
        "since": look.span.since_s,
        "until": look.span.until_s,
        "workloads": sorted({made.workload for s in found for made in (s.dear, s.cheap)}),
    }
    return {tuple(row[:4]): row[4] for row in look.client.rows(_BUSIEST, asked)}


def _peak(made: Made, busiest: Busiest) -> float:
    return busiest.get((made.workload, made.site, made.hardware, made.outcome), 0.0)
