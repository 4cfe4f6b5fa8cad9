-- Objectives for joules per outcome, and what became of them by the minute and by the hour.

-- Definitions, as the file of one collector says them. A row counts under the revision of its
-- definition alone: a change of what is promised, or of whom, makes another one.
CREATE TABLE IF NOT EXISTS slo {{ON_CLUSTER}} (
    name String,
    owner String,
    description String,
    outcome LowCardinality(String),
    match Map(String, String),
    target_joules Float64,
    basis LowCardinality(String),
    sli LowCardinality(String),
    objective_ratio Float64,
    window_days UInt16,
    least_outcomes Float64,
    burn Array(Tuple(Float64, UInt32, UInt32, String)),
    revision UInt64,
    is_active Bool,
    version UInt64
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version) ORDER BY name
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- Whom each objective is about, by what a workload is for good. One that is not done yet is news:
-- the hours in which the workload was charged or produced are to be computed.
CREATE TABLE IF NOT EXISTS slo_member {{ON_CLUSTER}} (
    slo String,
    workload_id UInt64,
    is_member Bool,
    is_done Bool,
    version UInt64
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version) ORDER BY (slo, workload_id)
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- From which hour on everything is computed under a revision; done: further back there is nothing.
CREATE TABLE IF NOT EXISTS slo_reach {{ON_CLUSTER}} (
    slo String,
    revision UInt64,
    since DateTime('UTC'),
    is_done Bool,
    version UInt64
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version) ORDER BY slo
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- Outcomes that have energy and their joules; of them those of minutes above the target, and joules
-- of minutes without outcomes. Outcomes without energy stand apart and are neither good nor bad.
CREATE TABLE IF NOT EXISTS slo_1m {{ON_CLUSTER}} (
    t DateTime('UTC') CODEC(Delta, ZSTD(1)),
    slo LowCardinality(String),
    revision UInt64 CODEC(ZSTD(1)),
    outcomes Float64 CODEC(ZSTD(1)),
    bad_outcomes Float64 CODEC(ZSTD(1)),
    unmeasured_outcomes Float64 CODEC(ZSTD(1)),
    joules Float64 CODEC(ZSTD(1)),
    idle_joules Float64 CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1))
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version)
PARTITION BY toYYYYMM(t) ORDER BY (t, slo)
{{MINUTE_TTL}}
SETTINGS ttl_only_drop_parts = 1, old_parts_lifetime = 60,
         fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS slo_1h {{ON_CLUSTER}} (
    t DateTime('UTC') CODEC(Delta, ZSTD(1)),
    slo LowCardinality(String),
    revision UInt64 CODEC(ZSTD(1)),
    outcomes Float64 CODEC(ZSTD(1)),
    bad_outcomes Float64 CODEC(ZSTD(1)),
    unmeasured_outcomes Float64 CODEC(ZSTD(1)),
    joules Float64 CODEC(ZSTD(1)),
    idle_joules Float64 CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1))
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version)
PARTITION BY toYYYYMM(t) ORDER BY (t, slo)
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE OR REPLACE VIEW v_slo {{ON_CLUSTER}} AS
SELECT name AS slo, owner, description, outcome, match, target_joules AS target_joules_per_outcome,
       basis, sli, objective_ratio, window_days, least_outcomes, burn, revision
FROM slo FINAL WHERE is_active;

CREATE OR REPLACE VIEW v_slo_1h {{ON_CLUSTER}} AS
SELECT r.t AS t, d.name AS slo, d.owner AS owner, d.outcome AS outcome, r.outcomes AS outcomes,
       r.bad_outcomes AS bad_outcomes, r.unmeasured_outcomes AS unmeasured_outcomes,
       r.joules AS joules, r.idle_joules AS idle_joules,
       d.target_joules * r.outcomes AS allowed_joules,
       if(r.outcomes > 0, r.joules / r.outcomes, NULL) AS joules_per_outcome
FROM (
    SELECT t, slo, revision, outcomes, bad_outcomes, unmeasured_outcomes, joules, idle_joules
    FROM slo_1h FINAL WHERE outcomes != 0 OR unmeasured_outcomes != 0 OR joules != 0
) AS r
INNER JOIN (SELECT * FROM slo FINAL WHERE is_active) AS d
    ON d.name = r.slo AND d.revision = r.revision;

-- Each objective with its windows in seconds, ascending, and when each began. They end two minutes
-- before what is charged, at a full minute: until its counter is read again, what was made in the
-- newest minute is not known, and its joules would look dear. Windows of more than six hours begin
-- at a full hour.
CREATE OR REPLACE VIEW v_slo_now {{ON_CLUSTER}} AS
SELECT toStartOfMinute(least(now('UTC'), toDateTime(max(settled), 'UTC')) - toIntervalMinute(2))
           AS at
FROM ledger_state FINAL WHERE name = 'charges';

CREATE OR REPLACE VIEW v_slo_window {{ON_CLUSTER}} AS
SELECT s.*, (SELECT at FROM v_slo_now) AS at,
       arraySort(arrayDistinct(arrayConcat(s.burn.2, s.burn.3,
           [toUInt32(s.window_days * 86400)]))) AS windows,
       arrayMap(w -> if(w <= 21600, at - toIntervalSecond(w),
                        toStartOfHour(at - toIntervalSecond(w))), windows) AS starts,
       h.is_done AND h.revision = s.revision AS is_done,
       if(h.revision = s.revision, h.since, at) AS since
FROM (SELECT * FROM slo FINAL WHERE is_active) AS s
LEFT JOIN (SELECT slo, revision, since, is_done FROM slo_reach FINAL) AS h ON h.slo = s.name;

