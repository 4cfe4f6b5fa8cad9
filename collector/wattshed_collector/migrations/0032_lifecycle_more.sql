-- Failures that are the device's and counted once, what lies inside of what was told, and versions of
-- devices that are still there.

-- failures: events of the day that are the device's own (lifecycle/xid.csv), each once however many
-- counters told of it. program_errors: errors of the driver's list that programs mostly cause. NULL:
-- the device counts neither, or its day was summed up before this migration.
ALTER TABLE device_1d {{ON_CLUSTER}} ADD COLUMN IF NOT EXISTS
    failures Nullable(Float64) CODEC(ZSTD(1)) AFTER xid_errors;
ALTER TABLE device_1d {{ON_CLUSTER}} ADD COLUMN IF NOT EXISTS
    program_errors Nullable(Float64) CODEC(ZSTD(1)) AFTER failures;

CREATE OR REPLACE VIEW v_device_1d {{ON_CLUSTER}} AS
SELECT r.t AS t, r.device_id AS device_id, d.key AS device, d.kind AS kind, d.node AS node,
       d.site AS site, d.tier AS tier, d.cluster AS cluster, d.vendor AS vendor, d.model AS model,
       d.driver AS driver, d.firmware AS firmware, r.joules AS joules,
       r.idle_joules AS idle_joules, r.idle_seconds AS idle_seconds, r.seconds AS seconds,
       r.facility_joules AS facility_joules,
       r.cost AS cost, r.currency AS currency, r.busy_seconds AS busy_seconds,
       r.used_seconds AS used_seconds, r.celsius_seconds AS celsius_seconds,
       r.warm_seconds AS warm_seconds, r.most_celsius AS most_celsius, r.idle_watts AS idle_watts,
       r.throttled_seconds AS throttled_seconds, r.corrected_errors AS corrected_errors,
       r.uncorrected_errors AS uncorrected_errors, r.xid_errors AS xid_errors,
       r.failures AS failures, r.program_errors AS program_errors
FROM (
    SELECT * FROM device_1d FINAL
    WHERE device_id != 0
      AND (t, version) IN (SELECT t, max(version) FROM device_1d GROUP BY t)
) AS r
INNER JOIN (SELECT * FROM device FINAL WHERE overlap != 'inner') AS d ON d.device_id = r.device_id;

-- As before. What was told of a device around others (a board, a server) is of all of it:
-- embodied_inside_kg is what those inside of it have as figures of their own, and the hours of the
-- outer one are written off of the rest alone, so that nothing is counted twice.
CREATE OR REPLACE VIEW v_lifecycle {{ON_CLUSTER}} AS
WITH figures AS (
    SELECT d.device_id AS device_id, d.key AS device, toString(d.kind) AS kind,
           toString(d.node) AS node, toString(d.site) AS site, toString(d.tier) AS tier,
           toString(d.cluster) AS cluster, toString(d.vendor) AS vendor,
           toString(d.model) AS model, d.serial AS serial, toString(d.driver) AS driver,
           toString(d.firmware) AS firmware, toString(d.source) AS source,
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
                   embodied_method = 'told_of_model', m.embodied_low_kg, d.listed.3)
               AS embodied_low_kg,
           multiIf(embodied_method = 'told', o.embodied_high_kg,
                   embodied_method = 'told_of_model', m.embodied_high_kg, d.listed.4)
               AS embodied_high_kg,
           multiIf(embodied_method = 'told', o.embodied_source,
                   embodied_method = 'told_of_model', m.embodied_source, d.listed.5)
               AS embodied_source,
           multiIf(embodied_method = '' AND d.model = '', 'its model is not known',
                   embodied_method = '', concat('nobody told it of ', toString(d.model)),
                   isNull(lifetime_years), 'nobody told its lifetime', '') AS embodied_reason
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
    ) AS e
)
SELECT f.device_id AS device_id, f.device AS device, f.kind AS kind, f.node AS node,
       f.site AS site, f.tier AS tier, f.cluster AS cluster, f.vendor AS vendor,
       f.model AS model, f.serial AS serial, f.driver AS driver, f.firmware AS firmware,
       f.source AS source, f.commissioned AS commissioned, f.warranty_end AS warranty_end,
       f.purchase_price AS purchase_price, f.currency AS currency,
       f.lifetime_years AS lifetime_years, f.embodied_method AS embodied_method,
       f.embodied_kg AS embodied_kg, f.embodied_low_kg AS embodied_low_kg,
       f.embodied_high_kg AS embodied_high_kg, f.embodied_source AS embodied_source,
       f.embodied_reason AS embodied_reason,
       if(isNull(f.embodied_kg), NULL, i.kg) AS embodied_inside_kg,
       if(isNull(f.embodied_kg), NULL, greatest(0, f.embodied_kg - ifNull(i.kg, 0))) * 1000
           / (f.lifetime_years * 8766) AS embodied_g_per_hour,
       f.commissioned + toIntervalSecond(toInt64(f.lifetime_years * 31557600)) AS written_off
FROM figures AS f
LEFT JOIN (
    SELECT around, sum(own) AS kg
    FROM (
        SELECT arrayFirst(a -> has((SELECT groupArray(device_id) FROM figures
                                    WHERE isNotNull(embodied_kg)
                                      AND startsWith(embodied_method, 'told')
                                      AND device_id IN (
                                          SELECT arrayJoin(arrayPushBack(path, parent_id))
                                          FROM tree FINAL)), a),
                          arrayPushFront(t.path, t.parent_id)) AS around, g.embodied_kg AS own
        FROM (SELECT * FROM figures WHERE isNotNull(embodied_kg)) AS g
        INNER JOIN (SELECT * FROM tree FINAL) AS t ON t.device_id = g.device_id
    )
    WHERE around != 0 GROUP BY around
) AS i ON i.around = f.device_id;

-- As before, with failures and program_errors as v_device_1d has them.
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
       b.corrected_errors AS corrected_errors, b.failures AS failures,
       b.program_errors AS program_errors,
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
           sumOrNull(r.failures) AS failures, sumOrNull(r.program_errors) AS program_errors,
           sumOrNull(r.throttled_seconds) AS throttled_seconds,
           sumOrNull(r.busy_seconds) AS busy_seconds, sumOrNull(r.idle_seconds) AS idle_seconds,
           sumOrNull(r.seconds) AS seconds, sumOrNull(r.joules) AS joules
    FROM v_device_1d AS r GROUP BY device_id
) AS b ON b.device_id = n.device_id;

-- As before, of devices that were read in the last 30 days before anything was read last: what was
-- taken away does not say what most of its model run.
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
        FROM (
            SELECT device_id, max(k.ts) AS seen,
                   least(max(seen) OVER (), now64(3)) AS newest
            FROM latest AS k GROUP BY device_id
        ) AS n
        INNER JOIN v_lifecycle AS l ON l.device_id = n.device_id
        ARRAY JOIN [('driver', driver), ('firmware', firmware)] AS s
        WHERE model != '' AND version != '' AND n.seen >= n.newest - INTERVAL 30 DAY
    )
    WINDOW w AS (PARTITION BY model, what)
)
WHERE version != majority;
