-- What operators know of their devices and no meter says, what it took to make them, and the register
-- of devices that joins both with what was measured.

-- Of one device (its key), of every device of a model (device ''), or of every device (both '').
-- NULL: nobody said it.
CREATE TABLE IF NOT EXISTS device_told {{ON_CLUSTER}} (
    device String,
    model LowCardinality(String),
    commissioned_ts Nullable(DateTime('UTC')),
    warranty_end_ts Nullable(DateTime('UTC')),
    purchase_price Nullable(Float64),
    currency LowCardinality(String),
    embodied_kg Nullable(Float64),
    embodied_low_kg Nullable(Float64),
    embodied_high_kg Nullable(Float64),
    embodied_source String,
    lifetime_years Nullable(Float64),
    said_ts DateTime('UTC'),
    version UInt64
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version) ORDER BY (device, model)
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- What the collector brings along: kilograms of CO2 equivalent to make a GPU whose model, in small
-- letters, matches the pattern. A row of NULL is not brought along any more.
CREATE TABLE IF NOT EXISTS embodied {{ON_CLUSTER}} (
    pattern String,
    kg Nullable(Float64),
    low_kg Nullable(Float64),
    high_kg Nullable(Float64),
    year UInt16,
    source String,
    version UInt64
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version) ORDER BY pattern
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- Each device with what is told of it: of the device itself, else of its model. Embodied carbon that
-- nobody told is that of the table, for GPUs alone; embodied_reason says why there is none. It is
-- written off in equal parts over the lifetime, counted in years of 365.25 days.
CREATE OR REPLACE VIEW v_lifecycle {{ON_CLUSTER}} AS
SELECT d.device_id AS device_id, d.key AS device, toString(d.kind) AS kind,
       toString(d.node) AS node, toString(d.site) AS site, toString(d.tier) AS tier,
       toString(d.cluster) AS cluster, toString(d.vendor) AS vendor, toString(d.model) AS model,
       d.serial AS serial, toString(d.driver) AS driver, toString(d.firmware) AS firmware,
       toString(d.source) AS source,
       ifNull(o.commissioned_ts, m.commissioned_ts) AS commissioned,
       ifNull(o.warranty_end_ts, m.warranty_end_ts) AS warranty_end,
       ifNull(o.purchase_price, m.purchase_price) AS purchase_price,
       multiIf(isNotNull(o.purchase_price), toString(o.currency),
               isNotNull(m.purchase_price), toString(m.currency), '') AS currency,
       coalesce(o.lifetime_years, m.lifetime_years, e.years) AS lifetime_years,
       multiIf(isNotNull(o.embodied_kg), 'told', isNotNull(m.embodied_kg), 'told_of_model',
               isNotNull(d.listed.2), 'table', '') AS embodied_method,
       coalesce(o.embodied_kg, m.embodied_kg, d.listed.2) AS embodied_kg,
       multiIf(embodied_method = 'told', o.embodied_low_kg,
               embodied_method = 'told_of_model', m.embodied_low_kg, d.listed.3) AS embodied_low_kg,
       multiIf(embodied_method = 'told', o.embodied_high_kg,
               embodied_method = 'told_of_model', m.embodied_high_kg, d.listed.4)
           AS embodied_high_kg,
       multiIf(embodied_method = 'told', o.embodied_source,
               embodied_method = 'told_of_model', m.embodied_source, d.listed.5)
           AS embodied_source,
       multiIf(embodied_method = '' AND d.model = '', 'its model is not known',
               embodied_method = '', concat('nobody told it of ', toString(d.model)),
               isNull(lifetime_years), 'nobody told its lifetime', '') AS embodied_reason,
       embodied_kg * 1000 / (lifetime_years * 8766) AS embodied_g_per_hour,
       commissioned + toIntervalSecond(toInt64(lifetime_years * 31557600)) AS written_off
