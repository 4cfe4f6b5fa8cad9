-- What was produced, set against the joules that it took. Counts are spread over the time in which
-- they grew and computed again from the readings for the hours that news touches, as charges are.

-- Ordered by the hour, so that an hour is computed again without a look at what lies around it.
CREATE OR REPLACE TABLE outcome {{ON_CLUSTER}} (
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    workload_id UInt64 CODEC(ZSTD(1)),
    kind LowCardinality(String),
    source String CODEC(ZSTD(1)),
    model LowCardinality(String),
    start_ts Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
    total Float64 CODEC(ZSTD(1)),
    ingested_at DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta, ZSTD(1))
) ENGINE = {{REPLICATED}}ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMMDD(ts)
ORDER BY (toStartOfHour(ts), workload_id, kind, source, ts)
{{RAW_TTL}}
SETTINGS ttl_only_drop_parts = 1, old_parts_lifetime = 60,
         fsync_after_insert = 1, fsync_part_directory = 1
AS SELECT ts, workload_id, kind, source, model, start_ts, total, ingested_at FROM outcome FINAL;

-- The first and the last reading of each counter, by the hour and by the day (span in seconds): how
-- an hour finds its neighbours. A reading is never taken back, so both are only ever widened.
CREATE TABLE IF NOT EXISTS outcome_reach {{ON_CLUSTER}} (
    span UInt32,
    hour DateTime('UTC'),
    workload_id UInt64,
    kind LowCardinality(String),
    source String,
    first SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    last SimpleAggregateFunction(max, DateTime64(3, 'UTC'))
) ENGINE = {{REPLICATED}}AggregatingMergeTree
PARTITION BY toYYYYMM(hour) ORDER BY (span, hour, workload_id, kind, source)
{{HOUR_TTL}}
SETTINGS ttl_only_drop_parts = 1, old_parts_lifetime = 60,
         fsync_after_insert = 1, fsync_part_directory = 1;

-- By the minute and by the hour. A row of kind '' is a workload's energy at that time, NULL where it
-- has none any more; a row of another kind what it produced of that, 0 where it did not after all.
CREATE TABLE IF NOT EXISTS outcome_1m {{ON_CLUSTER}} (
    t DateTime('UTC') CODEC(Delta, ZSTD(1)),
    workload_id UInt64 CODEC(ZSTD(1)),
    kind LowCardinality(String),
    model LowCardinality(String),
    count Float64 CODEC(ZSTD(1)),
    active_joules Nullable(Float64) CODEC(ZSTD(1)),
    loaded_joules Nullable(Float64) CODEC(ZSTD(1)),
    before_joules Nullable(Float64) CODEC(ZSTD(1)),
    uncertainty_joules Nullable(Float64) CODEC(ZSTD(1)),
    hardware LowCardinality(String),
    site LowCardinality(String),
    version UInt64 CODEC(ZSTD(1))
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version)
PARTITION BY toYYYYMM(t) ORDER BY (t, workload_id, kind, model)
{{MINUTE_TTL}}
SETTINGS ttl_only_drop_parts = 1, old_parts_lifetime = 60,
         fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS outcome_1h {{ON_CLUSTER}} (
    t DateTime('UTC') CODEC(Delta, ZSTD(1)),
    workload_id UInt64 CODEC(ZSTD(1)),
    kind LowCardinality(String),
    model LowCardinality(String),
    count Float64 CODEC(ZSTD(1)),
    active_joules Nullable(Float64) CODEC(ZSTD(1)),
    loaded_joules Nullable(Float64) CODEC(ZSTD(1)),
    before_joules Nullable(Float64) CODEC(ZSTD(1)),
    uncertainty_joules Nullable(Float64) CODEC(ZSTD(1)),
    facility_joules Nullable(Float64) CODEC(ZSTD(1)),
    cost Nullable(Float64) CODEC(ZSTD(1)),
    currency LowCardinality(String),
    hardware LowCardinality(String),
    site LowCardinality(String),
    version UInt64 CODEC(ZSTD(1))
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version)
PARTITION BY toYYYYMM(t) ORDER BY (t, workload_id, kind, model)
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- What each workload ever produced, and which models it says did that.
CREATE TABLE IF NOT EXISTS outcome_kind {{ON_CLUSTER}} (
    workload_id UInt64,
    kind LowCardinality(String),
    model LowCardinality(String),
    is_made Bool,
    version UInt64
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version) ORDER BY (workload_id, kind, model)
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- A mark of which only what was produced is news.
ALTER TABLE dirty {{ON_CLUSTER}} ADD COLUMN IF NOT EXISTS only_outcomes UInt8 DEFAULT 0 AFTER hour;

