-- What a device says at one instant may come in several requests: an OpenTelemetry Collector in
-- between splits batches by data point. Rows of one device and instant are therefore merged column
-- by column, the latest value that is said standing, where before the later row replaced the whole.
-- Energy that was said can therefore not be unsaid by leaving it out: withdrawn, 1 or NULL, stays,
-- whatever comes before or after it. It counts where there is power, which then stands in for the
-- energy. A gap without a reason is NULL as well, so that no part that comes later wipes the reason.
-- Statements that may be repeated; the views that hang on the table stay, and see none of it.
ALTER TABLE tick {{ON_CLUSTER}} ADD COLUMN IF NOT EXISTS withdrawn Nullable(UInt8) AFTER gap;

CREATE OR REPLACE TABLE tick {{ON_CLUSTER}} (
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
    gap LowCardinality(Nullable(String)),
    withdrawn Nullable(UInt8) CODEC(ZSTD(1)),
    ingested_at DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta, ZSTD(1))
) ENGINE = {{REPLICATED}}CoalescingMergeTree
PARTITION BY toYYYYMMDD(ts)
ORDER BY (toStartOfHour(ts), device_id, ts)
{{RAW_TTL}}
SETTINGS ttl_only_drop_parts = 1, old_parts_lifetime = 60,
         fsync_after_insert = 1, fsync_part_directory = 1
AS SELECT * REPLACE (nullIf(gap, '') AS gap) FROM tick FINAL;

-- The newest tick of each device that has been heard of in the last quarter of an hour.
CREATE OR REPLACE VIEW v_live {{ON_CLUSTER}} AS
SELECT d.device AS device, d.kind AS kind, d.node AS node, d.site AS site, d.overlap AS overlap,
       l.ts AS ts, l.power_uw / 1e6 AS power_watts, l.util_e4 / 1e4 AS utilization_ratio,
       l.temp_e1 / 10 AS temperature_celsius, l.method AS method, l.gap AS gap
FROM (
    SELECT device_id, newest.1 AS ts, newest.2 AS power_uw, newest.3 AS util_e4,
           newest.4 AS temp_e1, newest.5 AS method, newest.6 AS gap
    FROM (
        SELECT device_id,
               argMax((k.ts, power_uw, util_e4, temp_e1, method,
                       if(isNull(power_uw) AND isNull(energy_uj) OR isNotNull(withdrawn),
                          ifNull(gap, ''), '')), k.ts) AS newest
        FROM tick AS k FINAL
        WHERE toStartOfHour(k.ts) >= now() - INTERVAL 75 MINUTE
          AND k.ts >= now() - INTERVAL 15 MINUTE
        GROUP BY device_id
    )
) AS l
INNER JOIN v_device AS d ON d.device_id = l.device_id;
