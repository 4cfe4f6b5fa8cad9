"""The ledger's SQL: ticks to spans, spans to what was measured, spans and allocations to charges.

Both statements share the same spans, so that what is measured and what is charged come from one
reading of the meters; the rules are those of ``wattshed_exporter.split``, against which they are
tested on random input. A statement covers whole hours [lo, hi) and takes, from outside them, only
each device's nearest tick on either side, found through ``tick_hour``.

Parameters: ``lo``, ``hi`` (Unix milliseconds at full hours), ``version``, ``idle_below_e4``.
"""

from __future__ import annotations

from .tree_sql import RECONCILE, REMAINDER

_LO = "fromUnixTimestamp64Milli({lo:Int64}, 'UTC')"
_HI = "fromUnixTimestamp64Milli({hi:Int64}, 'UTC')"

_TICK_COLUMNS = (
    "device_id, ts, power_uw, energy_uj, start_ts, interval_ms, util_e4, method, gap, withdrawn"
)

SPANS = f"""
edge AS (
    SELECT device_id,
           maxIf(last_valid, hour < {_LO}) AS before,
           minIf(first_valid, hour >= {_HI}) AS beyond,
           countIf(hour >= {_HI}) > 0 AS has_beyond
    FROM tick_hour GROUP BY device_id
),
neighbour AS (
    SELECT hour, device_id FROM tick_hour INNER JOIN edge USING (device_id)
    WHERE (hour >= toStartOfHour(before) AND hour < {_LO})
       OR (has_beyond AND hour >= {_HI} AND hour <= toStartOfHour(beyond))
),
row AS (
    SELECT {_TICK_COLUMNS} FROM tick FINAL
    WHERE toStartOfHour(ts) >= {_LO} AND toStartOfHour(ts) < {_HI}
    UNION ALL
    SELECT {_TICK_COLUMNS} FROM tick FINAL INNER JOIN edge USING (device_id)
    WHERE (toStartOfHour(ts), device_id) IN (SELECT hour, device_id FROM neighbour)
      AND ((ts >= before AND ts < {_LO}) OR (has_beyond AND ts >= {_HI} AND ts <= beyond))
),
marked AS (
    SELECT device_id, toUnixTimestamp64Milli(ts) AS t, power_uw,
           if(isNotNull(withdrawn) AND isNotNull(power_uw), NULL, row.energy_uj) AS energy_uj,
           ifNull(toUnixTimestamp64Milli(start_ts), 0) AS start, interval_ms, util_e4,
           toString(method) AS method,
           gap, isNull(power_uw) AND isNull(energy_uj) AS is_gap,
           countIf(NOT is_gap) OVER (PARTITION BY device_id ORDER BY ts
               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS stretch
    FROM row
),
reasoned AS (
    SELECT *, argMinIf(ifNull(toString(gap), 'no_data'), t, is_gap)
                  OVER (PARTITION BY device_id, stretch) AS gap_reason
    FROM marked
),
pair AS (
    SELECT *,
           lagInFrame(t) OVER previous AS t_a,
           lagInFrame(energy_uj) OVER previous AS energy_a,
           lagInFrame(start) OVER previous AS start_a,
           lagInFrame(power_uw) OVER previous AS power_a
    FROM reasoned WHERE NOT is_gap
    WINDOW previous AS (PARTITION BY device_id ORDER BY t
                        ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
),
split_span AS (
    SELECT device_id, util_e4,
           arrayJoin(multiIf(
               isNotNull(energy_a) AND isNotNull(energy_uj) AND start >= t_a,
               [(t_a, least(start, t), NULL, NULL, NULL, 'unknown',
                 if(gap_reason = '', 'reset', gap_reason)),
                (start, t, energy_uj / 1e6, NULL, NULL, method, '')],
               isNotNull(energy_a) AND isNotNull(energy_uj) AND start_a != 0 AND start != 0
                   AND abs(start - start_a) > 60000,
               [(t_a, t, NULL, NULL, NULL, 'unknown', 'counter_changed')],
               isNotNull(energy_a) AND isNotNull(energy_uj) AND energy_uj < energy_a AND start != 0,
               [(t_a, t, NULL, NULL, NULL, 'unknown', 'counter_fell')],
               isNotNull(energy_a) AND isNotNull(energy_uj),
               [(t_a, t, toUInt64(energy_uj - if(energy_uj >= energy_a, energy_a, 0)) / 1e6,
                 NULL, NULL, method, if(energy_uj >= energy_a, '', 'reset'))],
               isNotNull(power_a) AND isNotNull(power_uw) AND gap_reason = ''
                   AND t - t_a <= 3 * interval_ms,
               [(t_a, t, (power_a + power_uw) / 2e6 * (t - t_a) / 1e3,
                 power_a / 1e6, power_uw / 1e6,
                 if(method IN ('estimated', 'simulated'), method, 'integral'), '')],
               [(t_a, t, NULL, NULL, NULL, 'unknown', if(gap_reason = '', 'no_data', gap_reason))]
           )) AS s
    FROM pair WHERE t_a != 0
),
named AS (
    SELECT device_id, util_e4, s.1 AS s0, s.2 AS s1, s.3 AS joules, s.4 AS power0, s.5 AS power1,
           s.6 AS span_method, s.7 AS reason,
           greatest(s.1, {{lo:Int64}}) AS c0, least(s.2, {{hi:Int64}}) AS c1
    FROM split_span
),
span AS (SELECT * FROM named WHERE c1 > c0)
"""

