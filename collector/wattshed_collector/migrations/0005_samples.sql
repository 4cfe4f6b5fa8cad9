-- What is said of a device beside its ticks: clocks, limits, errors, throughput, seconds of idling.
-- The labels are one JSON object, written the same way each time. There is no table of series:
-- device, metric and labels together take 0.03 bytes of a row's 3.1 (bench/samples.py --hours 6),
-- because within an hour each series is one run of equal values, and a row that carries them needs
-- no join and no second insert. Ordered by hour first, so that the newest rows are found without reading the day, and
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

-- Per hour the first, the last and the highest value of the counters of activity, for every start
-- of theirs: an hour of seconds in one row. min and max are idempotent, so duplicates are harmless.
-- Of two values at one instant, such as a correction, the higher counts, in the first as in the
-- last: counters rise. That is why the first holds its value negated.
CREATE TABLE IF NOT EXISTS activity_hour {{ON_CLUSTER}} (
    hour DateTime('UTC'),
    device_id UInt64,
    metric LowCardinality(String),
    labels LowCardinality(String),
    start_ms Int64,
    first SimpleAggregateFunction(min, Tuple(ms Int64, negated Float64)),
    last SimpleAggregateFunction(max, Tuple(ms Int64, value Float64)),
    highest SimpleAggregateFunction(max, Float64)
) ENGINE = {{REPLICATED}}AggregatingMergeTree
PARTITION BY toYYYYMM(hour) ORDER BY (hour, device_id, metric, labels, start_ms)
{{HOUR_TTL}}
SETTINGS ttl_only_drop_parts = 1, old_parts_lifetime = 60,
         fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_activity_hour {{ON_CLUSTER}} TO activity_hour AS
SELECT toStartOfHour(ts) AS hour, device_id, metric, labels,
       ifNull(toUnixTimestamp64Milli(start_ts), 0) AS start_ms,
       min((toUnixTimestamp64Milli(ts), -value)) AS first,
       max((toUnixTimestamp64Milli(ts), value)) AS last,
       max(value) AS highest
FROM sample
WHERE metric IN ('wattshed_activity_seconds_total', 'wattshed_activity_joules_total')
GROUP BY hour, device_id, metric, labels, start_ms;

-- What each device was doing, per hour and class: the increase of its two counters. One whose start
-- lies after its previous value began again at zero, and so did one without a start that falls.
-- Without a start that stays inexact: two falls within one hour count as one, and where the new
-- counter has overtaken the old one's top within the hour, what it counted up to there is lost. Our
-- exporter tells the start, pushed and pulled. The first value that is heard counts only if its
-- counter began within the hour before: what was counted in the weeks before belongs to no hour. An
-- increase across hours is spread evenly over the time that it took. A counter that comes both with
-- its start and without it is taken as it comes with it.
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
        SELECT device_id, metric, JSONExtractString(labels, 'class') AS class,
               g.1 AS t0, g.2 AS t1, g.3 AS increase
        FROM (
            SELECT device_id, metric, labels,
                   [(f.1, l.1, if(start_ms > 0, l.2 - f.2, top - f.2 + if(l.2 < top, l.2, 0))),
                    (least(if(start_ms > before.1, start_ms, before.1), f.1 - 1), f.1,
                     multiIf(before.1 = 0, if(f.1 - start_ms <= 3600000, f.2, 0),
                             start_ms > before.1, f.2,
                             f.2 < before.2 AND (start_ms = 0 OR start_ms != before.3), f.2,
                             f.2 - before.2))] AS grown
            FROM (
                SELECT *, lagInFrame((l.1, l.2, start_ms)) OVER w AS before
                FROM (
                    SELECT *, max(start_ms) OVER (PARTITION BY device_id, metric, labels, hour)
                               AS known_start
                    FROM (
                        SELECT hour, device_id, metric, labels, start_ms,
                               (min(first).1, -min(first).2) AS f, max(last) AS l,
                               max(highest) AS top
                        FROM activity_hour GROUP BY hour, device_id, metric, labels, start_ms
                    )
                )
                WHERE start_ms > 0 OR known_start = 0
                WINDOW w AS (PARTITION BY device_id, metric, labels ORDER BY f.1
                             ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
            )
        )
        ARRAY JOIN grown AS g
        WHERE increase > 0
    )
    ARRAY JOIN range(intDiv(t0, 3600000), intDiv(t1 - 1, 3600000) + 1) AS h
) AS p
LEFT JOIN v_device AS d ON d.device_id = p.device_id
GROUP BY t, class, device_id, device, kind, node, site, tier, cluster, model, source;