INSERT INTO outcome_reach (span, hour, workload_id, kind, source, first, last)
SELECT of.1, of.2, workload_id, kind, source, min(ts), max(ts)
FROM outcome ARRAY JOIN [(3600, toStartOfHour(ts)), (86400, toStartOfDay(ts))] AS of
GROUP BY of, workload_id, kind, source;

INSERT INTO dirty (hour, only_outcomes) SELECT DISTINCT toStartOfHour(ts), 1 FROM outcome;

-- One row per time, workload and kind of outcome in which the workload was charged or produced. The
-- joules of a workload stand in the rows of each of its kinds: choose one kind, or sum counts alone.
CREATE OR REPLACE VIEW v_outcome_1m {{ON_CLUSTER}} AS
SELECT r.t AS t, r.workload_id AS workload_id, w.key AS workload_key, w.name AS workload,
       w.kind AS workload_kind, w.instance AS instance, w.namespace AS namespace, w.team AS team,
       w.owner AS owner, w.project AS project, w.cost_center AS cost_center, w.queue AS queue,
       multiIf(w.model != '', toString(w.model), length(k.models) > 1, 'several',
               k.models[1]) AS ai_model,
       w.precision AS precision, w.batch_class AS batch_class, w.phase AS phase,
       w.cluster AS cluster, r.site AS site, r.hardware AS hardware, r.outcome AS outcome,
       r.count AS count, r.active_joules AS active_joules, r.loaded_joules AS loaded_joules,
       r.before_joules AS before_joules, r.uncertainty_joules AS uncertainty_joules,
       multiIf(r.outcome = '', 'no_outcome', isNull(r.loaded_joules), 'no_energy', 'ok') AS state
FROM (
    SELECT t, workload_id, outcome, sum(made) AS count, max(active) AS active_joules,
           max(loaded) AS loaded_joules, max(before) AS before_joules,
           max(doubt) AS uncertainty_joules, max(hw) AS hardware, max(at_site) AS site
    FROM (
        SELECT e.t AS t, e.workload_id AS workload_id,
               arrayJoin(if(empty(m.kinds), [''], m.kinds)) AS outcome, 0. AS made,
               e.active_joules AS active, e.loaded_joules AS loaded, e.before_joules AS before,
               e.uncertainty_joules AS doubt, toString(e.hardware) AS hw,
               toString(e.site) AS at_site
        FROM (
            SELECT t, workload_id, active_joules, loaded_joules, before_joules, uncertainty_joules,
                   hardware, site
            FROM outcome_1m FINAL WHERE kind = '' AND isNotNull(loaded_joules)
        ) AS e
        LEFT JOIN (
            SELECT workload_id, groupUniqArray(toString(kind)) AS kinds
            FROM outcome_kind FINAL WHERE is_made GROUP BY workload_id
        ) AS m ON m.workload_id = e.workload_id
        UNION ALL
        SELECT t, workload_id, toString(kind), count, NULL, NULL, NULL, NULL, toString(hardware),
               toString(site)
        FROM outcome_1m FINAL WHERE kind != '' AND count != 0
    )
    GROUP BY t, workload_id, outcome
) AS r
LEFT JOIN (SELECT * FROM workload FINAL) AS w ON w.workload_id = r.workload_id
LEFT JOIN (
    SELECT workload_id, groupUniqArrayIf(toString(model), model != '') AS models
    FROM outcome_kind FINAL WHERE is_made GROUP BY workload_id
) AS k ON k.workload_id = r.workload_id;

