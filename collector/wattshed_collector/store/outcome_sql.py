"""What workloads produced against the joules that they took: what a run computes after charges.

An increment of a counter belongs to the time from the reading before it, or from the counter's own
start where that is later, and is spread evenly over it. A total that falls is a counter that began
again at the reading before, at zero. The first reading of a counter counts only if its start is
known and its workload was held by then (to a minute): what a server produced in the weeks before
has no joules here to be set against.

A counter that stands at zero says that its run has produced nothing yet. ``before_joules`` is what
a workload is charged while some counter of its says so and none says otherwise, and, if its very
first readings say so, from when it was first held up to them. Within a minute energy counts as
even. Such energy is kept apart and is in no other column; together they are all that is charged.

``uncertainty_joules``: joules times the meter's stated ``uncertainty_ratio``, added and not in
squares, because the error of a power sensor is a gain that neither time nor several boards of one
model average out. A counter and an integral of one sensor share that gain. An estimate that states
none is taken to be half off; any other meter that states none makes the sum NULL. The ratio is that
of the workload's hour, as are its ``hardware`` and its ``site``, so that minutes add up to hours.

Outcomes lie by workload and charges by device, so on a cluster these statements run once, over all
shards; they read sums per workload and device (``shards.ACROSS``).

Parameters: those of ``pieces_sql.within``, ``version``, and ``settled``, the event time (ms) up to
which energy is charged and outcomes count.
"""

from __future__ import annotations

from .pieces_sql import DAY_HI, DAY_LO, HI, LO

ESTIMATED_RATIO = 0.5
"""Uncertainty of an estimate that states none."""
HELD_EARLIER_MS = 60_000
"""How much before its workload was first seen to hold anything a counter may begin."""

_STREAM = "workload_id, kind, source"
_IN_HOURS = f"t >= {LO} AND t < {HI}"

SEEN = f"""
INSERT INTO outcome_reach (span, hour, {_STREAM}, first, last)
SELECT of.1, of.2, {_STREAM}, earliest, latest
FROM (
    SELECT toStartOfHour(ts) AS at, {_STREAM}, min(ts) AS earliest, max(ts) AS latest
    FROM outcome WHERE toUnixTimestamp(toStartOfHour(ts)) IN {{hours:Array(UInt32)}}
    GROUP BY at, {_STREAM}
)
ARRAY JOIN [(3600, at), (86400, toDateTime(toStartOfDay(at), 'UTC'))] AS of
"""
"""Finds the first and the last reading of each counter in some hours."""

EDGES = f"""
WITH edge AS (
    SELECT hour, {_STREAM}, cityHash64({_STREAM}) AS stream, min(first) AS from_ts,
           max(last) AS to_ts,
           max(hour) OVER (PARTITION BY {_STREAM} ORDER BY hour
                           ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS hour_before,
           min(hour) OVER (PARTITION BY {_STREAM} ORDER BY hour
                           ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS hour_beyond
    FROM (
        SELECT hour, {_STREAM}, first, last FROM outcome_reach
        WHERE span = 3600 AND toUnixTimestamp(toStartOfDay(hour)) IN {{days:Array(UInt32)}}
        UNION ALL
        SELECT toStartOfHour(at) AS hour, {_STREAM}, at AS first, at AS last
        FROM (
            SELECT {_STREAM}, arrayJoin([min(r.first), max(r.last)]) AS at,
                   arrayCount(d -> d < toUnixTimestamp(r.hour), {{days:Array(UInt32)}})
                       AS days_before
            FROM outcome_reach AS r
            WHERE span = 86400 AND toUnixTimestamp(r.hour) NOT IN {{days:Array(UInt32)}}
            GROUP BY {_STREAM}, days_before
        )
    )
    GROUP BY hour, {_STREAM}
),
seen AS (
    SELECT toStartOfHour(ts) AS hour, cityHash64({_STREAM}) AS stream, ts AS at,
           max(toUnixTimestamp64Micro(ingested_at)) AS came
    FROM outcome
    WHERE toUnixTimestamp(toStartOfHour(ts)) IN {{hours:Array(UInt32)}}
      AND ({_STREAM}, ts) IN (
          SELECT {_STREAM}, arrayJoin([first, last]) FROM outcome_reach
          WHERE span = 3600 AND toUnixTimestamp(hour) IN {{hours:Array(UInt32)}})
    GROUP BY hour, stream, at
)
SELECT toUnixTimestamp(hour), stream, toUnixTimestamp64Milli(any(from_ts)),
       toUnixTimestamp64Milli(any(to_ts)), any(toUnixTimestamp(hour_before)),
       any(toUnixTimestamp(hour_beyond)), toUInt64(0), toUInt64(0),
       maxIf(came, at = from_ts), maxIf(came, at = to_ts)
FROM edge LEFT JOIN seen USING (hour, stream)
WHERE toUnixTimestamp(hour) IN {{hours:Array(UInt32)}}
GROUP BY hour, stream
"""
"""What ``wattshed_collector.ledger_edges.EDGE`` names, per touched hour and counter."""

