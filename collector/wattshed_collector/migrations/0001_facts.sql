-- Facts as they arrive. Every table is replacing and keyed by what makes a row itself, so that
-- sending it again is harmless. Power and energy are integers in microwatts and microjoules:
-- a milliwatt board and a megawatt hall share one column without loss.

CREATE TABLE IF NOT EXISTS tick {{ON_CLUSTER}} (
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    device_id UInt64 CODEC(ZSTD(1)),
    power_uw Nullable(UInt64) CODEC(T64('bit'), ZSTD(1)),
    energy_uj Nullable(UInt64) CODEC(Delta, T64, ZSTD(1)),
    start_ts Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
    interval_ms UInt32 CODEC(T64, ZSTD(1)),
    util_e4 Nullable(UInt16) CODEC(ZSTD(1)),
    mem_used_bytes Nullable(UInt64) CODEC(T64, ZSTD(1)),
    temp_e1 Nullable(Int16) CODEC(ZSTD(1)),
    method LowCardinality(String),
    gap LowCardinality(String),
    ingested_at DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta, ZSTD(1))
) ENGINE = {{REPLICATED}}ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMMDD(ts)
ORDER BY (toStartOfHour(ts), device_id, ts)
{{RAW_TTL}}
SETTINGS ttl_only_drop_parts = 1, old_parts_lifetime = 60,
         fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS device {{ON_CLUSTER}} (
    device_id UInt64,
    key String,
    kind LowCardinality(String),
    node LowCardinality(String),
    name LowCardinality(String),
    vendor LowCardinality(String),
    model LowCardinality(String),
    serial String,
    parent String,
    site LowCardinality(String),
    tier LowCardinality(String),
    cluster LowCardinality(String),
    scope LowCardinality(String),
    source LowCardinality(String),
    method LowCardinality(String),
    overlap LowCardinality(String),
    uncertainty_ratio Nullable(Float64),
    power_limit_watts Nullable(Float64),
    version DateTime64(6, 'UTC') DEFAULT now64(6)
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version) ORDER BY device_id
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS workload {{ON_CLUSTER}} (
    workload_id UInt64,
    key String,
    name String,
    kind LowCardinality(String),
    namespace LowCardinality(String),
    team LowCardinality(String),
    owner LowCardinality(String),
    project LowCardinality(String),
    model LowCardinality(String),
    precision LowCardinality(String),
    cluster LowCardinality(String),
    version DateTime64(6, 'UTC') DEFAULT now64(6)
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version) ORDER BY workload_id
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- A running allocation is sent again and again with a later end; among the rows of one key the
-- latest end is the truth, and a correction is a row with a higher revision.
CREATE TABLE IF NOT EXISTS allocation {{ON_CLUSTER}} (
    device_id UInt64,
    workload_id UInt64,
    start_ts DateTime64(3, 'UTC'),
    end_ts DateTime64(3, 'UTC'),
    share Float64,
    method LowCardinality(String),
    revision UInt32 DEFAULT 0,
    version UInt64 MATERIALIZED bitShiftLeft(toUInt64(revision), 44)
                                + toUInt64(toUnixTimestamp64Milli(end_ts)),
    ingested_at DateTime64(6, 'UTC') DEFAULT now64(6)
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version)
ORDER BY (device_id, start_ts, workload_id)
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS outcome {{ON_CLUSTER}} (
    workload_id UInt64,
    kind LowCardinality(String),
    source String,
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    start_ts Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
    total Float64 CODEC(ZSTD(1)),
    ingested_at DateTime64(6, 'UTC') DEFAULT now64(6)
) ENGINE = {{REPLICATED}}ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMM(ts)
ORDER BY (workload_id, kind, source, ts)
{{RAW_TTL}}
SETTINGS ttl_only_drop_parts = 1, old_parts_lifetime = 60,
         fsync_after_insert = 1, fsync_part_directory = 1;
