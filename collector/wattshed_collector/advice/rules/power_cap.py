"""Training that ran under several power limits of the same hardware, where a lower one took less.

Only what the fleet measured is a point of a curve: runs of one name, model, precision and size of
batches, in the hours in which each of their GPUs had one limit from end to end, the same. Hours in
which a limit changed are no part of a point, and neither are those before it was first said.
Services have none: their pace is that of their users.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from wattshed_collector.advice.curves import Point, best
from wattshed_collector.advice.evidence import stated
from wattshed_collector.advice.look import Look
from wattshed_collector.advice.model import (
    LEAST_JOULES_PER_MONTH,
    Advice,
    Baseline,
    Effort,
    Kind,
    Measure,
)
from wattshed_collector.advice.rates import Size, size
from wattshed_collector.advice.ways import LEAST_RATIO, overhead

MOST_SLOWDOWN = 0.1
SURE = 0.8
_IN = "t >= fromUnixTimestamp({since:UInt32}) AND t < fromUnixTimestamp({until:UInt32})"
_MADE = f"""
    SELECT t, workload_id, outcome, sum(v.count) AS made, sum(v.loaded_joules) AS loaded
    FROM v_outcome_1h AS v
    WHERE {_IN} AND outcome != '' AND isNotNull(v.loaded_joules)
      AND workload_kind IN ('training', 'batch')
    GROUP BY t, workload_id, outcome
"""
_RUNS = f"""
SELECT r.workload, if(uniqExact(r.team) = 1, any(r.team), ''),
       if(uniqExact(r.owner) = 1, any(r.owner), ''), r.ai_model, r.precision, r.batch_class,
       c.site, c.hardware, o.outcome, c.limit_watts, sum(o.made) AS made,
       sum(c.joules), sum(c.seconds), sum(o.loaded)
FROM (
    SELECT h.workload_id AS workload_id, h.t AS t, any(d.site) AS site,
           any(d.hardware) AS hardware, sum(h.joules) AS joules, sum(h.seconds) AS seconds,
           groupUniqArray(arrayMap(l -> l.3, arrayFilter(
               l -> l.1 < h.at + 3600 AND l.2 > h.at, d.held))) AS limits,
           limits[1][1] AS limit_watts
    FROM (
        SELECT t, toUnixTimestamp(t) AS at, device_id, workload_id, joules, seconds
        FROM v_charge_1h
        WHERE {_IN} AND class = 'active' AND workload_id IN (SELECT workload_id FROM ({_MADE}))
    ) AS h
    INNER JOIN (
        SELECT k.device_id AS device_id, toString(k.site) AS site, toString(k.model) AS hardware,
               p.held AS held
        FROM v_device AS k
        LEFT JOIN (
            SELECT device_id, groupArray((toUnixTimestamp(v.t), toUnixTimestamp(v.until),
                                          v.limit_watts)) AS held
            FROM v_power_limit AS v GROUP BY device_id
        ) AS p ON p.device_id = k.device_id
        WHERE k.kind IN ('gpu', 'module')
    ) AS d ON d.device_id = h.device_id
    GROUP BY workload_id, t
    HAVING uniqExact(d.site, d.hardware) = 1 AND hardware != '' AND length(limits) = 1
       AND length(limits[1]) = 1
) AS c
INNER JOIN v_workload AS r ON r.workload_id = c.workload_id
INNER JOIN ({_MADE}) AS o ON o.workload_id = c.workload_id AND o.t = c.t
GROUP BY r.workload, r.ai_model, r.precision, r.batch_class, c.site, c.hardware, o.outcome,
         c.limit_watts
HAVING made > 0
"""
"""Hours of runs whose GPUs are of one model and had one limit, the same, from end to end."""
EVIDENCE = """SELECT p.limit_watts AS limit_watts, w.workload_key AS run,
       sum(c.joules) AS joules, sum(c.seconds) AS device_seconds
FROM v_charge_1h AS c
INNER JOIN v_power_limit AS p ON p.device_id = c.device_id
INNER JOIN v_device AS d ON d.device_id = c.device_id
INNER JOIN v_workload AS w ON w.workload_id = c.workload_id
WHERE w.workload = {workload} AND c.class = 'active' AND d.kind IN ('gpu', 'module')
  AND c.t >= toStartOfHour(p.t) AND c.t + INTERVAL 1 HOUR <= p.until
  AND c.t >= toDateTime({since}, 'UTC') AND c.t < toDateTime({until}, 'UTC')
