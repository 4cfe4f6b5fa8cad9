-- Details that many devices say at every reading have a column each, in one row per device and
-- instant, where a narrow row took three bytes and more of an insert. Integers in the unit that the
-- name tells; what an integer does not hold stays a row of sample. What comes in several requests is
-- merged column by column, as ticks are. Codecs as measured by bench/write.py: most meters count in
-- thousands of our units, and GCD takes those out.

CREATE TABLE IF NOT EXISTS detail {{ON_CLUSTER}} (
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    device_id UInt64 CODEC(ZSTD(1)),
    memory_total_bytes Nullable(UInt64) CODEC(ZSTD(1)),
    memory_activity_e6 Nullable(UInt32) CODEC(GCD, T64('bit'), ZSTD(1)),
    sm_activity_e6 Nullable(UInt32) CODEC(T64, ZSTD(1)),
    tensor_activity_e6 Nullable(UInt32) CODEC(T64, ZSTD(1)),
    fp64_activity_e6 Nullable(UInt32) CODEC(T64, ZSTD(1)),
    fp32_activity_e6 Nullable(UInt32) CODEC(T64, ZSTD(1)),
    fp16_activity_e6 Nullable(UInt32) CODEC(T64, ZSTD(1)),
    process_utilization_e6 Nullable(UInt32) CODEC(GCD, T64('bit'), ZSTD(1)),
    contexts Nullable(UInt32) CODEC(ZSTD(1)),
    graphics_clock_hertz Nullable(UInt64) CODEC(ZSTD(1)),
    sm_clock_hertz Nullable(UInt64) CODEC(ZSTD(1)),
    memory_clock_hertz Nullable(UInt64) CODEC(ZSTD(1)),
    video_clock_hertz Nullable(UInt64) CODEC(ZSTD(1)),
    memory_temp_e1 Nullable(Int16) CODEC(ZSTD(1)),
    gpu_average_power_uw Nullable(UInt64) CODEC(GCD, T64('bit'), ZSTD(1)),
    gpu_instant_power_uw Nullable(UInt64) CODEC(GCD, T64('bit'), ZSTD(1)),
    module_instant_power_uw Nullable(UInt64) CODEC(GCD, T64('bit'), ZSTD(1)),
    memory_instant_power_uw Nullable(UInt64) CODEC(GCD, T64('bit'), ZSTD(1)),
    requested_limit_uw Nullable(UInt64) CODEC(GCD, T64('bit'), ZSTD(1)),
    default_limit_uw Nullable(UInt64) CODEC(GCD, T64('bit'), ZSTD(1)),
    min_limit_uw Nullable(UInt64) CODEC(GCD, T64('bit'), ZSTD(1)),
    max_limit_uw Nullable(UInt64) CODEC(GCD, T64('bit'), ZSTD(1)),
    pcie_transmit_bytes Nullable(UInt64) CODEC(Delta, T64, ZSTD(1)),
    pcie_receive_bytes Nullable(UInt64) CODEC(Delta, T64, ZSTD(1)),
    nvlink_transmit_bytes Nullable(UInt64) CODEC(Delta, T64, ZSTD(1)),
    nvlink_receive_bytes Nullable(UInt64) CODEC(Delta, T64, ZSTD(1)),
    pcie_transmit_start Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
    pcie_receive_start Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
    nvlink_transmit_start Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
    nvlink_receive_start Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1))
) ENGINE = {{REPLICATED}}CoalescingMergeTree
PARTITION BY toYYYYMMDD(ts)
ORDER BY (toStartOfHour(ts), device_id, ts)
{{RAW_TTL}}
SETTINGS ttl_only_drop_parts = 1, old_parts_lifetime = 60, min_parts_to_merge_at_once = 10,
         fsync_after_insert = 1, fsync_part_directory = 1;

ALTER TABLE tick {{ON_CLUSTER}}
    MODIFY COLUMN power_uw Nullable(UInt64) CODEC(GCD, T64('bit'), ZSTD(1)),
    MODIFY COLUMN energy_uj Nullable(UInt64) CODEC(GCD, Delta, T64('bit'), ZSTD(1)),
    MODIFY COLUMN util_e4 Nullable(UInt16) CODEC(GCD, T64('bit'), ZSTD(1));

