"""What dashboards ask of a whole fleet: power now and over time, who works least, one device.

Power over time comes from what was charged per minute, so that it sums to the energy of the same
window; power now from the newest readings, divided by share among who holds the device now. Times
are Unix seconds, powers watts, utilisation 0..1.
"""

from __future__ import annotations

from .client import Client
from .device_power import device_power
from .energy_queries import COUNTED, HOUR_S, Record, Span, read_told
from .ledger_sql import USED
from .live_power import HOLDERS, PLACES, power_now

__all__ = ["BY", "device_power", "least_used", "power", "power_now"]

BY = (*HOLDERS, *PLACES)
"""What power can be summed by: who holds the devices, or where they are."""


def _within(time: str, since: int, until: int) -> str:
    """Return the condition for a window, of tables that are ordered by the hour first."""
    first, last = f"toDateTime({since:d}, 'UTC')", f"toDateTime({until:d}, 'UTC')"
    hours = f"toStartOfHour({time}) >= toStartOfHour({first}) AND toStartOfHour({time}) < {last}"
    if since % HOUR_S == until % HOUR_S == 0:
        return hours
    return f"{hours} AND {time} >= {first} AND {time} < {last}"


def power(client: Client, by: str, since: int, until: int, step: int) -> list[Record]:
    """Mean watts per ``by`` and step of ``step`` seconds (whole minutes), ascending by ``t``.

    By who holds the devices, and by site, from what each workload was charged with by the minute.
    """
    told = read_told(client, Span(since, until))
    hours = range(since // HOUR_S * HOUR_S, until, HOUR_S)
    key, name, join = _summed_by(by)
    table, counted = ("charge_1m", f" AND {COUNTED}") if key == "device_id" else ("workload_1m", "")
    rows = [
        f"{query} AND {_within('m.t', since, until)}{counted}"
        for query in told.rows(
            table, "toStartOfHour(m.t)", hours, f"SELECT m.t AS at, m.{key}, m.joules AS joules"
        )
    ]
    if not rows:
        return []
    return client.records(
        f"""
        SELECT toUInt32(intDiv(toUnixTimestamp(at), {{step:UInt32}}) * {{step:UInt32}}) AS t,
               {name} AS name, sum(c.joules) / {{step:UInt32}} AS watts
        FROM ({" UNION ALL ".join(rows)}) AS c {join}
        GROUP BY t, name ORDER BY t, name {told.settings}
        """,
        {"step": step},
    )


def _summed_by(by: str) -> tuple[str, str, str]:
    """Return what rows of power are read by, its name, and the join that gives it."""
    if by == "site":
        return "site", "c.site", ""
    table, key = ("device", "device_id") if by in PLACES else ("workload", "workload_id")
    column = "name" if by == "workload" else by
    join = f"ANY LEFT JOIN (SELECT {key}, {column} FROM {table} FINAL) AS w ON w.{key} = c.{key}"
    return key, f"w.{column}", join


def least_used(client: Client, since: int, until: int, most: int) -> list[Record]:
    """The devices with the lowest mean utilisation over time, and their mean watts.

    Whole hours are as the ledger found them last, the edges of the window from the readings.
    """
    span = Span(since, until)
    parts = [_used_hours(*span.whole_hours), *(_used_readings(*edge) for edge in span.edges)]
    found = client.records(
        f"""
        SELECT device_id, sum(u.busy) / sum(u.known_s) AS utilization_ratio,
               if(sum(u.power_s) > 0, sum(u.joules) / sum(u.power_s), NULL) AS power_watts
        FROM ({" UNION ALL ".join(parts)}) AS u
        WHERE device_id IN (SELECT device_id FROM device)
        GROUP BY device_id HAVING sum(u.known_s) > 0
        ORDER BY utilization_ratio, device_id LIMIT {{most:UInt32}} SETTINGS max_threads = 1
        """,
        {"most": most},
    )
    named = _devices(client, [record["device_id"] for record in found])
    rows = [{**named[record.pop("device_id")], **record} for record in found]
    return sorted(rows, key=lambda row: (row["utilization_ratio"], row["device"]))


def _used_hours(since: int, until: int) -> str:
    columns = "used.2 AS busy, used.3 AS known_s, used.4 AS joules, used.5 AS power_s"
    return (
        f"SELECT device_id, {columns} FROM tick_hour FINAL "
        f"WHERE hour >= toDateTime({since:d}, 'UTC') AND hour < toDateTime({until:d}, 'UTC')"
    )


def _used_readings(since: int, until: int) -> str:
    return (
        f"SELECT device_id, used.1 AS busy, used.2 AS known_s, used.3 AS joules, "
        f"used.4 AS power_s FROM (SELECT device_id, ({USED}) AS used FROM tick "
        f"WHERE {_within('ts', since, until)} GROUP BY device_id)"
    )


def _devices(client: Client, ids: list[int]) -> dict[int, Record]:
    rows = client.rows(
        "SELECT device_id, key, node FROM device FINAL WHERE device_id IN {ids:Array(UInt64)}",
        {"ids": ids},
    )
    return {number: {"device": key, "node": node} for number, key, node in rows}
