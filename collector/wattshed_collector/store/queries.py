"""Named questions to the store: one function per question, SQL over ``v_*`` views only.

Times are Unix seconds, energies joules, powers watts. Every sum is over meters that do not overlap.
"""

from __future__ import annotations

import json
from typing import Any

from wattshed_exporter.model import stable_id

from .client import Client

Record = dict[str, Any]

GROUPS: dict[str, tuple[str, ...]] = {
    "workload": ("workload", "workload_kind", "team"),
    "team": ("team",),
    "node": ("node", "site"),
    "device": ("device", "kind", "node"),
    "class": ("class",),
    "site": ("site",),
    "kind": ("kind",),
    "project": ("project", "team"),
    "model": ("ai_model", "precision"),
}
"""What ``energy`` can be grouped by, and the columns that each group shows."""

MINUTES_UP_TO_S = 49 * 3600
"""Longest window that is answered from minutes; a longer one is answered from hours."""

_WINDOW = "t >= toDateTime({since:UInt32}, 'UTC') AND t < toDateTime({until:UInt32}, 'UTC')"


def resolution(since: int, until: int) -> int:
    """Return how many seconds a row of energy stands for in the window: a minute or an hour."""
    return 60 if until - since <= MINUTES_UP_TO_S else 3600


def _energy_view(since: int, until: int) -> str:
    return "v_energy_1m" if resolution(since, until) == 60 else "v_energy_1h"


def energy(client: Client, by: str, since: int, until: int) -> list[Record]:
    """Joules per group and class, largest first. ``by`` is a key of ``GROUPS``."""
    columns = ", ".join(GROUPS[by])
    return client.records(
        f"""
        SELECT {columns}, sum(e.joules) AS joules,
               sumIf(e.joules, class = 'active') AS active_joules,
               sumIf(e.joules, class = 'idle_held') AS idle_held_joules,
               sumIf(e.joules, class = 'idle_unallocated') AS idle_unallocated_joules,
               sumIf(e.joules, class = 'overhead') AS overhead_joules,
               sumIf(e.joules, class = 'unattributed') AS unattributed_joules,
               sum(e.seconds) AS device_seconds
        FROM {_energy_view(since, until)} AS e WHERE {_WINDOW}
        GROUP BY {columns} ORDER BY joules DESC, {columns}
        """,
        {"since": since, "until": until},
    )


def workload_energy(client: Client, since: int, until: int) -> list[Record]:
    """Joules per workload with what identifies it, largest first; nobody's energy is left out."""
    return client.records(
        f"""
        SELECT workload_key, workload, workload_kind, team, ai_model, precision,
               sum(e.joules) AS joules,
               sumIf(e.joules, class = 'active') AS active_joules,
               sumIf(e.joules, class = 'idle_held') AS idle_held_joules,
               sum(e.seconds) AS device_seconds,
               sumIf(e.seconds, class = 'idle_held') AS idle_held_seconds
        FROM {_energy_view(since, until)} AS e WHERE {_WINDOW} AND workload_key != ''
        GROUP BY workload_key, workload, workload_kind, team, ai_model, precision
        ORDER BY joules DESC, workload_key
        """,
        {"since": since, "until": until},
    )


def outcomes(client: Client, since: int, until: int) -> list[Record]:
    """Outcomes counted per workload and kind, up to where the ledger has charged the joules.

    Joules lag behind by up to one run of the ledger; counting the outcomes of that time already
    would make each of them look cheaper than it was.
    """
    return client.records(
        """
        WITH (SELECT max(settled) FROM ledger_state FINAL) AS settled
        SELECT workload_key, outcome, sum(o.count) AS count FROM v_outcome AS o
        WHERE ts > fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
          AND ts <= least(settled, fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC'))
        GROUP BY workload_key, outcome HAVING count > 1e-9 ORDER BY workload_key, outcome
        """,
        {"since_ms": since * 1000, "until_ms": until * 1000},
    )


def energy_by_step(client: Client, since: int, until: int, step: int) -> list[Record]:
    """Joules per class and step of ``step`` seconds, ascending by time.

    ``covered_seconds`` is how long of the step the best covered device was measured: less than the
    step where the data begins or ends.
    """
    return client.records(
        f"""
        SELECT t_s, class, sum(j) AS joules, max(max(device_s)) OVER (PARTITION BY t_s)
                   AS covered_seconds
        FROM (
            SELECT intDiv(toUnixTimestamp(t), {{step:UInt32}}) * {{step:UInt32}} AS t_s, class,
                   device, sum(e.joules) AS j,
                   sum(sum(e.seconds)) OVER (PARTITION BY t_s, device) AS device_s
            FROM {_energy_view(since, until)} AS e WHERE {_WINDOW}
            GROUP BY t_s, class, device
        )
        GROUP BY t_s, class ORDER BY t_s, class
        """,
        {"since": since, "until": until, "step": step},
    )


def first_charge(client: Client, since: int, until: int) -> int | None:
    """Unix time of the first charge in the window, None where there is none."""
    rows = client.rows(
        f"SELECT count(), toUnixTimestamp(min(t)) FROM {_energy_view(since, until)} "
        f"WHERE {_WINDOW}",
        {"since": since, "until": until},
    )
    count, first = rows[0]
    return int(first) if count else None


def quality(client: Client, since: int, until: int) -> list[Record]:
    """Joules and device-seconds per method and reason, of meters that do not overlap."""
    return client.records(
        f"""
        SELECT method, reason, sum(ifNull(m.joules, 0)) AS joules, sum(m.seconds) AS seconds
        FROM v_measured_1m AS m WHERE {_WINDOW} AND overlap = ''
        GROUP BY method, reason ORDER BY seconds DESC
        """,
        {"since": since, "until": until},
    )


def residual(client: Client, since: int, until: int) -> Record:
    """Largest and total difference between what was charged and what was measured."""
    return client.records(
        f"""
        SELECT sum(c.measured_joules) AS measured_joules, sum(c.charged_joules) AS charged_joules,
               max(abs(c.residual_joules)) AS worst_joules,
               max(if(c.measured_joules > 0, abs(c.residual_joules) / c.measured_joules, 0))
                   AS worst_ratio
        FROM v_conservation_1h AS c WHERE {_WINDOW}
        """,
        {"since": since - since % 3600, "until": until},
    )[0]


def live(client: Client) -> list[Record]:
    """The newest tick of every device that was heard of in the last quarter of an hour."""
    return client.records(
        """
        SELECT device, kind, node, site, overlap, toUnixTimestamp64Milli(ts) / 1e3 AS ts,
               power_watts, utilization_ratio, temperature_celsius, method, gap
        FROM v_live ORDER BY device
        """
    )


def details(client: Client, device: str) -> list[Record]:
    """The newest value of each detail that ``device`` said in the last quarter of an hour."""
    found = client.records(
        """
        SELECT metric, labels, value, toUnixTimestamp64Milli(ts) / 1e3 AS ts
        FROM v_sample_latest WHERE device_id = {id:UInt64} ORDER BY metric, labels
        """,
        {"id": stable_id(device)},
    )
    return [{**record, "labels": json.loads(record["labels"])} for record in found]


def newest(client: Client) -> float | None:
    """Event time (Unix seconds) of the newest tick, None in an empty store."""
    rows = client.rows("SELECT toUnixTimestamp64Milli(max(last_valid)) / 1e3 FROM tick_hour")
    return rows[0][0] or None