BEGUN = """
SELECT toUnixTimestamp(toStartOfHour(
           min(if(since > 0 AND since < from_ts, since, from_ts)) - INTERVAL 1 MINUTE)),
       toUnixTimestamp(toStartOfHour(max(from_ts))),
       max(toUnixTimestamp(toStartOfHour(since)) IN {touched:Array(UInt32)}
           OR toUnixTimestamp(toStartOfHour(from_ts)) IN {begun:Array(UInt32)}) AS is_news
FROM (
    SELECT workload_id, kind, source, min(first) AS from_ts
    FROM outcome_reach WHERE span = 86400 GROUP BY workload_id, kind, source
) AS r
LEFT JOIN (
    SELECT workload_id, min(since) AS since FROM workload_seen GROUP BY workload_id
) AS s USING (workload_id)
GROUP BY workload_id
"""
"""Of each workload with outcomes the hour (Unix seconds) in which it was first held or heard of, or
a counter of its may have begun; that in which its last counter was first read; and whether either
is news of the hours ``touched`` by charges or of those in which a counter has ``begun``."""

KNOWN_HOURS = """
SELECT toUnixTimestamp(at) FROM (
    SELECT DISTINCT t AS at FROM charge_1h
    UNION DISTINCT SELECT DISTINCT t AS at FROM outcome_1h
    UNION DISTINCT SELECT DISTINCT hour AS at FROM outcome_reach WHERE span = 3600
)
WHERE toUnixTimestamp(at) BETWEEN {first:UInt32} AND {last:UInt32}
"""
"""The hours with charges, outcomes or readings of them."""

_FIELDS = f"""{_STREAM}, model, toUnixTimestamp64Milli(ts) AS t,
           ifNull(toUnixTimestamp64Milli(start_ts), 0) AS start, total"""

_BESIDE = f"""
    SELECT {_STREAM}, maxIf(last, hour < {LO}) AS before, minIf(first, hour >= {HI}) AS beyond
    FROM outcome_reach
    WHERE span = 3600 AND hour >= {DAY_LO} AND hour < {DAY_HI}
       OR span = 86400 AND (hour < {DAY_LO} OR hour >= {DAY_HI})
    GROUP BY {_STREAM}
    HAVING beyond > 0 OR countIf(hour >= {LO} AND hour < {HI}) > 0
"""
"""Of each counter that goes on in the hours, or after them, the nearest readings on either side."""

_READINGS = f"""
    SELECT {_FIELDS} FROM outcome FINAL
    WHERE toStartOfHour(ts) >= {LO} AND toStartOfHour(ts) < {HI}
    UNION ALL
    SELECT {_FIELDS} FROM outcome FINAL
    WHERE (toStartOfHour(ts), {_STREAM}, ts) IN (
        SELECT toStartOfHour(at), {_STREAM}, at FROM (
            SELECT {_STREAM}, arrayJoin(arrayFilter(x -> x > 0, [before, beyond])) AS at
            FROM ({_BESIDE})
        )
    )
"""

_PAIRS = f"""
    SELECT {_STREAM}, model, t, start, total,
           lagInFrame(t) OVER previous AS t_a, lagInFrame(total) OVER previous AS total_a
    FROM ({_READINGS})
    WINDOW previous AS (PARTITION BY {_STREAM} ORDER BY t
                        ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
"""

