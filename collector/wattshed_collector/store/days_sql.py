"""What a day of each device and of each workload's outcomes comes to, for boards over months.

A day is written whole, with one version, out of what its hours say then. Parameters: ``lo``, ``hi``
(Unix seconds of the day's ends), ``version``; of ``DUE``: ``since`` (Unix seconds), ``most``.
"""

from __future__ import annotations

from wattshed_collector.lifecycle import xid

DUE = """
SELECT toUnixTimestamp(day), max(said) AS newest
FROM (
    SELECT toStartOfDay(t) AS day, max(version) AS said, toUInt64(0) AS done
    FROM ledger_hour WHERE toUnixTimestamp(t) >= {since:Int64} GROUP BY day
    UNION ALL
    SELECT toStartOfDay(t), max(version), toUInt64(0)
    FROM outcome_1h WHERE toUnixTimestamp(t) >= {since:Int64} GROUP BY toStartOfDay(t)
    UNION ALL
    SELECT t, toUInt64(0), max(version) FROM device_1d GROUP BY t
)
GROUP BY day HAVING newest > max(done) ORDER BY day DESC LIMIT {most:UInt32}
"""
"""Days of which an hour is newer than they are, the newest first, and how new it is."""

BEGIN, END = "toDateTime({lo:Int64}, 'UTC')", "toDateTime({hi:Int64}, 'UTC')"
_THROTTLED, _ECC, _XID = (
    f"'wattshed_{name}_total'" for name in ("throttled_seconds", "ecc_errors", "xid_errors")
)

CHARGED = f"""
    SELECT device_id, sum(c.joules) AS joules,
           sumIf(c.joules, class IN ('idle_held', 'idle_unallocated')) AS idle_joules,
           sumIf(c.seconds, class IN ('idle_held', 'idle_unallocated')) AS idle_seconds,
           sum(c.seconds) AS seconds,
           if(countIf(isNull(c.facility_joules) AND c.joules != 0) > 0, NULL,
              sumOrNull(c.facility_joules)) AS facility_joules,
           groupUniqArrayIf(toString(c.currency), isNotNull(c.cost)) AS currencies,
           if(length(currencies) != 1 OR countIf(isNull(c.cost) AND c.joules != 0) > 0, NULL,
              sumOrNull(c.cost)) AS cost,
           if(isNull(cost), '', currencies[1]) AS currency
    FROM v_charge_1h AS c WHERE t >= {BEGIN} AND t < {END}
    GROUP BY device_id
"""

_READ = f"""
    SELECT device_id, sum(used.2) AS busy, sum(used.3) AS known_s, sum(warm.2) AS celsius_s,
           sum(warm.3) AS warm_s, maxIf(warm.4, warm.3 > 0) AS hottest
    FROM tick_hour FINAL WHERE hour >= {BEGIN} AND hour < {END}
    GROUP BY device_id
"""

_GAINED = f"""
    SELECT device_id, metric, JSONExtractString(labels, 'severity') AS severity, labels,
           sum(greatest(0, top - floor)) AS gained
    FROM (
        SELECT device_id, metric, labels, start_ms, maxIf(highest, hour >= {BEGIN}) AS top,
               multiIf(countIf(hour < {BEGIN}) > 0, maxIf(highest, hour < {BEGIN}),
                       start_ms >= {{lo:Int64}} * 1000, 0,
                       -minIf(first, hour >= {BEGIN}).2) AS floor
        FROM activity_hour
        WHERE hour >= {BEGIN} - INTERVAL 1 DAY AND hour < {END}
          AND metric IN ({_THROTTLED}, {_ECC}, {_XID})
        GROUP BY device_id, metric, labels, start_ms HAVING countIf(hour >= {BEGIN}) > 0
    )
    GROUP BY device_id, metric, labels
"""
"""How much counters grew, of each start of theirs; without a start only what followed the first."""

_PROGRAM, _NOTICE = (
    ", ".join(f"'{number}'" for number in xid.of_class(name)) for name in (xid.PROGRAM, xid.NOTICE)
)
_SIGHT = f"hour >= {BEGIN} - INTERVAL 1 DAY AND hour < {END}"
_GRAVE = f"""
    (metric = {_XID} OR (metric = {_ECC} AND JSONExtractString(labels, 'severity') = 'uncorrected'))
"""
_ERRORS = f"""
    SELECT device_id, metric, hour, JSONExtractString(labels, 'xid') AS number,
           sum(greatest(0, multiIf(
               before >= 0, top - before,
               start_ms >= ({{lo:Int64}} - 86400) * 1000 OR (metric = {_XID} AND hour > since), top,
               top - earliest))) AS errors
    FROM (
        SELECT *, lagInFrame(top, 1, -1.) OVER (
                   PARTITION BY device_id, metric, labels, start_ms ORDER BY hour
                   ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS before
        FROM (
            SELECT device_id, metric, labels, start_ms, hour, max(highest) AS top,
                   -(min(first).2) AS earliest
            FROM activity_hour
            WHERE {_SIGHT} AND {_GRAVE} AND device_id IN (
                SELECT device_id FROM activity_hour WHERE {_SIGHT} AND {_GRAVE} AND highest > 0)
            GROUP BY device_id, metric, labels, start_ms, hour
        )
    ) AS s
    INNER JOIN (SELECT device_id, start_ms, min(hour) AS since FROM activity_hour WHERE {_SIGHT}
                GROUP BY device_id, start_ms) AS seen
        ON seen.device_id = s.device_id AND seen.start_ms = s.start_ms
    GROUP BY device_id, metric, hour, number
"""
"""By how much errors grew in each hour. A number of the driver's list has no series before it is
first announced: where other counters of its device that began with it were heard of before, all of
it is new. A counter that began long ago and is heard of for the first time says nothing of this
day."""

