"""The ledger's SQL: ticks to pieces, pieces to what was measured, and with holders to charges.

What is measured and what is charged are sums of the same pieces, which come from one reading of the
meters; the rules are those of ``wattshed_exporter.split``, against which they are tested on random
input. A statement covers whole hours [lo, hi) and takes, from outside them, only each device's
nearest tick on either side, found through ``tick_hour`` and ``tick_day``.

Parameters: ``lo``, ``hi`` (Unix milliseconds at full hours), ``version``, ``idle_below_e4``,
``idle_policy``.
"""

from __future__ import annotations

from .tree_sql import RECONCILE, REMAINDER

_LO = "fromUnixTimestamp64Milli({lo:Int64}, 'UTC')"
_HI = "fromUnixTimestamp64Milli({hi:Int64}, 'UTC')"

_DAY_LO = f"toStartOfDay({_LO})"
_DAY_HI = f"toStartOfDay({_HI} + INTERVAL 86399 SECOND)"
_NEVER = "toDateTime64('2105-01-01 00:00:00', 3, 'UTC')"

_ROWS = f"""
edge AS (
    SELECT device_id,
           maxIf(last, at < {_LO}) AS before,
           minIf(first, at >= {_HI} AND first < {_NEVER}) AS beyond,
           countIf(last > 0 AND at >= {_LO} AND at < {_HI}) > 0 AS has_inside
    FROM (
        SELECT device_id, hour AS at, first_valid AS first, last_valid AS last
        FROM tick_hour WHERE hour >= {_DAY_LO} AND hour < {_DAY_HI}
        UNION ALL
        SELECT device_id, day AS at, first_valid AS first, last_valid AS last
        FROM tick_day WHERE day < {_DAY_LO} OR day >= {_DAY_HI}
    )
    GROUP BY device_id
    HAVING (before > 0) + (beyond > 0) + has_inside > 1
),
neighbour AS (
    SELECT toDateTime(arrayJoin(arrayConcat(
               if(before > 0, range(toUInt32(toUnixTimestamp(toStartOfHour(before))),
                                    toUInt32({{lo:Int64}} / 1000), 3600), []),
               if(beyond > 0, range(toUInt32({{hi:Int64}} / 1000),
                                    toUInt32(toUnixTimestamp(beyond)) + 1, 3600), []))),
               'UTC') AS hour, device_id
    FROM edge
),
row AS (
    SELECT device_id, toUnixTimestamp64Milli(ts) AS t, isNotNull(k.power_uw) AS has_power,
           isNotNull(k.energy_uj) AND (isNull(withdrawn) OR NOT has_power) AS has_energy,
           ifNull(k.power_uw, 0) AS power_uw, ifNull(k.energy_uj, 0) AS energy_uj,
           ifNull(toUnixTimestamp64Milli(start_ts), 0) AS start, interval_ms, util_e4, method,
           ifNull(k.gap, 'no_data') AS gap, has_power OR has_energy AS is_valid
    FROM tick AS k FINAL
    WHERE toStartOfHour(ts) >= {_LO} AND toStartOfHour(ts) < {_HI}
       OR (toStartOfHour(ts), device_id) IN (SELECT hour, device_id FROM neighbour)
          AND (isNull(k.power_uw) AND isNull(k.energy_uj)
               OR (device_id, ts) IN (SELECT device_id, arrayJoin([before, beyond]) FROM edge))
),
"""
"""Every tick of the hours and, of each device, its nearest reading on either side, and gaps."""

