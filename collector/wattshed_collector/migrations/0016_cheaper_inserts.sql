-- What an insert costs beside its rows: merges that it leads to, and the views that hang on it.

-- So many small parts are merged at once, and only parts of about one size: by default a part of up
-- to 5 MB is written again with every nine small ones, so that rows were merged up to a hundred
-- times where commits are small, and ten times where they are of 8,000 rows (bench/write.py).
ALTER TABLE tick {{ON_CLUSTER}} MODIFY SETTING min_parts_to_merge_at_once = 16, merge_selector_base = 16;
ALTER TABLE detail {{ON_CLUSTER}} MODIFY SETTING min_parts_to_merge_at_once = 16, merge_selector_base = 16;
ALTER TABLE sample {{ON_CLUSTER}} MODIFY SETTING min_parts_to_merge_at_once = 16, merge_selector_base = 16;
ALTER TABLE metric_sample {{ON_CLUSTER}} MODIFY SETTING min_parts_to_merge_at_once = 16, merge_selector_base = 16;

-- The days follow from the hours, which the ledger finds before it looks for any neighbour, and no
-- longer from every insert.
DROP VIEW IF EXISTS mv_tick_day {{ON_CLUSTER}};

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_tick_day_of_hours {{ON_CLUSTER}} TO tick_day AS
SELECT toStartOfDay(hour) AS day, device_id, min(first_valid) AS first_valid,
       max(last_valid) AS last_valid
FROM tick_hour
GROUP BY day, device_id;

-- What was said last is written by who writes the ticks: from some seconds of them at once.
DROP VIEW IF EXISTS mv_latest {{ON_CLUSTER}};
