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
RECENT = "$__timeFilter(ts) AND ts >= $__toTime - 21600"
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


def grown(condition: str) -> str:
    """Return rows of ``v_stack`` in the range with by how much each counter grew since the row
    before, 0 in its first; one that fell began anew. ``condition`` is about ``metric``."""
    return (
        "(SELECT ts, metric, labels, instance,\n"
        "  value - lagInFrame(value, 1, value) OVER w AS more,\n"
        "  if(more < 0, value, more) AS growth\n"
        f"  FROM v_stack WHERE $__timeFilter(ts) AND metric {condition}\n"
        "  WINDOW w AS (PARTITION BY metric, series ORDER BY ts\n"
        "    ROWS BETWEEN 1 PRECEDING AND CURRENT ROW))"
    )
