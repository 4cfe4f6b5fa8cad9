-- What schedulers asked about their jobs, and what they were told: run, hold or cap.
CREATE TABLE IF NOT EXISTS decision {{ON_CLUSTER}} (
    job String,
    at_ts DateTime('UTC'),
    site LowCardinality(String),
    zone LowCardinality(String),
    policy LowCardinality(String),
    signal LowCardinality(String),
    action LowCardinality(String),
    value Nullable(Float64),
    until_ts Nullable(DateTime('UTC')),
    cap_ratio Nullable(Float64),
    reasons Array(String),
    version UInt64
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version) ORDER BY (job, at_ts)
TTL at_ts + INTERVAL 800 DAY
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE OR REPLACE VIEW v_decision {{ON_CLUSTER}} AS
SELECT at_ts AS t, job, toString(site) AS site, toString(zone) AS zone, toString(policy) AS policy,
       toString(signal) AS signal, toString(action) AS action, value, until_ts AS until, cap_ratio,
       arrayStringConcat(reasons, ', ') AS reasons
FROM decision FINAL;

-- Jobs that were held: when they first asked, and in which minutes they drew what since.
CREATE OR REPLACE VIEW v_held_job_1m {{ON_CLUSTER}} AS
SELECT d.job AS job, d.asked AS asked, d.zone AS zone, d.policy AS policy, d.signal AS signal,
       m.t AS t, m.joules AS joules, m.joules * h.facility_ratio AS facility_joules
FROM (
    SELECT job, min(t) AS asked, argMin(zone, t) AS zone, argMin(policy, t) AS policy,
           argMin(signal, t) AS signal
    FROM v_decision GROUP BY job HAVING countIf(action = 'hold') > 0
) AS d
INNER JOIN (SELECT workload_id, workload_key FROM v_workload) AS w ON w.workload_key = d.job
INNER JOIN (
    SELECT t, workload_id, sum(joules) AS joules FROM v_workload_1m GROUP BY t, workload_id
) AS m ON m.workload_id = w.workload_id
LEFT JOIN (
    SELECT t, workload_id,
           if(countIf(isNull(facility_joules) AND joules > 0) > 0, NULL,
              sumOrNull(facility_joules) / sum(joules)) AS facility_ratio
    FROM v_workload_1h GROUP BY t, workload_id HAVING sum(joules) > 0
) AS h ON h.workload_id = m.workload_id AND h.t = toStartOfHour(m.t)
WHERE m.t >= toStartOfMinute(d.asked) AND m.joules > 0;
