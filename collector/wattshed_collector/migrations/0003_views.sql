-- The public schema: panels, API, alerts and reports read only these views. Joules and watts here
-- are floats in SI units. A meter whose energy is also inside another meter's (overlap) is left
-- out of v_energy_*, so that any sum over these views counts each joule once.

CREATE OR REPLACE VIEW v_device {{ON_CLUSTER}} AS
SELECT device_id, key AS device, kind, node, name, vendor, model, serial, parent, site, tier,
       cluster, scope, source, method, overlap, uncertainty_ratio, power_limit_watts
FROM device FINAL;

CREATE OR REPLACE VIEW v_workload {{ON_CLUSTER}} AS
SELECT workload_id, key AS workload_key, name AS workload, kind AS workload_kind, namespace, team,
       owner, project, model AS ai_model, precision, cluster
FROM workload FINAL;

CREATE OR REPLACE VIEW v_allocation {{ON_CLUSTER}} AS
SELECT device_id, workload_id, start_ts, end_ts, share, method FROM allocation FINAL;

CREATE OR REPLACE VIEW v_energy_1m {{ON_CLUSTER}} AS
SELECT c.t AS t, c.class AS class, c.joules AS joules, c.seconds AS seconds,
       d.device AS device, d.kind AS kind, d.node AS node, d.site AS site, d.tier AS tier,
       d.cluster AS cluster, d.model AS model, d.source AS source, d.method AS method,
       w.workload_key AS workload_key, w.workload AS workload, w.workload_kind AS workload_kind,
       w.namespace AS namespace, w.team AS team, w.owner AS owner, w.project AS project,
       w.ai_model AS ai_model, w.precision AS precision
FROM (SELECT * FROM charge_1m FINAL WHERE seconds != 0) AS c
INNER JOIN (SELECT * FROM v_device WHERE overlap = '') AS d ON d.device_id = c.device_id
LEFT JOIN v_workload AS w ON w.workload_id = c.workload_id;

CREATE OR REPLACE VIEW v_energy_1h {{ON_CLUSTER}} AS
SELECT c.t AS t, c.class AS class, c.joules AS joules, c.seconds AS seconds,
       d.device AS device, d.kind AS kind, d.node AS node, d.site AS site, d.tier AS tier,
       d.cluster AS cluster, d.model AS model, d.source AS source, d.method AS method,
       w.workload_key AS workload_key, w.workload AS workload, w.workload_kind AS workload_kind,
       w.namespace AS namespace, w.team AS team, w.owner AS owner, w.project AS project,
       w.ai_model AS ai_model, w.precision AS precision
FROM (SELECT * FROM charge_1h FINAL WHERE seconds != 0) AS c
INNER JOIN (SELECT * FROM v_device WHERE overlap = '') AS d ON d.device_id = c.device_id
LEFT JOIN v_workload AS w ON w.workload_id = c.workload_id;

-- Every meter, also those that overlap: for looking at one device, never for a total.
CREATE OR REPLACE VIEW v_measured_1m {{ON_CLUSTER}} AS
SELECT m.t AS t, d.device AS device, d.kind AS kind, d.node AS node, d.site AS site,
       d.source AS source, d.overlap AS overlap, m.method AS method, m.reason AS reason,
       m.joules AS joules, m.seconds AS seconds
FROM (SELECT * FROM measured_1m FINAL WHERE seconds != 0) AS m
INNER JOIN v_device AS d ON d.device_id = m.device_id;

-- The contract: per device and hour, what was charged less what was measured is zero.
CREATE OR REPLACE VIEW v_conservation_1h {{ON_CLUSTER}} AS
SELECT t, device_id, sum(measured) AS measured_joules, sum(charged) AS charged_joules,
       charged_joules - measured_joules AS residual_joules
FROM (
    SELECT toStartOfHour(t) AS t, device_id, sum(ifNull(joules, 0)) AS measured, 0. AS charged
    FROM measured_1m FINAL GROUP BY t, device_id
    UNION ALL
    SELECT toStartOfHour(t) AS t, device_id, 0. AS measured, sum(joules) AS charged
    FROM charge_1m FINAL GROUP BY t, device_id
)
GROUP BY t, device_id;

-- Outcomes as increments. A counter that starts again, or goes down, counts from zero. The first
-- value that is ever heard counts only if the counter began while the workload was seen to hold a
-- device: what a server produced in the weeks before has no joules here to be set against.
CREATE OR REPLACE VIEW v_outcome {{ON_CLUSTER}} AS
SELECT o.ts AS ts, o.kind AS outcome,
       multiIf(o.previous_ts != toDateTime64(0, 3, 'UTC'), o.increment,
               isNull(o.start_ts) OR h.since = toDateTime64(0, 3, 'UTC')
                   OR o.start_ts < h.since - INTERVAL 1 MINUTE, 0,
               o.total) AS count,
       w.workload_key AS workload_key, w.workload AS workload, w.workload_kind AS workload_kind,
       w.namespace AS namespace, w.team AS team, w.project AS project, w.ai_model AS ai_model,
       w.precision AS precision
FROM (
    SELECT *, if(ifNull(start_ts > previous_ts, false) OR total < previous, total,
                 total - previous) AS increment
    FROM (
        SELECT workload_id, kind, source, ts, start_ts, total,
               lagInFrame(total) OVER w AS previous, lagInFrame(ts) OVER w AS previous_ts
        FROM outcome FINAL
        WINDOW w AS (PARTITION BY workload_id, kind, source ORDER BY ts
                     ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
    )
) AS o
LEFT JOIN (
    SELECT workload_id, min(start_ts) AS since FROM allocation FINAL GROUP BY workload_id
) AS h ON h.workload_id = o.workload_id
LEFT JOIN v_workload AS w ON w.workload_id = o.workload_id;

-- The newest tick of each device that has been heard of in the last quarter of an hour.
CREATE OR REPLACE VIEW v_live {{ON_CLUSTER}} AS
SELECT d.device AS device, d.kind AS kind, d.node AS node, d.site AS site, d.overlap AS overlap,
       l.ts AS ts, l.power_uw / 1e6 AS power_watts, l.util_e4 / 1e4 AS utilization_ratio,
       l.temp_e1 / 10 AS temperature_celsius, l.method AS method, l.gap AS gap
FROM (
    SELECT device_id, newest.1 AS ts, newest.2 AS power_uw, newest.3 AS util_e4,
           newest.4 AS temp_e1, newest.5 AS method, newest.6 AS gap
    FROM (
        SELECT device_id, argMax((k.ts, power_uw, util_e4, temp_e1, method, gap), k.ts) AS newest
        FROM tick AS k
        WHERE toStartOfHour(k.ts) >= now() - INTERVAL 75 MINUTE
          AND k.ts >= now() - INTERVAL 15 MINUTE
        GROUP BY device_id
    )
) AS l
INNER JOIN v_device AS d ON d.device_id = l.device_id;
