-- What boards ask. Each view is of one device, or of one workload and site, at a time, so that the
-- union of the shards' is right: who wants a node or a cluster sums. Nothing is stored here.

-- Each device as it is now, by its newest reading of the last week. role is outer for the outermost
-- meter, between for an outer one inside of that; root_id is one for all that lie in one outermost
-- meter. Power of the whole is by root: of the outer meters where they are known, else of counted.
CREATE OR REPLACE VIEW v_device_now {{ON_CLUSTER}} AS
SELECT d.device_id AS device_id, d.key AS device, d.kind AS kind, d.node AS node, d.site AS site,
       d.tier AS tier, d.cluster AS cluster, d.vendor AS vendor, d.model AS model, d.driver AS driver,
       d.source AS source, d.power_limit_watts AS power_limit_watts,
       if(t.role != '', if(t.role = 'outer' AND notEmpty(t.path), 'between', toString(t.role)),
          if(d.overlap = '', 'counted', toString(d.overlap))) AS role,
       multiIf(notEmpty(t.path), t.path[-1], t.role = 'outer', t.group_id, d.device_id) AS root_id,
       l.at AS ts, greatest(0, (toUnixTimestamp64Milli(now64(3)) - l.ms) / 1e3) AS silent_seconds,
       silent_seconds < 900 AS is_live,
       if(is_live AND l.power_said,
          toUInt64(bitAnd(l.power, toUInt128(18446744073709551615))) / 1e6, NULL) AS power_watts,
       if(is_live AND bitTest(l.util, 16), l.util % 65536 / 1e4, NULL) AS utilization_ratio,
       if(is_live AND bitTest(l.temp, 16), (toInt32(l.temp % 65536) - 32768) / 10, NULL)
           AS temperature_celsius,
       ['counter', 'integral', 'estimated', 'simulated', 'unknown'][l.method % 8] AS method,
       multiIf(NOT is_live, 'silent', isNull(utilization_ratio), 'unknown',
               utilization_ratio < 0.05, 'idle', 'busy') AS state
FROM (
    SELECT device_id, max(k.ts) AS at, toUInt64(toUnixTimestamp64Milli(at)) AS ms,
           max(k.power) AS power, toUInt8(bitAnd(bitShiftRight(power, 64), 1)) AS power_said,
           max(k.util) AS util, max(k.temp) AS temp, max(k.method) AS method
    FROM latest AS k
    GROUP BY device_id
    HAVING at >= now() - INTERVAL 7 DAY
) AS l
INNER JOIN (SELECT * FROM device FINAL) AS d ON d.device_id = l.device_id
LEFT JOIN (SELECT * FROM tree FINAL) AS t ON t.device_id = l.device_id;

-- Who holds which device now, and the part of its power that is theirs. Of a device of which less
-- than the whole is held the rest has no row; shares above the whole are cut down to it.
CREATE OR REPLACE VIEW v_held_now {{ON_CLUSTER}} AS
SELECT d.device_id AS device_id, d.device AS device, d.kind AS kind, d.node AS node,
       d.site AS site, d.tier AS tier, d.cluster AS cluster, d.model AS model, d.state AS state,
       d.utilization_ratio AS utilization_ratio, w.key AS workload_key, w.name AS workload,
       w.kind AS workload_kind, w.namespace AS namespace, w.team AS team, w.owner AS owner,
       w.model AS ai_model, h.share / greatest(h.whole, 1) AS share,
       d.power_watts * h.share / greatest(h.whole, 1) AS power_watts
FROM (
    SELECT device_id, workload_id, share, sum(share) OVER (PARTITION BY device_id) AS whole
    FROM (
        SELECT device_id, workload_id, argMax(a.share, (a.end_ts, a.start_ts)) AS share
        FROM allocation AS a FINAL
        WHERE toStartOfHour(start_ts) IN (
                  SELECT start_hour FROM allocation_hour
                  WHERE hour >= toStartOfHour(now()) - INTERVAL 1 HOUR)
          AND a.start_ts <= now64(3) AND a.end_ts >= now64(3) - INTERVAL 2 MINUTE AND a.share > 0
        GROUP BY device_id, workload_id
    )
) AS h
INNER JOIN v_device_now AS d ON d.device_id = h.device_id
LEFT JOIN (SELECT * FROM workload FINAL) AS w ON w.workload_id = h.workload_id;

