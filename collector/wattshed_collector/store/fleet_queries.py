"""What dashboards ask of a whole fleet: power now and over time, who works least, one device.

Power over time comes from what was charged per minute, so that it sums to the energy of the same
window; power now from the newest readings, divided by share among who holds the device now. Times
are Unix seconds, powers watts, utilisation 0..1.
"""

from __future__ import annotations

from wattshed_exporter.model import stable_id

from .client import Client
from .energy_queries import Record
from .live_power import HOLDERS, PLACES, power_now

__all__ = ["BY", "device_power", "least_used", "power", "power_now"]

BY = (*HOLDERS, *PLACES)
"""What power can be summed by: who holds the devices, or where they are."""

_SINCE, _UNTIL = "toDateTime({since:UInt32}, 'UTC')", "toDateTime({until:UInt32}, 'UTC')"
_HOUR_S = 3600


def _within(time: str, since: int, until: int) -> str:
    """Return the condition for a window, of tables that are ordered by the hour first."""
    hours = f"toStartOfHour({time}) >= toStartOfHour({_SINCE}) AND toStartOfHour({time}) < {_UNTIL}"
    if since % _HOUR_S == until % _HOUR_S == 0:
        return hours
    return f"{hours} AND {time} >= {_SINCE} AND {time} < {_UNTIL}"


def power(client: Client, by: str, since: int, until: int, step: int) -> list[Record]:
    """Mean watts per ``by`` and step of ``step`` seconds (whole minutes), ascending by ``t``."""
    table, key = ("device", "device_id") if by in PLACES else ("workload", "workload_id")
    return client.records(
        f"""
        SELECT t, {_name(by)} AS name, sum(joules) / {{step:UInt32}} AS watts
        FROM (
            SELECT intDiv(toUnixTimestamp(t), {{step:UInt32}}) * {{step:UInt32}} AS t, {key},
                   sum(c.joules) AS joules
            FROM v_charge_1m AS c
            WHERE {_within("c.t", since, until)}
              AND device_id IN (SELECT device_id FROM device FINAL WHERE overlap != 'inner')
            GROUP BY t, {key}
        ) AS s
        LEFT JOIN (SELECT * FROM {table} FINAL) AS w ON w.{key} = s.{key}
        GROUP BY t, name ORDER BY t, name
        """,
        {"since": since, "until": until, "step": step},
    )


def least_used(client: Client, since: int, until: int, most: int) -> list[Record]:
    """The devices with the lowest mean utilisation, and their mean watts."""
    return client.records(
        f"""
        SELECT d.key AS device, d.node AS node, utilization_ratio, power_watts
        FROM (
            SELECT device_id, avg(util_e4) / 1e4 AS utilization_ratio,
                   avg(power_uw) / 1e6 AS power_watts
            FROM tick WHERE {_within("ts", since, until)} AND isNotNull(util_e4)
            GROUP BY device_id ORDER BY utilization_ratio, device_id LIMIT {{most:UInt32}}
        ) AS s
        INNER JOIN (SELECT * FROM device FINAL) AS d ON d.device_id = s.device_id
        ORDER BY utilization_ratio, device
        """,
        {"since": since, "until": until, "most": most},
    )


def device_power(client: Client, device: str, since: int, until: int, step: int) -> list[Record]:
    """Mean watts of one device's readings per step of ``step`` seconds, ascending by ``t``."""
    return client.records(
        f"""
        SELECT intDiv(toUnixTimestamp(ts), {{step:UInt32}}) * {{step:UInt32}} AS t,
               avg(power_uw) / 1e6 AS watts
        FROM tick
        WHERE {_within("ts", since, until)} AND device_id = {{device:UInt64}}
          AND isNotNull(power_uw)
        GROUP BY t ORDER BY t
        """,
        {"since": since, "until": until, "step": step, "device": stable_id(device)},
    )


def _name(by: str) -> str:
    return "w.name" if by == "workload" else f"w.{by}"
