-- What is wrong with allocations, what contains what, and what an outer meter measures beside what
-- is inside of it.

-- Where each device hangs, as it is known now; rewritten only where it changed. A meter is a member
-- of a group: alone, or with those of its level whose sum counts (two plugs of one machine). path
-- holds the groups of outer meters around it, innermost first; role is outer, counted (a meter that
-- is in totals), inner (its energy is also in another counted one) or aside (an outer meter that
-- lies in another and of which nobody says what it contains: in no sum).
CREATE TABLE IF NOT EXISTS tree {{ON_CLUSTER}} (
    device_id UInt64,
    parent_id UInt64,
    group_id UInt64,
    path Array(UInt64),
    depth UInt16,
    role LowCardinality(String),
    uncertainty_ratio Nullable(Float64),
    why LowCardinality(String),
    problem LowCardinality(String),
    version UInt64
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version) ORDER BY device_id
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- outer = inner + remainder + uncovered, per outer meter and hour in which something inside of it
-- was measured. Each run writes an hour whole, with a row of device 0 that says that it did. remainders
-- has the remainder of each minute, NaN where it is not covered; it is empty where none is charged.
CREATE TABLE IF NOT EXISTS reconcile_1h {{ON_CLUSTER}} (
    t DateTime('UTC') CODEC(Delta, ZSTD(1)),
    device_id UInt64 CODEC(ZSTD(1)),
    outer_joules Float64 CODEC(ZSTD(1)),
    inner_joules Float64 CODEC(ZSTD(1)),
    remainder_joules Nullable(Float64) CODEC(ZSTD(1)),
    uncovered_joules Float64 CODEC(ZSTD(1)),
    seconds Float64 CODEC(ZSTD(1)),
    status LowCardinality(String),
    remainders Array(Float64) CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1))
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version)
PARTITION BY toYYYYMM(t) ORDER BY (t, device_id)
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- Until now an outer meter was charged with all that it measured, and left out of sums: what can be
-- computed again is, without what is inside of it.
INSERT INTO dirty (hour) SELECT DISTINCT hour FROM tick_hour;

CREATE OR REPLACE VIEW v_tree {{ON_CLUSTER}} AS
SELECT d.device AS device, p.device AS parent, t.depth AS depth,
       if(empty(t.path), if(t.role = 'outer', g.device, ''), r.device) AS root,
       g.device AS meter_group, t.role AS role, t.why AS why, t.problem AS problem,
       d.kind AS kind, d.node AS node, d.site AS site, d.source AS source
FROM (SELECT * FROM tree FINAL) AS t
INNER JOIN v_device AS d ON d.device_id = t.device_id
LEFT JOIN v_device AS p ON p.device_id = t.parent_id
LEFT JOIN v_device AS g ON g.device_id = t.group_id
LEFT JOIN v_device AS r ON r.device_id = t.path[-1];

CREATE OR REPLACE VIEW v_reconciliation_1h {{ON_CLUSTER}} AS
SELECT r.t AS t, d.device AS device, d.kind AS kind, d.node AS node, d.site AS site,
       d.source AS source, r.status AS status, r.outer_joules AS outer_joules,
       if(r.status = 'uncovered', NULL, r.inner_joules) AS inner_joules,
       r.remainder_joules AS remainder_joules, r.uncovered_joules AS uncovered_joules,
       r.seconds AS covered_seconds,
       r.outer_joules - r.inner_joules - ifNull(r.remainder_joules, 0) - r.uncovered_joules
           AS residual_joules
FROM (
    SELECT * FROM reconcile_1h FINAL
    WHERE (t, version) IN (SELECT t, max(version) FROM reconcile_1h GROUP BY t)
) AS r
INNER JOIN v_device AS d ON d.device_id = r.device_id;

-- Allocations that cannot be true, with the reason, as they were said; and those that were taken in
-- and do not fit: on a device that nobody has described (what it measures is charged to them all the
-- same), and exclusive ones that overlap (shares without activity of different workloads that sum
-- above 1; the joules are divided by share among them all). others names the workloads that hold the
-- device at the time at which this one began.
CREATE OR REPLACE VIEW v_quarantine {{ON_CLUSTER}} AS
SELECT start_ms / 1e3 AS start_s, end_ms / 1e3 AS end_s, device, workload, share, activity, method,
       revision, reason, [] :: Array(String) AS others, ingested_at
FROM quarantine FINAL
UNION ALL
SELECT toUnixTimestamp64Milli(a.start_ts) / 1e3 AS start_s,
       toUnixTimestamp64Milli(a.end_ts) / 1e3 AS end_s, d.device AS device,
       w.workload_key AS workload, a.share AS share, a.activity AS activity, a.method AS method,
       a.revision AS revision, 'unknown_device' AS reason, [] :: Array(String) AS others,
       a.ingested_at AS ingested_at
FROM (SELECT * FROM allocation FINAL WHERE end_ts > start_ts) AS a
INNER JOIN (SELECT * FROM v_device WHERE kind = '') AS d ON d.device_id = a.device_id
LEFT JOIN v_workload AS w ON w.workload_id = a.workload_id
UNION ALL
SELECT o.held.1 / 1e3 AS start_s, o.held.2 / 1e3 AS end_s, d.device AS device,
       w.workload_key AS workload, o.held.4 AS share, NULL AS activity, o.held.5 AS method,
       o.held.6 AS revision, 'overlap' AS reason, o.others AS others, o.held.7 AS ingested_at
FROM (
    SELECT device_id, held, arraySort(groupUniqArray(x.workload_key)) AS others
    FROM (
        SELECT device_id, held, other
        FROM (
            SELECT device_id,
                   groupArray((toUnixTimestamp64Milli(start_ts), toUnixTimestamp64Milli(end_ts),
                               workload_id, share, method, revision, ingested_at)) AS every
            FROM allocation FINAL WHERE isNull(activity) AND end_ts > start_ts
            GROUP BY device_id
        )
        ARRAY JOIN every AS held
        ARRAY JOIN arrayFilter(b -> b.1 <= held.1 AND b.2 > held.1 AND b.3 != held.3, every)
                   AS other
    ) AS pair
    LEFT JOIN v_workload AS x ON x.workload_id = pair.other.3
    GROUP BY device_id, held HAVING sum(other.4) + held.4 > 1 + 1e-9
) AS o
INNER JOIN v_device AS d ON d.device_id = o.device_id
LEFT JOIN v_workload AS w ON w.workload_id = o.held.3;
