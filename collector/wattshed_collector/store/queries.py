"""Named questions to the store: one function per question, SQL over ``v_*`` views only.

Times are Unix seconds, energies joules, powers watts. Every sum is over meters that
are not inside of others, of which one that contains some is charged the remainder only.
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
    "cost_center": ("cost_center",),
    "namespace": ("namespace",),
    "queue": ("queue",),
    "owner": ("owner", "team"),
    "model": ("ai_model", "precision"),
}
"""What ``energy`` can be grouped by, and the columns that each group shows."""
OF_DEVICES = frozenset({"node", "device", "kind"})
"""Groups that are told apart by device; the others are answered from roll-ups without it."""

MINUTES_UP_TO_S = 49 * 3600
"""Longest window that is answered from minutes; a longer one is answered from hours."""

DAY_S = 86400

_WINDOW = "t >= toDateTime({since:UInt32}, 'UTC') AND t < toDateTime({until:UInt32}, 'UTC')"


def resolution(since: int, until: int) -> int:
    """Return how many seconds a row of energy stands for in the window: a minute or an hour."""
    return 60 if until - since <= MINUTES_UP_TO_S else 3600


def _energy_view(since: int, until: int) -> str:
    return "v_energy_1m" if resolution(since, until) == 60 else "v_energy_1h"


_ROLLED_UP = """(
    SELECT * FROM (
        SELECT workload_id, class, site, sum(r.joules) AS joules, sum(r.seconds) AS seconds
        FROM (
            SELECT workload_id, class, site, joules, seconds FROM v_workload_1d
            WHERE t >= toDateTime({first_day:UInt32}, 'UTC')
              AND t < toDateTime({end_day:UInt32}, 'UTC')
            UNION ALL
            SELECT workload_id, class, site, joules, seconds FROM v_workload_1h
            WHERE t >= toDateTime({since:UInt32}, 'UTC') AND t < toDateTime({until:UInt32}, 'UTC')
              AND (t < toDateTime({first_day:UInt32}, 'UTC')
                   OR t >= toDateTime({end_day:UInt32}, 'UTC'))
        ) AS r
        GROUP BY workload_id, class, site
    ) AS summed
    LEFT JOIN v_workload USING (workload_id)
)"""
"""Whole days, and the hours before and after them."""


def _source(since: int, until: int, *, by_device: bool) -> tuple[str, dict[str, int]]:
    """Return what to read the energy of a window from, at the least cost, and the parameters.

    A window that begins and ends at full hours, or is long, is answered from hours and days.
    """
    parameters = {"since": since, "until": until}
    whole_hours = since % 3600 == 0 and until % 3600 == 0
    if resolution(since, until) == 60 and not whole_hours:
        return f"(SELECT * FROM v_energy_1m WHERE {_WINDOW})", parameters
    if by_device:
        return f"(SELECT * FROM v_energy_1h WHERE {_WINDOW})", parameters
    first_day, end_day = -(-since // DAY_S) * DAY_S, until // DAY_S * DAY_S
    if end_day <= first_day:
        first_day = end_day = 0
    return _ROLLED_UP, {**parameters, "first_day": first_day, "end_day": end_day}


def energy(client: Client, by: str, since: int, until: int) -> list[Record]:
    """Joules per group and class, largest first. ``by`` is a key of ``GROUPS``."""
    columns = ", ".join(GROUPS[by])
    source, parameters = _source(since, until, by_device=by in OF_DEVICES)
    return client.records(
        f"""
        SELECT {columns}, sum(e.joules) AS joules,
               sumIf(e.joules, class = 'active') AS active_joules,
               sumIf(e.joules, class = 'idle_held') AS idle_held_joules,
               sumIf(e.joules, class = 'idle_unallocated') AS idle_unallocated_joules,
               sumIf(e.joules, class = 'overhead') AS overhead_joules,
               sumIf(e.joules, class = 'unattributed') AS unattributed_joules,
               sum(e.seconds) AS device_seconds
        FROM {source} AS e
        GROUP BY {columns} ORDER BY joules DESC, {columns}
        """,
        parameters,
    )


def workload_energy(client: Client, since: int, until: int) -> list[Record]:
    """Joules per workload with what identifies it, largest first; nobody's energy is left out."""
    source, parameters = _source(since, until, by_device=False)
    return client.records(
        f"""
        SELECT workload_key, workload, workload_kind, team, ai_model, precision,
               sum(e.joules) AS joules,
               sumIf(e.joules, class = 'active') AS active_joules,
               sumIf(e.joules, class = 'idle_held') AS idle_held_joules,
               sum(e.seconds) AS device_seconds,
               sumIf(e.seconds, class = 'idle_held') AS idle_held_seconds
        FROM {source} AS e WHERE workload_key != ''
        GROUP BY workload_key, workload, workload_kind, team, ai_model, precision
        ORDER BY joules DESC, workload_key
        """,
        parameters,
    )


def costs(client: Client, by: str, since: int, until: int) -> list[Record]:
    """Joules, joules with the site's PUE and cost per group, of hours that begin in the window.

    A sum is NULL where a part of it is not known: the PUE of a site, the price of some hour, or
    where there are several currencies.
    """
    columns = ", ".join(GROUPS[by])
    return client.records(
        f"""
        SELECT {columns}, sum(e.joules) AS joules,
               if(countIf(isNull(e.facility_joules)) = 0, sum(e.facility_joules), NULL)
                   AS facility_joules,
               if(countIf(isNull(e.cost)) = 0 AND uniqExact(e.currency) = 1, sum(e.cost), NULL)
                   AS cost,
               if(isNull(cost), '', any(e.currency)) AS currency
        FROM v_energy_1h AS e WHERE {_WINDOW}
        GROUP BY {columns} ORDER BY joules DESC, {columns}
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
    rows = client.rows("SELECT toUnixTimestamp64Milli(max(last_valid)) / 1e3 FROM tick_hour")
    return rows[0][0] or None
