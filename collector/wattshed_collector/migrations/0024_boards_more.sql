-- What boards over months read: devices and outcomes by the day, and the factor in force by the hour.
-- Readings are kept for weeks, and a year by the hour is too much to read for one panel.

-- How warm each device was in an hour, as ``used`` has it of its load: version, degrees Celsius x
-- seconds, the seconds in which it said so, the highest.
ALTER TABLE tick_hour {{ON_CLUSTER}} ADD COLUMN IF NOT EXISTS
    warm SimpleAggregateFunction(max, Tuple(UInt64, Float64, Float64, Float64));

-- Counters of errors and of throttled time go the way of those of activity, in the same part.
DROP VIEW IF EXISTS mv_activity_hour {{ON_CLUSTER}};

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_activity_hour {{ON_CLUSTER}} TO activity_hour AS
SELECT toStartOfHour(ts) AS hour, device_id, metric, labels,
       ifNull(toUnixTimestamp64Milli(start_ts), 0) AS start_ms,
       min((toUnixTimestamp64Milli(ts), -value)) AS first,
       max((toUnixTimestamp64Milli(ts), value)) AS last,
       max(value) AS highest
FROM sample
WHERE metric IN ('wattshed_activity_seconds_total', 'wattshed_activity_joules_total',
                 'wattshed_throttled_seconds_total', 'wattshed_ecc_errors_total',
                 'wattshed_xid_errors_total')
GROUP BY hour, device_id, metric, labels, start_ms;

CREATE OR REPLACE VIEW v_activity {{ON_CLUSTER}} AS
SELECT p.t AS t, p.class AS class,
       sumIf(p.part, p.metric = 'wattshed_activity_seconds_total') AS seconds,
       sumIf(p.part, p.metric = 'wattshed_activity_joules_total') AS joules,
       p.device_id AS device_id, d.device AS device, d.kind AS kind, d.node AS node,
       d.site AS site, d.tier AS tier, d.cluster AS cluster, d.model AS model, d.source AS source
