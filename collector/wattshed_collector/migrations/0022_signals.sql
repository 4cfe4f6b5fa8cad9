-- What alerts are about: a view per signal, of all that could be told of it, 0 where all is well and
-- no row where that cannot be known. Rules and /metrics read the same rows.

-- When a device last worked, as who writes its readings saw it, in Unix milliseconds: the greater
-- stands. activity: when activity of its multiprocessors was said last. worked: when they, or the
-- driver's utilisation, were at 2 % or above, or its memory at 5 %. Without these a quarter of an
-- hour of readings of the whole fleet would have to be looked at, each time that somebody asks.
CREATE TABLE IF NOT EXISTS device_work {{ON_CLUSTER}} (
    device_id UInt64,
    activity SimpleAggregateFunction(max, UInt64),
    worked SimpleAggregateFunction(max, UInt64)
) ENGINE = {{REPLICATED}}AggregatingMergeTree ORDER BY device_id
SETTINGS old_parts_lifetime = 60, min_parts_to_merge_at_once = 5,
         fsync_after_insert = 1, fsync_part_directory = 1;

INSERT INTO device_work (device_id, worked)
SELECT device_id, max(toUInt64(toUnixTimestamp64Milli(k.ts)))
FROM tick AS k WHERE util_e4 >= 200 GROUP BY device_id;

INSERT INTO device_work (device_id, activity, worked)
SELECT device_id, maxIf(toUInt64(toUnixTimestamp64Milli(k.ts)), isNotNull(sm_activity_e6)),
       maxIf(toUInt64(toUnixTimestamp64Milli(k.ts)),
             ifNull(sm_activity_e6 >= 20000, 0) OR ifNull(memory_activity_e6 >= 50000, 0))
FROM detail AS k GROUP BY device_id;

-- What a device draws bare, apart from what it draws with a context resident: of the two idle_hour
-- has the lower one, and that is the higher where a device was never seen bare.
ALTER TABLE idle_hour {{ON_CLUSTER}}
    ADD COLUMN IF NOT EXISTS bare_watts SimpleAggregateFunction(min, Nullable(Float64));

ALTER TABLE `mv_idle_hour` {{ON_CLUSTER}} MODIFY QUERY
SELECT toStartOfHour(ts) AS hour, device_id, min(value) AS watts,
       minIf(toNullable(value), labels = '{"state":"bare"}') AS bare_watts
FROM sample WHERE metric = 'wattshed_idle_baseline_watts' GROUP BY hour, device_id;

-- Idleness that is expected, until when, and who says so: of whom, '' is everybody. It is no reason
-- to wake somebody, and is counted as waste all the same.
CREATE TABLE IF NOT EXISTS expected_idle {{ON_CLUSTER}} (
    id String,
    workload String,
    team String,
    node String,
    reason String,
    said_by String,
    since DateTime64(3, 'UTC'),
    until DateTime64(3, 'UTC'),
    version UInt64
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version) ORDER BY id
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- Each accelerator that was heard of in the last five minutes, and what it draws above its bare
-- idle power while it has done nothing for a quarter of an hour: idle_watts is 0 while it works and
-- where that is not more than 15 W, NULL where nobody can tell. Where its own bare power was never
-- learned that of its model stands in, the median of the fleet. A driver's utilisation alone that
-- never moved is not believed. The means are of this hour and the one before, as far as the ledger
-- has them, and of half an hour at least.
CREATE OR REPLACE VIEW v_idle_device_now {{ON_CLUSTER}} AS
SELECT device_id, device, kind, node, site, tier, cluster, model, at, power_watts, bare_watts,
       power_limit_watts, mean_utilization_ratio, mean_watts,
       if(worked = 0, NULL, fromUnixTimestamp64Milli(toInt64(worked), 'UTC')) AS worked_at,
       multiIf(judged = 0 OR worked = 0 AND activity = 0, NULL, judged < worked + 900000, 0,
               isNull(power_watts) OR isNull(bare_watts), NULL,
               power_watts - bare_watts > 15, power_watts - bare_watts, 0) AS idle_watts