_EVENTS = f"""
    SELECT device_id, sumIf(xids, hour >= {BEGIN}) AS xids,
           sumIf(program, hour >= {BEGIN}) AS program,
           sumIf(if(own > 0, own, memory > 0 AND around = 0), hour >= {BEGIN}) AS failures
    FROM (
        SELECT device_id, hour, sumIf(errors, metric = {_XID}) AS xids,
               sumIf(errors, metric = {_XID} AND number IN ({_PROGRAM})) AS program,
               maxIf(errors, metric = {_XID} AND number NOT IN ({_PROGRAM}, {_NOTICE})) AS own,
               sumIf(errors, metric = {_ECC}) AS memory,
               max(own) OVER (PARTITION BY device_id ORDER BY toUnixTimestamp(hour)
                              RANGE BETWEEN 3600 PRECEDING AND 3600 FOLLOWING) AS around
        FROM ({_ERRORS}) GROUP BY device_id, hour
    )
    GROUP BY device_id
"""
"""Failures of a device: one event is told by several numbers and by the counter of memory errors,
so that in an hour the device's most frequent number counts, and memory errors alone are one, unless
the driver told of the device within an hour of them."""

DEVICE_DAY = f"""
INSERT INTO device_1d (t, device_id, joules, idle_joules, idle_seconds, seconds, facility_joules,
                       cost, currency, busy_seconds, used_seconds, celsius_seconds, warm_seconds,
                       most_celsius, idle_watts, throttled_seconds, corrected_errors,
                       uncorrected_errors, xid_errors, failures, program_errors, version)
SELECT {BEGIN}, d.device_id, d.joules, d.idle_joules, d.idle_seconds, d.seconds, d.facility_joules,
       d.cost, d.currency, nullIf(r.known_s, 0) * 0 + r.busy, nullIf(r.known_s, 0),
       nullIf(r.warm_s, 0) * 0 + r.celsius_s, nullIf(r.warm_s, 0),
       if(r.warm_s > 0, r.hottest, NULL), i.watts, e.throttled, e.corrected, e.uncorrected,
       e.said * 0 + f.xids AS xids, e.counted * 0 + f.failures AS failures,
       e.counted * 0 + f.program AS program, {{version:UInt64}}
FROM (SELECT * FROM ({CHARGED})
      UNION ALL SELECT 0, 0, 0, 0, 0, NULL, [], NULL, '') AS d
LEFT JOIN ({_READ}) AS r ON r.device_id = d.device_id
LEFT JOIN (
    SELECT device_id, toNullable(min(idle_hour.watts)) AS watts FROM idle_hour
    WHERE hour >= {BEGIN} AND hour < {END} GROUP BY device_id
) AS i ON i.device_id = d.device_id
LEFT JOIN (
    SELECT device_id, maxOrNullIf(gained, metric = {_THROTTLED}) AS throttled,
           sumOrNullIf(gained, metric = {_ECC} AND severity = 'corrected') AS corrected,
           sumOrNullIf(gained, metric = {_ECC} AND severity = 'uncorrected') AS uncorrected,
           nullIf(countIf(metric = {_XID}), 0) AS said,
           nullIf(countIf(metric = {_XID} OR severity = 'uncorrected'), 0) AS counted
    FROM ({_GAINED}) GROUP BY device_id
) AS e ON e.device_id = d.device_id
LEFT JOIN ({_EVENTS}) AS f ON f.device_id = d.device_id
"""
"""Reasons of throttling overlap: what counts is the one that lasted longest."""

OUTCOME_DAY = f"""
INSERT INTO outcome_1d (t, workload_id, outcome, state, hardware, site, ai_model, currency, count,
                        active_joules, loaded_joules, before_joules, facility_joules, cost, version)
SELECT {BEGIN}, workload_id, outcome, state, hardware, site, ai_model, currency, sum(o.count),
       sumOrNull(o.active_joules), sumOrNull(o.loaded_joules), sumOrNull(o.before_joules),
       if(countIf(isNull(o.facility_joules) AND o.loaded_joules > 0) > 0, NULL,
          sumOrNull(o.facility_joules)),
       sumOrNull(o.cost), {{version:UInt64}}
FROM v_outcome_1h AS o WHERE t >= {BEGIN} AND t < {END}
GROUP BY workload_id, outcome, state, hardware, site, ai_model, currency
UNION ALL
SELECT {BEGIN}, 0, '', '', '', '', '', '', 0, NULL, NULL, NULL, NULL, NULL, {{version:UInt64}}
"""

DAYS = (DEVICE_DAY, OUTCOME_DAY)