FROM (
    SELECT device_id, metric, class, toDateTime(h * 3600, 'UTC') AS t,
           increase * (least(t1, (h + 1) * 3600000) - greatest(t0, h * 3600000)) / (t1 - t0) AS part
    FROM (
        SELECT device_id, metric, JSONExtractString(labels, 'class') AS class,
               g.1 AS t0, g.2 AS t1, g.3 AS increase
        FROM (
            SELECT device_id, metric, labels,
                   [(f.1, l.1, if(start_ms > 0, l.2 - f.2, top - f.2 + if(l.2 < top, l.2, 0))),
                    (least(if(start_ms > before.1, start_ms, before.1), f.1 - 1), f.1,
                     multiIf(before.1 = 0, if(f.1 - start_ms <= 3600000, f.2, 0),
                             start_ms > before.1, f.2,
                             f.2 < before.2 AND (start_ms = 0 OR start_ms != before.3), f.2,
                             f.2 - before.2))] AS grown
            FROM (
                SELECT *, lagInFrame((l.1, l.2, start_ms)) OVER w AS before
                FROM (
                    SELECT *, max(start_ms) OVER (PARTITION BY device_id, metric, labels, hour)
                               AS known_start
                    FROM (
                        SELECT hour, device_id, metric, labels, start_ms,
                               (min(first).1, -min(first).2) AS f, max(last) AS l,
                               max(highest) AS top
                        FROM activity_hour
                        WHERE metric IN ('wattshed_activity_seconds_total',
                                         'wattshed_activity_joules_total')
                        GROUP BY hour, device_id, metric, labels, start_ms
                    )
                )
                WHERE start_ms > 0 OR known_start = 0
                WINDOW w AS (PARTITION BY device_id, metric, labels ORDER BY f.1
                             ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
            )
        )
        ARRAY JOIN grown AS g
        WHERE increase > 0
    )
    ARRAY JOIN range(intDiv(t0, 3600000), intDiv(t1 - 1, 3600000) + 1) AS h
) AS p
LEFT JOIN v_device AS d ON d.device_id = p.device_id
GROUP BY t, class, device_id, device, kind, node, site, tier, cluster, model, source;

-- A device's day, written whole by the ledger whenever an hour of it was charged again; a row of
-- device 0 says that it did. NULL where nothing was said: of days whose readings were gone before
-- this table was there, of meters that count no errors.
CREATE TABLE IF NOT EXISTS device_1d {{ON_CLUSTER}} (
    t DateTime('UTC') CODEC(Delta, ZSTD(1)),
    device_id UInt64 CODEC(ZSTD(1)),
    joules Float64 CODEC(ZSTD(1)),
    idle_joules Float64 CODEC(ZSTD(1)),
    idle_seconds Float64 CODEC(ZSTD(1)),
    seconds Float64 CODEC(ZSTD(1)),
    facility_joules Nullable(Float64) CODEC(ZSTD(1)),
    cost Nullable(Float64) CODEC(ZSTD(1)),
    currency LowCardinality(String),
    busy_seconds Nullable(Float64) CODEC(ZSTD(1)),
    used_seconds Nullable(Float64) CODEC(ZSTD(1)),
    celsius_seconds Nullable(Float64) CODEC(ZSTD(1)),
    warm_seconds Nullable(Float64) CODEC(ZSTD(1)),
    most_celsius Nullable(Float64) CODEC(ZSTD(1)),
    idle_watts Nullable(Float64) CODEC(ZSTD(1)),
    throttled_seconds Nullable(Float64) CODEC(ZSTD(1)),
    corrected_errors Nullable(Float64) CODEC(ZSTD(1)),
    uncorrected_errors Nullable(Float64) CODEC(ZSTD(1)),
    xid_errors Nullable(Float64) CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1))
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version)
PARTITION BY toYear(t) ORDER BY (t, device_id)
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- The same of what was produced: the joules of a workload stand in the row of each of its kinds.
CREATE TABLE IF NOT EXISTS outcome_1d {{ON_CLUSTER}} (
    t DateTime('UTC') CODEC(Delta, ZSTD(1)),
    workload_id UInt64 CODEC(ZSTD(1)),
    outcome LowCardinality(String),
    state LowCardinality(String),
    hardware LowCardinality(String),
    site LowCardinality(String),
    ai_model LowCardinality(String),
    currency LowCardinality(String),
    count Float64 CODEC(ZSTD(1)),
    active_joules Nullable(Float64) CODEC(ZSTD(1)),
    loaded_joules Nullable(Float64) CODEC(ZSTD(1)),
    before_joules Nullable(Float64) CODEC(ZSTD(1)),
    facility_joules Nullable(Float64) CODEC(ZSTD(1)),
    cost Nullable(Float64) CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1))
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version)
PARTITION BY toYear(t)
ORDER BY (t, workload_id, outcome, state, hardware, site, ai_model, currency)
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- Also meters that contain others: those are charged with what is beside their contents alone.
CREATE OR REPLACE VIEW v_device_1d {{ON_CLUSTER}} AS
SELECT r.t AS t, r.device_id AS device_id, d.key AS device, d.kind AS kind, d.node AS node,
       d.site AS site, d.tier AS tier, d.cluster AS cluster, d.vendor AS vendor, d.model AS model,
       d.driver AS driver, d.firmware AS firmware, r.joules AS joules,
       r.idle_joules AS idle_joules, r.idle_seconds AS idle_seconds, r.seconds AS seconds,
       r.facility_joules AS facility_joules,
       r.cost AS cost, r.currency AS currency, r.busy_seconds AS busy_seconds,
       r.used_seconds AS used_seconds, r.celsius_seconds AS celsius_seconds,
       r.warm_seconds AS warm_seconds, r.most_celsius AS most_celsius, r.idle_watts AS idle_watts,
       r.throttled_seconds AS throttled_seconds, r.corrected_errors AS corrected_errors,
       r.uncorrected_errors AS uncorrected_errors, r.xid_errors AS xid_errors,
       if(isNull(r.uncorrected_errors) AND isNull(r.xid_errors), NULL,
          ifNull(r.uncorrected_errors, 0) + ifNull(r.xid_errors, 0)) AS grave_errors