FROM (
    SELECT d.device_id AS device_id, d.key AS device, d.kind AS kind, d.node AS node,
           d.site AS site, d.tier AS tier, d.cluster AS cluster, d.model AS model, l.at AS at,
           if(l.power_said, l.power_uw / 1e6, NULL) AS power_watts,
           if(isNotNull(b.bare), b.bare, if(d.model = '', NULL,
              quantileExact(b.bare) OVER (PARTITION BY d.model))) AS bare_watts,
           d.power_limit_watts AS power_limit_watts, u.ratio AS mean_utilization_ratio,
           u.watts AS mean_watts, k.worked AS worked, k.activity AS activity,
           greatest(k.activity, if(bitTest(l.util, 16), intDiv(l.util, 131072), 0)) AS judged
    FROM (
        SELECT device_id, max(k.ts) AS at, max(k.power) AS power, max(k.util) AS util,
               toUInt64(bitAnd(power, toUInt128(18446744073709551615))) AS power_uw,
               toUInt8(bitAnd(bitShiftRight(power, 64), 1)) AS power_said
        FROM latest AS k GROUP BY device_id HAVING at >= now() - INTERVAL 5 MINUTE
    ) AS l
    INNER JOIN (
        SELECT device_id, key, kind, node, site, tier, cluster, model, power_limit_watts
        FROM device FINAL WHERE kind IN ('gpu', 'module') AND overlap != 'inner'
    ) AS d ON d.device_id = l.device_id
    LEFT JOIN (
        SELECT device_id, max(worked) AS worked, max(activity) AS activity FROM device_work
        GROUP BY device_id
    ) AS k ON k.device_id = l.device_id
    LEFT JOIN (
        SELECT device_id, argMax(bare_watts, hour) AS bare FROM idle_hour
        WHERE hour >= now() - INTERVAL 25 HOUR AND isNotNull(bare_watts) GROUP BY device_id
    ) AS b ON b.device_id = l.device_id
    LEFT JOIN (
        SELECT device_id, sum(u.2) / nullIf(sum(u.3), 0) AS ratio,
               sum(u.4) / nullIf(sum(u.5), 0) AS watts
        FROM (
            SELECT hour, device_id, max(used) AS u FROM tick_hour
            WHERE hour >= toStartOfHour(now() - INTERVAL 1 HOUR) GROUP BY hour, device_id
        )
        GROUP BY device_id HAVING sum(u.3) >= 1800
    ) AS u ON u.device_id = l.device_id
);

-- The same by who holds it, a part of each device for its share: shares that sum to more than the
-- whole are scaled, and what nobody holds has workload_id 0. Who was said to hold it within the last
-- two minutes holds it now. idle_since is when the device worked last. low_watts are its mean watts
-- where they are more than half of its limit and it was used less than 15 %, else 0.
CREATE OR REPLACE VIEW v_idle_now {{ON_CLUSTER}} AS
SELECT i.device AS device, i.kind AS kind, i.node AS node, i.site AS site, i.tier AS tier,
       i.cluster AS cluster, i.model AS model, i.held.1 AS workload_id, w.key AS workload_key,
       w.name AS workload, w.kind AS workload_kind, w.namespace AS namespace, w.team AS team,
       w.owner AS owner, w.model AS ai_model, i.held.2 AS share, i.power_watts * share AS watts,
       i.bare_watts * share AS bare_watts, i.idle_watts * share AS idle_watts,
       multiIf(isNull(i.power_limit_watts) OR isNull(i.mean_utilization_ratio), NULL,
               i.mean_utilization_ratio < 0.15 AND i.mean_watts > i.power_limit_watts / 2,
               i.mean_watts * share, 0) AS low_watts,
       if(i.idle_watts > 0, i.worked_at, NULL) AS idle_since,
       arrayFirst(e -> (e.1 IN ('', w.name, w.key)) AND (e.2 IN ('', w.team))
                       AND (e.3 IN ('', i.node)), i.expected).4 AS expected_by,
       expected_by != '' AS is_expected