_HELD = """
    SELECT workload_id, toUnixTimestamp64Milli(heard) AS heard_ms,
           toUnixTimestamp64Milli(since) AS since_ms
    FROM (SELECT workload_id, min(first) AS heard FROM outcome_reach WHERE span = 86400
          GROUP BY workload_id) AS r
    LEFT JOIN (SELECT workload_id, min(since) AS since FROM workload_seen GROUP BY workload_id) AS s
        USING (workload_id)
"""
"""When each workload was first heard of and first held; 0: it never was."""

_FIRST = f"""
    SELECT workload_id, kind, model, since_ms, heard_ms, t, start, total, t_a, total_a,
           t_a = 0 AS is_first,
           is_first AND start > 0 AND start <= t AND since_ms > 0
               AND start >= since_ms - {HELD_EARLIER_MS} AS is_whole
    FROM ({_PAIRS}) AS p LEFT JOIN ({_HELD}) AS h USING (workload_id)
    WHERE t >= {{lo:Int64}}
"""

_GAINED = f"""
    SELECT workload_id, kind, model, since_ms, heard_ms, t, total, is_first, is_whole,
           multiIf(is_first, if(is_whole, start, t), start > t_a, least(start, t), t_a) AS began,
           multiIf(is_first, if(is_whole, total, 0), start > t_a OR total < total_a, total,
                   total - total_a) AS gained
    FROM ({_FIRST})
"""

_STRETCHES = f"""
    SELECT workload_id, kind, model, since_ms,
           if(is_first AND t = heard_ms AND since_ms > 0, least(since_ms, x0), x0) AS held_from,
           arrayJoin([(x0, t, gained, total = 0), (held_from, x0, 0, is_whole OR total = 0)])
               AS stretch
    FROM (
        SELECT workload_id, kind, model, since_ms, heard_ms, t, total, is_first, is_whole, gained,
               if(gained > 0, least(began, t - 1), began) AS x0
        FROM ({_GAINED})
    )
"""
"""What a counter says of the time up to a reading: (from, to, produced, whether its run has
produced nothing yet)."""

_PARTS = f"""
    SELECT workload_id, kind, model, since_ms, stretch.4 AS is_before, minute,
           greatest(c0, toInt64(minute * 60000)) AS y0,
           least(c1, toInt64(minute * 60000 + 60000)) AS y1,
           stretch.3 * (y1 - y0) / (stretch.2 - stretch.1) AS part
    FROM (
        SELECT *,
               arrayJoin(range(toUInt64(intDiv(c0, 60000)), toUInt64(intDiv(c1 - 1, 60000) + 1)))
                   AS minute
        FROM (
            SELECT *, greatest(stretch.1, {{lo:Int64}}) AS c0,
                   least(stretch.2, {{hi:Int64}}, {{settled:Int64}}) AS c1
            FROM ({_STRETCHES})
        )
        WHERE c1 > c0
    )
"""

_BEFORE = """
    arraySum((z, p, a, b) -> if(z > 0 AND p = 0, b - a, 0),
             arrayPopBack(arrayCumSum(e -> e.2, edges)), arrayPopBack(arrayCumSum(e -> e.3, edges)),
             arrayPopBack(edges.1), arrayPopFront(edges.1))
"""
"""Milliseconds in which something says ``before`` and nothing says otherwise."""

_MADE_OF_KINDS = f"""
    SELECT minute, workload_id, kind, model, any(since_ms) AS since_ms, sum(part) AS made,
           groupArrayIf((y0, y1), is_before) AS zeros,
           groupArrayIf((y0, y1), NOT is_before) AS others
    FROM ({_PARTS})
    GROUP BY minute, workload_id, kind, model
"""