SPANS = f"""
{_ROWS}
marked AS (
    SELECT *, lagInFrame(is_valid) OVER (PARTITION BY device_id ORDER BY t
                                         ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS after_valid
    FROM row
),
pair AS (
    SELECT *,
           anyLastIf(t, is_valid) OVER previous AS t_a,
           anyLastIf(has_energy, is_valid) OVER previous AS has_energy_a,
           anyLastIf(has_power, is_valid) OVER previous AS has_power_a,
           anyLastIf(energy_uj, is_valid) OVER previous AS energy_a,
           anyLastIf(start, is_valid) OVER previous AS start_a,
           anyLastIf(power_uw, is_valid) OVER previous AS power_a,
           anyLastIf(gap, after_valid AND NOT is_valid) OVER previous AS first_gap
    FROM marked
    WINDOW previous AS (PARTITION BY device_id ORDER BY t
                        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
),
paired AS (
    SELECT device_id, t, t_a, start, start_a, energy_uj, energy_a, power_uw, power_a, util_e4,
           method,
           if(after_valid, '', first_gap) AS gap_reason, has_energy AND has_energy_a AS is_counted,
           has_power AND has_power_a AND after_valid AND t - t_a <= 3 * interval_ms AS is_powered
    FROM pair WHERE is_valid AND t_a != 0 AND t > {{lo:Int64}} AND t_a < {{hi:Int64}}
),
told AS (
    SELECT *, multiIf(
               NOT is_counted, if(is_powered, 'power', 'no_data'),
               start >= t_a, 'since_start',
               start_a != 0 AND start != 0 AND abs(start - start_a) > 60000, 'counter_changed',
               energy_uj >= energy_a, 'counter',
               start = 0, 'reset',
               'counter_fell') AS pair_rule
    FROM paired
),
ruled AS (
    SELECT *, arrayJoin(if(pair_rule = 'since_start', ['before_start', 'since_start'],
                           [pair_rule])) AS rule
    FROM told
),
bare_span AS (
    SELECT device_id, util_e4, method, gap_reason, rule,
           if(rule = 'counter', toUInt64(energy_uj - energy_a), energy_uj) / 1e6 AS gained,
           power_a / 1e6 AS power0, power_uw / 1e6 AS power1,
           if(rule = 'since_start', start, t_a) AS s0,
           if(rule = 'before_start', least(start, t), t) AS s1
    FROM ruled
),
span AS (
    SELECT *, greatest(s0, {{lo:Int64}}) AS c0, least(s1, {{hi:Int64}}) AS c1
    FROM bare_span WHERE c1 > c0
),
"""
"""What lies between two readings of a device, and by which rule its energy is known or is not."""

_PIECE_JOULES = """
    multiIf(rule = 'power',
            (2 * power0 + (power1 - power0) * (y0 - s0 + y1 - s0) / (s1 - s0)) / 2
                * (y1 - y0) / 1e3,
            rule IN ('counter', 'since_start', 'reset'), gained * (y1 - y0) / (s1 - s0),
            0)
"""

_STANDING = f"""
held AS (
    SELECT device_id, workload_id, toUnixTimestamp64Milli(start_ts) AS a0,
           toUnixTimestamp64Milli(end_ts) AS a1, share, activity
    FROM allocation FINAL
    WHERE toStartOfHour(start_ts) IN (
              SELECT start_hour FROM allocation_hour WHERE hour >= {_LO} AND hour < {_HI})
      AND start_ts < {_HI} AND end_ts > {_LO} AND end_ts > start_ts
      AND (share > 0 OR isNotNull(activity))
),
"""
"""The allocations that reach into the hours, found in the hours in which such allocations begin."""

PIECES = f"""
INSERT INTO piece (version, t, device_id, from_ms, to_ms, is_idle, rule, method, gap, joules,
                   seconds, floor_joules, floor_seconds)
WITH {SPANS} {_STANDING}
mark AS (
    SELECT device_id, intDiv(at, 60000) AS minute, arraySort(groupUniqArray(at)) AS marks
    FROM held ARRAY JOIN [a0, a1] AS at
    WHERE at > {{lo:Int64}} AND at < {{hi:Int64}} AND at % 60000 != 0
    GROUP BY device_id, minute
),
baseline AS (
    SELECT device_id, toInt64(toUnixTimestamp(hour)) AS hour_s, min(watts) AS idle_watts,
           true AS has
    FROM idle_hour WHERE hour >= {_LO} AND hour < {_HI} GROUP BY device_id, hour
),
minutely AS (
    SELECT *, toInt64(arrayJoin(range(toUInt64(intDiv(c0, 60000)),
                                      toUInt64(intDiv(c1 - 1, 60000) + 1)))) AS minute
    FROM span
),
clipped AS (
    SELECT *, greatest(c0, minute * 60000) AS x0, least(c1, minute * 60000 + 60000) AS x1,
           intDiv(minute, 60) * 3600 AS hour_s
    FROM minutely
),
bounded AS (
    SELECT *, arrayFilter(e -> e > x0 AND e < x1, marks) AS inner_marks
    FROM clipped
    LEFT JOIN mark USING (device_id, minute)
    LEFT JOIN baseline USING (device_id, hour_s)
),
part AS (
    SELECT *, y0, y1, (y1 - y0) / 1e3 AS y_s,
           arrayMax(arrayPushFront(arrayFilter(e -> e <= y0, marks), minute * 60000)) AS from_at,
           arrayMin(arrayPushFront(arrayFilter(e -> e >= y1, marks), minute * 60000 + 60000))
               AS to_at,
           ifNull(util_e4 < {{idle_below_e4:UInt16}}, false) AS idles
    FROM bounded
    ARRAY JOIN arrayPushFront(inner_marks, x0) AS y0, arrayPushBack(inner_marks, x1) AS y1
),
valued AS (
    SELECT *, {_PIECE_JOULES} AS known_joules, if(idles, 0, idle_watts) * y_s AS idle_joules,
           has AND NOT idles AS is_floored
    FROM part
),
floored AS (
    SELECT *, if(is_floored, least(idle_joules, known_joules), 0) AS floor,
           if(is_floored, if(idle_joules >= known_joules, 1, idle_joules / known_joules), 0)
               AS floor_part
    FROM valued
)
SELECT {{version:UInt64}}, toDateTime(minute * 60, 'UTC'), device_id, from_at - minute * 60000,
       to_at - minute * 60000, idles, rule, method, gap_reason,
       sum(known_joules), sum(y_s), sum(floor), sum(y_s * floor_part)
FROM floored GROUP BY minute, device_id, from_at, to_at, idles, rule, method, gap_reason
"""

