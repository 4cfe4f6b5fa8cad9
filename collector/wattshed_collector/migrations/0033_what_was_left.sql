-- Hours whose readings are gone are written again where a price or a PUE of them changes. only_rates:
-- the version that was begun has the joules of the one before, each under its key. So what a run
-- that did not end has left of such an hour can be written again without readings; any other cannot.
ALTER TABLE ledger_open {{ON_CLUSTER}} ADD COLUMN IF NOT EXISTS only_rates UInt8 DEFAULT 0;

-- What was told of such hours until now was charged of none of them. Which they are is told by how long
-- readings are kept, as the ledger has it: tick_hour has hours of which no reading is left.
INSERT INTO dirty (hour)
WITH
    (SELECT toUInt32OrZero(extract(engine_full, 'toIntervalDay[(]([0-9]+)[)]')) FROM system.tables
     WHERE database = currentDatabase() AND name = 'tick') AS raw_days,
    (SELECT max(settled) FROM ledger_state WHERE name = 'raw') AS raw_since
SELECT DISTINCT t FROM ledger_hour
WHERE (raw_days > 0 AND t < now() - toIntervalDay(raw_days - 1) OR t < raw_since + INTERVAL 1 DAY)
  AND ((SELECT count() FROM factor WHERE kind IN ('pue', 'price')) > 0
       OR (SELECT count() FROM grid WHERE kind = 'price') > 0);

-- Whose advice is that is about a name which several teams use: each one's part of what is claimed.
ALTER TABLE advice {{ON_CLUSTER}}
    ADD COLUMN IF NOT EXISTS teams Map(LowCardinality(String), Float64) AFTER owner;

-- As before, with teams. What somebody accepted and nobody did within 30 days is open again, or
-- expired where it is not found any more.
CREATE OR REPLACE VIEW v_advice {{ON_CLUSTER}} AS
SELECT a.id AS id, toString(a.kind) AS kind, a.subject AS subject, a.title AS title,
       a.reason AS reason, toString(a.site) AS site, toString(a.team) AS team,
       toString(a.owner) AS owner, a.teams AS teams,
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
       multiIf(s.said IN ('dismissed', 'done')
                   OR (s.said = 'accepted' AND s.at > now() - INTERVAL 30 DAY), s.said,
               a.expires_ts <= now(), 'expired', 'open') AS state,
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

-- As before. What a device draws bare is what it was learned to draw last, of all hours that are kept:
-- one that fell silent last week has idled above that in the weeks before all the same.
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
        WHERE isNotNull(bare_watts) GROUP BY device_id
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