-- Joules by the minute (step_s 60; not of the newest two, of which readings may still come) and,
-- once an hour is over, by the hour (3600), so that a long range reads few rows. Choose one step, or
-- each joule is there twice. Each joule is of one device: an outer meter has what those inside of it
-- leave, class overhead. Cost and what the site adds are known by the hour alone.
CREATE OR REPLACE VIEW v_power {{ON_CLUSTER}} AS
SELECT c.t AS t, c.step_s AS step_s, c.class AS class, c.joules AS joules, c.seconds AS seconds,
       c.facility_joules AS facility_joules, c.cost AS cost, c.currency AS currency,
       d.key AS device, d.kind AS kind, d.node AS node, d.site AS site, d.tier AS tier,
       d.cluster AS cluster, d.model AS model, d.source AS source, d.method AS method
FROM (
    SELECT t, 60 AS step_s, device_id, class, joules, seconds,
           CAST(NULL AS Nullable(Float64)) AS facility_joules,
           CAST(NULL AS Nullable(Float64)) AS cost, '' AS currency
    FROM v_charge_1m
    WHERE t < (SELECT toStartOfMinute(max(settled)) - INTERVAL 2 MINUTE FROM ledger_state
               WHERE name = 'charges')
    UNION ALL
    SELECT t, 3600, device_id, class, joules, seconds, facility_joules, cost, currency
    FROM v_charge_1h
    WHERE t < (SELECT toStartOfHour(max(settled)) FROM ledger_state WHERE name = 'charges')
) AS c
INNER JOIN (SELECT * FROM device FINAL WHERE overlap != 'inner') AS d ON d.device_id = c.device_id;

-- The same by workload and site, from sums without the device.
CREATE OR REPLACE VIEW v_workload_power {{ON_CLUSTER}} AS
SELECT c.t AS t, c.step_s AS step_s, c.class AS class, c.site AS site, c.joules AS joules,
       c.seconds AS seconds, c.facility_joules AS facility_joules, c.cost AS cost,
       c.currency AS currency, w.key AS workload_key, w.name AS workload, w.kind AS workload_kind,
       w.namespace AS namespace, w.team AS team, w.owner AS owner, w.model AS ai_model,
       w.precision AS precision
FROM (
    SELECT t, 60 AS step_s, workload_id, class, site, joules, seconds,
           CAST(NULL AS Nullable(Float64)) AS facility_joules,
           CAST(NULL AS Nullable(Float64)) AS cost, '' AS currency
    FROM v_workload_1m
    WHERE t < (SELECT toStartOfMinute(max(settled)) - INTERVAL 2 MINUTE FROM ledger_state
               WHERE name = 'charges')
    UNION ALL
    SELECT t, 3600, workload_id, class, site, joules, seconds, facility_joules, cost, currency
    FROM v_workload_1h
    WHERE t < (SELECT toStartOfHour(max(settled)) FROM ledger_state WHERE name = 'charges')
) AS c
LEFT JOIN (SELECT * FROM workload FINAL) AS w ON w.workload_id = c.workload_id;

-- Joules that did no work, by the hour, device and holder, with the reason. expected: an entry of
-- expected_idle that held in that hour says so. parked: somebody holds the device and it draws 15 W
-- or more above its bare idle power as last learned, so that a context stays on it; where its own was
-- never learned that of its model stands in, and where that is not known either it is held.
CREATE OR REPLACE VIEW v_idle_1h {{ON_CLUSTER}} AS
SELECT c.t AS t, c.class AS class,
       multiIf(c.class = 'idle_unallocated', 'unallocated', c.class = 'overhead', 'overhead',
               arrayExists(e -> e.1 < c.t + INTERVAL 1 HOUR AND e.2 > c.t, d.expected)
               OR arrayExists(e -> e.1 < c.t + INTERVAL 1 HOUR AND e.2 > c.t
                                   AND e.3 IN ('', d.node), w.expected), 'expected',
               ifNull(c.joules >= c.seconds * (d.bare_watts + 15), 0), 'parked', 'held') AS reason,
       c.joules AS joules, c.seconds AS seconds, c.facility_joules AS facility_joules,
       c.cost AS cost, c.currency AS currency,
       d.key AS device, d.kind AS kind, d.node AS node, d.site AS site, d.tier AS tier,
       d.cluster AS cluster, d.model AS model, d.method AS method,
       w.key AS workload_key, w.name AS workload, w.kind AS workload_kind,
       w.namespace AS namespace, w.team AS team, w.owner AS owner, w.model AS ai_model