_UNKNOWN = "('before_start', 'counter_changed', 'counter_fell', 'no_data')"
"""The rules by which energy is not known."""
_IN_HOURS = f"version = {{version:UInt64}} AND t >= {_LO} AND t < {_HI}"

MEASURE = f"""
INSERT INTO measured_1m (t, device_id, method, reason, joules, seconds, version)
SELECT t, device_id,
       multiIf(rule IN {_UNKNOWN}, 'unknown',
               rule = 'power' AND said NOT IN ('estimated', 'simulated'), 'integral', said)
           AS named,
       multiIf(rule IN ('counter', 'since_start', 'power'), '',
               rule = 'before_start', if(gap = '', 'reset', gap),
               rule = 'no_data' AND gap != '', gap,
               rule) AS why,
       if(named = 'unknown', NULL, sum(known_joules)), sum(lasted), {{version:UInt64}}
FROM (
    SELECT t, device_id, rule, method AS said, gap, sum(joules) AS known_joules,
           sum(seconds) AS lasted
    FROM piece FINAL WHERE {_IN_HOURS} GROUP BY t, device_id, rule, method, gap
)
GROUP BY t, device_id, named, why
"""

ACTIVE, IDLE_HELD, IDLE_UNALLOCATED, OVERHEAD, UNATTRIBUTED = range(1, 6)
_CLASSES = {
    ACTIVE: "active",
    IDLE_HELD: "idle_held",
    IDLE_UNALLOCATED: "idle_unallocated",
    OVERHEAD: "overhead",
    UNATTRIBUTED: "unattributed",
}

