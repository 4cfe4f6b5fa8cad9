-- Who burned which joule. Allocations are ordered by the hour in which they begin, so that an hour
-- is computed again from the rows of that hour, whatever lies behind it. One that has an activity is
-- a window of at most an hour; one that lasts longer is found through allocation_hour.

ALTER TABLE workload {{ON_CLUSTER}} ADD COLUMN IF NOT EXISTS instance String AFTER kind;
ALTER TABLE workload {{ON_CLUSTER}} ADD COLUMN IF NOT EXISTS cost_center LowCardinality(String) AFTER project;
ALTER TABLE workload {{ON_CLUSTER}} ADD COLUMN IF NOT EXISTS queue LowCardinality(String) AFTER cost_center;

ALTER TABLE allocation {{ON_CLUSTER}} ADD COLUMN IF NOT EXISTS activity Nullable(Float64) AFTER share;

-- A running allocation is sent again and again with a later end; among the rows of one key the
-- latest end is the truth, and a correction is a row with a higher revision.
CREATE OR REPLACE TABLE allocation {{ON_CLUSTER}} (
    start_ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    device_id UInt64 CODEC(ZSTD(1)),
    workload_id UInt64 CODEC(ZSTD(1)),
    end_ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    share Float64 CODEC(ZSTD(1)),
    activity Nullable(Float64) CODEC(ZSTD(1)),
    method LowCardinality(String),
    revision UInt32 DEFAULT 0 CODEC(ZSTD(1)),
    version UInt64 MATERIALIZED bitShiftLeft(toUInt64(revision), 44)
                                + toUInt64(toUnixTimestamp64Milli(end_ts)) CODEC(ZSTD(1)),
    ingested_at DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta, ZSTD(1))
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version)
PARTITION BY toYYYYMMDD(start_ts)
ORDER BY (toStartOfHour(start_ts), device_id, start_ts, workload_id)
{{HELD_TTL}}
SETTINGS ttl_only_drop_parts = 1, old_parts_lifetime = 60,
         fsync_after_insert = 1, fsync_part_directory = 1
AS SELECT start_ts, device_id, workload_id, end_ts, share, activity, method, revision, ingested_at
FROM allocation FINAL;

-- For each hour the hours in which allocations begin that reach into it. A few rows for each hour,
-- whatever the size of the fleet; one that was corrected since is merely looked up in vain.
CREATE OR REPLACE TABLE allocation_hour {{ON_CLUSTER}} (
    hour DateTime('UTC'),
    start_hour DateTime('UTC')
) ENGINE = {{REPLICATED}}ReplacingMergeTree
PARTITION BY toYYYYMM(hour) ORDER BY (hour, start_hour)
{{HOUR_TTL}}
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1
AS SELECT DISTINCT
       toDateTime(arrayJoin(range(toUInt32(toUnixTimestamp(toStartOfHour(start_ts))),
                                  toUInt32(toUnixTimestamp(end_ts)) + 1, 3600)), 'UTC') AS hour,
       toStartOfHour(start_ts) AS start_hour
FROM allocation;

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_allocation_hour {{ON_CLUSTER}} TO allocation_hour AS
SELECT DISTINCT
       toDateTime(arrayJoin(range(toUInt32(toUnixTimestamp(toStartOfHour(start_ts))),
                                  toUInt32(toUnixTimestamp(end_ts)) + 1, 3600)), 'UTC') AS hour,
       toStartOfHour(start_ts) AS start_hour
FROM allocation;

-- When each workload was first seen to hold or use a device.
CREATE OR REPLACE TABLE workload_seen {{ON_CLUSTER}} (
    workload_id UInt64,
    since SimpleAggregateFunction(min, DateTime64(3, 'UTC'))
) ENGINE = {{REPLICATED}}AggregatingMergeTree ORDER BY workload_id
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1
AS SELECT workload_id, min(start_ts) AS since FROM allocation FINAL GROUP BY workload_id;

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_workload_seen {{ON_CLUSTER}} TO workload_seen AS
SELECT workload_id, min(start_ts) AS since FROM allocation GROUP BY workload_id;

-- What each device draws while it idles, as its exporter learned it: the lowest that it said within
-- the hour, whatever the order in which that came.
CREATE TABLE IF NOT EXISTS idle_hour {{ON_CLUSTER}} (
    hour DateTime('UTC'),
    device_id UInt64,
    watts SimpleAggregateFunction(min, Float64)
) ENGINE = {{REPLICATED}}AggregatingMergeTree
PARTITION BY toYYYYMM(hour) ORDER BY (hour, device_id)
{{HOUR_TTL}}
SETTINGS ttl_only_drop_parts = 1, old_parts_lifetime = 60,
         fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_idle_hour {{ON_CLUSTER}} TO idle_hour AS
SELECT toStartOfHour(ts) AS hour, device_id, min(value) AS watts
FROM sample WHERE metric = 'wattshed_idle_baseline_watts' GROUP BY hour, device_id;

-- Allocations that cannot be true, as they were said, each once, with the reason. Nothing is lost,
-- and nothing of it is charged.
CREATE TABLE IF NOT EXISTS quarantine {{ON_CLUSTER}} (
    start_ms Int64,
    end_ms Int64,
    device String,
    workload String,
    share Float64,
    activity Nullable(Float64),
    method LowCardinality(String),
    revision UInt32,
    reason LowCardinality(String),
    ingested_at DateTime64(6, 'UTC') DEFAULT now64(6)
) ENGINE = {{REPLICATED}}ReplacingMergeTree(ingested_at)
ORDER BY (reason, device, workload, start_ms, end_ms, share, revision)
TTL toDateTime(ingested_at) + INTERVAL 90 DAY
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- How joules are charged, from start_ts on until the next row.
CREATE TABLE IF NOT EXISTS policy {{ON_CLUSTER}} (
    start_ts DateTime('UTC'),
    idle LowCardinality(String),
    idle_below_e4 UInt16,
    host_remainder LowCardinality(String),
    version UInt64
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version) ORDER BY start_ts
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- What a site adds to joules, from start_ts on until the next row of its kind: its PUE, the price of
-- a kilowatt hour, ... A site of '' is every site that has none of its own. A value of NULL ends it.
CREATE TABLE IF NOT EXISTS factor {{ON_CLUSTER}} (
    kind LowCardinality(String),
    site LowCardinality(String),
    start_ts DateTime('UTC'),
    value Nullable(Float64),
    unit LowCardinality(String),
    source LowCardinality(String),
    version UInt64
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version) ORDER BY (kind, site, start_ts)
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- Who may do what only one may do, until when.
CREATE TABLE IF NOT EXISTS lease {{ON_CLUSTER}} (
    name LowCardinality(String),
    holder String,
    until_ts DateTime64(6, 'UTC'),
    version UInt64
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version) ORDER BY name
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE OR REPLACE VIEW v_workload {{ON_CLUSTER}} AS
SELECT workload_id, key AS workload_key, name AS workload, kind AS workload_kind, instance,
       namespace, team, owner, project, cost_center, queue, model AS ai_model, precision, cluster
FROM workload FINAL;

CREATE OR REPLACE VIEW v_allocation {{ON_CLUSTER}} AS
SELECT device_id, workload_id, start_ts, end_ts, share, activity, method, revision
FROM allocation FINAL WHERE end_ts > start_ts;

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
    SELECT workload_id, min(since) AS since FROM workload_seen GROUP BY workload_id
) AS h ON h.workload_id = o.workload_id
LEFT JOIN v_workload AS w ON w.workload_id = o.workload_id;
