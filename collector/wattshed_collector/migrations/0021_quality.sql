-- How well a model did, by whom its users ask: scores, and among them those that it was calibrated
-- with. Said again, the same measurement replaces itself; a score of NULL takes it back.
CREATE TABLE IF NOT EXISTS quality {{ON_CLUSTER}} (
    at DateTime64(3, 'UTC'),
    kind LowCardinality(String),
    ai_model LowCardinality(String),
    precision LowCardinality(String),
    batch_class LowCardinality(String),
    hardware LowCardinality(String),
    workload String,
    metric LowCardinality(String),
    score Nullable(Float64),
    better LowCardinality(String),
    samples Nullable(UInt64),
    note String,
    version UInt64
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version)
ORDER BY (metric, ai_model, precision, batch_class, hardware, workload, kind, at)
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- What collectors are told to call drifted and stale; that of the one started last counts.
CREATE TABLE IF NOT EXISTS quality_limit {{ON_CLUSTER}} (
    name LowCardinality(String),
    value Float64,
    version UInt64
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version) ORDER BY name
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- The latest score of each key, calibrations among them.
CREATE OR REPLACE VIEW v_quality {{ON_CLUSTER}} AS
SELECT ai_model, precision, batch_class, hardware, workload, metric, said.1 AS score,
       said.2 AS better, latest AS at, said.3 AS kind, said.4 AS samples, said.5 AS note,
       measurements
FROM (
    SELECT ai_model, precision, batch_class, hardware, workload, metric,
           argMax((assumeNotNull(score), toString(better), toString(kind), samples, note),
                  (quality.at, version)) AS said,
           max(quality.at) AS latest, count() AS measurements
    FROM quality FINAL WHERE isNotNull(score)
    GROUP BY ai_model, precision, batch_class, hardware, workload, metric
);

-- Each key's calibration against its latest score since. ``drift_ratio`` is how much worse that is,
-- of the score at calibration, 0 where it is better; ``change_ratio`` has the sign of the change.
CREATE OR REPLACE VIEW v_numerics {{ON_CLUSTER}} AS
SELECT ai_model, precision, batch_class, hardware, workload, metric, better, calibrated_at,
       calibration_score, latest_at, latest_score, scores_since,
       if(isNull(latest_score) OR isNull(calibration_score) OR calibration_score = 0, NULL,
          (latest_score - calibration_score) / abs(calibration_score)) AS change_ratio,
       if(isNull(change_ratio), NULL,
          greatest(0, if(better = 'higher', -change_ratio, change_ratio))) AS drift_ratio,
       (now_ms - toUnixTimestamp64Milli(calibrated_at)) / 86400000 AS days_since_calibration,
       multiIf(isNull(calibrated_at), 'uncalibrated',
               ifNull(if(better = 'higher', calibration_score - latest_score,
                         latest_score - calibration_score)
                      > most_drift * abs(calibration_score), 0), 'drifted',
               days_since_calibration > most_days, 'stale', 'ok') AS state
FROM (
    SELECT ai_model, precision, batch_class, hardware, workload, metric,
           toUnixTimestamp64Milli(now64(3)) AS now_ms,
           any(drift_limit) AS most_drift, any(days_limit) AS most_days,
           maxOrNullIf(q.at, kind = 'calibration') AS calibrated_at,
           argMaxOrNullIf(assumeNotNull(score), (q.at, version), kind = 'calibration')
               AS calibration_score,
           argMax(toString(q.better), (q.at, version)) AS better,
           arrayFilter(s -> isNull(calibrated_at) OR s.1 > assumeNotNull(calibrated_at),
                       arraySort(groupArrayIf((q.at, version, assumeNotNull(score)),
                                              kind = 'score'))) AS since,
           length(since) AS scores_since,
           if(empty(since), NULL, since[-1].1) AS latest_at,
           if(empty(since), NULL, since[-1].3) AS latest_score
    FROM quality AS q FINAL
    CROSS JOIN (
        SELECT sumIf(value, name = 'drift_ratio') AS drift_limit,
               sumIf(value, name = 'calibration_days') AS days_limit
        FROM quality_limit FINAL
    ) AS l
    WHERE isNotNull(score)
    GROUP BY ai_model, precision, batch_class, hardware, workload, metric
);

INSERT INTO quality_limit (name, value, version)
SELECT of.1, of.2, 0 FROM (SELECT arrayJoin([('drift_ratio', 0.01), ('calibration_days', 30.)]) AS of);

-- What prompt tokens that came from a cache would have taken, by workload and hour, so that any sum
-- is one of hours. Where a workload only fills, its active joules per computed prompt token (method
-- prefill). Elsewhere the joules of filling are not known apart from those of decoding (range):
-- between none of them and all of them. ``blended_joules`` is no truth about filling: all computed
-- tokens, in and out, are taken to be alike.
CREATE OR REPLACE VIEW v_cache_effect {{ON_CLUSTER}} AS
SELECT t, workload_id, workload_key, workload, workload_kind, instance, namespace, team, owner,
       project, cost_center, queue, ai_model, precision, batch_class, phase, cluster, site, hardware,
       cached_tokens, computed_tokens, output_tokens, active_joules,
       multiIf(phase = 'decode' OR computed_tokens = 0 OR isNull(active_joules), 'unknown',
               phase = 'prefill', 'prefill', 'range') AS method,
       if(method = 'unknown', NULL, cached_tokens * active_joules / computed_tokens)
           AS most_avoided_joules,
       if(method = 'range', 0, most_avoided_joules) AS least_avoided_joules,
       if(method = 'range', cached_tokens * active_joules / (computed_tokens + output_tokens), NULL)
           AS blended_joules
FROM (
    SELECT o.t AS t, o.workload_id AS workload_id, any(o.workload_key) AS workload_key,
           any(o.workload) AS workload, any(o.workload_kind) AS workload_kind,
           any(o.instance) AS instance, any(o.namespace) AS namespace, any(o.team) AS team,
           any(o.owner) AS owner, any(o.project) AS project, any(o.cost_center) AS cost_center,
           any(o.queue) AS queue, any(o.ai_model) AS ai_model, any(o.precision) AS precision,
           any(o.batch_class) AS batch_class, any(o.phase) AS phase, any(o.cluster) AS cluster,
           max(o.site) AS site, max(o.hardware) AS hardware,
           sumIf(o.count, o.outcome = 'token_in_cached') AS cached_tokens,
           sumIf(o.count, o.outcome = 'token_in') AS computed_tokens,
           sumIf(o.count, o.outcome = 'token_out') AS output_tokens,
           max(o.active_joules) AS active_joules
    FROM v_outcome_1h AS o
    WHERE o.outcome IN ('token_in', 'token_in_cached', 'token_out')
    GROUP BY t, workload_id
    HAVING cached_tokens > 0
);