_MADE = f"""
    SELECT t, workload_id, of.1 AS kind, of.2 AS model, of.3 AS count, of.4 AS before_ratio
    FROM (
        SELECT toDateTime(minute * 60, 'UTC') AS t, workload_id, kinds,
               toInt64(minute) * 60000 AS minute_ms,
               least(minute_ms + 60000, {{settled:Int64}})
                   - greatest(minute_ms, held_since) AS held_ms,
               if(empty(all_zeros), 0, {_BEFORE}) AS before_ms
        FROM (
            SELECT minute, workload_id, kinds, held_since, all_zeros,
                   arraySort(arrayConcat(arrayMap(i -> (i.1, 1, 0), all_zeros),
                                         arrayMap(i -> (i.2, -1, 0), all_zeros),
                                         arrayMap(i -> (i.1, 0, 1), all_others),
                                         arrayMap(i -> (i.2, 0, -1), all_others))) AS edges
            FROM (
                SELECT minute, workload_id, any(since_ms) AS held_since,
                       arrayFlatten(groupArray(zeros)) AS all_zeros,
                       arrayFlatten(groupArray(others)) AS all_others,
                       groupArray((toString(kind), toString(model), made, 0.)) AS kinds
                FROM ({_MADE_OF_KINDS})
                GROUP BY minute, workload_id
            )
        )
    )
    ARRAY JOIN arrayPushBack(kinds, ('', '', 0., if(before_ms = 0, 0.,
        least(1., before_ms / greatest(held_ms, before_ms))))) AS of
    WHERE of.3 > 0 OR of.4 > 0
"""

_CHARGED = f"""
    SELECT t, workload_id, sumIf(joules, class = 'active') AS active, sum(joules) AS charged
    FROM (
        SELECT t, workload_id, class, joules FROM charge_1m FINAL
        WHERE toStartOfHour(t) >= {LO} AND toStartOfHour(t) < {HI}
          AND seconds != 0 AND workload_id != 0
          AND device_id IN (SELECT device_id FROM device FINAL WHERE overlap != 'inner')
    )
    GROUP BY t, workload_id
"""

_PLACES = f"""
    SELECT t AS hour, workload_id, gpus, others, sites,
           multiIf(length(gpus) > 1 OR empty(gpus) AND length(others) > 1, 'several', empty(gpus),
                   others[1], gpus[1]) AS hardware,
           if(length(sites) > 1, 'several', sites[1]) AS site,
           if(unknown = 0, if(charged = 0, 0, doubt / charged), NULL) AS ratio
    FROM (
        SELECT t, workload_id,
               groupUniqArrayIf(toString(d.model), d.kind = 'gpu') AS gpus,
               groupUniqArray(toString(d.model)) AS others,
               groupUniqArray(toString(d.site)) AS sites,
               sum(c.joules) AS charged, sum(c.joules * ifNull(d.ratio, 0)) AS doubt,
               countIf(isNull(d.ratio)) AS unknown
        FROM (
            SELECT t, workload_id, device_id, sum(k.joules) AS joules FROM charge_1h AS k FINAL
            WHERE {_IN_HOURS}
          AND seconds != 0 AND workload_id != 0
            GROUP BY t, workload_id, device_id
        ) AS c
        INNER JOIN (
            SELECT device_id, kind, model, site,
                   if(isNull(uncertainty_ratio) AND method = 'estimated', {ESTIMATED_RATIO},
                      uncertainty_ratio) AS ratio
            FROM device FINAL WHERE overlap != 'inner'
        ) AS d ON d.device_id = c.device_id
        GROUP BY t, workload_id
    )
"""

MINUTES = f"""
INSERT INTO outcome_1m (t, workload_id, kind, model, count, active_joules, loaded_joules,
                        before_joules, uncertainty_joules, hardware, site, version)
SELECT m.t, m.workload_id, m.kind, m.model, m.count,
       m.active * (1 - m.before_ratio), m.charged * (1 - m.before_ratio),
       m.charged * m.before_ratio, m.charged * (1 - m.before_ratio) * p.ratio,
       p.hardware, p.site, {{version:UInt64}}
FROM (
    SELECT t, workload_id, kind, model, toStartOfHour(t) AS hour, sum(n) AS count,
           sum(active_j) AS active, sum(charged_j) AS charged, max(ratio) AS before_ratio
    FROM (
        SELECT t, workload_id, '' AS kind, '' AS model, 0. AS n, toNullable(active) AS active_j,
               toNullable(charged) AS charged_j, 0. AS ratio, 0 AS was FROM ({_CHARGED})
        UNION ALL
        SELECT t, workload_id, kind, model, count, NULL, NULL, before_ratio, 0 FROM ({_MADE})
        UNION ALL
        SELECT t, workload_id, toString(kind), toString(model), 0, NULL, NULL, 0, 1
        FROM outcome_1m FINAL
        WHERE {_IN_HOURS} AND version < {{version:UInt64}}
          AND (count != 0 OR isNotNull(loaded_joules))
    )
    GROUP BY t, workload_id, kind, model
    HAVING count != 0 OR isNotNull(charged) OR max(was) = 1
) AS m
LEFT JOIN ({_PLACES}) AS p ON p.hour = m.hour AND p.workload_id = m.workload_id
"""