GROUP BY limit_watts, run ORDER BY limit_watts, run"""


@dataclass(frozen=True, slots=True)
class Ran:
    """Runs of one name at one limit: active joules and seconds of their GPUs, loaded ones of all
    their devices, for ``count`` outcomes."""

    workload: str
    team: str
    owner: str
    ai_model: str
    precision: str
    batch_class: str
    site: str
    hardware: str
    outcome: str
    limit_watts: float
    count: float
    joules: float
    seconds: float
    loaded_joules: float

    @property
    def point(self) -> Point:
        return Point(self.limit_watts, self.joules / self.count, self.seconds / self.count)


def find(look: Look) -> Iterator[Advice]:
    """Give advice for each workload whose runs took less per outcome at a lower limit, and at most
    a tenth longer."""
    asked = {"since": look.span.since_s, "until": look.span.until_s}
    alike: dict[tuple[str, ...], dict[str, list[Ran]]] = defaultdict(lambda: defaultdict(list))
    for row in look.client.rows(_RUNS, asked):
        ran = Ran(*row)
        key = ran.workload, ran.ai_model, ran.precision, ran.batch_class, ran.site, ran.hardware
        alike[key][ran.outcome].append(ran)
    for _, kinds in sorted(alike.items()):
        # Nothing is claimed that another kind of outcome denies.
        advice = _advice(look, min(kinds.values(), key=lambda runs: saved(runs)[0]))
        if advice is not None:
            yield advice


def saved(runs: Sequence[Ran]) -> tuple[float, Mapping[float, Point]]:
    """Return the joules that all runs at their best limits would have saved, and for each limit
    that another beats the best within the slowdown."""
    points = [ran.point for ran in runs]
    chosen = {
        ran.limit_watts: better
        for ran in runs
        if (better := _lower(points, ran.point)) != ran.point
    }
    total = sum(
        ran.count * (ran.point.joules - chosen[ran.limit_watts].joules)
        for ran in runs
        if ran.limit_watts in chosen
    )
    return total, chosen


def _lower(points: Sequence[Point], now: Point) -> Point:
    return best((p for p in points if p.limit_watts < now.limit_watts), now, MOST_SLOWDOWN)


def _advice(look: Look, runs: Sequence[Ran]) -> Advice | None:
    joules, chosen = saved(runs)
    first = runs[0]
    big = size(joules, first.site, look.span, look.rates)
    is_little = joules < LEAST_RATIO * sum(ran.joules for ran in runs)
    if is_little or big.joules < LEAST_JOULES_PER_MONTH:
        return None
    worst = max((ran for ran in runs if ran.limit_watts in chosen), key=lambda ran: ran.joules)
    then = chosen[worst.limit_watts]
    return Advice(
        kind=Kind.POWER_CAP,
        subject=f"{first.workload}@{first.site}",
        title=f"Cap the {first.hardware} of {first.workload} at {then.limit_watts:.0f} W",
        reason=_reason(worst, then),
        joules_per_month=big.joules,
        are_facility_joules=big.are_facility,
        cost_per_month=big.cost,
        currency=big.currency,
        price=big.price,
        g_per_month=big.grams,
        carbon=big.carbon,
        confidence=round(SURE * look.span.confidence, 2),
        effort=Effort.LOW,
        evidence=stated(
            EVIDENCE,
            workload=first.workload,
            since=look.span.since_s,
            until=look.span.until_s,
        ),
        baseline=_baseline(look, runs, big),
        site=first.site,
        team=first.team,
        owner=first.owner,
        numbers={
            "limit_watts": worst.limit_watts,
            "joules_per_outcome": worst.point.joules,
            "device_seconds_per_outcome": worst.point.seconds,
            "other_limit_watts": then.limit_watts,
            "other_joules_per_outcome": then.joules,
            "other_device_seconds_per_outcome": then.seconds,
            "outcomes": worst.count,
        },
    )


def _baseline(look: Look, runs: Sequence[Ran], big: Size) -> Baseline:
    first = runs[0]
    loaded = sum(ran.loaded_joules for ran in runs) * overhead(first.site, big, look.rates)
    return Baseline(
        measure=Measure.JOULES_PER_OUTCOME,
        joules_per_unit=loaded / sum(ran.count for ran in runs),
        workload=first.workload,
        site=first.site,
        outcome=first.outcome,
    )


def _reason(ran: Ran, then: Point) -> str:
    slower = then.seconds / ran.point.seconds - 1
    return (
        f"Its GPUs took {ran.point.joules:.4g} J for each {ran.outcome} at {ran.limit_watts:.0f} W "
        f"and {then.joules:.4g} J at {then.limit_watts:.0f} W, where it took "
        f"{abs(slower):.1%} {'longer' if slower > 0 else 'less time'}"
    )