CHARGE = f"""
INSERT INTO charge_1m (t, device_id, workload_id, class, joules, seconds, version)
WITH {_STANDING}
cell AS (
    SELECT device_id, toDateTime(minute * 60, 'UTC') AS t,
           groupArray((a0, a1, workload_id, share, activity)) AS allocations
    FROM held
    ARRAY JOIN range(toUInt64(intDiv(greatest(a0, {{lo:Int64}}), 60000)),
                     toUInt64(intDiv(least(a1, {{hi:Int64}}) - 1, 60000) + 1)) AS minute
    GROUP BY device_id, t
),
energy AS (
    SELECT t, device_id, from_ms, to_ms, is_idle, sum(p.joules) AS joules,
           sum(p.seconds) AS seconds, sum(p.floor_joules) AS floor_joules,
           sum(p.floor_seconds) AS floor_seconds
    FROM piece AS p FINAL
    WHERE {_IN_HOURS} AND rule NOT IN {_UNKNOWN}
      AND (device_id, toStartOfHour(t)) NOT IN (
          SELECT device_id, t FROM reconcile_1h
          WHERE {_IN_HOURS} AND version = {{version:UInt64}})
    GROUP BY t, device_id, from_ms, to_ms, is_idle
),
shared AS (
    SELECT *,
           arrayFilter(a -> a.1 <= toUnixTimestamp(t) * 1000 + from_ms
                            AND a.2 >= toUnixTimestamp(t) * 1000 + to_ms, allocations) AS present,
           arraySort(arrayDistinct(present.3)) AS workloads,
           arrayMap(w -> arraySum(arrayMap(a -> if(a.3 = w, a.4, 0), present)), workloads)
               AS shares,
           arrayMap(w -> arrayExists(a -> a.3 = w AND isNotNull(a.5), present),
                    workloads) AS are_told,
           arrayMap(w -> arraySum(arrayMap(a -> if(a.3 = w, ifNull(a.5, 0), 0), present)),
                    workloads) AS activities
    FROM energy LEFT JOIN cell USING (device_id, t)
),
weighed AS (
    SELECT * EXCEPT (present),
           arrayExists(k -> k, are_told) AS is_told, arraySum(shares) AS held_share,
           arrayMap((s, k, a) -> if(k, a, s), shares, are_told, activities) AS weights,
           arrayMap((s, k, a) -> is_idle OR k AND a < {{idle_below_e4:UInt16}} / 1e4 * s,
                    shares, are_told, activities) AS idlers,
           {{idle_policy:String}} = 'platform' AS is_platform,
           is_told OR is_platform AND notEmpty(workloads) AS is_set_apart
    FROM shared
),
normed AS (
    SELECT *, arraySum(weights) AS weight, 1 / greatest(held_share, 1) AS norm,
           greatest(0, 1 - held_share) AS free,
           multiIf(is_idle, joules, is_set_apart, floor_joules, 0) AS idle_joules,
           multiIf(is_idle, seconds, is_set_apart, floor_seconds, 0) AS idle_seconds,
           {{idle_policy:String}} = 'proportional' AS by_weight
    FROM weighed
),
divided AS (
    SELECT *, greatest(joules - idle_joules, 0) AS active_joules,
           greatest(seconds - idle_seconds, 0) AS active_seconds,
           arrayMap((s, w) -> multiIf(NOT is_told, s * norm, weight > 0, w / weight, 0),
                    shares, weights) AS active_parts,
           arrayMap((s, w) -> if(by_weight AND weight > 0, w / weight, s * norm),
                    shares, weights) AS idle_parts,
           multiIf(NOT is_told, free, weight > 0, 0, 1) AS unattributed,
           if(by_weight AND weight > 0, 0, free) AS unallocated
    FROM normed
),
charge AS (
    SELECT t, device_id, payer, charged_class,
           active_joules * active_part + idle_joules * idle_part AS part_joules,
           active_seconds * active_part + idle_seconds * idle_part AS part_seconds
    FROM divided
    ARRAY JOIN
        arrayConcat(workloads, if(is_platform, arrayMap(w -> 0, workloads), workloads), [0, 0])
            AS payer,
        arrayConcat(arrayMap(w -> {ACTIVE}, workloads),
                    arrayMap(i -> multiIf(i, {IDLE_HELD}, is_platform, {OVERHEAD}, {ACTIVE}),
                             idlers),
                    [{UNATTRIBUTED}, {IDLE_UNALLOCATED}]) AS charged_class,
        arrayConcat(active_parts, arrayMap(w -> 0., workloads), [unattributed, 0.])
            AS active_part,
        arrayConcat(arrayMap(w -> 0., workloads), idle_parts, [0., unallocated]) AS idle_part
)
SELECT t, device_id, payer,
       transform(charged_class, {list(_CLASSES)}, {list(_CLASSES.values())}, ''),
       sum(part_joules), sum(part_seconds) AS lasted, {{version:UInt64}}
FROM charge WHERE part_seconds > 0
GROUP BY t, device_id, payer, charged_class
"""
"""The rule of ``split.charges``, for all of the energy between two edges of allocations at once: of
what holds a device nothing changes there, and what a device draws while it idles was taken from
each piece before. Meters that were reconciled are left out: only their remainder is charged."""

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

_RATES = f"""
rate AS (
    SELECT s.site AS site, s.hour AS hour,
           argMaxIf(tuple(f.value), f.start_ts, f.kind = 'pue' AND f.site = s.site).1 AS own_pue,
           argMaxIf(tuple(f.value), f.start_ts, f.kind = 'pue' AND f.site = '').1 AS any_pue,
           argMaxIf(tuple(f.value, f.unit), f.start_ts, f.kind = 'price' AND f.site = s.site)
               AS own_price,
           argMaxIf(tuple(f.value, f.unit), f.start_ts, f.kind = 'price' AND f.site = '')
               AS any_price,
           ifNull(own_pue, any_pue) AS pue,
           if(isNotNull(own_price.1), own_price, any_price) AS price,
           splitByChar('/', toString(price.2)) AS unit,
           price.1 / transform(unit[2], ['J', 'Wh', 'kWh', 'MWh'],
                               [1., 3.6e3, 3.6e6, 3.6e9]::Array(Nullable(Float64)), NULL)
               AS per_joule,
           if(isNull(per_joule), '', unit[1]) AS currency
    FROM (
        SELECT DISTINCT toString(d.site) AS site,
               arrayJoin(range(toUInt64({{lo:Int64}}), toUInt64({{hi:Int64}}), 3600000)) AS hour_ms,
               toDateTime(intDiv(hour_ms, 1000), 'UTC') AS hour
        FROM device AS d FINAL
    ) AS s
    CROSS JOIN (SELECT * FROM factor FINAL WHERE kind IN ('pue', 'price') AND start_ts < {_HI}) AS f
    WHERE f.start_ts <= s.hour AND f.site IN ('', s.site)
    GROUP BY site, hour
),
"""
"""Each site's PUE and price at the beginning of each hour: its own, else that of every site."""

