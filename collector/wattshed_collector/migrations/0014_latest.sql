-- What each device said last, in a row of its own, so that power now is read without reading hours.
-- Each quantity lies below the time that it is of, in one number, and the higher one stands: neither
-- order nor repeats make it go back, and what comes in several requests is whole. Above the quantity
-- is a bit that says whether there was one: a newer NULL is news too. From the top: milliseconds;
-- said (bit 64 of power, 16 of util and temp, 0 of energy); the quantity (temp above -32768). Of
-- method it is the place in the list below. Numbers, because tuples took three times the insert.
CREATE TABLE IF NOT EXISTS latest {{ON_CLUSTER}} (
    device_id UInt64,
    ts SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    power SimpleAggregateFunction(max, UInt128),
    energy SimpleAggregateFunction(max, UInt64),
    util SimpleAggregateFunction(max, UInt64),
    temp SimpleAggregateFunction(max, UInt64),
    method SimpleAggregateFunction(max, UInt64),
    gap SimpleAggregateFunction(max, Tuple(ms UInt64, gap String)),
    withdrawn SimpleAggregateFunction(max, UInt64)
) ENGINE = {{REPLICATED}}AggregatingMergeTree ORDER BY device_id
SETTINGS old_parts_lifetime = 60, min_parts_to_merge_at_once = 5,
         fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_latest {{ON_CLUSTER}} TO latest AS
SELECT device_id, max(k.ts) AS ts,
       max(bitShiftLeft(toUInt128(toUInt64(toUnixTimestamp64Milli(k.ts))), 65)
           + if(isNull(power_uw), toUInt128(0), bitShiftLeft(toUInt128(1), 64) + power_uw)) AS power,
       max(toUInt64(toUnixTimestamp64Milli(k.ts)) * 2 + isNotNull(energy_uj)) AS energy,
       max(toUInt64(toUnixTimestamp64Milli(k.ts)) * 131072 + if(isNull(util_e4), 0, 65536 + util_e4)) AS util,
       max(toUInt64(toUnixTimestamp64Milli(k.ts)) * 131072 + if(isNull(temp_e1), 0, 98304 + temp_e1)) AS temp,
       max(toUInt64(toUnixTimestamp64Milli(k.ts)) * 8 + indexOf(['counter', 'integral', 'estimated', 'simulated', 'unknown'], k.method)) AS method,
       maxIf((toUInt64(toUnixTimestamp64Milli(k.ts)), toString(ifNull(k.gap, ''))), isNotNull(k.gap)) AS gap,
       maxIf(toUInt64(toUnixTimestamp64Milli(k.ts)), isNotNull(k.withdrawn)) AS withdrawn
FROM tick AS k
GROUP BY device_id;

-- What the store had last before there was this table. Repeating it changes nothing.
INSERT INTO latest
SELECT device_id, max(k.ts),
       max(bitShiftLeft(toUInt128(toUInt64(toUnixTimestamp64Milli(k.ts))), 65)
           + if(isNull(power_uw), toUInt128(0), bitShiftLeft(toUInt128(1), 64) + power_uw)),
       max(toUInt64(toUnixTimestamp64Milli(k.ts)) * 2 + isNotNull(energy_uj)),
       max(toUInt64(toUnixTimestamp64Milli(k.ts)) * 131072 + if(isNull(util_e4), 0, 65536 + util_e4)),
       max(toUInt64(toUnixTimestamp64Milli(k.ts)) * 131072 + if(isNull(temp_e1), 0, 98304 + temp_e1)),
       max(toUInt64(toUnixTimestamp64Milli(k.ts)) * 8 + indexOf(['counter', 'integral', 'estimated', 'simulated', 'unknown'], k.method)),
       maxIf((toUInt64(toUnixTimestamp64Milli(k.ts)), toString(ifNull(k.gap, ''))), isNotNull(k.gap)),
       maxIf(toUInt64(toUnixTimestamp64Milli(k.ts)), isNotNull(k.withdrawn))
FROM tick AS k
WHERE toStartOfHour(k.ts) >= now() - INTERVAL 75 MINUTE
GROUP BY device_id;

-- The newest tick of each device that has been heard of in the last quarter of an hour.
CREATE OR REPLACE VIEW v_live {{ON_CLUSTER}} AS
SELECT d.device AS device, d.kind AS kind, d.node AS node, d.site AS site, d.overlap AS overlap,
       l.at AS ts,
       if(l.power_said, toUInt64(bitAnd(l.power, toUInt128(18446744073709551615))) / 1e6,
          NULL) AS power_watts,
       if(bitTest(l.util, 16), l.util % 65536 / 1e4, NULL) AS utilization_ratio,
       if(bitTest(l.temp, 16), (toInt32(l.temp % 65536) - 32768) / 10, NULL) AS temperature_celsius,
       ['counter', 'integral', 'estimated', 'simulated', 'unknown'][l.method % 8] AS method,
       if(l.gap.1 = l.ms AND (l.power_said = 0 AND l.energy % 2 = 0 OR l.withdrawn = l.ms),
          l.gap.2, '') AS gap
FROM (
    SELECT device_id, max(k.ts) AS at, toUInt64(toUnixTimestamp64Milli(at)) AS ms,
           max(k.power) AS power, toUInt8(bitAnd(bitShiftRight(power, 64), 1)) AS power_said,
           max(k.energy) AS energy, max(k.util) AS util,
           max(k.temp) AS temp, max(k.method) AS method, max(k.gap) AS gap,
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

-- How much each device was used in an hour, so that who works least in a month is found without its
-- readings: version, utilisation x seconds, its seconds, watts x seconds, their seconds.
ALTER TABLE tick_hour {{ON_CLUSTER}} ADD COLUMN IF NOT EXISTS
    used SimpleAggregateFunction(max, Tuple(UInt64, Float64, Float64, Float64, Float64));
