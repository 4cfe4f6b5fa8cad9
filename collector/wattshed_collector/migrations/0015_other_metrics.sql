-- Metrics that are not about energy, as they came: one row per sample. Metric first, because that
-- is how they are asked for; within a day the names, senders and labels are long runs of equal
-- values. The labels are one JSON object, always written the same way. A sample that is sent again
-- is the same row.
CREATE TABLE IF NOT EXISTS metric_sample {{ON_CLUSTER}} (
    metric LowCardinality(String),
    sender LowCardinality(String),
    labels LowCardinality(String),
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    value Float64 CODEC(ZSTD(1)),
    kind LowCardinality(String),
    unit LowCardinality(String),
    ingested_at DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta, ZSTD(1))
) ENGINE = {{REPLICATED}}ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMMDD(ts)
ORDER BY (metric, sender, labels, ts)
{{RAW_TTL}}
SETTINGS ttl_only_drop_parts = 1, old_parts_lifetime = 60,
         fsync_after_insert = 1, fsync_part_directory = 1;

-- kind is gauge, counter (it only grows, but for a restart), or empty where nobody said.
-- labels['host.name'] takes one label out.
CREATE OR REPLACE VIEW v_metric {{ON_CLUSTER}} AS
SELECT m.ts AS ts, m.metric AS metric,
       CAST(JSONExtractKeysAndValues(m.labels, 'String'), 'Map(String, String)') AS labels,
       m.value AS value, m.kind AS kind, m.unit AS unit, m.sender AS sender
FROM metric_sample AS m FINAL;
