-- Who holds which part of each device right now, by share; workload_id 0 is nobody's part. A running
-- allocation is said again every few seconds, so one that was not for two minutes has ended. The
-- ledger knows better, by activity and to the second; this is for what is live.
CREATE OR REPLACE VIEW v_held_now {{ON_CLUSTER}} AS
SELECT d.key AS device, h.device_id AS device_id, holder.1 AS workload_id,
       holder.2 / greatest(h.whole, 1) AS part
FROM (
    SELECT device_id, sum(share) AS whole,
           arrayConcat(groupArray((workload_id, share)),
                       if(whole < 1, [(toUInt64(0), 1 - whole)], [])) AS holders
    FROM (
        SELECT device_id, workload_id, argMax(a.share, end_ts) AS share
        FROM allocation AS a FINAL
        WHERE toStartOfHour(start_ts) IN (
                  SELECT start_hour FROM allocation_hour
                  WHERE hour >= toStartOfHour(now()) - INTERVAL 1 HOUR)
          AND start_ts <= now() AND end_ts >= now() - INTERVAL 2 MINUTE AND a.share > 0
        GROUP BY device_id, workload_id
    )
    GROUP BY device_id
) AS h
ARRAY JOIN h.holders AS holder
INNER JOIN (SELECT device_id, key FROM device FINAL) AS d ON d.device_id = h.device_id;
