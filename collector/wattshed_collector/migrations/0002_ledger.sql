-- The ledger. Roll-ups are never incremented: the hours that new facts touch are computed again
-- from the raw rows and written with a higher version, so late and repeated data come out exact.

-- Per device and hour the first and last tick that carries energy or power: how the ledger finds
-- the neighbours of an hour without scanning. min and max are idempotent, so duplicates are harmless.
CREATE TABLE IF NOT EXISTS tick_hour {{ON_CLUSTER}} (
    hour DateTime('UTC'),
    device_id UInt64,
    first_valid SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    last_valid SimpleAggregateFunction(max, DateTime64(3, 'UTC'))
) ENGINE = {{REPLICATED}}AggregatingMergeTree
PARTITION BY toYYYYMM(hour) ORDER BY (hour, device_id)
{{HOUR_TTL}}
SETTINGS ttl_only_drop_parts = 1, old_parts_lifetime = 60,
         fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_tick_hour {{ON_CLUSTER}} TO tick_hour AS
SELECT toStartOfHour(ts) AS hour, device_id,
       min(if(isNotNull(power_uw) OR isNotNull(energy_uj), ts,
              toDateTime64('2105-01-01 00:00:00', 3, 'UTC'))) AS first_valid,
       max(if(isNotNull(power_uw) OR isNotNull(energy_uj), ts,
              toDateTime64(0, 3, 'UTC'))) AS last_valid
FROM tick
GROUP BY hour, device_id;

-- Hours that something new has touched. Ticks mark theirs here by the view below; the writer adds
-- the hours of allocations that are new or changed.
CREATE TABLE IF NOT EXISTS dirty {{ON_CLUSTER}} (
    hour DateTime('UTC'),
    ingested_at DateTime64(6, 'UTC') DEFAULT now64(6)
) ENGINE = {{REPLICATED}}MergeTree ORDER BY ingested_at
TTL toDateTime(ingested_at) + INTERVAL 2 DAY
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_dirty {{ON_CLUSTER}} TO dirty AS
SELECT toStartOfHour(ts) AS hour, max(ingested_at) AS ingested_at FROM tick GROUP BY hour;

-- What was measured, per minute and device, before anybody is charged. A stretch without a
-- measurement is a row with a reason and NULL joules, never a zero.
CREATE TABLE IF NOT EXISTS measured_1m {{ON_CLUSTER}} (
    t DateTime('UTC') CODEC(Delta, ZSTD(1)),
    device_id UInt64 CODEC(ZSTD(1)),
    method LowCardinality(String),
    reason LowCardinality(String),
    joules Nullable(Float64) CODEC(ZSTD(1)),
    seconds Float64 CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1))
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version)
PARTITION BY toYYYYMM(t) ORDER BY (toStartOfHour(t), device_id, t, method, reason)
{{MINUTE_TTL}}
SETTINGS ttl_only_drop_parts = 1, old_parts_lifetime = 60,
         fsync_after_insert = 1, fsync_part_directory = 1;

-- Who is charged with what was measured. workload_id 0 is nobody.
CREATE TABLE IF NOT EXISTS charge_1m {{ON_CLUSTER}} (
    t DateTime('UTC') CODEC(Delta, ZSTD(1)),
    device_id UInt64 CODEC(ZSTD(1)),
    workload_id UInt64 CODEC(ZSTD(1)),
    class LowCardinality(String),
    joules Float64 CODEC(ZSTD(1)),
    seconds Float64 CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1))
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version)
PARTITION BY toYYYYMM(t) ORDER BY (toStartOfHour(t), device_id, t, workload_id, class)
{{MINUTE_TTL}}
SETTINGS ttl_only_drop_parts = 1, old_parts_lifetime = 60,
         fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS charge_1h {{ON_CLUSTER}} (
    t DateTime('UTC') CODEC(Delta, ZSTD(1)),
    device_id UInt64 CODEC(ZSTD(1)),
    workload_id UInt64 CODEC(ZSTD(1)),
    class LowCardinality(String),
    joules Float64 CODEC(ZSTD(1)),
    seconds Float64 CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1))
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version)
PARTITION BY toYYYYMM(t) ORDER BY (t, device_id, workload_id, class)
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- How far the ledger is: dirty marks are read from watermark on, and everything measured up to the
-- event time settled has been charged. Outcomes are set against joules only up to there.
CREATE TABLE IF NOT EXISTS ledger_state {{ON_CLUSTER}} (
    name LowCardinality(String),
    watermark DateTime64(6, 'UTC'),
    settled DateTime64(3, 'UTC'),
    version UInt64
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version) ORDER BY name
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;