ROLL_UP = f"""
INSERT INTO charge_1h (t, device_id, workload_id, class, joules, seconds, facility_joules, cost,
                       currency, version)
WITH {_RATES}
hourly AS (
    SELECT toStartOfHour(t) AS hour, device_id, workload_id, class,
           sum(c.joules) AS joules, sum(c.seconds) AS seconds
    FROM charge_1m AS c FINAL WHERE t >= {_LO} AND t < {_HI}
    GROUP BY hour, device_id, workload_id, class
)
SELECT h.hour, h.device_id, h.workload_id, h.class, h.joules, h.seconds,
       h.joules * r.pue, h.joules * r.per_joule, r.currency, {{version:UInt64}}
FROM hourly AS h
LEFT JOIN (SELECT device_id, toString(site) AS site FROM device FINAL) AS d
    ON d.device_id = h.device_id
LEFT JOIN rate AS r ON r.site = d.site AND r.hour = h.hour
"""

_WHOLE = "if(countIf(isNull({0}) AND joules > 0) > 0, NULL, sumOrNull({0}))"
"""A sum of what is known for all of it, else NULL."""

WORKLOAD_HOURS = f"""
INSERT INTO workload_1h (t, workload_id, class, site, currency, joules, seconds, facility_joules,
                         cost, version)
SELECT c.t, c.workload_id, c.class, d.site, c.currency, sum(c.joules), sum(c.seconds),
       {_WHOLE.format("c.facility_joules").replace("joules > 0", "c.joules > 0")},
       sumOrNull(c.cost), {{version:UInt64}}
FROM (SELECT * FROM charge_1h FINAL WHERE t >= {_LO} AND t < {_HI} AND seconds != 0) AS c
INNER JOIN (SELECT * FROM device FINAL WHERE overlap != 'inner') AS d ON d.device_id = c.device_id
GROUP BY c.t, c.workload_id, c.class, d.site, c.currency
"""

_DAYS = f"t >= {_DAY_LO} AND t < {_DAY_HI}"

WORKLOAD_DAYS = f"""
INSERT INTO workload_1d (t, workload_id, class, site, currency, joules, seconds, facility_joules,
                         cost, version)
SELECT toStartOfDay(t) AS day, workload_id, class, site, currency, sum(h.joules), sum(h.seconds),
       {_WHOLE.format("h.facility_joules").replace("joules > 0", "h.joules > 0")},
       sumOrNull(h.cost), {{version:UInt64}}
FROM workload_1h AS h FINAL WHERE {_DAYS} AND seconds != 0
GROUP BY day, workload_id, class, site, currency
"""


CANCEL_HOURS = f"""
INSERT INTO workload_1h (t, workload_id, class, site, currency, joules, seconds, version)
SELECT t, workload_id, class, site, currency, 0, 0, {{version:UInt64}} FROM workload_1h FINAL
WHERE t >= {_LO} AND t < {_HI} AND version < {{version:UInt64}} AND seconds != 0
"""

CANCEL_DAYS = f"""
INSERT INTO workload_1d (t, workload_id, class, site, currency, joules, seconds, version)
SELECT t, workload_id, class, site, currency, 0, 0, {{version:UInt64}} FROM workload_1d FINAL
WHERE {_DAYS} AND seconds != 0 AND (t, workload_id, class, site, currency) NOT IN (
    SELECT toStartOfDay(t), workload_id, class, site, currency
    FROM workload_1h FINAL WHERE {_DAYS} AND seconds != 0)
"""
"""A day is written once for each few hours of it, all with one version: what counts is whether its
hours still say it."""

RECOMPUTE: tuple[str, ...] = (
    PIECES,
    MEASURE,
    CANCEL_MEASURED,
    RECONCILE,
    CHARGE,
    REMAINDER,
    CANCEL_CHARGES,
    ROLL_UP,
    WORKLOAD_HOURS,
    CANCEL_HOURS,
    WORKLOAD_DAYS,
    CANCEL_DAYS,
)
"""Run in this order with one version, which is used for nothing else; a repeat changes nothing."""

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