FROM (
    SELECT d.*, arrayJoin(arrayConcat(
               arrayMap(held -> (held.1, held.2 / greatest(h.whole, 1)), h.every),
               if(h.whole < 1 - 1e-9, [(toUInt64(0), 1 - h.whole)], []))) AS held,
           (SELECT groupArray((workload, team, node, id)) FROM (
                SELECT workload, team, node, id FROM expected_idle FINAL
                WHERE since <= now64(3) AND until > now64(3) ORDER BY id)) AS expected
    FROM v_idle_device_now AS d
    LEFT JOIN (
        SELECT device_id, sum(part_of) AS whole, groupArray((workload_id, part_of)) AS every
        FROM (
            SELECT device_id, workload_id, argMax(share, end_ts) AS part_of
            FROM allocation FINAL
            WHERE toStartOfHour(start_ts) IN (
                      SELECT start_hour FROM allocation_hour
                      WHERE hour >= toStartOfHour(now() - INTERVAL 2 MINUTE))
              AND end_ts >= now() - INTERVAL 2 MINUTE AND start_ts <= now() AND share > 0
            GROUP BY device_id, workload_id
        )
        GROUP BY device_id
    ) AS h ON h.device_id = d.device_id
) AS i
LEFT JOIN (
    SELECT workload_id, key, name, kind, namespace, team, owner, model FROM workload FINAL
    WHERE workload_id IN (
        SELECT workload_id FROM allocation
        WHERE toStartOfHour(start_ts) IN (
                  SELECT start_hour FROM allocation_hour
                  WHERE hour >= toStartOfHour(now() - INTERVAL 2 MINUTE))
          AND end_ts >= now() - INTERVAL 2 MINUTE)
) AS w ON w.workload_id = i.held.1;


-- What is expected, whether it holds, and what it covers that is idle now: watts above bare idle.
CREATE OR REPLACE VIEW v_expected_idle {{ON_CLUSTER}} AS
SELECT e.id AS id, e.workload AS workload, e.team AS team, e.node AS node, e.reason AS reason,
       e.said_by AS said_by, e.since AS since, e.until AS until,
       multiIf(e.until <= now64(3), 'ended', e.since > now64(3), 'to_come', 'active') AS state,
       c.devices AS devices, c.watts AS idle_watts
FROM (SELECT * FROM expected_idle FINAL) AS e
LEFT JOIN (
    SELECT expected_by, uniqExact(device) AS devices, sum(assumeNotNull(idle_watts)) AS watts
    FROM v_idle_now WHERE is_expected AND workload_id != 0 AND idle_watts > 0 GROUP BY expected_by
) AS c ON c.expected_by = e.id;

-- Signals about who holds what, all at once: to plan this costs more than to read it. Of a workload
-- that makes steps, step_s is how long ago it made the last one, among the readings of two hours.
CREATE OR REPLACE VIEW v_alert_held {{ON_CLUSTER}} AS
SELECT of.1 AS signal, cluster, site, tier, of.2 AS node, of.3 AS team, of.4 AS owner,
       of.5 AS workload, of.6 AS workload_key, of.7 AS model, of.8 AS currency,
       if(signal = 'training_stalled', if(sum(watts) > 15, ifNull(max(step_s), 0), 0), sum(watts)) AS value
