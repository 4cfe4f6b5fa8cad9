-- What runs on a device: needed to tell apart two generations of drivers or firmware in one fleet.
ALTER TABLE device {{ON_CLUSTER}} ADD COLUMN IF NOT EXISTS driver LowCardinality(String) AFTER serial;
ALTER TABLE device {{ON_CLUSTER}} ADD COLUMN IF NOT EXISTS firmware LowCardinality(String) AFTER driver;

CREATE OR REPLACE VIEW v_device {{ON_CLUSTER}} AS
SELECT device_id, key AS device, kind, node, name, vendor, model, serial, driver, firmware, parent,
       site, tier, cluster, scope, source, method, overlap, uncertainty_ratio, power_limit_watts
FROM device FINAL;
