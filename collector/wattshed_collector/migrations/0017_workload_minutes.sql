-- What each workload was charged with by the minute and site, summed over its devices as workload_1h
-- is by the hour: power over a day reads this, and not each device of it.
CREATE OR REPLACE TABLE workload_1m {{ON_CLUSTER}} (
    t DateTime('UTC') CODEC(Delta, ZSTD(1)),
    workload_id UInt64 CODEC(ZSTD(1)),
    class LowCardinality(String),
    site LowCardinality(String),
    joules Float64 CODEC(ZSTD(1)),
    seconds Float64 CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1))
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version)
PARTITION BY toYYYYMM(t) ORDER BY (t, workload_id, class, site)
{{MINUTE_TTL}}
SETTINGS ttl_only_drop_parts = 1, old_parts_lifetime = 60,
         fsync_after_insert = 1, fsync_part_directory = 1
AS SELECT c.t AS t, c.workload_id AS workload_id, c.class AS class, d.site AS site,
          sum(c.joules) AS joules, sum(c.seconds) AS seconds, c.version AS version
FROM (SELECT * FROM charge_1m FINAL WHERE seconds != 0) AS c
INNER JOIN (SELECT * FROM device FINAL WHERE overlap != 'inner') AS d ON d.device_id = c.device_id
GROUP BY t, workload_id, class, site, version;

-- How many rows of a version that is, as ledger_hour has it of the other tables.
ALTER TABLE ledger_hour {{ON_CLUSTER}}
    ADD COLUMN IF NOT EXISTS summed_minute_rows UInt64 CODEC(ZSTD(1)) AFTER rolled_up_rows;

CREATE OR REPLACE VIEW v_workload_1m {{ON_CLUSTER}} AS
SELECT t, workload_id, class, site, joules, seconds
FROM workload_1m
WHERE seconds != 0 AND (toStartOfHour(t), version) IN (
    SELECT t, version FROM ledger_hour FINAL
    WHERE t NOT IN (
        SELECT t FROM v_open_hour
    ) OR (t, version, summed_minute_rows) IN (
        SELECT toStartOfHour(t) AS hour, version, count() FROM workload_1m
        WHERE hour IN (
        SELECT t FROM v_open_hour
        ) AND seconds != 0 GROUP BY hour, version
    )
);
