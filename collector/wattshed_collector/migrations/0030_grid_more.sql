-- When it was said what a kilowatt hour emits or costs, which of several values counts, since when
-- a site lies in its zone, and which run of a job belongs to which wait.

-- NULL of factors that were told before this migration: nobody noted when that was.
ALTER TABLE factor {{ON_CLUSTER}} ADD COLUMN IF NOT EXISTS said_ts Nullable(DateTime('UTC')) AFTER source;

-- A site lies in a zone from since_ts on until its next row; 1970 is since ever, which is what was
-- told before this migration. The year of the yearly table ends at yearly_said_ts: before that
-- nobody could have said it.
ALTER TABLE site_zone {{ON_CLUSTER}}
    ADD COLUMN IF NOT EXISTS since_ts DateTime('UTC') AFTER site, MODIFY ORDER BY (site, since_ts);
ALTER TABLE site_zone {{ON_CLUSTER}}
    ADD COLUMN IF NOT EXISTS yearly_said_ts Nullable(DateTime('UTC')) AFTER yearly_source;

-- Whether a zone was asked about, and not a site.
ALTER TABLE decision {{ON_CLUSTER}} ADD COLUMN IF NOT EXISTS by_zone Bool DEFAULT site = '' AFTER zone;

-- Until now an hour cost what its first second did, and prices of zones were charged to nobody: what
-- can be computed again is.
INSERT INTO dirty (hour) SELECT DISTINCT hour FROM tick_hour
WHERE (SELECT count() FROM grid WHERE kind = 'price') > 0
   OR hour IN (SELECT toStartOfHour(start_ts) FROM factor
               WHERE kind IN ('pue', 'price') AND start_ts != toStartOfHour(start_ts));

