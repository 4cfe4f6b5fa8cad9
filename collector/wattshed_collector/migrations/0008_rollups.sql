-- How an hour is computed again without a look at what lies behind it, and how a month is read
-- without a look at each device.

-- Per device and day the first and last tick that carries energy or power, as tick_hour has it by
-- the hour: the nearest reading is looked for in the hours of its day and in the days before.
CREATE OR REPLACE TABLE tick_day {{ON_CLUSTER}} (
    day DateTime('UTC'),
    device_id UInt64,
    first_valid SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    last_valid SimpleAggregateFunction(max, DateTime64(3, 'UTC'))
) ENGINE = {{REPLICATED}}AggregatingMergeTree
PARTITION BY toYYYYMM(day) ORDER BY (day, device_id)
{{DAY_TTL}}
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1
AS SELECT toStartOfDay(hour) AS day, device_id, min(first_valid) AS first_valid,
   max(last_valid) AS last_valid
FROM tick_hour GROUP BY day, device_id;

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_tick_day {{ON_CLUSTER}} TO tick_day AS
SELECT toStartOfDay(ts) AS day, device_id,
       min(if(isNotNull(power_uw) OR isNotNull(energy_uj), ts,
              toDateTime64('2105-01-01 00:00:00', 3, 'UTC'))) AS first_valid,
       max(if(isNotNull(power_uw) OR isNotNull(energy_uj), ts,
              toDateTime64(0, 3, 'UTC'))) AS last_valid
FROM tick
GROUP BY day, device_id;

-- What one run of the ledger reads from the meters: the energy of each device between two edges of
-- allocations within a minute. Both what was measured and what is charged are sums of these rows.
-- floor_* is what of a piece that is not idle would be drawn if it were. They are of no use after
-- the run, whose version they bear.
CREATE TABLE IF NOT EXISTS piece {{ON_CLUSTER}} (
    version UInt64,
    t DateTime('UTC'),
    device_id UInt64,
    from_ms UInt16,
    to_ms UInt16,
    is_idle Bool,
    rule LowCardinality(String),
    method LowCardinality(String),
    gap LowCardinality(String),
    joules Float64,
    seconds Float64,
    floor_joules Float64,
    floor_seconds Float64,
    made DateTime('UTC') DEFAULT now()
) ENGINE = {{REPLICATED}}ReplacingMergeTree
PARTITION BY toStartOfHour(made)
ORDER BY (version, t, device_id, from_ms, to_ms, is_idle, rule, method, gap)
TTL made + INTERVAL 1 HOUR
SETTINGS ttl_only_drop_parts = 1, old_parts_lifetime = 60;

-- What a site adds to joules stands beside them and is never folded in; NULL where it is not known.
ALTER TABLE charge_1h {{ON_CLUSTER}}
    ADD COLUMN IF NOT EXISTS facility_joules Nullable(Float64) AFTER seconds;
ALTER TABLE charge_1h {{ON_CLUSTER}}
    ADD COLUMN IF NOT EXISTS cost Nullable(Float64) AFTER facility_joules;
ALTER TABLE charge_1h {{ON_CLUSTER}}
    ADD COLUMN IF NOT EXISTS currency LowCardinality(String) AFTER cost;

-- Without the device, and without the meters whose energy is also inside another's. What was charged
-- before this migration has none of the outer meters in its sums.
CREATE OR REPLACE TABLE workload_1h {{ON_CLUSTER}} (
    t DateTime('UTC') CODEC(Delta, ZSTD(1)),
    workload_id UInt64 CODEC(ZSTD(1)),
    class LowCardinality(String),
    site LowCardinality(String),
    currency LowCardinality(String),
    joules Float64 CODEC(ZSTD(1)),
    seconds Float64 CODEC(ZSTD(1)),
    facility_joules Nullable(Float64) CODEC(ZSTD(1)),
    cost Nullable(Float64) CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1))
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version)
PARTITION BY toYYYYMM(t) ORDER BY (t, workload_id, class, site, currency)
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1
AS SELECT c.t AS t, c.workload_id AS workload_id, c.class AS class, d.site AS site, '' AS currency,
          sum(c.joules) AS joules, sum(c.seconds) AS seconds, NULL AS facility_joules, NULL AS cost,
          max(c.version) AS version