FROM (
    SELECT k.*, arrayFirst(p -> k.kind = 'gpu' AND match(lower(toString(k.model)), p.1),
                           (SELECT groupArray((pattern, kg, low_kg, high_kg, source))
                            FROM (SELECT * FROM embodied FINAL WHERE isNotNull(kg)
                                  ORDER BY pattern))) AS listed
    FROM device AS k FINAL WHERE k.overlap != 'inner'
) AS d
LEFT JOIN (SELECT * FROM device_told FINAL WHERE device != '') AS o ON o.device = d.key
LEFT JOIN (SELECT * FROM device_told FINAL WHERE device = '' AND model != '') AS m
    ON m.model = d.model
CROSS JOIN (
    SELECT anyOrNull(lifetime_years) AS years FROM device_told FINAL
    WHERE device = '' AND model = ''
) AS e;

-- The part of what it took to make a device that falls to an hour, by whom its seconds were charged to
-- (workload_id 0: nobody): seconds go the way of the joules and sum to those that were measured. Of
-- devices that compute (not of processors, memory and meters, unless their figure is told). Nothing is
-- left to write off after the lifetime of a device that was told when it was commissioned. It is never
-- part of operational grams. NULL: not known, embodied_reason says why.
CREATE OR REPLACE VIEW v_embodied_1h {{ON_CLUSTER}} AS
SELECT c.t AS t, l.device_id AS device_id, l.device AS device, l.kind AS kind, l.node AS node,
       l.site AS site, l.model AS model, c.workload_id AS workload_id, w.key AS workload_key,
       w.name AS workload, toString(w.team) AS team, toString(w.owner) AS owner,
       c.seconds AS seconds,
       ifNull(c.t >= l.written_off, 0) AS is_written_off,
       c.seconds / 3600 * if(is_written_off, 0, l.embodied_g_per_hour) AS embodied_g,
       embodied_g * l.embodied_low_kg / nullIf(l.embodied_kg, 0) AS embodied_low_g,
       embodied_g * l.embodied_high_kg / nullIf(l.embodied_kg, 0) AS embodied_high_g,
       l.embodied_method AS embodied_method, l.embodied_source AS embodied_source,
       l.embodied_reason AS embodied_reason
FROM (
    SELECT h.t AS t, h.device_id AS device_id, h.workload_id AS workload_id,
           sum(h.seconds) AS seconds
    FROM v_charge_1h AS h GROUP BY t, device_id, workload_id
) AS c
INNER JOIN (
    SELECT * FROM v_lifecycle
    WHERE kind IN ('gpu', 'module', 'board', 'battery') OR isNotNull(embodied_kg)
) AS l ON l.device_id = c.device_id
LEFT JOIN (SELECT * FROM workload FINAL) AS w ON w.workload_id = c.workload_id;

-- The same of a device and day, whoever had it, with what is known of the device: for months and
-- years. Whether it is written off is decided at the begin of the day.
CREATE OR REPLACE VIEW v_embodied_1d {{ON_CLUSTER}} AS
SELECT r.t AS t, l.device_id AS device_id, l.device AS device, l.kind AS kind, l.node AS node,
       l.site AS site, l.tier AS tier, l.cluster AS cluster, l.model AS model,
       r.seconds AS seconds,
       r.seconds / 3600 * if(ifNull(r.t >= l.written_off, 0), 0, l.embodied_g_per_hour)
           AS embodied_g,
       l.embodied_kg AS embodied_kg, l.embodied_low_kg AS embodied_low_kg,
       l.embodied_high_kg AS embodied_high_kg, l.lifetime_years AS lifetime_years,
       l.embodied_method AS embodied_method, l.embodied_source AS embodied_source,
       l.embodied_reason AS embodied_reason, l.purchase_price AS purchase_price,
       l.currency AS currency
FROM v_device_1d AS r
INNER JOIN (
    SELECT * FROM v_lifecycle
    WHERE kind IN ('gpu', 'module', 'board', 'battery') OR isNotNull(embodied_kg)
) AS l ON l.device_id = r.device_id;

