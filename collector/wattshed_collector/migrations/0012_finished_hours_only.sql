-- What is asked comes from hours that are finished. A run writes an hour in several statements, with
-- one version: until the last of them its rows are not the whole of it, and those of the run before
-- may be merged away. So a reader takes of each hour the version of the newest finished run; while
-- the next one is under way, only where every row of it is still there, else the hour is left out.
-- A run writes an hour whole, so that the rows of one version need no FINAL.

-- Which version of each hour was begun.
CREATE TABLE IF NOT EXISTS ledger_open {{ON_CLUSTER}} (
    t DateTime('UTC') CODEC(Delta, ZSTD(1)),
    version UInt64 CODEC(ZSTD(1))
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version)
PARTITION BY toYYYYMM(t) ORDER BY t
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1;

-- Which version of each hour is complete, and of how many rows it is, without those of no time. Hours
-- are kept for ever, so their versions are as well.
CREATE OR REPLACE TABLE ledger_hour {{ON_CLUSTER}} (
    t DateTime('UTC') CODEC(Delta, ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    measured_rows UInt64 CODEC(ZSTD(1)),
    minute_rows UInt64 CODEC(ZSTD(1)),
    hour_rows UInt64 CODEC(ZSTD(1)),
    rolled_up_rows UInt64 CODEC(ZSTD(1))
) ENGINE = {{REPLICATED}}ReplacingMergeTree(version)
PARTITION BY toYYYYMM(t) ORDER BY t
SETTINGS old_parts_lifetime = 60, fsync_after_insert = 1, fsync_part_directory = 1
AS SELECT t, max(version) AS version, toUInt64(0) AS measured_rows, toUInt64(0) AS minute_rows,
          toUInt64(0) AS hour_rows, toUInt64(0) AS rolled_up_rows
FROM (SELECT t, version FROM ledger_hour UNION ALL
      SELECT t, max(version) AS version FROM charge_1h
      WHERE t NOT IN (SELECT t FROM ledger_hour) GROUP BY t)
GROUP BY t;

CREATE OR REPLACE VIEW v_open_hour {{ON_CLUSTER}} AS
SELECT t FROM (
            SELECT t, version AS begun, toUInt64(0) AS finished FROM ledger_open
            UNION ALL SELECT t, toUInt64(0), version FROM ledger_hour
        ) GROUP BY t HAVING max(begun) > max(finished);

-- What every meter was charged with, also those that overlap.
CREATE OR REPLACE VIEW v_charge_1m {{ON_CLUSTER}} AS
SELECT t, device_id, workload_id, class, joules, seconds
FROM charge_1m
WHERE seconds != 0 AND (toStartOfHour(t), version) IN (
    SELECT t, version FROM ledger_hour FINAL
    WHERE t NOT IN (
        SELECT t FROM v_open_hour
    ) OR (t, version, minute_rows) IN (
        SELECT toStartOfHour(t) AS hour, version, count() FROM charge_1m
        WHERE hour IN (
        SELECT t FROM v_open_hour
        ) AND seconds != 0 GROUP BY hour, version
    )
);

CREATE OR REPLACE VIEW v_charge_1h {{ON_CLUSTER}} AS
SELECT t, device_id, workload_id, class, joules, seconds, facility_joules, cost, currency
FROM charge_1h
WHERE seconds != 0 AND (t, version) IN (
    SELECT t, version FROM ledger_hour FINAL
    WHERE t NOT IN (
        SELECT t FROM v_open_hour
    ) OR (t, version, hour_rows) IN (
        SELECT t AS hour, version, count() FROM charge_1h
        WHERE hour IN (
        SELECT t FROM v_open_hour
        ) AND seconds != 0 GROUP BY hour, version
    )
);

-- The public schema as it was; v_energy_1h is one query over tables, which a dry run reads from its own.
CREATE OR REPLACE VIEW v_energy_1m {{ON_CLUSTER}} AS
SELECT c.t AS t, c.class AS class, c.joules AS joules, c.seconds AS seconds,
       d.key AS device, d.kind AS kind, d.node AS node, d.site AS site, d.tier AS tier,
       d.cluster AS cluster, d.model AS model, d.source AS source, d.method AS method,
       w.key AS workload_key, w.name AS workload, w.kind AS workload_kind,
       w.instance AS instance, w.namespace AS namespace, w.team AS team, w.owner AS owner,
       w.project AS project, w.cost_center AS cost_center, w.queue AS queue,
       w.model AS ai_model, w.precision AS precision
FROM v_charge_1m AS c
INNER JOIN (SELECT * FROM device FINAL WHERE overlap != 'inner') AS d ON d.device_id = c.device_id
LEFT JOIN (SELECT * FROM workload FINAL) AS w ON w.workload_id = c.workload_id;

CREATE OR REPLACE VIEW v_energy_1h {{ON_CLUSTER}} AS
SELECT c.t AS t, c.class AS class, c.joules AS joules, c.seconds AS seconds,
       c.facility_joules AS facility_joules, c.cost AS cost, c.currency AS currency,
       d.key AS device, d.kind AS kind, d.node AS node, d.site AS site, d.tier AS tier,
       d.cluster AS cluster, d.model AS model, d.source AS source, d.method AS method,
       w.key AS workload_key, w.name AS workload, w.kind AS workload_kind,
       w.instance AS instance, w.namespace AS namespace, w.team AS team, w.owner AS owner,
       w.project AS project, w.cost_center AS cost_center, w.queue AS queue,
       w.model AS ai_model, w.precision AS precision
FROM (
    SELECT * FROM charge_1h
    WHERE seconds != 0 AND (t, version) IN (
        SELECT t, version FROM ledger_hour FINAL
        WHERE t NOT IN (
            SELECT t FROM (
                SELECT t, version AS begun, toUInt64(0) AS finished FROM ledger_open
                UNION ALL SELECT t, toUInt64(0), version FROM ledger_hour
            ) GROUP BY t HAVING max(begun) > max(finished)
        ) OR (t, version, hour_rows) IN (
            SELECT t AS hour, version, count() FROM charge_1h
            WHERE hour IN (
            SELECT t FROM (
                SELECT t, version AS begun, toUInt64(0) AS finished FROM ledger_open
                UNION ALL SELECT t, toUInt64(0), version FROM ledger_hour
            ) GROUP BY t HAVING max(begun) > max(finished)
            ) AND seconds != 0 GROUP BY hour, version
        )
    )
) AS c
INNER JOIN (SELECT * FROM device FINAL WHERE overlap != 'inner') AS d ON d.device_id = c.device_id
LEFT JOIN (SELECT * FROM workload FINAL) AS w ON w.workload_id = c.workload_id;

-- Every meter, also those that overlap: for looking at one device, never for a total.
CREATE OR REPLACE VIEW v_measured_1m {{ON_CLUSTER}} AS
SELECT m.t AS t, d.key AS device, d.kind AS kind, d.node AS node, d.site AS site,
       d.source AS source, d.overlap AS overlap, m.method AS method, m.reason AS reason,
       m.joules AS joules, m.seconds AS seconds
FROM (
    SELECT * FROM measured_1m
    WHERE seconds != 0 AND (toStartOfHour(t), version) IN (
        SELECT t, version FROM ledger_hour FINAL
        WHERE t NOT IN (
            SELECT t FROM v_open_hour
        ) OR (t, version, measured_rows) IN (
            SELECT toStartOfHour(t) AS hour, version, count() FROM measured_1m
            WHERE hour IN (
            SELECT t FROM v_open_hour
            ) AND seconds != 0 GROUP BY hour, version
        )
    )
) AS m
INNER JOIN (SELECT * FROM device FINAL) AS d ON d.device_id = m.device_id;

-- Per workload and site, by the hour and by the day: v_workload says who that is. Of a day of which
-- an hour is being written nothing is said: ask its hours.
CREATE OR REPLACE VIEW v_workload_1h {{ON_CLUSTER}} AS
SELECT t, workload_id, class, site, currency, joules, seconds, facility_joules, cost
FROM workload_1h
WHERE seconds != 0 AND (t, version) IN (
    SELECT t, version FROM ledger_hour FINAL
    WHERE t NOT IN (
        SELECT t FROM v_open_hour
    ) OR (t, version, rolled_up_rows) IN (
        SELECT t AS hour, version, count() FROM workload_1h
        WHERE hour IN (
        SELECT t FROM v_open_hour
        ) AND seconds != 0 GROUP BY hour, version
    )
);

CREATE OR REPLACE VIEW v_workload_1d {{ON_CLUSTER}} AS
SELECT t, workload_id, class, site, currency, joules, seconds, facility_joules, cost
FROM workload_1d FINAL
WHERE seconds != 0 AND t NOT IN (
    SELECT toStartOfDay(t) FROM v_open_hour
);