FROM (
    SELECT cluster, site, tier, step_s,
           arrayJoin(arrayFilter(s -> isNotNull(s.9), [
               ('idle_burn', node, team, owner, workload, workload_key, '', '',
                if(is_held, idle, NULL)),
               ('idle_burn_cost', node, team, owner, workload, workload_key, '', rate.3,
                if(is_held, idle * rate.2 * 3600, NULL)),
               ('idle_burn_team', '', team, '', '', '', '', '', if(is_held, idle, NULL)),
               ('idle_unallocated', node, '', '', '', '', '', '', if(is_held, NULL, idle)),
               ('parked_model', node, team, owner, workload, '', ai_model, '',
                if(is_held AND ai_model != '' AND workload_kind != 'training', idle, NULL)),
               ('low_utilization', node, team, owner, workload, '', '', '',
                if(is_held, low_watts, NULL)),
               ('training_stalled', '', team, owner, workload, '', '', '',
                if(is_held AND isNotNull(step_s), above_watts, NULL))])) AS of,
           assumeNotNull(of.9) AS watts
    FROM (
        SELECT CAST(n.cluster, 'String') AS cluster, CAST(n.site, 'String') AS site, CAST(n.tier, 'String') AS tier,
               CAST(n.node, 'String') AS node, CAST(n.team, 'String') AS team, CAST(n.owner, 'String') AS owner,
               n.workload AS workload, n.workload_key AS workload_key,
               CAST(n.workload_kind, 'String') AS workload_kind, CAST(n.ai_model, 'String') AS ai_model,
               n.workload_id != 0 AS is_held, if(n.is_expected, 0, n.idle_watts) AS idle,
               n.low_watts AS low_watts, n.watts - n.bare_watts AS above_watts,
               if(o.workload_id = 0, NULL, (toUnixTimestamp64Milli(now64(3))
                  - toUnixTimestamp64Milli(o.stepped_at)) / 1e3) AS step_s,
               arrayFirst(r -> r.1 = n.site, prices) AS own, arrayFirst(r -> r.1 = '', prices) AS any,
               if(own.3 != '', own, any) AS rate,
               (SELECT groupArray((site, per_joule, currency)) FROM (
                    SELECT toString(site) AS site,
                           argMax(tuple(value, splitByChar('/', toString(unit))), start_ts) AS said,
                           said.1 / transform(said.2[2], ['J', 'Wh', 'kWh', 'MWh'],
                               [1., 3.6e3, 3.6e6, 3.6e9]::Array(Nullable(Float64)), NULL)
                               AS per_joule,
                           if(isNull(per_joule), '', said.2[1]) AS currency
                    FROM factor FINAL WHERE kind = 'price' AND start_ts <= now() GROUP BY site
                )) AS prices
        FROM v_idle_now AS n
        LEFT JOIN (
            SELECT workload_id, max(grown) AS stepped_at
            FROM (
                SELECT workload_id, arraySort(groupArray((ts, total))) AS every,
                       arrayMap((now, before) -> now.2 != before.2 OR before.2 = -1, every,
                                arrayPushFront(arrayPopBack(every),
                                               (toDateTime64(0, 3, 'UTC'), -1.))) AS moves,
                       every[arrayLastIndex(m -> m, moves)].1 AS grown
                FROM outcome
                WHERE toStartOfHour(ts) >= toStartOfHour(now() - INTERVAL 2 HOUR) AND kind = 'step'
                GROUP BY workload_id, source
            )
            GROUP BY workload_id
        ) AS o ON o.workload_id = n.workload_id
    )
)
GROUP BY signal, cluster, site, tier, node, team, owner, workload, workload_key, model, currency;

CREATE OR REPLACE VIEW v_alert_idle_burn {{ON_CLUSTER}} AS
SELECT cluster, site, tier, node, team, owner, workload, workload_key, value
FROM v_alert_held WHERE signal = 'idle_burn';

CREATE OR REPLACE VIEW v_alert_idle_burn_cost {{ON_CLUSTER}} AS
SELECT cluster, site, tier, node, team, owner, workload, workload_key, currency, value
FROM v_alert_held WHERE signal = 'idle_burn_cost';

CREATE OR REPLACE VIEW v_alert_idle_burn_team {{ON_CLUSTER}} AS
SELECT cluster, site, tier, team, value FROM v_alert_held WHERE signal = 'idle_burn_team';

CREATE OR REPLACE VIEW v_alert_idle_unallocated {{ON_CLUSTER}} AS
SELECT cluster, site, tier, node, value FROM v_alert_held WHERE signal = 'idle_unallocated';