-- One row per objective and pair of windows; what is of its whole window stands in each of them.
CREATE OR REPLACE VIEW v_slo_burn {{ON_CLUSTER}} AS
SELECT q.name AS slo, q.owner AS owner, q.outcome AS outcome, q.sli AS sli,
       pair.4 AS severity, pair.1 AS factor, pair.2 AS long_seconds, pair.3 AS short_seconds,
       q.burns[indexOf(q.windows, pair.2) AS long_at] AS burn_long,
       q.burns[indexOf(q.windows, pair.3)] AS burn_short,
       ifNull(burn_long > factor AND burn_short > factor, false) AS is_burning,
       multiIf(NOT q.is_done AND q.starts[long_at] < q.since, 'computing',
               q.made[long_at] = 0 AND q.unmeasured[long_at] > 0, 'no_energy',
               q.made[long_at] = 0 AND q.energy[long_at] > 0, 'no_outcomes',
               q.made[long_at] = 0, 'no_data',
               isNull(burn_long) OR isNull(burn_short), 'low_traffic',
               is_burning, 'burning', 'ok') AS state,
       if(q.sli = 'good_outcomes', q.outcome, 'J') AS budget_unit,
       (1 - q.objective_ratio) * if(q.sli = 'good_outcomes', outcomes, allowed_joules)
           AS budget_total,
       if(q.sli = 'good_outcomes', bad_outcomes, greatest(0, joules - allowed_joules))
           AS budget_spent,
       if(outcomes = 0 OR outcomes < q.least_outcomes, NULL, 1 - budget_spent / budget_total)
           AS budget_left_ratio,
       multiIf(NOT q.is_done AND q.starts[-1] < q.since, 'computing', outcomes = 0, 'no_outcomes',
               isNull(budget_left_ratio), 'low_traffic', budget_left_ratio < 0, 'spent', 'ok')
           AS budget_state,
       greatest(q.starts[-1], q.since) AS budget_since, q.at AS budget_until,
       q.made[-1] AS outcomes, q.bad[-1] AS bad_outcomes, q.unmeasured[-1] AS unmeasured_outcomes,
       q.energy[-1] AS joules, q.idle[-1] AS idle_joules,
       q.target_joules * outcomes AS allowed_joules,
       if(outcomes > 0, joules / outcomes, NULL) AS joules_per_outcome
FROM (
    SELECT d.*,
           arrayMap(i -> arraySum(p -> if(p.1 <= i, p.2, 0), r.parts), arrayEnumerate(d.windows))
               AS made,
           arrayMap(i -> arraySum(p -> if(p.1 <= i, p.3, 0), r.parts), arrayEnumerate(d.windows))
               AS bad,
           arrayMap(i -> arraySum(p -> if(p.1 <= i, p.4, 0), r.parts), arrayEnumerate(d.windows))
               AS unmeasured,
           arrayMap(i -> arraySum(p -> if(p.1 <= i, p.5, 0), r.parts), arrayEnumerate(d.windows))
               AS energy,
           arrayMap(i -> arraySum(p -> if(p.1 <= i, p.6, 0), r.parts), arrayEnumerate(d.windows))
               AS idle,
           arrayMap((n, b, j) -> if(n = 0 OR n < d.least_outcomes, NULL,
                        if(d.sli = 'good_outcomes', b / n,
                           greatest(0, j / (d.target_joules * n) - 1)) / (1 - d.objective_ratio)),
                    made, bad, energy) AS burns
    FROM (SELECT * FROM v_slo_window) AS d
    LEFT JOIN (
        SELECT slo, groupArray((within, n, b, u, j, i)) AS parts
        FROM (
            SELECT v.slo AS slo, arrayFirstIndex(s -> v.t >= s, w.starts) AS within,
                   sum(v.outcomes) AS n, sum(v.bad_outcomes) AS b,
                   sum(v.unmeasured_outcomes) AS u, sum(v.joules) AS j, sum(v.idle_joules) AS i
            FROM (
                SELECT t, slo, revision, outcomes, bad_outcomes, unmeasured_outcomes, joules,
                       idle_joules
                FROM slo_1h FINAL
                WHERE t >= toStartOfHour((SELECT at FROM v_slo_now)
                          - toIntervalDay((SELECT max(window_days) FROM slo FINAL WHERE is_active)))
                  AND t < toStartOfHour((SELECT at FROM v_slo_now) - toIntervalHour(6))
                UNION ALL
                SELECT t, slo, revision, outcomes, bad_outcomes, unmeasured_outcomes, joules,
                       idle_joules
                FROM slo_1m FINAL
                WHERE t >= toStartOfHour((SELECT at FROM v_slo_now) - toIntervalHour(6))
                  AND t < (SELECT at FROM v_slo_now)
            ) AS v
            INNER JOIN (
                SELECT name, revision,
                       arrayMap(w -> if(w <= 21600, at - toIntervalSecond(w),
                                        toStartOfHour(at - toIntervalSecond(w))),
                                arraySort(arrayDistinct(arrayConcat(burn.2, burn.3,
                                    [toUInt32(window_days * 86400)])))) AS starts,
                       (SELECT at FROM v_slo_now) AS at
                FROM slo FINAL WHERE is_active
            ) AS w
                ON w.name = v.slo AND w.revision = v.revision
            GROUP BY slo, within
            HAVING within > 0
        )
        GROUP BY slo
    ) AS r ON r.slo = d.name
) AS q
ARRAY JOIN q.burn AS pair;
