"""Named questions about allocations in doubt."""

from __future__ import annotations

from typing import Any

from .client import Client

MOST = 10_000


def counted(client: Client, since: int, until: int) -> dict[str, int]:
    """Return how many allocations that cannot be true came in [since, until), by reason.

    Those that were taken in and do not fit are not counted: to find them takes every allocation.
    """
    rows = client.rows(
        """
        SELECT reason, count() FROM quarantine FINAL
        WHERE ingested_at >= toDateTime({since:UInt32}, 'UTC')
          AND ingested_at < toDateTime({until:UInt32}, 'UTC')
        GROUP BY reason ORDER BY reason
        """,
        {"since": since, "until": until},
    )
    return {str(reason): int(count) for reason, count in rows}


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