_MINUTES = (
    "arrayMap(i -> (intDiv(c0, 60000) + 1 + i) * 60000,"
    " range(toUInt64(greatest(0, intDiv(c1 - 1, 60000) - intDiv(c0, 60000)))))"
)

_PIECE_JOULES = """
    if(isNull(power0), joules * (x1 - x0) / (s1 - s0),
       (2 * power0 + (power1 - power0) * (x0 - s0 + x1 - s0) / (s1 - s0)) / 2 * (x1 - x0) / 1e3)
"""

MEASURE = f"""
INSERT INTO measured_1m (t, device_id, method, reason, joules, seconds, version)
WITH {SPANS},
cut AS (
    SELECT device_id, s0, s1, joules, power0, power1, span_method, reason,
           arrayConcat([c0], {_MINUTES}, [c1]) AS cuts
    FROM span
),
piece AS (
    SELECT * EXCEPT cuts, x.1 AS x0, x.2 AS x1
    FROM cut ARRAY JOIN arrayZip(arrayPopBack(cuts), arrayPopFront(cuts)) AS x
)
SELECT toDateTime(intDiv(x0, 60000) * 60, 'UTC') AS t, device_id, span_method, reason,
       sumOrNull({_PIECE_JOULES}), sum(x1 - x0) / 1e3, {{version:UInt64}}
FROM piece GROUP BY t, device_id, span_method, reason
"""

CHARGE = f"""
INSERT INTO charge_1m (t, device_id, workload_id, class, joules, seconds, version)
WITH {SPANS},
held AS (
    SELECT device_id,
           groupArray((toUnixTimestamp64Milli(start_ts), toUnixTimestamp64Milli(end_ts),
                       workload_id, share)) AS allocations,
           arrayDistinct(arrayFlatten(arrayMap(a -> [a.1, a.2], allocations))) AS edges
    FROM allocation FINAL
    WHERE end_ts > {_LO} AND start_ts < {_HI} AND share > 0 AND end_ts > start_ts
    GROUP BY device_id
),
cut AS (
    SELECT device_id, s0, s1, joules, power0, power1, allocations,
           ifNull(util_e4 < {{idle_below_e4:UInt16}}, false) AS is_idle,
           arraySort(arrayDistinct(arrayConcat([c0, c1], {_MINUTES},
               arrayFilter(e -> e > c0 AND e < c1, edges)))) AS cuts
    FROM span LEFT JOIN held USING (device_id)
    WHERE isNotNull(joules)
),
piece AS (
    SELECT * EXCEPT cuts, x.1 AS x0, x.2 AS x1,
           arrayFilter(a -> a.1 <= x0 AND a.2 >= x1, allocations) AS holders
    FROM cut ARRAY JOIN arrayZip(arrayPopBack(cuts), arrayPopFront(cuts)) AS x
),
valued AS (
    SELECT device_id, x0, x1, is_idle, holders, arraySum(holders.4) AS held_share,
           assumeNotNull({_PIECE_JOULES}) AS piece_joules
    FROM piece
),
part AS (
    SELECT device_id, x0, x1, piece_joules, p
    FROM valued ARRAY JOIN arrayConcat(
        arrayMap(a -> (a.3, if(is_idle, 'idle_held', 'active'), a.4 / greatest(held_share, 1)),
                 holders),
        if(held_share < 1,
           [(toUInt64(0), if(is_idle, 'idle_unallocated', 'unattributed'), 1 - held_share)],
           [])) AS p
)
SELECT toDateTime(intDiv(x0, 60000) * 60, 'UTC') AS t, device_id, p.1 AS workload_id, p.2 AS class,
       sum(piece_joules * p.3), sum((x1 - x0) / 1e3 * p.3), {{version:UInt64}}
FROM part
WHERE (device_id, toStartOfHour(t)) NOT IN (
    SELECT device_id, t FROM reconcile_1h WHERE version = {{version:UInt64}})
GROUP BY t, device_id, workload_id, class
"""