-- As before, with when it was said.
CREATE OR REPLACE VIEW v_factor {{ON_CLUSTER}} AS
SELECT kind, site, since,
       leadInFrame(since, 1, toDateTime('2105-01-01 00:00:00', 'UTC')) OVER (
           PARTITION BY kind, site ORDER BY since
           ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS until,
       said.1 AS value, said.2 AS unit, said.3 AS source, said.4 AS said_ts
FROM (
    SELECT DISTINCT f.kind AS kind, s.site AS site, f.start_ts AS since,
           argMaxIf((f.value, f.unit, f.source, f.said_ts), f.start_ts, f.site = s.site)
               OVER w AS own,
           argMaxIf((f.value, f.unit, f.source, f.said_ts), f.start_ts, f.site = '')
               OVER w AS every,
           if(isNotNull(own.1), own, every) AS said
    FROM (
        SELECT kind, toString(site) AS site, start_ts, value, toString(unit) AS unit,
               toString(source) AS source, said_ts FROM factor FINAL
    ) AS f
    CROSS JOIN (SELECT DISTINCT toString(site) AS site FROM device FINAL) AS s
    WHERE f.site IN ('', s.site)
    WINDOW w AS (PARTITION BY f.kind, s.site ORDER BY f.start_ts
                 RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
);

-- As before; said_ts is that of the part that was said first, NULL where it is not known of one.
CREATE OR REPLACE VIEW v_factor_1h {{ON_CLUSTER}} AS
SELECT toDateTime(h * 3600, 'UTC') AS t, kind, site, sum(said * held) / 3600 AS value,
       max(its_unit) AS unit, if(uniqExact(whose) = 1, any(whose), 'several') AS source,
       if(countIf(isNull(said_at)) > 0, NULL, min(said_at)) AS said_ts
FROM (
    SELECT kind, site, assumeNotNull(f.value) AS said, f.unit AS its_unit, f.source AS whose,
           f.said_ts AS said_at, toUnixTimestamp(since) AS begin, toUnixTimestamp(until) AS end,
           arrayJoin(range(
               toUInt32(greatest(intDiv(begin, 3600),
                                 intDiv(toUnixTimestamp(now()), 3600) - 9600)),
               toUInt32(greatest(0, least(intDiv(end + 3599, 3600),
                                          intDiv(toUnixTimestamp(now()), 3600) + 48))))) AS h,
           toInt64(least(end, (h + 1) * 3600)) - toInt64(greatest(begin, h * 3600)) AS held
    FROM v_factor AS f WHERE isNotNull(f.value)
)
GROUP BY h, kind, site
HAVING sum(held) = 3600;

-- The mean of each full hour up to the day after tomorrow, each value weighted by how long it counts
-- within it. Of steps that overlap the one that starts last counts at each instant (two of one start
-- are one row). An hour of which any part is not known, or that is told in two units, has no row.
CREATE OR REPLACE VIEW v_grid_1h {{ON_CLUSTER}} AS
SELECT toDateTime(begin, 'UTC') AS t, kind, zone,
       arraySum(arrayMap((v, n) -> assumeNotNull(v) * n, counts.3, held)) / 3600 AS value,
       counts[1].4 AS unit,
       arraySum(arrayMap((e, n) -> if(ifNull(e, false), n, 0), counts.5, held)) / 3600
           AS estimated_ratio,
       if(length(arrayDistinct(counts.6)) = 1, counts[1].6, 'several') AS source,
       arrayMin(counts.7) AS said_ts
FROM (
    SELECT kind, zone, h * 3600 AS begin,
           arraySort(s -> s.1, groupArray((since, until, said, unit, is_estimated, source, said_ts)))
               AS told,
           arraySort(arrayDistinct(arrayFlatten(groupArray(
               [greatest(since, h * 3600), least(until, (h + 1) * 3600)])))) AS edges,
           arrayPopBack(edges) AS begins,
           arrayMap((a, b) -> b - a, begins, arrayPopFront(edges)) AS held,
           arrayMap(a -> arrayLast(s -> s.1 <= a AND s.2 > a, told), begins) AS counts
    FROM (
        SELECT toString(kind) AS kind, toString(zone) AS zone, g.value AS said,
               toString(unit) AS unit, is_estimated, toString(source) AS source, said_ts,
               toUnixTimestamp(start_ts) AS since, toUnixTimestamp(end_ts) AS until,
               arrayJoin(range(intDiv(since, 3600),
                               least(intDiv(until + 3599, 3600),
                                     intDiv(toUnixTimestamp(now()), 3600) + 48))) AS h
        FROM grid AS g FINAL WHERE end_ts > start_ts
    )
    GROUP BY h, kind, zone
)
WHERE edges[1] = begin AND edges[-1] = begin + 3600 AND arrayAll(v -> isNotNull(v), counts.3)
  AND length(arrayDistinct(counts.4)) = 1;

-- Where each site lay when, sites without a zone of their own with that of every site. Who takes an
-- hour takes the zone in which the site lay when it began.
CREATE OR REPLACE VIEW v_site_zone {{ON_CLUSTER}} AS
SELECT site, said.1 AS zone, since, until, said.2 AS yearly_g_per_kwh, said.3 AS yearly_source,
       said.4 AS yearly_said_ts
FROM (
    SELECT site, since, said,
           leadInFrame(since, 1, toDateTime('2105-01-01 00:00:00', 'UTC')) OVER (
               PARTITION BY site ORDER BY since
               ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS until
    FROM (
        SELECT DISTINCT s.site AS site, z.since_ts AS since,
               argMaxIf((z.zone, z.yearly_g_per_kwh, z.yearly_source, z.yearly_said_ts),
                        z.since_ts, z.site = s.site) OVER w AS own,
               argMaxIf((z.zone, z.yearly_g_per_kwh, z.yearly_source, z.yearly_said_ts),
                        z.since_ts, z.site = '') OVER w AS every,
               if(own.1 != '', own, every) AS said
        FROM (
            SELECT toString(site) AS site, since_ts, toString(zone) AS zone, yearly_g_per_kwh,
                   toString(yearly_source) AS yearly_source, yearly_said_ts FROM site_zone FINAL
        ) AS z
        CROSS JOIN (SELECT DISTINCT toString(site) AS site FROM device FINAL) AS s
        WHERE z.site IN ('', s.site)
        WINDOW w AS (PARTITION BY s.site ORDER BY z.since_ts
                     RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
    )
)
WHERE zone != '';

-- As before, by the zone of the hour. carbon_said is when its source said what counts: of an hour of
-- several parts the oldest, of a factor when it was told, of the yearly table the end of its year.
-- NULL: not known.
CREATE OR REPLACE VIEW v_carbon_1h {{ON_CLUSTER}} AS
SELECT h.t AS t, h.site AS site, h.zone AS zone,
       multiIf(isNotNull(f.own), f.own, isNotNull(g.carbon), g.carbon, h.yearly_g_per_kwh)
           AS g_per_kwh,
       multiIf(isNotNull(f.own), 'factor', isNotNull(g.carbon), 'hourly',
               isNotNull(h.yearly_g_per_kwh), 'yearly', '') AS method,
       multiIf(method = 'factor', f.own_source, method = 'hourly', g.source,
               method = 'yearly', h.yearly_source, '') AS source,
       if(method = 'hourly', g.estimated_ratio, NULL) AS estimated_ratio,
       ifNull(f.market, g.market) AS market_g_per_kwh,
       g.marginal AS marginal_g_per_kwh,
       multiIf(method = 'factor', f.own_said, method = 'hourly', g.said,
               method = 'yearly', h.yearly_said, NULL) AS carbon_said
FROM (
    SELECT toDateTime(arrayJoin(range(toUInt32(intDiv(toUnixTimestamp(now()), 3600) - 9600),
                                      toUInt32(intDiv(toUnixTimestamp(now()), 3600) + 48))) * 3600,
                      'UTC') AS t,
           site, arrayFirst(z -> z.1 <= t AND z.2 > t, zones) AS lies, lies.3 AS zone,
           lies.4 AS yearly_g_per_kwh, lies.5 AS yearly_source, lies.6 AS yearly_said
    FROM (
        SELECT s.site AS site,
               groupArrayIf((z.since, z.until, z.zone, z.yearly_g_per_kwh, z.yearly_source,
                             z.yearly_said_ts), z.zone != '') AS zones
        FROM (SELECT DISTINCT toString(site) AS site FROM device FINAL) AS s
        LEFT JOIN v_site_zone AS z ON z.site = s.site
        GROUP BY s.site
    )
) AS h
LEFT JOIN (
    SELECT t, site, anyIf(toNullable(value), kind = 'carbon_g_per_kwh') AS own,
           anyIf(source, kind = 'carbon_g_per_kwh') AS own_source,
           anyIf(said_ts, kind = 'carbon_g_per_kwh') AS own_said,
           anyIf(toNullable(value), kind = 'carbon_market_g_per_kwh') AS market
    FROM v_factor_1h WHERE kind IN ('carbon_g_per_kwh', 'carbon_market_g_per_kwh')
    GROUP BY t, site
) AS f ON f.t = h.t AND f.site = h.site
LEFT JOIN (
    SELECT t, zone, anyIf(toNullable(value), kind = 'carbon') AS carbon,
           anyIf(toNullable(value), kind = 'carbon_marginal') AS marginal,
           anyIf(toNullable(value), kind = 'carbon_market') AS market,
           anyIf(source, kind = 'carbon') AS source,
           anyIf(toNullable(said_ts), kind = 'carbon') AS said,
           anyIf(estimated_ratio, kind = 'carbon') AS estimated_ratio
    FROM v_grid_1h WHERE kind IN ('carbon', 'carbon_marginal', 'carbon_market') GROUP BY t, zone
) AS g ON g.t = h.t AND g.zone = h.zone;

-- As before, with carbon_said.
CREATE OR REPLACE VIEW v_site_1h {{ON_CLUSTER}} AS
SELECT e.t AS t, e.site AS site, e.class AS class, e.currency AS currency, e.joules AS joules,
       e.facility_joules AS facility_joules, e.cost AS cost,
       c.g_per_kwh AS carbon_g_per_kwh,
       e.facility_joules / 3.6e6 * c.g_per_kwh AS carbon_g,
       c.zone AS zone, c.method AS carbon_method, c.source AS carbon_source,
       c.estimated_ratio AS carbon_estimated_ratio,
       e.facility_joules / 3.6e6 * c.marginal_g_per_kwh AS carbon_marginal_g,
       e.facility_joules / 3.6e6 * c.market_g_per_kwh AS carbon_market_g,
       e.joules / 3.6e6 * w.value AS water_l, c.carbon_said AS carbon_said
FROM (
    SELECT w.t AS t, toString(w.site) AS site, toString(w.class) AS class,
           toString(w.currency) AS currency, sum(w.joules) AS joules,
           if(countIf(isNull(w.facility_joules) AND w.joules > 0) > 0, NULL,
              sumOrNull(w.facility_joules)) AS facility_joules,
           sumOrNull(w.cost) AS cost
    FROM v_workload_1h AS w
    GROUP BY t, site, class, currency
) AS e
LEFT JOIN v_carbon_1h AS c ON c.t = e.t AND c.site = e.site
LEFT JOIN (
    SELECT t, site, toNullable(value) AS value FROM v_factor_1h WHERE kind = 'wue_l_per_kwh'
) AS w ON w.t = e.t AND w.site = e.site;

-- As before, with carbon_said.
CREATE OR REPLACE VIEW v_showback_1h {{ON_CLUSTER}} AS
SELECT e.t AS t, w.key AS workload_key, w.name AS workload, w.kind AS workload_kind,
       w.namespace AS namespace, w.team AS team, w.owner AS owner, w.project AS project,
       w.cost_center AS cost_center, w.model AS ai_model, e.class AS class, e.site AS site,
       e.currency AS currency, e.joules AS joules, e.seconds AS seconds,
       e.facility_joules AS facility_joules, e.cost AS cost,
       e.facility_joules / 3.6e6 * c.g_per_kwh AS carbon_g, c.method AS carbon_method,
       c.source AS carbon_source, c.estimated_ratio AS carbon_estimated_ratio,
       e.facility_joules / 3.6e6 * c.market_g_per_kwh AS carbon_market_g,
       e.facility_joules / 3.6e6 * c.marginal_g_per_kwh AS carbon_marginal_g,
       c.carbon_said AS carbon_said
FROM (
    SELECT t, workload_id, toString(v.class) AS class, toString(v.site) AS site,
           toString(v.currency) AS currency, joules, seconds, facility_joules, cost
    FROM v_workload_1h AS v
) AS e
LEFT JOIN v_carbon_1h AS c ON c.t = e.t AND c.site = e.site
LEFT JOIN (SELECT * FROM workload FINAL) AS w ON w.workload_id = e.workload_id;

-- Jobs that were held: when they first asked, and in which minutes they drew what until they asked
-- anew. A job asks anew once it was told anything but to hold, and where it did not come back within
-- six hours of the time at which it was to ask again.
CREATE OR REPLACE VIEW v_held_job_1m {{ON_CLUSTER}} AS
SELECT d.job AS job, d.asked AS asked, d.site AS site, d.zone AS zone, d.by_zone AS by_zone,
       d.policy AS policy, d.signal AS signal,
       m.t AS t, m.joules AS joules, m.joules * h.facility_ratio AS facility_joules
FROM (
    SELECT *, leadInFrame(asked, 1, toDateTime('2105-01-01 00:00:00', 'UTC')) OVER (
               PARTITION BY job ORDER BY asked
               ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS anew
    FROM (
        SELECT job, min(at_ts) AS asked, argMin(toString(site), at_ts) AS site,
               argMin(toString(zone), at_ts) AS zone, argMin(by_zone, at_ts) AS by_zone,
               argMin(toString(policy), at_ts) AS policy,
               argMin(toString(signal), at_ts) AS signal, countIf(action = 'hold') > 0 AS is_held
        FROM (
            SELECT *, sum(is_new) OVER (PARTITION BY job ORDER BY at_ts
                                        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS wait
            FROM (
                SELECT *, lagInFrame(toString(action), 1, '') OVER w != 'hold'
                          OR at_ts > lagInFrame(ifNull(until_ts, at_ts), 1) OVER w + INTERVAL 6 HOUR
                              AS is_new
                FROM decision FINAL
                WINDOW w AS (PARTITION BY job ORDER BY at_ts
                             ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
            )
        )
        GROUP BY job, wait
    )
) AS d
INNER JOIN (SELECT workload_id, workload_key FROM v_workload) AS w ON w.workload_key = d.job
INNER JOIN (
    SELECT t, workload_id, sum(joules) AS joules FROM v_workload_1m
    WHERE workload_id IN (
            SELECT workload_id FROM workload
            WHERE key IN (SELECT job FROM decision WHERE action = 'hold'))
      AND t >= (SELECT toStartOfMinute(min(at_ts)) FROM decision WHERE action = 'hold')
    GROUP BY t, workload_id
) AS m ON m.workload_id = w.workload_id
LEFT JOIN (
    SELECT t, workload_id,
           if(countIf(isNull(facility_joules) AND joules > 0) > 0, NULL,
              sumOrNull(facility_joules) / sum(joules)) AS facility_ratio
    FROM v_workload_1h
    WHERE workload_id IN (
            SELECT workload_id FROM workload
            WHERE key IN (SELECT job FROM decision WHERE action = 'hold'))
      AND t >= (SELECT toStartOfHour(min(at_ts)) FROM decision WHERE action = 'hold')
    GROUP BY t, workload_id HAVING sum(joules) > 0
) AS h ON h.workload_id = m.workload_id AND h.t = toStartOfHour(m.t)
WHERE d.is_held AND m.t >= toStartOfMinute(d.asked) AND m.t < toStartOfMinute(d.anew)
  AND m.joules > 0;
