-- Power limits as they changed, and more of what is known of an advice.

-- bound: requested (what somebody set, as a source reads it now and then) or enforced (as the device
-- was described when it was found). A row for each change, at most one a minute.
CREATE TABLE IF NOT EXISTS device_limit {{ON_CLUSTER}} (
    device_id UInt64,
    bound LowCardinality(String),
    since_ts DateTime64(3, 'UTC'),
    limit_uw UInt64,
    version DateTime64(6, 'UTC') DEFAULT now64(6)
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version) ORDER BY (device_id, bound, since_ts)
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- Which limit was in force from when until when: what was requested where a source ever said that of
-- the device, else what was enforced. Before the first row nobody knows it.
CREATE OR REPLACE VIEW v_power_limit {{ON_CLUSTER}} AS
SELECT l.device_id AS device_id, d.key AS device, toString(d.node) AS node,
       toString(d.site) AS site, toString(d.model) AS model, l.bound AS bound,
       l.since_ts AS t, l.until AS until, l.limit_uw / 1e6 AS limit_watts
FROM (
    SELECT device_id, bound, since_ts, limit_uw,
           leadInFrame(since_ts, 1, toDateTime64('2105-01-01 00:00:00', 3, 'UTC')) OVER (
               PARTITION BY device_id ORDER BY since_ts
               ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS until
    FROM (
        SELECT device_id, bound, since_ts, limit_uw,
               lagInFrame(limit_uw, 1, 0) OVER (
                   PARTITION BY device_id ORDER BY since_ts
                   ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS before
        FROM (
            SELECT device_id, toString(k.bound) AS bound, since_ts, limit_uw,
                   max(k.bound = 'requested') OVER (PARTITION BY device_id) AS is_asked
            FROM device_limit AS k FINAL WHERE limit_uw > 0
        )
        WHERE (bound = 'requested') = is_asked
    )
    WHERE limit_uw != before
) AS l
LEFT JOIN (SELECT * FROM device FINAL) AS d ON d.device_id = l.device_id;

-- By what grams and money were computed: how their factor is known, who said it, and the oldest time
-- at which that was said of the hours that were looked at (NULL: not known). units_per_hour: how many
-- outcomes were to be left in an hour, beside how many of the same workloads were not, and what each of
-- these took (NULL: all of them are the same).
ALTER TABLE advice {{ON_CLUSTER}}
    ADD COLUMN IF NOT EXISTS units_per_hour Nullable(Float64) AFTER joules_per_unit,
    ADD COLUMN IF NOT EXISTS other_units_per_hour Nullable(Float64) AFTER units_per_hour,
    ADD COLUMN IF NOT EXISTS other_joules_per_unit Nullable(Float64) AFTER other_units_per_hour,
    ADD COLUMN IF NOT EXISTS carbon_method LowCardinality(String) AFTER g_per_month,
    ADD COLUMN IF NOT EXISTS carbon_source String AFTER carbon_method,
    ADD COLUMN IF NOT EXISTS carbon_said_ts Nullable(DateTime('UTC')) AFTER carbon_source,
    ADD COLUMN IF NOT EXISTS cost_source String AFTER currency,
    ADD COLUMN IF NOT EXISTS cost_said_ts Nullable(DateTime('UTC')) AFTER cost_source;

-- said_by is who was authenticated, claimed_by what the caller wrote of himself.
ALTER TABLE advice_state {{ON_CLUSTER}}
    ADD COLUMN IF NOT EXISTS claimed_by String AFTER said_by,
    ADD COLUMN IF NOT EXISTS g_per_month Nullable(Float64) AFTER joules_per_unit;

CREATE OR REPLACE VIEW v_advice {{ON_CLUSTER}} AS
SELECT a.id AS id, toString(a.kind) AS kind, a.subject AS subject, a.title AS title,
       a.reason AS reason, toString(a.site) AS site, toString(a.team) AS team,
       toString(a.owner) AS owner,
       if(state = 'done', s.promised, a.joules_per_month) AS joules_per_month,
       a.are_facility_joules AS are_facility_joules, a.cost_per_month AS cost_per_month,
       toString(a.currency) AS currency, a.cost_source AS cost_source,
       a.cost_said_ts AS cost_said,
       if(state = 'done', s.promised_g, a.g_per_month) AS g_per_month,
       if(isNull(g_per_month), '', 'location-based') AS carbon_scope,
       toString(a.carbon_method) AS carbon_method, a.carbon_source AS carbon_source,
       a.carbon_said_ts AS carbon_said, a.confidence AS confidence,
       toString(a.effort) AS effort, a.evidence AS evidence, toString(a.measure) AS measure,
       if(state = 'done', s.per_unit, a.joules_per_unit) AS joules_per_unit,
       a.units_per_hour AS units_per_hour, a.other_units_per_hour AS other_units_per_hour,
       a.other_joules_per_unit AS other_joules_per_unit,
       a.workload AS workload, toString(a.outcome) AS outcome, a.numbers AS numbers,
       a.found_ts AS found, a.expires_ts AS expires,
       multiIf(s.said NOT IN ('', 'open'), s.said, a.expires_ts <= now(), 'expired', 'open')
           AS state,
       s.at AS state_at, s.said_by AS said_by, s.claimed_by AS claimed_by, s.note AS note
FROM (SELECT * FROM advice FINAL) AS a
LEFT JOIN (
    SELECT id, argMax(toString(state), at_ts) AS said, max(at_ts) AS at,
           argMax(said_by, at_ts) AS said_by, argMax(claimed_by, at_ts) AS claimed_by,
           argMax(note, at_ts) AS note, argMax(joules_per_month, at_ts) AS promised,
           argMax(joules_per_unit, at_ts) AS per_unit,
           argMax(tuple(g_per_month), at_ts).1 AS promised_g
    FROM advice_state FINAL GROUP BY id
) AS s ON s.id = a.id;
