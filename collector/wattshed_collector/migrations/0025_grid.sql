-- What a kilowatt hour of the grid emits and costs, by zone and time: what was, and what is expected.

-- kind: carbon (average, location-based, g/kWh), carbon_marginal, carbon_market (of the supplier's
-- or the residual mix), price (its unit says in what). value holds in [start_ts, end_ts); NULL: its
-- source knows that it does not know. What a source says later of the same start counts.
CREATE TABLE IF NOT EXISTS grid {{ON_CLUSTER}} (
    kind LowCardinality(String),
    zone LowCardinality(String),
    start_ts DateTime('UTC'),
    end_ts DateTime('UTC'),
    value Nullable(Float64),
    unit LowCardinality(String),
    is_estimated Nullable(Bool),
    source LowCardinality(String),
    said_ts DateTime('UTC'),
    version UInt64
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version) ORDER BY (kind, zone, start_ts)
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS grid_forecast {{ON_CLUSTER}} (
    kind LowCardinality(String),
    zone LowCardinality(String),
    said_ts DateTime('UTC'),
    start_ts DateTime('UTC'),
    end_ts DateTime('UTC'),
    value Nullable(Float64),
    unit LowCardinality(String),
    source LowCardinality(String),
    version UInt64
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version) ORDER BY (kind, zone, said_ts, start_ts)
TTL said_ts + INTERVAL 90 DAY
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- In which zone of the grid a site lies. A site of '' is every site that has none of its own; a zone
-- of '' takes it back. yearly_g_per_kwh is what holds where no source knows.
CREATE TABLE IF NOT EXISTS site_zone {{ON_CLUSTER}} (
    site LowCardinality(String),
    zone LowCardinality(String),
    yearly_g_per_kwh Nullable(Float64),
    yearly_source LowCardinality(String),
    version UInt64
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version) ORDER BY site
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE OR REPLACE VIEW v_grid {{ON_CLUSTER}} AS
SELECT start_ts AS t, end_ts, toString(kind) AS kind, toString(zone) AS zone, value,
       toString(unit) AS unit, is_estimated, toString(source) AS source, said_ts
FROM grid FINAL WHERE end_ts > start_ts;

-- What is expected, as it was said last.
CREATE OR REPLACE VIEW v_grid_forecast {{ON_CLUSTER}} AS
SELECT f.start_ts AS t, f.end_ts AS end_ts, toString(f.kind) AS kind, toString(f.zone) AS zone,
       f.value AS value, toString(f.unit) AS unit, toString(f.source) AS source, f.said_ts AS said_ts
FROM grid_forecast AS f FINAL
INNER JOIN (SELECT kind, zone, max(said_ts) AS newest FROM grid_forecast GROUP BY kind, zone) AS n
    ON n.kind = f.kind AND n.zone = f.zone AND n.newest = f.said_ts
WHERE f.end_ts > f.start_ts;

-- The mean of each full hour, each value weighted by how long it held within it; an hour of which
-- any part is not known has no row.
CREATE OR REPLACE VIEW v_grid_1h {{ON_CLUSTER}} AS
SELECT toDateTime(h * 3600, 'UTC') AS t, kind, zone,
       sum(value * held) / 3600 AS value, max(unit) AS unit,
       sumIf(held, is_estimated = true) / 3600 AS estimated_ratio,
       if(uniqExact(source) = 1, any(source), 'several') AS source, min(said_ts) AS said_ts
FROM (
    SELECT toString(kind) AS kind, toString(zone) AS zone, assumeNotNull(g.value) AS value,
           toString(unit) AS unit, is_estimated, toString(source) AS source, said_ts,
           toUnixTimestamp(start_ts) AS begin, toUnixTimestamp(end_ts) AS end,
           arrayJoin(range(intDiv(begin, 3600), intDiv(end + 3599, 3600))) AS h,
           toInt64(least(end, (h + 1) * 3600)) - toInt64(greatest(begin, h * 3600)) AS held
    FROM grid AS g FINAL
    WHERE isNotNull(g.value) AND end_ts > start_ts
)
GROUP BY h, kind, zone
HAVING sum(held) = 3600;

-- Where each site lies, sites without a zone of their own with that of every site.
CREATE OR REPLACE VIEW v_site_zone {{ON_CLUSTER}} AS
SELECT s.site AS site, if(own.zone != '', own.zone, every.zone) AS zone,
       if(own.zone != '', own.yearly_g_per_kwh, every.yearly_g_per_kwh) AS yearly_g_per_kwh,
       if(own.zone != '', own.yearly_source, every.yearly_source) AS yearly_source