CREATE OR REPLACE VIEW v_outcome_1h {{ON_CLUSTER}} AS
SELECT r.t AS t, r.workload_id AS workload_id, w.key AS workload_key, w.name AS workload,
       w.kind AS workload_kind, w.instance AS instance, w.namespace AS namespace, w.team AS team,
       w.owner AS owner, w.project AS project, w.cost_center AS cost_center, w.queue AS queue,
       multiIf(w.model != '', toString(w.model), length(k.models) > 1, 'several',
               k.models[1]) AS ai_model,
       w.precision AS precision, w.batch_class AS batch_class, w.phase AS phase,
       w.cluster AS cluster, r.site AS site, r.hardware AS hardware, r.outcome AS outcome,
       r.count AS count, r.active_joules AS active_joules, r.loaded_joules AS loaded_joules,
       r.before_joules AS before_joules, r.uncertainty_joules AS uncertainty_joules,
       r.facility_joules AS facility_joules, r.cost AS cost, r.currency AS currency,
       multiIf(r.outcome = '', 'no_outcome', isNull(r.loaded_joules), 'no_energy', 'ok') AS state
FROM (
    SELECT t, workload_id, outcome, sum(made) AS count, max(active) AS active_joules,
           max(loaded) AS loaded_joules, max(before) AS before_joules,
           max(doubt) AS uncertainty_joules, max(facility) AS facility_joules, max(paid) AS cost,
           max(paid_in) AS currency, max(hw) AS hardware, max(at_site) AS site
    FROM (
        SELECT e.t AS t, e.workload_id AS workload_id,
               arrayJoin(if(empty(m.kinds), [''], m.kinds)) AS outcome, 0. AS made,
               e.active_joules AS active, e.loaded_joules AS loaded, e.before_joules AS before,
               e.uncertainty_joules AS doubt, e.facility_joules AS facility, e.cost AS paid,
               toString(e.currency) AS paid_in, toString(e.hardware) AS hw,
               toString(e.site) AS at_site
        FROM (
            SELECT t, workload_id, active_joules, loaded_joules, before_joules, uncertainty_joules,
                   facility_joules, cost, currency, hardware, site
            FROM outcome_1h FINAL WHERE kind = '' AND isNotNull(loaded_joules)
        ) AS e
        LEFT JOIN (
            SELECT workload_id, groupUniqArray(toString(kind)) AS kinds
            FROM outcome_kind FINAL WHERE is_made GROUP BY workload_id
        ) AS m ON m.workload_id = e.workload_id
        UNION ALL
        SELECT t, workload_id, toString(kind), count, NULL, NULL, NULL, NULL, NULL, NULL, '',
               toString(hardware), toString(site)
        FROM outcome_1h FINAL WHERE kind != '' AND count != 0
    )
    GROUP BY t, workload_id, outcome
) AS r
LEFT JOIN (SELECT * FROM workload FINAL) AS w ON w.workload_id = r.workload_id
LEFT JOIN (
    SELECT workload_id, groupUniqArrayIf(toString(model), model != '') AS models
    FROM outcome_kind FINAL WHERE is_made GROUP BY workload_id
) AS k ON k.workload_id = r.workload_id;

-- What was produced, by the minute.
CREATE OR REPLACE VIEW v_outcome {{ON_CLUSTER}} AS
SELECT t AS ts, outcome, count, workload_key, workload, workload_kind, namespace, team, project,
       ai_model, precision
FROM v_outcome_1m WHERE count != 0;
