-- What each workload drew at each site and hour, what it cost and what it emitted: what a team is shown.

-- What a kilowatt hour emits where a site lies, in each full hour of the last 400 days and the next
-- two, as v_factor_1h is; a row for every site. g_per_kwh is average and location-based: the site's
-- own factor, else the hour of its zone, else the yearly table, and method says which (factor, hourly,
-- yearly; '' and NULL: not known). Beside it stand the market-based and the marginal intensity.
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
       g.marginal AS marginal_g_per_kwh
FROM (
    SELECT toDateTime(arrayJoin(range(toUInt32(intDiv(toUnixTimestamp(now()), 3600) - 9600),
                                      toUInt32(intDiv(toUnixTimestamp(now()), 3600) + 48))) * 3600,
                      'UTC') AS t,
           s.site AS site, z.zone AS zone, z.yearly_g_per_kwh AS yearly_g_per_kwh,
           z.yearly_source AS yearly_source
    FROM (SELECT DISTINCT toString(site) AS site FROM device FINAL) AS s
    LEFT JOIN v_site_zone AS z ON z.site = s.site
) AS h
LEFT JOIN (
    SELECT t, site, anyIf(toNullable(value), kind = 'carbon_g_per_kwh') AS own,
           anyIf(source, kind = 'carbon_g_per_kwh') AS own_source,
           anyIf(toNullable(value), kind = 'carbon_market_g_per_kwh') AS market
    FROM v_factor_1h WHERE kind IN ('carbon_g_per_kwh', 'carbon_market_g_per_kwh')
    GROUP BY t, site
) AS f ON f.t = h.t AND f.site = h.site
LEFT JOIN (
    SELECT t, zone, anyIf(toNullable(value), kind = 'carbon') AS carbon,
           anyIf(toNullable(value), kind = 'carbon_marginal') AS marginal,
           anyIf(toNullable(value), kind = 'carbon_market') AS market,
           anyIf(source, kind = 'carbon') AS source,
           anyIf(estimated_ratio, kind = 'carbon') AS estimated_ratio
    FROM v_grid_1h GROUP BY t, zone
) AS g ON g.t = h.t AND g.zone = h.zone;

-- As before, with the intensity from v_carbon_1h.
CREATE OR REPLACE VIEW v_site_1h {{ON_CLUSTER}} AS
SELECT e.t AS t, e.site AS site, e.class AS class, e.currency AS currency, e.joules AS joules,
       e.facility_joules AS facility_joules, e.cost AS cost,
       c.g_per_kwh AS carbon_g_per_kwh,
       e.facility_joules / 3.6e6 * c.g_per_kwh AS carbon_g,
       c.zone AS zone, c.method AS carbon_method, c.source AS carbon_source,
       c.estimated_ratio AS carbon_estimated_ratio,
       e.facility_joules / 3.6e6 * c.marginal_g_per_kwh AS carbon_marginal_g,
       e.facility_joules / 3.6e6 * c.market_g_per_kwh AS carbon_market_g,
       e.joules / 3.6e6 * w.value AS water_l
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

-- The same by workload. Sums over all of it, with what nobody held, are those of v_site_1h.
CREATE OR REPLACE VIEW v_showback_1h {{ON_CLUSTER}} AS
SELECT e.t AS t, w.key AS workload_key, w.name AS workload, w.kind AS workload_kind,
       w.namespace AS namespace, w.team AS team, w.owner AS owner, w.project AS project,
       w.cost_center AS cost_center, w.model AS ai_model, e.class AS class, e.site AS site,
       e.currency AS currency, e.joules AS joules, e.seconds AS seconds,
       e.facility_joules AS facility_joules, e.cost AS cost,
       e.facility_joules / 3.6e6 * c.g_per_kwh AS carbon_g, c.method AS carbon_method,
       c.source AS carbon_source, c.estimated_ratio AS carbon_estimated_ratio,
       e.facility_joules / 3.6e6 * c.market_g_per_kwh AS carbon_market_g,
       e.facility_joules / 3.6e6 * c.marginal_g_per_kwh AS carbon_marginal_g
FROM (
    SELECT t, workload_id, toString(v.class) AS class, toString(v.site) AS site,
           toString(v.currency) AS currency, joules, seconds, facility_joules, cost
    FROM v_workload_1h AS v
) AS e
LEFT JOIN v_carbon_1h AS c ON c.t = e.t AND c.site = e.site
LEFT JOIN (SELECT * FROM workload FINAL) AS w ON w.workload_id = e.workload_id;