FROM (
    SELECT * FROM device_1d FINAL
    WHERE device_id != 0
      AND (t, version) IN (SELECT t, max(version) FROM device_1d GROUP BY t)
) AS r
INNER JOIN (SELECT * FROM device FINAL WHERE overlap != 'inner') AS d ON d.device_id = r.device_id;

CREATE OR REPLACE VIEW v_outcome_1d {{ON_CLUSTER}} AS
SELECT r.t AS t, r.workload_id AS workload_id, w.key AS workload_key, w.name AS workload,
       w.kind AS workload_kind, w.team AS team, w.owner AS owner, w.precision AS precision,
       w.batch_class AS batch_class, w.cluster AS cluster, r.ai_model AS ai_model,
       r.hardware AS hardware, r.site AS site, r.outcome AS outcome, r.state AS state,
       r.count AS count, r.active_joules AS active_joules, r.loaded_joules AS loaded_joules,
       r.before_joules AS before_joules, r.facility_joules AS facility_joules, r.cost AS cost,
       r.currency AS currency
FROM (
    SELECT * FROM outcome_1d FINAL
    WHERE workload_id != 0
      AND (t, version) IN (SELECT t, max(version) FROM outcome_1d GROUP BY t)
) AS r
LEFT JOIN (SELECT * FROM workload FINAL) AS w ON w.workload_id = r.workload_id;

-- Of both steps, so that a month is read by the day and six hours by the hour: choose one step_s.
CREATE OR REPLACE VIEW v_outcome_long {{ON_CLUSTER}} AS
SELECT t, 3600 AS step_s, workload_id, workload_key, workload, workload_kind, team, owner, precision,
       batch_class, cluster, ai_model, hardware, site, outcome, state, count, active_joules,
       loaded_joules, before_joules, facility_joules, cost, currency
FROM v_outcome_1h
UNION ALL
SELECT t, 86400, workload_id, workload_key, workload, workload_kind, team, owner, precision,
       batch_class, cluster, ai_model, hardware, site, outcome, state, count, active_joules,
       loaded_joules, before_joules, facility_joules, cost, currency
FROM v_outcome_1d;

