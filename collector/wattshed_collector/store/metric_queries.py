"""Named questions about metrics that are not about energy."""

from __future__ import annotations

from typing import Any

from .client import Client

MOST = 10_000
"""Rows of one answer."""


def names(client: Client, since: int, until: int) -> list[dict[str, Any]]:
    """Return each metric with samples in [since, until): kind, unit, series and the newest time.

    Times are Unix seconds.
    """
    return client.records(
        """
        SELECT metric, any(kind) AS kind, any(unit) AS unit, uniqExact(sender, labels) AS series,
               toUnixTimestamp64Milli(max(ts)) / 1e3 AS newest
        FROM metric_sample
        WHERE ts >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
          AND ts < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
        GROUP BY metric ORDER BY metric LIMIT {most:UInt32}
        """,
        {"since_ms": since * 1000, "until_ms": until * 1000, "most": MOST},
    )


def samples(client: Client, metric: str, since: int, until: int) -> list[dict[str, Any]]:
    """Return at most ``MOST`` samples of a metric in [since, until), the newest first."""
    return client.records(
        """
        SELECT toUnixTimestamp64Milli(ts) / 1e3 AS ts, labels, value, sender FROM v_metric AS m
        WHERE metric = {metric:String}
          AND m.ts >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
          AND m.ts < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
        ORDER BY m.ts DESC, toString(labels), sender LIMIT {most:UInt32}
        """,
        {"metric": metric, "since_ms": since * 1000, "until_ms": until * 1000, "most": MOST},
    )
