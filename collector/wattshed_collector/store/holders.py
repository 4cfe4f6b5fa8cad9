"""Which workloads held devices lately, so that outcomes find them after a restart."""

from __future__ import annotations

from wattshed_exporter.model import Workload

from .client import Client
from .rows import WORKLOAD_TEXT

RECENT = """
SELECT w.key, w.name, w.kind, w.instance, w.namespace, w.team, w.owner, w.project, w.cost_center,
       w.queue, w.model, w.precision, w.batch_class, w.phase, w.cluster, a.until_ms
FROM (
    SELECT workload_id, max(toUnixTimestamp64Milli(end_ts)) AS until_ms
    FROM allocation FINAL
    WHERE start_ts > now() - INTERVAL 3 HOUR AND end_ts > start_ts
    GROUP BY workload_id ORDER BY until_ms DESC LIMIT {most:UInt32}
) AS a
INNER JOIN (SELECT * FROM workload FINAL) AS w ON w.workload_id = a.workload_id
WHERE w.kind != ''
"""
"""An allocation begins anew at every full hour. What is not described is not told: its fields may
still come from its node."""


def recent_holders(client: Client, most: int = 100_000) -> list[tuple[Workload, int]]:
    """Return the workloads that held something last, each with the time (ms) until which it did."""
    return [
        (Workload(**dict(zip(WORKLOAD_TEXT, map(str, texts), strict=True))), int(str(until_ms)))
        for *texts, until_ms in client.rows(RECENT, {"most": most})
    ]