CANCEL_MEASURED = f"""
INSERT INTO measured_1m (t, device_id, method, reason, joules, seconds, version)
SELECT t, device_id, method, reason, NULL, 0, {{version:UInt64}} FROM measured_1m FINAL
WHERE t >= {_LO} AND t < {_HI} AND version < {{version:UInt64}} AND seconds != 0
"""

CANCEL_CHARGES = f"""
INSERT INTO charge_1m (t, device_id, workload_id, class, joules, seconds, version)
SELECT t, device_id, workload_id, class, 0, 0, {{version:UInt64}} FROM charge_1m FINAL
WHERE t >= {_LO} AND t < {_HI} AND version < {{version:UInt64}} AND seconds != 0
"""

ROLL_UP = f"""
INSERT INTO charge_1h (t, device_id, workload_id, class, joules, seconds, version)
SELECT toStartOfHour(t) AS hour, device_id, workload_id, class,
       sum(joules), sum(seconds), {{version:UInt64}}
FROM charge_1m FINAL WHERE t >= {_LO} AND t < {_HI}
GROUP BY hour, device_id, workload_id, class
"""

RECOMPUTE: tuple[str, ...] = (
    MEASURE,
    CANCEL_MEASURED,
    RECONCILE,
    CHARGE,
    REMAINDER,
    CANCEL_CHARGES,
    ROLL_UP,
)
"""Run in this order with one version; the order and a repeat change nothing."""

DIRTY_HOURS = """
SELECT DISTINCT toUnixTimestamp(hour) FROM dirty
WHERE ingested_at > fromUnixTimestamp64Micro({since_us:Int64}, 'UTC')
"""

TOUCHED = """
WITH edge AS (
    SELECT hour, device_id,
           toUnixTimestamp64Milli(min(first_valid)) AS first,
           toUnixTimestamp64Milli(max(last_valid)) AS last,
           maxIf(hour, last > 0) OVER (PARTITION BY device_id ORDER BY hour
               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS hour_before,
           minIf(hour, last > 0) OVER (PARTITION BY device_id ORDER BY hour
               ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS hour_beyond
    FROM tick_hour GROUP BY hour, device_id
),
seen AS (
    SELECT toStartOfHour(ts) AS hour, device_id, toUnixTimestamp64Milli(ts) AS t,
           isNull(power_uw) AND isNull(energy_uj) AS is_gap,
           toUnixTimestamp64Micro(ingested_at) AS came
    FROM tick
    WHERE toUnixTimestamp(toStartOfHour(ts)) IN {hours:Array(UInt32)}
      AND (is_gap OR (device_id, ts) IN (
          SELECT device_id, arrayJoin([first_valid, last_valid]) FROM tick_hour
          WHERE toUnixTimestamp(hour) IN {hours:Array(UInt32)}))
)
SELECT toUnixTimestamp(hour), device_id, any(first), any(last),
       any(toUnixTimestamp(hour_before)), any(toUnixTimestamp(hour_beyond)),
       uniqExactIf(t, is_gap AND t > 0 AND t < first), uniqExactIf(t, is_gap AND t > last),
       maxIf(came, t = first), maxIf(came, t = last)
FROM edge LEFT JOIN seen USING (hour, device_id)
WHERE toUnixTimestamp(hour) IN {hours:Array(UInt32)}
GROUP BY hour, device_id
"""
"""What ``wattshed_collector.ledger.Edge`` holds, per touched hour and device."""

NEWEST_TICK = "SELECT toUnixTimestamp64Milli(max(last_valid)) FROM tick_hour"
