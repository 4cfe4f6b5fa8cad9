-- What is said of a device beside its ticks: clocks, limits, errors, throughput, seconds of idling.
-- The labels are one JSON object, written the same way each time. There is no table of series:
-- device, metric and labels together take 0.03 bytes of a row's 2.8, because within an hour each
-- series is one run of equal values, and a row that carries them needs no join and no second
-- insert. Ordered by hour first, so that the newest rows are found without reading the day, and
-- so that the times of one device's series, which are the same, lie near one another.

CREATE TABLE IF NOT EXISTS sample {{ON_CLUSTER}} (
    device_id UInt64 CODEC(ZSTD(1)),
    metric LowCardinality(String),
    labels LowCardinality(String),
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    value Float64 CODEC(ZSTD(1)),
    start_ts Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
    ingested_at DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta, ZSTD(1))
) ENGINE = {{REPLICATED}}ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMMDD(ts)
ORDER BY (toStartOfHour(ts), device_id, metric, labels, ts)
{{RAW_TTL}}
SETTINGS ttl_only_drop_parts = 1, old_parts_lifetime = 60,
         fsync_after_insert = 1, fsync_part_directory = 1;

-- JSONExtractString(labels, 'reason') takes one label out.
CREATE OR REPLACE VIEW v_sample {{ON_CLUSTER}} AS
SELECT s.ts AS ts, s.device_id AS device_id, s.metric AS metric, s.labels AS labels,
       s.value AS value, s.start_ts AS start_ts,
       d.device AS device, d.kind AS kind, d.node AS node, d.site AS site, d.tier AS tier,
       d.cluster AS cluster, d.model AS model, d.source AS source
FROM (SELECT * FROM sample FINAL) AS s
LEFT JOIN v_device AS d ON d.device_id = s.device_id;

-- The newest value of each series that was heard of in the last quarter of an hour.
CREATE OR REPLACE VIEW v_sample_latest {{ON_CLUSTER}} AS
SELECT s.newest.1 AS ts, s.device_id AS device_id, s.metric AS metric, s.labels AS labels,
       s.newest.2 AS value, s.newest.3 AS start_ts,
       d.device AS device, d.kind AS kind, d.node AS node, d.site AS site, d.tier AS tier,
       d.cluster AS cluster, d.model AS model, d.source AS source
FROM (
    SELECT device_id, metric, labels,
           argMax((k.ts, value, start_ts), (k.ts, ingested_at)) AS newest
    FROM sample AS k
    WHERE toStartOfHour(k.ts) >= now() - INTERVAL 75 MINUTE AND k.ts >= now() - INTERVAL 15 MINUTE
    GROUP BY device_id, metric, labels
) AS s
LEFT JOIN v_device AS d ON d.device_id = s.device_id;

-- What each device was doing, per hour and class: the increase of its two counters. One that falls,
-- or whose start lies after its previous value, began again at zero. The first value that is heard
-- counts only if its counter began within the hour before: what was counted in the weeks before
-- belongs to no hour. An increase across hours is spread evenly over the time that it took.
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
        SELECT device_id, metric, JSONExtractString(labels, 'class') AS class, t1, increase,
               least(if(restarted AND start > 0, start, before), t1 - 1) AS t0
        FROM (
            SELECT device_id, metric, labels, t1, start, before,
                   value < previous OR start > before AS restarted,
                   multiIf(before > 0 AND NOT restarted, value - previous,
                           before > 0 OR t1 - start <= 3600000, value, 0) AS increase
            FROM (
                SELECT device_id, metric, labels, value, toUnixTimestamp64Milli(ts) AS t1,
                       ifNull(toUnixTimestamp64Milli(start_ts), 0) AS start,
                       lagInFrame(value) OVER w AS previous, lagInFrame(t1) OVER w AS before
                FROM sample FINAL
                WHERE metric IN ('wattshed_activity_seconds_total',
                                 'wattshed_activity_joules_total')
                WINDOW w AS (PARTITION BY device_id, metric, labels ORDER BY ts
                             ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
            )
        )
        WHERE increase > 0
    )
    ARRAY JOIN range(intDiv(t0, 3600000), intDiv(t1 - 1, 3600000) + 1) AS h
) AS p
LEFT JOIN v_device AS d ON d.device_id = p.device_id
GROUP BY t, class, device_id, device, kind, node, site, tier, cluster, model, source;