-- Small parts are merged ten at a time: a merge costs the same whatever its size, and was as much
-- as the insert itself.
ALTER TABLE tick {{ON_CLUSTER}} MODIFY SETTING min_parts_to_merge_at_once = 10;
ALTER TABLE sample {{ON_CLUSTER}} MODIFY SETTING min_parts_to_merge_at_once = 10;
ALTER TABLE activity_hour {{ON_CLUSTER}} MODIFY SETTING min_parts_to_merge_at_once = 10;
ALTER TABLE tick_hour {{ON_CLUSTER}} MODIFY SETTING min_parts_to_merge_at_once = 10;
ALTER TABLE tick_day {{ON_CLUSTER}} MODIFY SETTING min_parts_to_merge_at_once = 10;
ALTER TABLE dirty {{ON_CLUSTER}} MODIFY SETTING min_parts_to_merge_at_once = 10;

-- JSONExtractString(labels, 'reason') takes one label out.
CREATE OR REPLACE VIEW v_sample {{ON_CLUSTER}} AS
SELECT s.ts AS ts, s.device_id AS device_id, s.metric AS metric, s.labels AS labels,
       s.value AS value, s.start_ts AS start_ts,
       d.device AS device, d.kind AS kind, d.node AS node, d.site AS site, d.tier AS tier,
       d.cluster AS cluster, d.model AS model, d.source AS source
FROM (
    SELECT device_id, metric, labels, ts, value, start_ts FROM sample FINAL
    UNION ALL
    WITH CAST(NULL AS Nullable(DateTime64(3, 'UTC'))) AS no_start
    SELECT device_id, said.1 AS metric, said.2 AS labels, ts, assumeNotNull(said.3) AS value,
           said.4 AS start_ts
    FROM detail FINAL
    ARRAY JOIN [
    ('wattshed_memory_total_bytes', '{}', toFloat64(memory_total_bytes),
     no_start),
    ('wattshed_memory_activity_ratio', '{}', toFloat64(memory_activity_e6) / 1000000,
     no_start),
    ('wattshed_sm_activity_ratio', '{}', toFloat64(sm_activity_e6) / 1000000,
     no_start),
    ('wattshed_pipe_activity_ratio', '{"pipe":"tensor"}', toFloat64(tensor_activity_e6) / 1000000,
     no_start),
    ('wattshed_pipe_activity_ratio', '{"pipe":"fp64"}', toFloat64(fp64_activity_e6) / 1000000,
     no_start),
    ('wattshed_pipe_activity_ratio', '{"pipe":"fp32"}', toFloat64(fp32_activity_e6) / 1000000,
     no_start),
    ('wattshed_pipe_activity_ratio', '{"pipe":"fp16"}', toFloat64(fp16_activity_e6) / 1000000,
     no_start),
    ('wattshed_process_utilization_ratio', '{}', toFloat64(process_utilization_e6) / 1000000,
     no_start),
    ('wattshed_contexts', '{}', toFloat64(contexts),
     no_start),
    ('wattshed_clock_hertz', '{"domain":"graphics"}', toFloat64(graphics_clock_hertz),
     no_start),
    ('wattshed_clock_hertz', '{"domain":"sm"}', toFloat64(sm_clock_hertz),
     no_start),
    ('wattshed_clock_hertz', '{"domain":"memory"}', toFloat64(memory_clock_hertz),
     no_start),
    ('wattshed_clock_hertz', '{"domain":"video"}', toFloat64(video_clock_hertz),
     no_start),
    ('wattshed_sensor_temperature_celsius', '{"sensor":"memory"}', toFloat64(memory_temp_e1) / 10,
     no_start),
    ('wattshed_power_reading_watts', '{"scope":"gpu","window":"average"}', toFloat64(gpu_average_power_uw) / 1000000,
     no_start),
    ('wattshed_power_reading_watts', '{"scope":"gpu","window":"instant"}', toFloat64(gpu_instant_power_uw) / 1000000,
     no_start),
    ('wattshed_power_reading_watts', '{"scope":"module","window":"instant"}', toFloat64(module_instant_power_uw) / 1000000,
     no_start),
    ('wattshed_power_reading_watts', '{"scope":"memory","window":"instant"}', toFloat64(memory_instant_power_uw) / 1000000,
     no_start),
    ('wattshed_power_limit_bound_watts', '{"bound":"requested"}', toFloat64(requested_limit_uw) / 1000000,
     no_start),
    ('wattshed_power_limit_bound_watts', '{"bound":"default"}', toFloat64(default_limit_uw) / 1000000,
     no_start),
    ('wattshed_power_limit_bound_watts', '{"bound":"min"}', toFloat64(min_limit_uw) / 1000000,
     no_start),
    ('wattshed_power_limit_bound_watts', '{"bound":"max"}', toFloat64(max_limit_uw) / 1000000,
     no_start),
    ('wattshed_link_bytes_total', '{"link":"pcie","direction":"transmit"}', toFloat64(pcie_transmit_bytes),
     pcie_transmit_start),
    ('wattshed_link_bytes_total', '{"link":"pcie","direction":"receive"}', toFloat64(pcie_receive_bytes),
     pcie_receive_start),
    ('wattshed_link_bytes_total', '{"link":"nvlink","direction":"transmit"}', toFloat64(nvlink_transmit_bytes),
     nvlink_transmit_start),
    ('wattshed_link_bytes_total', '{"link":"nvlink","direction":"receive"}', toFloat64(nvlink_receive_bytes),
     nvlink_receive_start)
    ] AS said
    WHERE isNotNull(said.3)
) AS s
LEFT JOIN v_device AS d ON d.device_id = s.device_id;

