"""What an outer meter measures beside what is inside of it, as SQL of one run of the ledger.

RECONCILE follows MEASURE and fills ``reconcile_1h``: outer = inner + remainder + uncovered. Only
minutes count in which the outer meters of a group and everything inside of it that measured
anything in that hour are wholly known; inside are the nearest meters, an outer one with its own
measure. An hour's remainder that is negative beyond the meters' uncertainties is a ``mismatch``:
such a meter does not see what it should, so nothing is charged by it, and to the meter around it
that hour it is as if it were not there: what it was to contain counts instead. So the sum over a
machine is its outermost meter that fits, and no joule is in it twice.

A remainder below zero within the uncertainties keeps its sign. Neither meter is exact; so the sum
stays what the wall measured, and minutes in which a slow wall meter lags behind its chips cancel
out. Cut off at zero they would add up to energy that nobody measured.

REMAINDER follows CHARGE and charges the remainder, class overhead, under the outer meter: to nobody
(``platform``), or to the workloads inside of it by what they were charged there in that hour
(``proportional``), nobody's part staying nobody's. There is no policy by share of allocations: the
shares of a processor and of a GPU are of different things, and no sum of them means anything.

Parameters: those of ``pieces_sql.within``, ``version``, ``host_remainder``.
"""

from __future__ import annotations

from .pieces_sql import HI, LO

UNSTATED_RATIO = 0.02
"""Uncertainty of an inner meter that states none; an outer one that states none counts as exact."""


_STEP = """
arrayMap(within -> arrayMap(margin -> arrayMap(status -> (
        arrayPushBack(arrayFilter(c -> NOT has(c.1, x.1), acc.1),
                      if(status IN ('silent', 'mismatch'), (x.2, within.1, within.2),
                         (x.2, x.3, x.4))),
        arrayPushBack(acc.2, (status, within.1))),
    [multiIf(empty(x.3), 'silent', empty(within.1), 'alone', empty(margin), 'uncovered',
             arraySum(m -> m.1 + m.2, margin) < 0, 'mismatch', 'ok')])[1],
    [arrayFilter(m -> isFinite(m.1),
                 arrayMap((o, i, d, e) -> (o - i, d + e), x.3,
                          arrayResize(within.1, length(x.3), nan), x.5,
                          arrayResize(within.2, length(x.3), nan)))])[1],
    arrayMap(mine -> (arrayReduce('sumForEach', arrayPushBack(mine.2, x.6)),
                      arrayReduce('sumForEach', arrayPushBack(mine.3, x.7))),
             [arrayFilter(c -> has(c.1, x.1), acc.1)]))[1]
"""
"""One outer group x against what is inside of it: its own counted meters (x.6) and what the groups
inside have left in acc.1. It leaves its own measure there, or theirs where it does not stand; acc.2
keeps its status and that sum. arrayMap over one element gives a value a name."""

_EACH_HOUR = """
SELECT toDateTime(arrayJoin(range(toUInt32({lo:Int64} / 1000), toUInt32({hi:Int64} / 1000),
                                  3600)), 'UTC'),
       0, 0, 0, NULL, 0, 0, '', [], {version:UInt64}
"""

