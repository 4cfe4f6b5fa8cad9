"""Named questions about allocations in doubt."""

from __future__ import annotations

from typing import Any

from .client import Client

MOST = 10_000


def listed(client: Client, since: int, until: int) -> list[dict[str, Any]]:
    """Return at most ``MOST`` allocations in doubt that came in [since, until), newest first.

    ``start``, ``end`` and ``came`` are Unix seconds; ``others`` are the workloads that one with the
    reason ``overlap`` overlaps.
    """
    return client.records(
        """
        SELECT start_s AS start, end_s AS end, device, workload, share, activity, method, revision,
               reason, others, toUnixTimestamp64Micro(ingested_at) / 1e6 AS came
        FROM v_quarantine
        WHERE ingested_at >= fromUnixTimestamp64Micro({since_us:Int64}, 'UTC')
          AND ingested_at < fromUnixTimestamp64Micro({until_us:Int64}, 'UTC')
        ORDER BY ingested_at DESC, device, start_s, workload LIMIT {most:UInt32}
        """,
        {"since_us": since * 10**6, "until_us": (until + 1) * 10**6, "most": MOST},
    )