MONEY = f"""
    SELECT t, workload_id, sum(w.facility_joules) AS facility,
           countIf(isNull(w.facility_joules) AND w.joules != 0) AS unstated, sum(w.cost) AS paid,
           countIf(isNull(w.cost) AND w.joules != 0) AS unpriced,
           groupUniqArrayIf(toString(w.currency), isNotNull(w.cost)) AS currencies
    FROM (
        SELECT t, workload_id, currency, joules, facility_joules, cost FROM workload_1h FINAL
        WHERE {_IN_HOURS}
          AND seconds != 0 AND workload_id != 0
    ) AS w
    GROUP BY t, workload_id
"""

HOURS = f"""
INSERT INTO outcome_1h (t, workload_id, kind, model, count, active_joules, loaded_joules,
                        before_joules, uncertainty_joules, facility_joules, cost, currency,
                        hardware, site, version)
SELECT m.hour, m.workload_id, m.kind, m.model, m.made, m.active, m.loaded, m.before,
       if(m.unsure = 0, m.doubt, NULL),
       if(is_energy AND f.unstated = 0, f.facility * part, NULL),
       if(is_energy AND f.unpriced = 0 AND length(f.currencies) = 1, f.paid * part, NULL) AS price,
       if(isNull(price), '', f.currencies[1]), m.hw, m.at_site, {{version:UInt64}}
FROM (
    SELECT toStartOfHour(t) AS hour, workload_id, kind, model, sum(o.count) AS made,
           sum(o.active_joules) AS active, sum(o.loaded_joules) AS loaded,
           sum(o.before_joules) AS before, sum(o.uncertainty_joules) AS doubt,
           countIf(isNull(o.uncertainty_joules) AND isNotNull(o.loaded_joules)) AS unsure,
           max(toString(o.hardware)) AS hw, max(toString(o.site)) AS at_site,
           isNotNull(loaded) AS is_energy,
           ifNull(if(loaded + before = 0, 1, loaded / (loaded + before)), 0) AS part
    FROM (
        SELECT t, workload_id, toString(kind) AS kind, toString(model) AS model, count,
               active_joules, loaded_joules, before_joules, uncertainty_joules, hardware, site
        FROM outcome_1m FINAL WHERE {_IN_HOURS} AND (count != 0 OR isNotNull(loaded_joules))
        UNION ALL
        SELECT t, workload_id, toString(kind), toString(model), 0, NULL, NULL, NULL, NULL, '', ''
        FROM outcome_1h FINAL
        WHERE {_IN_HOURS} AND version < {{version:UInt64}}
          AND (count != 0 OR isNotNull(loaded_joules))
    ) AS o
    GROUP BY hour, workload_id, kind, model
) AS m
LEFT JOIN ({MONEY}) AS f ON f.t = m.hour AND f.workload_id = m.workload_id
"""
"""Sums of the minutes; what a site adds to joules goes with the part that is not ``before``."""

KINDS = f"""
INSERT INTO outcome_kind (workload_id, kind, model, is_made, version)
SELECT workload_id, kind, model, max(n) > 0, {{version:UInt64}}
FROM (
    SELECT workload_id, toString(kind) AS kind, toString(model) AS model, count AS n
    FROM outcome_1h WHERE {_IN_HOURS} AND version = {{version:UInt64}} AND kind != ''
    UNION ALL
    SELECT workload_id, toString(kind), toString(model), count FROM outcome_1h FINAL
    WHERE (workload_id, kind, model) IN (
        SELECT workload_id, kind, model FROM outcome_1h
        WHERE {_IN_HOURS} AND version = {{version:UInt64}} AND kind != '' AND count = 0)
)
GROUP BY workload_id, kind, model
"""
"""What was produced in the hours. Where something was not after all, its other hours say whether it
ever was."""

OUTCOMES = (MINUTES, HOURS, KINDS)
"""Run in this order with one version, after the charges of the same hours."""