CREATE OR REPLACE VIEW v_alert_parked_model {{ON_CLUSTER}} AS
SELECT cluster, site, tier, node, team, owner, workload, model, value
FROM v_alert_held WHERE signal = 'parked_model';

CREATE OR REPLACE VIEW v_alert_low_utilization {{ON_CLUSTER}} AS
SELECT cluster, site, tier, node, team, owner, workload, value
FROM v_alert_held WHERE signal = 'low_utilization';

CREATE OR REPLACE VIEW v_alert_training_stalled {{ON_CLUSTER}} AS
SELECT cluster, site, tier, team, owner, workload, value
FROM v_alert_held WHERE signal = 'training_stalled';

-- How long no device of a node has been read, of the nodes that were read in the last day.
CREATE OR REPLACE VIEW v_alert_node_silence {{ON_CLUSTER}} AS
SELECT CAST(d.cluster, 'String') AS cluster, CAST(d.site, 'String') AS site, CAST(d.tier, 'String') AS tier,
       CAST(d.node, 'String') AS node,
       greatest(0, (toUnixTimestamp64Milli(now64(3)) - toUnixTimestamp64Milli(max(l.at))) / 1e3)
           AS value
FROM (
    SELECT device_id, max(ts) AS at FROM latest GROUP BY device_id
    HAVING at >= now() - INTERVAL 1 DAY
) AS l
INNER JOIN (
    SELECT device_id, cluster, site, tier, node FROM device FINAL WHERE node != ''
) AS d ON d.device_id = l.device_id
GROUP BY cluster, site, tier, node;

-- What a site draws now, of what its factor power_budget_watts allows. Where a meter contains others
-- (tree), its own reading counts while it is fresh, else what lies inside of it; the newest readings
-- of two minutes are fresh. Without a budget there is no row; a budget of '' is that of each site
-- without one of its own.
CREATE OR REPLACE VIEW v_alert_power_budget {{ON_CLUSTER}} AS
SELECT cluster, site, tier, sum(watts) / assumeNotNull(any(budget)) AS value
FROM (
    SELECT '' AS cluster, CAST(d.site, 'String') AS site, '' AS tier, l.watts AS watts,
           arrayFirst(b -> b.1 = site, budgets) AS own, arrayFirst(b -> b.1 = '', budgets) AS any_site,
           if(own.3, own.2, any_site.2) AS budget,
           (SELECT groupArray((site, value, true)) FROM (
                SELECT toString(site) AS site, argMax(tuple(value), start_ts).1 AS value FROM factor FINAL
                WHERE kind = 'power_budget_watts' AND start_ts <= now() GROUP BY site
            )) AS budgets,
           (SELECT groupUniqArray(group_id) FROM tree FINAL
            WHERE role = 'outer' AND device_id IN (
                SELECT device_id FROM latest GROUP BY device_id
                HAVING max(ts) >= now() - INTERVAL 2 MINUTE
                   AND bitAnd(bitShiftRight(max(power), 64), 1) = 1)) AS fresh_outer
    FROM (
        SELECT device_id, max(k.ts) AS at, max(k.power) AS packed,
               toUInt64(bitAnd(packed, toUInt128(18446744073709551615))) / 1e6 AS watts
        FROM latest AS k GROUP BY device_id
        HAVING at >= now() - INTERVAL 2 MINUTE AND bitAnd(bitShiftRight(packed, 64), 1) = 1
    ) AS l
    INNER JOIN (SELECT device_id, site, overlap FROM device FINAL) AS d ON d.device_id = l.device_id
    LEFT JOIN (SELECT device_id, role, path FROM tree FINAL) AS t ON t.device_id = l.device_id
    WHERE if(t.device_id = 0, d.overlap = '',
             t.role IN ('counted', 'outer') AND NOT hasAny(t.path, fresh_outer))
)
WHERE isNotNull(budget) AND budget > 0
GROUP BY cluster, site, tier;

