-- What each device said last, in a row of its own, so that power now is read without reading hours.
-- Each quantity carries the time that it is of, and the higher one stands: neither order nor repeats
-- make it go back, and what comes in several requests is whole. said is 0 where there is nothing:
-- a newer NULL is news too.
CREATE TABLE IF NOT EXISTS latest {{ON_CLUSTER}} (
    device_id UInt64,
    ts SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    power SimpleAggregateFunction(max, Tuple(ms Int64, said UInt8, uw UInt64)),
    energy SimpleAggregateFunction(max, Tuple(ms Int64, said UInt8)),
    util SimpleAggregateFunction(max, Tuple(ms Int64, said UInt8, e4 UInt16)),
    temp SimpleAggregateFunction(max, Tuple(ms Int64, said UInt8, e1 Int16)),
    method SimpleAggregateFunction(max, Tuple(ms Int64, method String)),
    gap SimpleAggregateFunction(max, Tuple(ms Int64, gap String)),
    withdrawn SimpleAggregateFunction(max, Tuple(ms Int64, said UInt8))
) ENGINE = {{REPLICATED}}AggregatingMergeTree ORDER BY device_id
SETTINGS old_parts_lifetime = 60, min_parts_to_merge_at_once = 5,
         fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_latest {{ON_CLUSTER}} TO latest AS
SELECT device_id, max(k.ts) AS ts,
       max((toUnixTimestamp64Milli(k.ts), isNotNull(power_uw), ifNull(power_uw, 0))) AS power,
       max((toUnixTimestamp64Milli(k.ts), isNotNull(energy_uj))) AS energy,
       max((toUnixTimestamp64Milli(k.ts), isNotNull(util_e4), ifNull(util_e4, 0))) AS util,
       max((toUnixTimestamp64Milli(k.ts), isNotNull(temp_e1), ifNull(temp_e1, 0))) AS temp,
       max((toUnixTimestamp64Milli(k.ts), toString(k.method))) AS method,
       max((toUnixTimestamp64Milli(k.ts), toString(ifNull(k.gap, '')))) AS gap,
       max((toUnixTimestamp64Milli(k.ts), isNotNull(k.withdrawn))) AS withdrawn
FROM tick AS k
GROUP BY device_id;

-- What the store had last before there was this table. Repeating it changes nothing.
INSERT INTO latest
SELECT device_id, max(k.ts),
       max((toUnixTimestamp64Milli(k.ts), isNotNull(power_uw), ifNull(power_uw, 0))),
       max((toUnixTimestamp64Milli(k.ts), isNotNull(energy_uj))),
       max((toUnixTimestamp64Milli(k.ts), isNotNull(util_e4), ifNull(util_e4, 0))),
       max((toUnixTimestamp64Milli(k.ts), isNotNull(temp_e1), ifNull(temp_e1, 0))),
       max((toUnixTimestamp64Milli(k.ts), toString(k.method))),
       max((toUnixTimestamp64Milli(k.ts), toString(ifNull(k.gap, '')))),
       max((toUnixTimestamp64Milli(k.ts), isNotNull(k.withdrawn)))
FROM tick AS k
WHERE toStartOfHour(k.ts) >= now() - INTERVAL 75 MINUTE
GROUP BY device_id;

-- The newest tick of each device that has been heard of in the last quarter of an hour.
CREATE OR REPLACE VIEW v_live {{ON_CLUSTER}} AS
SELECT d.device AS device, d.kind AS kind, d.node AS node, d.site AS site, d.overlap AS overlap,
       l.at AS ts, if(l.power.2, l.power.3 / 1e6, NULL) AS power_watts,
       if(l.util.2, l.util.3 / 1e4, NULL) AS utilization_ratio,
       if(l.temp.2, l.temp.3 / 10, NULL) AS temperature_celsius, l.method.2 AS method,
       if(l.power.2 = 0 AND l.energy.2 = 0 OR l.withdrawn.2, l.gap.2, '') AS gap
FROM (
    SELECT device_id, max(k.ts) AS at, max(k.power) AS power, max(k.energy) AS energy,
           max(k.util) AS util, max(k.temp) AS temp, max(k.method) AS method, max(k.gap) AS gap,
           max(k.withdrawn) AS withdrawn
    FROM latest AS k
    GROUP BY device_id
    HAVING at >= now() - INTERVAL 15 MINUTE
) AS l
INNER JOIN v_device AS d ON d.device_id = l.device_id;

-- An insert wrote five parts: of these three the writer and the ledger take care. The writer marks
-- the hours of its ticks itself, less often than it writes; the ledger finds the first and the last
-- reading of an hour when it computes it. A row that comes into tick by another way needs a mark.
DROP VIEW IF EXISTS mv_dirty {{ON_CLUSTER}};
DROP VIEW IF EXISTS mv_tick_hour {{ON_CLUSTER}};
