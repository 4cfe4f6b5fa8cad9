"""What the store knows of allocations that receivers may have to prolong after a restart."""

from __future__ import annotations

from collections.abc import Iterable

from .client import Client

RECENT = """
SELECT d.key, w.key, max(a.s), max(a.e), argMax(a.share = 1 AND isNull(a.activity), a.s)
FROM (
    SELECT device_id, workload_id, share, activity,
           toUnixTimestamp64Milli(start_ts) AS s, toUnixTimestamp64Milli(end_ts) AS e
    FROM allocation FINAL
    WHERE start_ts > now() - INTERVAL 3 HOUR AND end_ts > start_ts
      AND method IN {methods:Array(String)}
) AS a
INNER JOIN (SELECT device_id, key FROM device FINAL) AS d ON d.device_id = a.device_id
INNER JOIN (SELECT workload_id, key FROM workload FINAL) AS w ON w.workload_id = a.workload_id
GROUP BY d.key, w.key
"""
"""Each begins anew at every full hour, so three hours hold all that may still go on."""


def recent_tenures(client: Client, methods: Iterable[str]) -> list[tuple[str, str, int, int, bool]]:
    """Return device, workload, start and end (ms) of the newest allocations by some methods, and
    whether the workload had the device to itself."""
    rows = client.rows(RECENT, {"methods": sorted(methods)})
    return [(str(d), str(w), int(s), int(e), bool(alone)) for d, w, s, e, alone in rows]
