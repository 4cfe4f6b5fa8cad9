"""Pieces of SQL that several boards say alike, so that a number means the same on each of them."""

from __future__ import annotations

BY_STEP = "step_s = if($__toTime - $__fromTime > 90000, 3600, 60) AND $__timeFilter(t)"
"""Of views with ``step_s``: minutes up to 25 hours, else whole hours, so that few rows are read."""
BY_HOUR = "step_s = 3600 AND $__timeFilter(t)"
"""Of the same views what only hours have: cost and what the site adds."""
MEAN_WATTS = "sum(joules) / greatest($__interval_s, any(step_s))"
"""Mean watts of a bucket, of views with ``step_s``."""
HOUR_WATTS = "sum(joules) / greatest($__interval_s, 3600)"
"""The same of views by the hour."""
RANGE_S = "($__toTime - $__fromTime)"
WATT_HOURS = "sum(joules) / 3600"
IDLE = "class IN ('idle_held', 'idle_unallocated')"
IS_MEASURED = "method IN ('counter', 'integral')"
RECENT = "ts >= greatest($__fromTime, $__toTime - 21600) AND ts <= $__toTime"
"""Of single readings at most the last six hours of the range."""
WHOLE_WATTS = (
    "if(countIf(role = 'outer' AND isNotNull(power_watts)) > 0,\n"
    "    sumIf(power_watts, role = 'outer'), sumIf(power_watts, role = 'counted'))"
)
"""Watts of what lies in one outermost meter, of ``v_device_now`` grouped by ``root_id``."""
NODE_WATTS = (
    "if(countIf(kind = 'host' AND isNotNull(power_watts)) > 0,\n"
    "    sumIf(power_watts, kind = 'host'), sumIf(power_watts, role = 'counted'))"
)
"""Watts of a node: of its own wall meter where it has one that speaks."""