-- The newest value of each series that was heard of in the last quarter of an hour. Where a value
-- was corrected to one that no column holds, both are in v_sample; here the one of sample counts.
CREATE OR REPLACE VIEW v_sample_latest {{ON_CLUSTER}} AS
SELECT s.newest.1 AS ts, s.device_id AS device_id, s.metric AS metric, s.labels AS labels,
       s.newest.2 AS value, s.newest.3 AS start_ts,
       d.device AS device, d.kind AS kind, d.node AS node, d.site AS site, d.tier AS tier,
       d.cluster AS cluster, d.model AS model, d.source AS source
FROM (
    SELECT device_id, metric, labels, argMax(last, (last.1, is_narrow)) AS newest
    FROM (
        SELECT device_id, metric, labels,
               argMax((k.ts, value, start_ts), (k.ts, ingested_at)) AS last, 1 AS is_narrow
        FROM sample AS k
        WHERE toStartOfHour(k.ts) >= now() - INTERVAL 75 MINUTE
          AND k.ts >= now() - INTERVAL 15 MINUTE
        GROUP BY device_id, metric, labels
        UNION ALL
        SELECT device_id, said.1 AS metric, said.2 AS labels,
               (said.3.1, assumeNotNull(said.3.2), said.3.3) AS last, 0 AS is_narrow
        FROM (
            WITH CAST(NULL AS Nullable(DateTime64(3, 'UTC'))) AS no_start
            SELECT device_id, [
               ('wattshed_memory_total_bytes', '{}',
                argMaxIf((k.ts, toFloat64(memory_total_bytes), no_start), k.ts,
                         isNotNull(memory_total_bytes))),
               ('wattshed_memory_activity_ratio', '{}',
                argMaxIf((k.ts, toFloat64(memory_activity_e6) / 1000000, no_start), k.ts,
                         isNotNull(memory_activity_e6))),
               ('wattshed_sm_activity_ratio', '{}',
                argMaxIf((k.ts, toFloat64(sm_activity_e6) / 1000000, no_start), k.ts,
                         isNotNull(sm_activity_e6))),
               ('wattshed_pipe_activity_ratio', '{"pipe":"tensor"}',
                argMaxIf((k.ts, toFloat64(tensor_activity_e6) / 1000000, no_start), k.ts,
                         isNotNull(tensor_activity_e6))),
               ('wattshed_pipe_activity_ratio', '{"pipe":"fp64"}',
                argMaxIf((k.ts, toFloat64(fp64_activity_e6) / 1000000, no_start), k.ts,
                         isNotNull(fp64_activity_e6))),
               ('wattshed_pipe_activity_ratio', '{"pipe":"fp32"}',
                argMaxIf((k.ts, toFloat64(fp32_activity_e6) / 1000000, no_start), k.ts,
                         isNotNull(fp32_activity_e6))),
               ('wattshed_pipe_activity_ratio', '{"pipe":"fp16"}',
                argMaxIf((k.ts, toFloat64(fp16_activity_e6) / 1000000, no_start), k.ts,
                         isNotNull(fp16_activity_e6))),
               ('wattshed_process_utilization_ratio', '{}',
                argMaxIf((k.ts, toFloat64(process_utilization_e6) / 1000000, no_start), k.ts,
                         isNotNull(process_utilization_e6))),
               ('wattshed_contexts', '{}',
                argMaxIf((k.ts, toFloat64(contexts), no_start), k.ts,
                         isNotNull(contexts))),
               ('wattshed_clock_hertz', '{"domain":"graphics"}',
                argMaxIf((k.ts, toFloat64(graphics_clock_hertz), no_start), k.ts,
                         isNotNull(graphics_clock_hertz))),
               ('wattshed_clock_hertz', '{"domain":"sm"}',
                argMaxIf((k.ts, toFloat64(sm_clock_hertz), no_start), k.ts,
                         isNotNull(sm_clock_hertz))),
               ('wattshed_clock_hertz', '{"domain":"memory"}',
                argMaxIf((k.ts, toFloat64(memory_clock_hertz), no_start), k.ts,
                         isNotNull(memory_clock_hertz))),
               ('wattshed_clock_hertz', '{"domain":"video"}',
                argMaxIf((k.ts, toFloat64(video_clock_hertz), no_start), k.ts,
                         isNotNull(video_clock_hertz))),
               ('wattshed_sensor_temperature_celsius', '{"sensor":"memory"}',
                argMaxIf((k.ts, toFloat64(memory_temp_e1) / 10, no_start), k.ts,
                         isNotNull(memory_temp_e1))),
               ('wattshed_power_reading_watts', '{"scope":"gpu","window":"average"}',
                argMaxIf((k.ts, toFloat64(gpu_average_power_uw) / 1000000, no_start), k.ts,
                         isNotNull(gpu_average_power_uw))),
               ('wattshed_power_reading_watts', '{"scope":"gpu","window":"instant"}',
                argMaxIf((k.ts, toFloat64(gpu_instant_power_uw) / 1000000, no_start), k.ts,
                         isNotNull(gpu_instant_power_uw))),
               ('wattshed_power_reading_watts', '{"scope":"module","window":"instant"}',
                argMaxIf((k.ts, toFloat64(module_instant_power_uw) / 1000000, no_start), k.ts,
                         isNotNull(module_instant_power_uw))),
               ('wattshed_power_reading_watts', '{"scope":"memory","window":"instant"}',
                argMaxIf((k.ts, toFloat64(memory_instant_power_uw) / 1000000, no_start), k.ts,
                         isNotNull(memory_instant_power_uw))),
               ('wattshed_power_limit_bound_watts', '{"bound":"requested"}',
                argMaxIf((k.ts, toFloat64(requested_limit_uw) / 1000000, no_start), k.ts,
                         isNotNull(requested_limit_uw))),
               ('wattshed_power_limit_bound_watts', '{"bound":"default"}',
                argMaxIf((k.ts, toFloat64(default_limit_uw) / 1000000, no_start), k.ts,
                         isNotNull(default_limit_uw))),
               ('wattshed_power_limit_bound_watts', '{"bound":"min"}',
                argMaxIf((k.ts, toFloat64(min_limit_uw) / 1000000, no_start), k.ts,
                         isNotNull(min_limit_uw))),
               ('wattshed_power_limit_bound_watts', '{"bound":"max"}',
                argMaxIf((k.ts, toFloat64(max_limit_uw) / 1000000, no_start), k.ts,
                         isNotNull(max_limit_uw))),
               ('wattshed_link_bytes_total', '{"link":"pcie","direction":"transmit"}',
                argMaxIf((k.ts, toFloat64(pcie_transmit_bytes), pcie_transmit_start), k.ts,
                         isNotNull(pcie_transmit_bytes))),
               ('wattshed_link_bytes_total', '{"link":"pcie","direction":"receive"}',
                argMaxIf((k.ts, toFloat64(pcie_receive_bytes), pcie_receive_start), k.ts,
                         isNotNull(pcie_receive_bytes))),
               ('wattshed_link_bytes_total', '{"link":"nvlink","direction":"transmit"}',
                argMaxIf((k.ts, toFloat64(nvlink_transmit_bytes), nvlink_transmit_start), k.ts,
                         isNotNull(nvlink_transmit_bytes))),
               ('wattshed_link_bytes_total', '{"link":"nvlink","direction":"receive"}',
                argMaxIf((k.ts, toFloat64(nvlink_receive_bytes), nvlink_receive_start), k.ts,
                         isNotNull(nvlink_receive_bytes)))
            ] AS every
            FROM detail AS k FINAL
            WHERE toStartOfHour(k.ts) >= now() - INTERVAL 75 MINUTE
              AND k.ts >= now() - INTERVAL 15 MINUTE
            GROUP BY device_id
        )
        ARRAY JOIN every AS said
        WHERE isNotNull(said.3.2)
    )
    GROUP BY device_id, metric, labels
) AS s
LEFT JOIN v_device AS d ON d.device_id = s.device_id;