-- Joules of the last three hours that were used, by nobody that is known, of all that were charged,
-- as far as the ledger is.
CREATE OR REPLACE VIEW v_alert_unattributed {{ON_CLUSTER}} AS
SELECT CAST(d.cluster, 'String') AS cluster, CAST(d.site, 'String') AS site, CAST(d.tier, 'String') AS tier,
       sumIf(c.joules, c.class = 'unattributed') / sum(c.joules) AS value
FROM (
    SELECT device_id, class, joules FROM v_charge_1h
    WHERE t >= toStartOfHour(now() - INTERVAL 2 HOUR)
) AS c
INNER JOIN (
    SELECT device_id, cluster, site, tier FROM device FINAL WHERE overlap != 'inner'
) AS d ON d.device_id = c.device_id
GROUP BY cluster, site, tier HAVING sum(c.joules) > 0;

-- How far an outer meter measured less than what lies inside of it, in the last three hours, of that.
-- What it measures beyond is overhead. 0 where it contains them.
CREATE OR REPLACE VIEW v_alert_meter_disagreement {{ON_CLUSTER}} AS
SELECT CAST(d.cluster, 'String') AS cluster, CAST(d.site, 'String') AS site, CAST(d.tier, 'String') AS tier,
       CAST(d.node, 'String') AS node, d.key AS device,
       greatest(0, 1 - sum(r.outer_joules - r.uncovered_joules) / sum(r.inner_joules)) AS value
FROM (
    SELECT device_id, outer_joules, uncovered_joules, inner_joules FROM reconcile_1h FINAL
    WHERE t >= toStartOfHour(now() - INTERVAL 2 HOUR) AND device_id != 0
      AND status != 'uncovered' AND inner_joules > 0
      AND (t, version) IN (
          SELECT t, max(version) FROM reconcile_1h
          WHERE t >= toStartOfHour(now() - INTERVAL 2 HOUR) GROUP BY t)
) AS r
INNER JOIN (
    SELECT device_id, key, cluster, site, tier, node FROM device FINAL
) AS d ON d.device_id = r.device_id
GROUP BY cluster, site, tier, node, device;

-- What exporters say that they dropped, or that was refused of what they sent, a second, in the last
-- ten minutes: readings and requests by the metric and its reason. A counter that began anew counts
-- from zero. It is heard of exporters that push.
CREATE OR REPLACE VIEW v_alert_dropped {{ON_CLUSTER}} AS
SELECT p.cluster AS cluster, p.site AS site, p.tier AS tier, d.node AS node, g.reason AS reason,
       sum(g.gained) / 600 AS value
FROM (
    SELECT device_id, arraySort(groupArray((ts, value))) AS every,
           arraySum((now, before) -> if(now.2 >= before.2, now.2 - before.2, now.2),
                    arrayPopFront(every), arrayPopBack(every)) AS gained,
           multiIf(metric = 'wattshed_output_points_rejected_total', 'points_rejected',
                   metric = 'wattshed_spool_dropped_total',
                   concat('spool_', JSONExtractString(labels, 'reason')),
                   concat('ticks_', JSONExtractString(labels, 'result'))) AS reason
    FROM sample
    WHERE toStartOfHour(ts) >= toStartOfHour(now() - INTERVAL 10 MINUTE)
      AND ts >= now() - INTERVAL 10 MINUTE
      AND metric IN ('wattshed_output_ticks_total', 'wattshed_output_points_rejected_total',
                     'wattshed_spool_dropped_total')
      AND NOT labels LIKE '%"result":"sent"%'
    GROUP BY device_id, metric, labels
) AS g
INNER JOIN (
    SELECT device_id, toString(substring(key, 1, length(key) - length('/exporter'))) AS node
    FROM device FINAL WHERE endsWith(key, '/exporter')
) AS d ON d.device_id = g.device_id
LEFT JOIN (
    SELECT toString(node) AS node, toString(max(cluster)) AS cluster, toString(max(site)) AS site,
           toString(max(tier)) AS tier
    FROM device FINAL WHERE node != '' GROUP BY node
) AS p ON p.node = d.node
GROUP BY cluster, site, tier, node, reason;