RECONCILE = f"""
INSERT INTO reconcile_1h (t, device_id, outer_joules, inner_joules, remainder_joules,
                          uncovered_joules, seconds, status, remainders, version)
WITH
minute AS (
    SELECT toStartOfHour(t) AS hour, device_id, toMinute(t) AS minute, sum(ifNull(joules, 0)) AS j,
           sumIf(seconds, isNotNull(joules)) AS known_seconds
    FROM measured_1m
    WHERE toStartOfHour(t) >= {LO} AND toStartOfHour(t) < {HI}
      AND version = {{version:UInt64}} AND seconds != 0
    GROUP BY hour, device_id, minute HAVING known_seconds > 0
),
series AS (
    SELECT hour, device_id, sum(j) AS total,
           arrayResize(groupArrayInsertAt(nan)(if(known_seconds > 59.9995, j, nan), minute),
                       60, nan) AS known
    FROM minute GROUP BY hour, device_id
),
meter AS (
    SELECT hour, device_id, total, path, role != 'counted' AS is_outer,
           if(is_outer, group_id, path[1]) AS node,
           if(role = 'aside', arrayWithConstant(60, nan), known) AS js,
           arrayMap(j -> j * ifNull(uncertainty_ratio, 0), js) AS outer_doubt,
           arrayMap(j -> j * ifNull(uncertainty_ratio, {UNSTATED_RATIO}), js) AS inner_doubt,
           if(role = 'outer', [], js) AS inner
    FROM series INNER JOIN (
        SELECT device_id, group_id, if(role = 'aside', [], path) AS path, role, uncertainty_ratio
        FROM tree FINAL WHERE role IN ('outer', 'aside') OR (role = 'counted' AND notEmpty(path))
    ) AS placed USING (device_id)
),
node AS (
    SELECT hour, node, any(if(is_outer, path, arraySlice(path, 2))) AS beyond,
           (node, beyond,
            sumForEach(if(is_outer, js, [])), sumForEach(if(is_outer, inner_doubt, [])),
            sumForEach(if(is_outer, outer_doubt, [])),
            sumForEach(inner), sumForEach(if(is_outer, [], inner_doubt)),
            groupArrayIf((device_id, js, total), is_outer)) AS x
    FROM meter GROUP BY hour, node
),
root AS (
    SELECT hour, arraySort(n -> -length(n.2), groupArray(x)) AS nodes,
           arrayFold((acc, x) -> {_STEP},
               nodes,
               ([] :: Array(Tuple(Array(UInt64), Array(Float64), Array(Float64))),
                [] :: Array(Tuple(String, Array(Float64))))) AS folded
    FROM node GROUP BY hour, if(empty(beyond), node, beyond[-1])
),
member AS (
    SELECT hour, m.1 AS device_id, m.3 AS outer_joules, f.1 AS status,
           arrayMap((j, o, i) -> j - i * if(o = 0, 1 / length(n.8), j / o),
                    m.2, n.3, f.2) AS remainders,
           arrayFilter(r -> isFinite(r), remainders) AS covered,
           arraySum(arrayMap((j, r) -> if(isFinite(r), j, 0), m.2, remainders)) AS covered_joules
    FROM (SELECT hour, n, f FROM root ARRAY JOIN nodes AS n, folded.2 AS f)
    ARRAY JOIN n.8 AS m
    WHERE f.1 IN ('ok', 'mismatch', 'uncovered')
)
SELECT hour, device_id, outer_joules, covered_joules - arraySum(covered),
       if(empty(covered), NULL, arraySum(covered)), outer_joules - covered_joules,
       60. * length(covered), status, if(status = 'ok', remainders, []), {{version:UInt64}}
FROM member
UNION ALL
{_EACH_HOUR}
"""

RECONCILED = f"""
INSERT INTO reconcile_1h (t, device_id, outer_joules, inner_joules, remainder_joules,
                          uncovered_joules, seconds, status, remainders, version)
{_EACH_HOUR}
"""
"""Says on a shard of its own that these hours are reconciled, also where it has no outer meter."""

REMAINDER = f"""
INSERT INTO charge_1m (t, device_id, workload_id, class, joules, seconds, version)
WITH
inside AS (
    SELECT toStartOfHour(c.t) AS hour, g AS group_id, c.workload_id AS workload_id,
           sum(c.joules) AS joules
    FROM charge_1m AS c
    INNER JOIN (SELECT device_id, arrayJoin(path) AS g FROM tree FINAL) AS p
        ON p.device_id = c.device_id
    WHERE toStartOfHour(c.t) >= {LO} AND toStartOfHour(c.t) < {HI}
      AND c.version = {{version:UInt64}} AND c.seconds != 0
      AND {{host_remainder:String}} = 'proportional'
    GROUP BY hour, group_id, workload_id HAVING joules > 0
),
payer AS (
    SELECT hour, group_id, groupArray((workload_id, joules)) AS paid, sum(joules) AS total
    FROM inside GROUP BY hour, group_id
),
remainder AS (
    SELECT r.t AS hour, r.device_id AS device_id, r.remainders AS remainders,
           if(empty(p.paid), [(0 :: UInt64, 1.)],
              arrayMap(w -> (w.1, w.2 / p.total), p.paid)) AS parts
    FROM reconcile_1h AS r
    INNER JOIN (SELECT device_id, group_id FROM tree FINAL) AS g ON g.device_id = r.device_id
    LEFT JOIN payer AS p ON p.hour = r.t AND p.group_id = g.group_id
    WHERE r.t >= {LO} AND r.t < {HI} AND r.version = {{version:UInt64}} AND r.status = 'ok'
)
SELECT hour + INTERVAL 60 * (at - 1) SECOND AS t, device_id, part.1, 'overhead', joules * part.2,
       60 * part.2, {{version:UInt64}}
FROM (
    SELECT hour, device_id, parts, joules, at
    FROM remainder ARRAY JOIN remainders AS joules, arrayEnumerate(remainders) AS at
    WHERE isFinite(joules)
)
ARRAY JOIN parts AS part
"""
