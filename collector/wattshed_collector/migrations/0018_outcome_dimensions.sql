-- What energy per outcome is compared by: the size of batches and the phase of serving belong to the
-- workload; where a workload serves several models each outcome says its own.
ALTER TABLE workload {{ON_CLUSTER}}
    ADD COLUMN IF NOT EXISTS batch_class LowCardinality(String) AFTER precision;
ALTER TABLE workload {{ON_CLUSTER}}
    ADD COLUMN IF NOT EXISTS phase LowCardinality(String) AFTER batch_class;
ALTER TABLE outcome {{ON_CLUSTER}} ADD COLUMN IF NOT EXISTS model LowCardinality(String) AFTER source;

CREATE OR REPLACE VIEW v_workload {{ON_CLUSTER}} AS
SELECT workload_id, key AS workload_key, name AS workload, kind AS workload_kind, instance,
       namespace, team, owner, project, cost_center, queue, model AS ai_model, precision,
       batch_class, phase, cluster
FROM workload FINAL;
