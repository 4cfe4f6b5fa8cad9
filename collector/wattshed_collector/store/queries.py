"""Named questions to the store: one function per question, SQL over ``v_*`` views.

Times are Unix seconds, energies joules, powers watts. Every sum is over meters that
are not inside of others, of which one that contains some is charged the remainder only.
Where the joules went is asked in ``energy_queries``, what they produced in ``outcome_queries``.
"""

from __future__ import annotations

import json
from typing import Any

from wattshed_exporter.model import stable_id

from .client import Client
from .energy_queries import GROUPS, energy, resolution, workload_energy

__all__ = ["GROUPS", "Record", "energy", "resolution", "workload_energy"]

Record = dict[str, Any]

_WINDOW = "t >= toDateTime({since:UInt32}, 'UTC') AND t < toDateTime({until:UInt32}, 'UTC')"


def _charges(since: int, until: int) -> str:
    view = "v_charge_1m" if resolution(since, until) == 60 else "v_charge_1h"
    counted = "SELECT device_id FROM device FINAL WHERE overlap != 'inner'"
    return f"(SELECT * FROM {view} WHERE {_WINDOW} AND device_id IN ({counted}))"


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
                   device_id, sum(e.joules) AS j,
                   sum(sum(e.seconds)) OVER (PARTITION BY t_s, device_id) AS device_s
            FROM {_charges(since, until)} AS e
            GROUP BY t_s, class, device_id
        )
        GROUP BY t_s, class ORDER BY t_s, class
        """,
        {"since": since, "until": until, "step": step},
    )


def first_charge(client: Client, since: int, until: int) -> int | None:
    """Unix time of the first charge in the window, None where there is none."""
    rows = client.rows(
        f"SELECT count(), toUnixTimestamp(min(t)) FROM {_charges(since, until)}",
        {"since": since, "until": until},
    )
    count, first = rows[0]
    return int(first) if count else None


def quality(client: Client, since: int, until: int) -> list[Record]:
    """Joules and device-seconds per method and reason, of meters that are not inside others."""
    return client.records(
        f"""
        SELECT method, reason, sum(ifNull(m.joules, 0)) AS joules, sum(m.seconds) AS seconds
        FROM v_measured_1m AS m WHERE {_WINDOW} AND overlap != 'inner'
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
    rows = client.rows("SELECT toUnixTimestamp64Milli(max(ts)) / 1e3 FROM latest")
    return rows[0][0] or None
