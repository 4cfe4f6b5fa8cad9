-- The power of each device by the minute, a row an hour, by device first: a day of one device is one
-- granule of few rows, where it takes one of 8192 readings for each hour in tick. The ledger writes
-- the hours that are over, again whenever it computes one again. Both arrays are of sixty: the mean
-- watts of a minute's readings, NaN where none said a power, and how many did. A month is dropped as
-- a whole: to take old hours out of it would write the rest again every four hours.
CREATE TABLE IF NOT EXISTS power_hour {{ON_CLUSTER}} (
    device_id UInt64 CODEC(ZSTD(1)),
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    watts Array(Float32) CODEC(ZSTD(1)),
    readings Array(UInt32) CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1))
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version)
PARTITION BY toYYYYMM(hour) ORDER BY (device_id, hour)
{{HOUR_TTL}}
SETTINGS index_granularity = 256, ttl_only_drop_parts = 1, old_parts_lifetime = 60,
         fsync_after_insert = 1, fsync_part_directory = 1;
