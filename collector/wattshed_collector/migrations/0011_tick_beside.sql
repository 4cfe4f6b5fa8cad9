-- What one run of the ledger reads besides the readings of its hours: each device's nearest reading
-- on either side of them, and where readings failed, which is why. They are of no use after the run,
-- whose version they bear.
CREATE TABLE IF NOT EXISTS tick_beside {{ON_CLUSTER}} (
    version UInt64,
    device_id UInt64,
    t Int64,
    has_power Bool,
    has_energy Bool,
    power_uw UInt64,
    energy_uj UInt64,
    start Int64,
    interval_ms UInt32,
    util_e4 Nullable(UInt16),
    method LowCardinality(String),
    gap LowCardinality(String),
    made DateTime('UTC') DEFAULT now()
) ENGINE = {{REPLICATED}}ReplacingMergeTree
PARTITION BY toStartOfHour(made)
ORDER BY (version, device_id, t)
TTL made + INTERVAL 1 HOUR
SETTINGS ttl_only_drop_parts = 1, old_parts_lifetime = 60;