FROM (
    SELECT * FROM v_charge_1h WHERE class IN ('idle_held', 'idle_unallocated', 'overhead')
) AS c
INNER JOIN (
    SELECT d.*, if(isNotNull(b.bare), b.bare, if(d.model = '', NULL,
               quantileExact(b.bare) OVER (PARTITION BY d.model))) AS bare_watts,
           arrayFilter(e -> e.3 IN ('', d.node),
                       (SELECT groupArray((since, until, node)) FROM expected_idle FINAL
                        WHERE workload = '' AND team = '')) AS expected
    FROM (SELECT * FROM device FINAL WHERE overlap != 'inner') AS d
    LEFT JOIN (
        SELECT device_id, argMax(bare_watts, hour) AS bare FROM idle_hour
        WHERE hour >= now() - INTERVAL 8 DAY AND isNotNull(bare_watts) GROUP BY device_id
    ) AS b ON b.device_id = d.device_id
) AS d ON d.device_id = c.device_id
LEFT JOIN (
    SELECT w.*, arrayMap(e -> (e.1, e.2, e.3),
               arrayFilter(e -> e.4 IN ('', w.name, w.key) AND e.5 IN ('', w.team),
                           (SELECT groupArray((since, until, node, workload, team))
                            FROM expected_idle FINAL WHERE workload != '' OR team != '')))
               AS expected
    FROM workload AS w FINAL
) AS w ON w.workload_id = c.workload_id;

-- Hours in which a device drew more than half of its limit and was used for less than 15 %: their
-- active joules, by who was charged with them. They are no idle joules, and not all are wasted.
CREATE OR REPLACE VIEW v_low_use_1h {{ON_CLUSTER}} AS
SELECT c.t AS t, c.joules AS joules, c.seconds AS seconds, c.cost AS cost, c.currency AS currency,
       d.key AS device, d.kind AS kind, d.node AS node, d.site AS site, d.tier AS tier,
       d.cluster AS cluster, d.model AS model,
       w.key AS workload_key, w.name AS workload, w.kind AS workload_kind,
       w.namespace AS namespace, w.team AS team, w.owner AS owner, w.model AS ai_model
FROM (SELECT * FROM v_charge_1h WHERE class = 'active') AS c
INNER JOIN (SELECT * FROM device FINAL WHERE overlap != 'inner' AND power_limit_watts > 0) AS d
    ON d.device_id = c.device_id
INNER JOIN (
    SELECT hour, device_id, used.4 / used.5 AS watts FROM tick_hour FINAL
    WHERE used.3 > 0 AND used.2 < 0.15 * used.3 AND used.5 > 0
) AS h ON h.hour = c.t AND h.device_id = c.device_id
LEFT JOIN (SELECT * FROM workload FINAL) AS w ON w.workload_id = c.workload_id
WHERE h.watts > 0.5 * d.power_limit_watts;

-- Single readings, for looking at few devices over few hours: of ticks, and of what boards say more.
CREATE OR REPLACE VIEW v_reading {{ON_CLUSTER}} AS
SELECT k.ts AS ts, d.key AS device, d.kind AS kind, d.node AS node, d.site AS site,
       d.tier AS tier, d.cluster AS cluster, d.model AS model, d.overlap AS overlap,
       k.power_uw / 1e6 AS power_watts, k.util_e4 / 1e4 AS utilization_ratio,
       k.mem_used_bytes AS memory_used_bytes, k.temp_e1 / 10 AS temperature_celsius,
       d.power_limit_watts AS power_limit_watts, ifNull(k.gap, '') AS gap
FROM tick AS k
INNER JOIN (SELECT * FROM device FINAL) AS d ON d.device_id = k.device_id;

