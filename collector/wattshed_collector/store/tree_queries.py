"""Named questions about what contains what, and what the outer meters measure beside the inner."""

from __future__ import annotations

from typing import Any

from .client import Client


def reconciliation(client: Client, since: int, until: int) -> list[dict[str, Any]]:
    """Joules of each outer meter in the hours that begin in [since, until), Unix seconds.

    ``inner_joules``, ``remainder_joules`` and ``uncovered_joules`` add up to ``outer_joules``;
    ``mismatched_hours`` are those in which it measured less than what is inside of it, in which its
    ``missing_joules`` (negative) are charged to nobody.
    """
    return client.records(
        """
        SELECT device, node, site, source, sum(r.outer_joules) AS outer_joules,
               sum(r.outer_joules - ifNull(r.remainder_joules, 0) - r.uncovered_joules)
                   AS inner_joules,
               sum(ifNull(r.remainder_joules, 0)) AS remainder_joules,
               sum(r.uncovered_joules) AS uncovered_joules,
               sumIf(ifNull(r.remainder_joules, 0), status = 'mismatch') AS missing_joules,
               countIf(status = 'mismatch') AS mismatched_hours, count() AS hours
        FROM v_reconciliation_1h AS r
        WHERE t >= toDateTime({since:UInt32}, 'UTC') AND t < toDateTime({until:UInt32}, 'UTC')
        GROUP BY device, node, site, source ORDER BY device
        """,
        {"since": since, "until": until},
    )


def places(client: Client) -> dict[str, tuple[str, int, list[int]]]:
    """Return each device's role, group, and the groups of outer meters around it, innermost first.

    ``role`` is that of the table ``tree`` (migration 0009).
    """
    rows = client.rows(
        "SELECT d.device, t.role, t.group_id, t.path FROM (SELECT * FROM tree FINAL) AS t "
        "INNER JOIN v_device AS d ON d.device_id = t.device_id"
    )
    return {str(device): (str(role), group, list(path)) for device, role, group, path in rows}


def tree(client: Client) -> list[dict[str, Any]]:
    """Where each device hangs, by device; ``problem`` is what was wrong with what was said."""
    return client.records(
        "SELECT device, parent, depth, root, meter_group, role, why, problem, kind, node, site, "
        "source FROM v_tree ORDER BY device"
    )