-- The register: every device that was ever read, what is told of it, and what was counted of it over
-- all days. first_seen is the first day of which charges are kept. failures are uncorrected memory
-- errors and errors that the driver reported (XID). lost: its driver says that it is gone. busy_seconds
-- are seconds times utilisation, idle_seconds those charged as idle. NULL: nobody says it.
CREATE OR REPLACE VIEW v_register {{ON_CLUSTER}} AS
SELECT l.*, b.first_seen AS first_seen, n.last_seen AS last_seen,
       multiIf(n.gap.1 = n.ms AND n.gap.2 = 'gpu_lost', 'lost',
               n.last_seen < now() - INTERVAL 15 MINUTE, 'silent', 'live') AS state,
       n.gap.2 AS last_gap, if(n.gap.1 = 0, NULL, toDateTime(intDiv(n.gap.1, 1000), 'UTC'))
           AS last_gap_at,
       toNullable(dateDiff('second', coalesce(l.commissioned, b.first_seen), now()))
           / 31557600 AS age_years,
       multiIf(isNotNull(l.commissioned), 'commissioned', isNotNull(b.first_seen), 'first_seen', '')
           AS age_since,
       b.xid_errors AS xid_errors, b.uncorrected_errors AS uncorrected_errors,
       b.corrected_errors AS corrected_errors,
       if(isNull(b.xid_errors) AND isNull(b.uncorrected_errors), NULL,
          ifNull(b.xid_errors, 0) + ifNull(b.uncorrected_errors, 0)) AS failures,
       b.throttled_seconds AS throttled_seconds, b.busy_seconds AS busy_seconds,
       b.idle_seconds AS idle_seconds, b.seconds AS seconds, b.joules AS joules
FROM (
    SELECT device_id, toDateTime(max(k.ts), 'UTC') AS last_seen,
           toUInt64(toUnixTimestamp64Milli(max(k.ts))) AS ms, max(k.gap) AS gap
    FROM latest AS k GROUP BY device_id
) AS n
INNER JOIN v_lifecycle AS l ON l.device_id = n.device_id
LEFT JOIN (
    SELECT r.device_id AS device_id, toNullable(min(r.t)) AS first_seen,
           sumOrNull(r.xid_errors) AS xid_errors,
           sumOrNull(r.uncorrected_errors) AS uncorrected_errors,
           sumOrNull(r.corrected_errors) AS corrected_errors,
           sumOrNull(r.throttled_seconds) AS throttled_seconds,
           sumOrNull(r.busy_seconds) AS busy_seconds, sumOrNull(r.idle_seconds) AS idle_seconds,
           sumOrNull(r.seconds) AS seconds, sumOrNull(r.joules) AS joules
    FROM v_device_1d AS r GROUP BY device_id
) AS b ON b.device_id = n.device_id;

-- Devices whose driver or firmware is not the one that most of their model run; of as many, the newer
-- counts as what most run. Versions are compared by their numbers in order, decimal or hexadecimal.
CREATE OR REPLACE VIEW v_firmware_drift {{ON_CLUSTER}} AS
SELECT model, what, device, node, site, version, majority, majority_devices, devices, versions,
       multiIf(numbers < majority_numbers, 'behind', numbers > majority_numbers, 'ahead', 'other')
           AS direction
FROM (
    SELECT *, argMax(version, (runs, numbers, version)) OVER w AS majority,
           argMax(numbers, (runs, numbers, version)) OVER w AS majority_numbers,
           max(runs) OVER w AS majority_devices, count() OVER w AS devices,
           length(groupUniqArray(version) OVER w) AS versions
    FROM (
        SELECT model, s.1 AS what, device, node, site, s.2 AS version,
               arrayMap(n -> leftPad(upper(n), 20, '0'), extractAll(version, '[0-9A-Za-z]+'))
                   AS numbers,
               count() OVER (PARTITION BY model, what, version) AS runs
        FROM v_lifecycle
        ARRAY JOIN [('driver', driver), ('firmware', firmware)] AS s
        WHERE model != '' AND version != ''
    )
    WINDOW w AS (PARTITION BY model, what)
)
WHERE version != majority;