-- What holds at a site between two times: its own factor, else that of every site. A factor of NULL
-- ends: where it was the site's own, that of every site holds again, as it does for what is charged.
CREATE OR REPLACE VIEW v_factor {{ON_CLUSTER}} AS
SELECT kind, site, since,
       leadInFrame(since, 1, toDateTime('2105-01-01 00:00:00', 'UTC')) OVER (
           PARTITION BY kind, site ORDER BY since
           ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS until,
       said.1 AS value, said.2 AS unit, said.3 AS source
FROM (
    SELECT DISTINCT f.kind AS kind, s.site AS site, f.start_ts AS since,
           argMaxIf((f.value, toString(f.unit), toString(f.source)), f.start_ts, f.site = s.site)
               OVER w AS own,
           argMaxIf((f.value, toString(f.unit), toString(f.source)), f.start_ts, f.site = '')
               OVER w AS every,
           if(isNotNull(own.1), own, every) AS said
    FROM (SELECT kind, toString(site) AS site, start_ts, value, unit, source FROM factor FINAL) AS f
    CROSS JOIN (SELECT DISTINCT toString(site) AS site FROM device FINAL) AS s
    WHERE f.site IN ('', s.site)
    WINDOW w AS (PARTITION BY f.kind, s.site ORDER BY f.start_ts
                 RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
);

-- The same at the beginning of each hour of the last 400 days and of the next two, where a value
-- holds: what is charged takes the factor of that time.
CREATE OR REPLACE VIEW v_factor_1h {{ON_CLUSTER}} AS
SELECT toDateTime(h * 3600, 'UTC') AS t, kind, site, value, unit
FROM v_factor
ARRAY JOIN range(
    toUInt32(greatest(intDiv(toUnixTimestamp(since) + 3599, 3600),
                      intDiv(toUnixTimestamp(now()), 3600) - 9600)),
    toUInt32(greatest(0, least(intDiv(toUnixTimestamp(until) + 3599, 3600),
                               intDiv(toUnixTimestamp(now()), 3600) + 48)))) AS h
WHERE isNotNull(value);

-- Joules of a site and hour by class, what they cost, and the grams of CO2 equivalent of all that the
-- site drew for them: facility kilowatt hours (with the PUE) times the intensity of the grid, NULL
-- where either is not known.
CREATE OR REPLACE VIEW v_site_1h {{ON_CLUSTER}} AS
SELECT e.t AS t, e.site AS site, e.class AS class, e.currency AS currency, e.joules AS joules,
       e.facility_joules AS facility_joules, e.cost AS cost,
       c.value AS carbon_g_per_kwh,
       e.facility_joules / 3.6e6 * c.value AS carbon_g
FROM (
    SELECT w.t AS t, toString(w.site) AS site, toString(w.class) AS class,
           toString(w.currency) AS currency, sum(w.joules) AS joules,
           if(countIf(isNull(w.facility_joules) AND w.joules > 0) > 0, NULL,
              sumOrNull(w.facility_joules)) AS facility_joules,
           sumOrNull(w.cost) AS cost
    FROM v_workload_1h AS w
    GROUP BY t, site, class, currency
) AS e
LEFT JOIN (
    SELECT t, site, value FROM v_factor_1h WHERE kind = 'carbon_g_per_kwh'
) AS c ON c.t = e.t AND c.site = e.site;

-- Where a model of hardware stands at a site: outcomes know their hardware and site, not the tier.
CREATE OR REPLACE VIEW v_hardware {{ON_CLUSTER}} AS
SELECT site, model AS hardware, if(uniqExact(tier) = 1, any(tier), 'several') AS tier,
       count() AS devices
FROM v_device WHERE model != '' AND overlap != 'inner' GROUP BY site, model;

-- What an objective spent of its budget in an hour, and what the hour added to that: outcomes or
-- joules, by what the objective is about. Joules below the target are spent negatively; a burn rate
-- is what was spent over what was added, of any hours.
CREATE OR REPLACE VIEW v_slo_budget_1h {{ON_CLUSTER}} AS
SELECT h.t AS t, h.slo AS slo, h.owner AS owner, h.outcome AS outcome, s.sli AS sli,
       if(s.sli = 'good_outcomes', h.bad_outcomes, h.joules - h.allowed_joules) AS spent,
       (1 - s.objective_ratio) * if(s.sli = 'good_outcomes', h.outcomes, h.allowed_joules)
           AS added
FROM v_slo_1h AS h
INNER JOIN v_slo AS s ON s.slo = h.slo;

-- Every score with the calibration that held when it was said, and how much worse it is than that.
CREATE OR REPLACE VIEW v_score {{ON_CLUSTER}} AS
SELECT q.at AS at, kind, ai_model, precision, batch_class, hardware, workload, metric, better, score,
       argMaxOrNullIf(score, q.at, kind = 'calibration') OVER w AS calibration_score,
       if(isNull(calibration_score) OR calibration_score = 0, NULL,
          greatest(0, if(better = 'higher', calibration_score - score, score - calibration_score)
                      / abs(calibration_score))) AS drift_ratio,
       samples, note
FROM (
    SELECT at, toString(kind) AS kind, ai_model, precision, batch_class, hardware, workload, metric,
           toString(better) AS better, assumeNotNull(score) AS score, samples, note
    FROM quality AS k FINAL WHERE isNotNull(k.score)
) AS q
WINDOW w AS (PARTITION BY ai_model, precision, batch_class, hardware, workload, metric
             ORDER BY q.at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);