FROM (SELECT DISTINCT toString(site) AS site FROM device FINAL) AS s
LEFT JOIN (
    SELECT toString(site) AS site, toString(zone) AS zone, yearly_g_per_kwh,
           toString(yearly_source) AS yearly_source FROM site_zone FINAL
) AS own ON own.site = s.site
CROSS JOIN (
    SELECT anyIf(toString(zone), site = '') AS zone,
           anyIf(yearly_g_per_kwh, site = '') AS yearly_g_per_kwh,
           anyIf(toString(yearly_source), site = '') AS yearly_source FROM site_zone FINAL
) AS every
WHERE zone != '';

-- What a site's factors are over each full hour of the last 400 days and the next two, weighted by how
-- long each held within it. An hour of which any part is not known has no row.
CREATE OR REPLACE VIEW v_factor_1h {{ON_CLUSTER}} AS
SELECT toDateTime(h * 3600, 'UTC') AS t, kind, site, sum(value * held) / 3600 AS value,
       max(unit) AS unit, if(uniqExact(source) = 1, any(source), 'several') AS source
FROM (
    SELECT kind, site, assumeNotNull(f.value) AS value, unit, source,
           toUnixTimestamp(since) AS begin, toUnixTimestamp(until) AS end,
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

-- Joules of a site and hour by class, what they cost, and the grams of CO2 equivalent of all that
-- the site drew for them: facility kilowatt hours (with the PUE) times the intensity of the grid.
-- carbon_g is average and location-based: by the site's own factor carbon_g_per_kwh, else by the
-- hours of its zone, else by the yearly table; carbon_method says which (factor, hourly, yearly).
-- Beside it stand market-based and marginal grams, never in place of it. NULL: not known.
CREATE OR REPLACE VIEW v_site_1h {{ON_CLUSTER}} AS
SELECT e.t AS t, e.site AS site, e.class AS class, e.currency AS currency, e.joules AS joules,
       e.facility_joules AS facility_joules, e.cost AS cost,
       multiIf(isNotNull(c.value), c.value, isNotNull(g.carbon), g.carbon, z.yearly_g_per_kwh)
           AS carbon_g_per_kwh,
       e.facility_joules / 3.6e6 * carbon_g_per_kwh AS carbon_g,
       z.zone AS zone,
       multiIf(isNotNull(c.value), 'factor', isNotNull(g.carbon), 'hourly',
               isNotNull(z.yearly_g_per_kwh), 'yearly', '') AS carbon_method,
       multiIf(isNotNull(c.value), c.source, isNotNull(g.carbon), g.source,
               isNotNull(z.yearly_g_per_kwh), z.yearly_source, '') AS carbon_source,
       if(carbon_method = 'hourly', g.estimated_ratio, NULL) AS carbon_estimated_ratio,
       e.facility_joules / 3.6e6 * g.marginal AS carbon_marginal_g,
       e.facility_joules / 3.6e6 * ifNull(m.value, g.market) AS carbon_market_g,
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
LEFT JOIN (
    SELECT t, site, toNullable(value) AS value, source FROM v_factor_1h
    WHERE kind = 'carbon_g_per_kwh'
) AS c ON c.t = e.t AND c.site = e.site
LEFT JOIN (
    SELECT t, site, toNullable(value) AS value FROM v_factor_1h
    WHERE kind = 'carbon_market_g_per_kwh'
) AS m ON m.t = e.t AND m.site = e.site
LEFT JOIN (
    SELECT t, site, toNullable(value) AS value FROM v_factor_1h WHERE kind = 'wue_l_per_kwh'
) AS w ON w.t = e.t AND w.site = e.site
LEFT JOIN v_site_zone AS z ON z.site = e.site
LEFT JOIN (
    SELECT t, zone, anyIf(toNullable(value), kind = 'carbon') AS carbon,
           anyIf(toNullable(value), kind = 'carbon_marginal') AS marginal,
           anyIf(toNullable(value), kind = 'carbon_market') AS market,
           anyIf(source, kind = 'carbon') AS source,
           anyIf(estimated_ratio, kind = 'carbon') AS estimated_ratio
    FROM v_grid_1h GROUP BY t, zone
) AS g ON g.t = e.t AND g.zone = z.zone;