CREATE OR REPLACE VIEW v_detail {{ON_CLUSTER}} AS
SELECT k.ts AS ts, d.key AS device, d.kind AS kind, d.node AS node, d.site AS site,
       d.tier AS tier, d.cluster AS cluster, d.model AS model,
       k.sm_activity_e6 / 1e6 AS sm_activity_ratio,
       k.tensor_activity_e6 / 1e6 AS tensor_activity_ratio,
       k.memory_activity_e6 / 1e6 AS memory_activity_ratio, k.memory_total_bytes AS memory_total_bytes,
       k.contexts AS contexts, k.sm_clock_hertz AS sm_clock_hertz,
       k.memory_clock_hertz AS memory_clock_hertz,
       k.pcie_transmit_bytes AS pcie_transmit_bytes, k.pcie_receive_bytes AS pcie_receive_bytes,
       k.nvlink_transmit_bytes AS nvlink_transmit_bytes,
       k.nvlink_receive_bytes AS nvlink_receive_bytes
FROM detail AS k
INNER JOIN (SELECT * FROM device FINAL) AS d ON d.device_id = k.device_id;

-- Errors and throttling, which few devices say and seldom: counters since start_ts, and states.
CREATE OR REPLACE VIEW v_trouble {{ON_CLUSTER}} AS
SELECT s.ts AS ts, s.metric AS metric, s.labels AS labels, s.value AS value,
       s.start_ts AS start_ts, d.key AS device, d.kind AS kind, d.node AS node, d.site AS site,
       d.tier AS tier, d.cluster AS cluster, d.model AS model
FROM (
    SELECT * FROM sample
    WHERE metric IN ('wattshed_xid_errors_total', 'wattshed_ecc_errors_total',
                     'wattshed_throttled', 'wattshed_throttled_seconds_total')
) AS s
INNER JOIN (SELECT * FROM device FINAL) AS d ON d.device_id = s.device_id;

-- What exporters push of their own health, each as of a device <node>/exporter that nobody describes.
CREATE OR REPLACE VIEW v_exporter {{ON_CLUSTER}} AS
SELECT s.ts AS ts, substring(d.key, 1, length(d.key) - length('/exporter')) AS node,
       s.metric AS metric, s.labels AS labels, JSONExtractString(s.labels, 'source') AS source,
       concat(JSONExtractString(s.labels, 'reason'), JSONExtractString(s.labels, 'result'))
           AS reason,
       s.value AS value, s.start_ts AS start_ts
FROM (
    SELECT * FROM sample
    WHERE metric IN ('wattshed_source_up', 'wattshed_source_errors_total',
                     'wattshed_output_ticks_total', 'wattshed_output_points_rejected_total',
                     'wattshed_spool_bytes', 'wattshed_spool_dropped_total',
                     'wattshed_self_energy_joules_total')
) AS s
INNER JOIN (SELECT device_id, key FROM device FINAL WHERE endsWith(key, '/exporter')) AS d
    ON d.device_id = s.device_id;

-- The newest of that in the last quarter of an hour.
CREATE OR REPLACE VIEW v_exporter_now {{ON_CLUSTER}} AS
SELECT node, metric, source, reason, argMax(e.value, e.ts) AS value, max(e.ts) AS ts
FROM v_exporter AS e
WHERE toStartOfHour(e.ts) >= now() - INTERVAL 75 MINUTE AND e.ts >= now() - INTERVAL 15 MINUTE
GROUP BY node, metric, labels, source, reason;

-- What collectors recorded of themselves, under the names of their /metrics; series is one text for
-- each set of labels. Reset-proof growth of a counter is what boards make of it, within their range.
CREATE OR REPLACE VIEW v_stack {{ON_CLUSTER}} AS
SELECT m.ts AS ts, m.metric AS metric, m.labels AS series,
       CAST(JSONExtractKeysAndValues(m.labels, 'String'), 'Map(String, String)') AS labels,
       labels['instance'] AS instance, m.value AS value, m.kind AS kind
FROM metric_sample AS m FINAL
WHERE m.sender = 'wattshed';

-- The newest value of each of their series, if it is not older than five minutes.
CREATE OR REPLACE VIEW v_stack_now {{ON_CLUSTER}} AS
SELECT metric, CAST(JSONExtractKeysAndValues(m.labels, 'String'), 'Map(String, String)') AS labels,
       argMax(m.value, m.ts) AS value, max(m.ts) AS ts
FROM metric_sample AS m
WHERE sender = 'wattshed' AND m.ts >= now() - INTERVAL 5 MINUTE
GROUP BY metric, m.labels;