FROM charge_1h AS c FINAL
INNER JOIN (SELECT * FROM device FINAL WHERE overlap = '') AS d ON d.device_id = c.device_id
GROUP BY t, workload_id, class, site;

CREATE OR REPLACE TABLE workload_1d {{ON_CLUSTER}} (
    t DateTime('UTC') CODEC(Delta, ZSTD(1)),
    workload_id UInt64 CODEC(ZSTD(1)),
    class LowCardinality(String),
    site LowCardinality(String),
    currency LowCardinality(String),
    joules Float64 CODEC(ZSTD(1)),
    seconds Float64 CODEC(ZSTD(1)),
    facility_joules Nullable(Float64) CODEC(ZSTD(1)),
    cost Nullable(Float64) CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1))
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version)
PARTITION BY toYear(t) ORDER BY (t, workload_id, class, site, currency)
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1
AS SELECT toStartOfDay(h.t) AS t, workload_id, class, site, '' AS currency,
          sum(h.joules) AS joules, sum(h.seconds) AS seconds, NULL AS facility_joules, NULL AS cost,
          max(h.version) AS version
FROM workload_1h AS h FINAL GROUP BY t, workload_id, class, site;

-- The charges of a meter that contains others are only what those did not measure, so that a sum
-- over every meter but the inner ones counts each joule once.
CREATE OR REPLACE VIEW v_energy_1m {{ON_CLUSTER}} AS
SELECT c.t AS t, c.class AS class, c.joules AS joules, c.seconds AS seconds,
       d.device AS device, d.kind AS kind, d.node AS node, d.site AS site, d.tier AS tier,
       d.cluster AS cluster, d.model AS model, d.source AS source, d.method AS method,
       w.workload_key AS workload_key, w.workload AS workload, w.workload_kind AS workload_kind,
       w.instance AS instance, w.namespace AS namespace, w.team AS team, w.owner AS owner,
       w.project AS project, w.cost_center AS cost_center, w.queue AS queue,
       w.ai_model AS ai_model, w.precision AS precision
FROM (SELECT * FROM charge_1m FINAL WHERE seconds != 0) AS c
INNER JOIN (SELECT * FROM v_device WHERE overlap != 'inner') AS d ON d.device_id = c.device_id
LEFT JOIN v_workload AS w ON w.workload_id = c.workload_id;

CREATE OR REPLACE VIEW v_energy_1h {{ON_CLUSTER}} AS
SELECT c.t AS t, c.class AS class, c.joules AS joules, c.seconds AS seconds,
       c.facility_joules AS facility_joules, c.cost AS cost, c.currency AS currency,
       d.device AS device, d.kind AS kind, d.node AS node, d.site AS site, d.tier AS tier,
       d.cluster AS cluster, d.model AS model, d.source AS source, d.method AS method,
       w.workload_key AS workload_key, w.workload AS workload, w.workload_kind AS workload_kind,
       w.instance AS instance, w.namespace AS namespace, w.team AS team, w.owner AS owner,
       w.project AS project, w.cost_center AS cost_center, w.queue AS queue,
       w.ai_model AS ai_model, w.precision AS precision
FROM (SELECT * FROM charge_1h FINAL WHERE seconds != 0) AS c
INNER JOIN (SELECT * FROM v_device WHERE overlap != 'inner') AS d ON d.device_id = c.device_id
LEFT JOIN v_workload AS w ON w.workload_id = c.workload_id;

-- Per workload and site, by the hour and by the day: v_workload says who that is.
CREATE OR REPLACE VIEW v_workload_1h {{ON_CLUSTER}} AS
SELECT t, workload_id, class, site, currency, joules, seconds, facility_joules, cost
FROM workload_1h FINAL WHERE seconds != 0;

CREATE OR REPLACE VIEW v_workload_1d {{ON_CLUSTER}} AS
SELECT t, workload_id, class, site, currency, joules, seconds, facility_joules, cost
FROM workload_1d FINAL WHERE seconds != 0;
