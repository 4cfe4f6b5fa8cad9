-- What could be done about waste: as it was found last, and what people said of it.
CREATE TABLE IF NOT EXISTS advice {{ON_CLUSTER}} (
    id String,
    kind LowCardinality(String),
    subject String,
    title String,
    reason String,
    site LowCardinality(String),
    team LowCardinality(String),
    owner LowCardinality(String),
    joules_per_month Float64,
    are_facility_joules Bool,
    cost_per_month Nullable(Float64),
    currency LowCardinality(String),
    g_per_month Nullable(Float64),
    confidence Float64,
    effort LowCardinality(String),
    evidence String,
    measure LowCardinality(String),
    joules_per_unit Float64,
    workload String,
    outcome LowCardinality(String),
    numbers Map(LowCardinality(String), Float64),
    found_ts DateTime('UTC'),
    expires_ts DateTime('UTC'),
    version UInt64
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version) ORDER BY id
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- Each thing said counts from then on; the promise of what is done stays as it was when it was.
CREATE TABLE IF NOT EXISTS advice_state {{ON_CLUSTER}} (
    id String,
    at_ts DateTime('UTC'),
    state LowCardinality(String),
    said_by String,
    note String,
    joules_per_month Float64,
    joules_per_unit Float64,
    version UInt64
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version) ORDER BY (id, at_ts)
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- Advice with where it stands: open until somebody says otherwise, expired where it is open and was
-- not found again in time.
CREATE OR REPLACE VIEW v_advice {{ON_CLUSTER}} AS
SELECT a.id AS id, toString(a.kind) AS kind, a.subject AS subject, a.title AS title,
       a.reason AS reason, toString(a.site) AS site, toString(a.team) AS team,
       toString(a.owner) AS owner,
       if(state = 'done', s.promised, a.joules_per_month) AS joules_per_month,
       a.are_facility_joules AS are_facility_joules, a.cost_per_month AS cost_per_month,
       toString(a.currency) AS currency, a.g_per_month AS g_per_month, a.confidence AS confidence,
       toString(a.effort) AS effort, a.evidence AS evidence, toString(a.measure) AS measure,
       if(state = 'done', s.per_unit, a.joules_per_unit) AS joules_per_unit,
       a.workload AS workload, toString(a.outcome) AS outcome, a.numbers AS numbers,
       a.found_ts AS found, a.expires_ts AS expires,
       multiIf(s.said NOT IN ('', 'open'), s.said, a.expires_ts <= now(), 'expired', 'open') AS state,
       s.at AS state_at, s.said_by AS said_by, s.note AS note
FROM (SELECT * FROM advice FINAL) AS a
LEFT JOIN (
    SELECT id, argMax(toString(state), at_ts) AS said, max(at_ts) AS at,
           argMax(said_by, at_ts) AS said_by, argMax(note, at_ts) AS note,
           argMax(joules_per_month, at_ts) AS promised, argMax(joules_per_unit, at_ts) AS per_unit
    FROM advice_state FINAL GROUP BY id
) AS s ON s.id = a.id;

-- Idle joules as before, and what of them is above what the device draws bare: NULL where nobody
-- knows that. Who lets go of a device saves that much at once, and the rest where it is switched off.
CREATE OR REPLACE VIEW v_idle_1h {{ON_CLUSTER}} AS
SELECT c.t AS t, c.class AS class,
       multiIf(c.class = 'idle_unallocated', 'unallocated', c.class = 'overhead', 'overhead',
               arrayExists(e -> e.1 < c.t + INTERVAL 1 HOUR AND e.2 > c.t, d.expected)
               OR arrayExists(e -> e.1 < c.t + INTERVAL 1 HOUR AND e.2 > c.t
                                   AND e.3 IN ('', d.node), w.expected), 'expected',
               ifNull(c.joules >= c.seconds * (d.bare_watts + 15), 0), 'parked', 'held') AS reason,
       c.joules AS joules, c.seconds AS seconds, c.facility_joules AS facility_joules,
       c.cost AS cost, c.currency AS currency,
       d.key AS device, d.kind AS kind, d.node AS node, d.site AS site, d.tier AS tier,
       d.cluster AS cluster, d.model AS model, d.method AS method,
       w.key AS workload_key, w.name AS workload, w.kind AS workload_kind,
       w.namespace AS namespace, w.team AS team, w.owner AS owner, w.model AS ai_model,
       d.bare_watts AS bare_watts,
       if(isNull(d.bare_watts), NULL, greatest(0, c.joules - c.seconds * d.bare_watts))
           AS above_bare_joules
FROM (
    SELECT * FROM v_charge_1h WHERE class IN ('idle_held', 'idle_unallocated', 'overhead')
) AS c
INNER JOIN (
    SELECT d.*, if(isNotNull(b.bare), b.bare, if(d.model = '', NULL,
               quantileExact(b.bare) OVER (PARTITION BY d.model))) AS bare_watts,
           arrayFilter(e -> e.3 IN ('', d.node),
                       (SELECT groupArray((since, until, node)) FROM expected_idle FINAL
                        WHERE workload = '' AND team = '')) AS expected
    FROM (SELECT * FROM device FINAL WHERE overlap != 'inner') AS d
    LEFT JOIN (
        SELECT device_id, argMax(bare_watts, hour) AS bare FROM idle_hour
        WHERE hour >= now() - INTERVAL 8 DAY AND isNotNull(bare_watts) GROUP BY device_id
    ) AS b ON b.device_id = d.device_id
) AS d ON d.device_id = c.device_id
LEFT JOIN (
    SELECT w.*, arrayMap(e -> (e.1, e.2, e.3),
               arrayFilter(e -> e.4 IN ('', w.name, w.key) AND e.5 IN ('', w.team),
                           (SELECT groupArray((since, until, node, workload, team))
                            FROM expected_idle FINAL WHERE workload != '' OR team != '')))
               AS expected
    FROM workload AS w FINAL
) AS w ON w.workload_id = c.workload_id;
