-- Which version of each hour is complete. A run writes an hour in several statements; until the last
-- of them, what is measured and what is charged come from two runs and cannot be compared. What was
-- charged before this table was known: the roll-up by the hour came last.
CREATE OR REPLACE TABLE ledger_hour {{ON_CLUSTER}} (
    t DateTime('UTC') CODEC(Delta, ZSTD(1)),
    version UInt64 CODEC(ZSTD(1))
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version)
PARTITION BY toYYYYMM(t) ORDER BY t
{{MINUTE_TTL}}
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1
AS SELECT t, max(version) AS version FROM charge_1h GROUP BY t;

-- The contract: per device and hour, what was charged less what was measured is zero. What an outer
-- meter measured and others are charged with, or nobody (it is uncovered, or does not see what it
-- should), is elsewhere_joules. An hour that is being written is left out until it is complete.
CREATE OR REPLACE VIEW v_conservation_1h {{ON_CLUSTER}} AS
SELECT t, device_id, measured_joules, charged_joules, elsewhere_joules,
       charged_joules + elsewhere_joules - measured_joules AS residual_joules
FROM (
    SELECT t, device_id, sum(measured) AS measured_joules, sum(charged) AS charged_joules,
           sum(elsewhere) AS elsewhere_joules, sum(is_device) AS devices,
           max(max(written)) OVER (PARTITION BY t) AS newest,
           max(max(finished)) OVER (PARTITION BY t) AS complete
    FROM (
        SELECT toStartOfHour(t) AS t, device_id, sum(ifNull(joules, 0)) AS measured, 0. AS charged,
               0. AS elsewhere, max(version) AS written, toUInt64(0) AS finished, 1 AS is_device
        FROM measured_1m FINAL GROUP BY t, device_id
        UNION ALL
        SELECT toStartOfHour(t) AS t, device_id, 0. AS measured, sum(joules) AS charged,
               0. AS elsewhere, max(version) AS written, toUInt64(0) AS finished, 1 AS is_device
        FROM charge_1m FINAL GROUP BY t, device_id
        UNION ALL
        SELECT t, device_id, 0. AS measured, 0. AS charged,
               if(status = 'ok', inner_joules + uncovered_joules, outer_joules) AS elsewhere,
               version AS written, toUInt64(0) AS finished, device_id != 0 AS is_device
        FROM reconcile_1h FINAL
        WHERE (t, version) IN (SELECT t, max(version) FROM reconcile_1h GROUP BY t)
        UNION ALL
        SELECT t, toUInt64(0) AS device_id, 0. AS measured, 0. AS charged, 0. AS elsewhere,
               toUInt64(0) AS written, version AS finished, 0 AS is_device
        FROM ledger_hour FINAL
    )
    GROUP BY t, device_id
)
WHERE devices > 0 AND newest <= complete;
