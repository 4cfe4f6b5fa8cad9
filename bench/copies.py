"""A store with the charged demo fleet made large: copies of its devices, and of its last day.

What is copied went through the product's own writer and ledger (``tests/fixtures/fleet_store.py``);
the copies are made by SQL, row by row, with other identities and earlier times. So each panel finds
what it looks for, in the amounts of a large fleet; nothing was charged of the days before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wattshed_collector.store.client import Client

DAY_S, HOUR_S = 86_400, 3600
FLEET_GPUS = 32
NAMES = 8
"""Copies of a workload that differ in name: names recur, as those of jobs do."""
DATED = "/20"
"""Is in the key of a workload that is a new one each day."""

NOW = (
    "latest", "device_work", "tree", "tick", "detail", "sample", "allocation", "outcome_kind",
    "measured_1m", "charge_1m", "workload_1m", "outcome_1m",
)  # fmt: skip
"""Copied for each copy of the fleet, not for days before: what is kept for days, or has no time."""
HOURS = (
    "tick_hour", "tick_day", "idle_hour", "activity_hour", "charge_1h", "workload_1h",
    "workload_1d", "outcome_1h", "reconcile_1h", "device_1d", "outcome_1d",
)  # fmt: skip
"""Copied for each copy of the fleet and for each day."""
BOTH = ("ledger_hour", "slo_1h", "allocation_hour")
"""Copied for each day."""
TIMES = ("t", "hour", "day", "start_hour", "first_valid", "last_valid")

DEVICES = """
INSERT INTO device
SELECT cityHash64(device_id, {copy:UInt32}) AS device_id, concat(key, '~', toString({copy:UInt32})),
       kind, concat(node, '~', toString({copy:UInt32})) AS node, name, vendor, model, serial,
       driver, firmware, parent, site, tier, cluster, scope, source, method, overlap,
       uncertainty_ratio, power_limit_watts, version
FROM device FINAL WHERE position(key, '~') = 0
"""
WORKLOADS = f"""
INSERT INTO workload
SELECT multiIf({{day:UInt32}} = 0, cityHash64(workload_id, {{copy:UInt32}}),
               {{copy:UInt32}} = 0, cityHash64(workload_id, {{day:UInt32}}, 0),
               cityHash64(cityHash64(workload_id, {{copy:UInt32}}), {{day:UInt32}}, 0)),
       concat(key, '~', toString({{copy:UInt32}}), '~', toString({{day:UInt32}})),
       if({{copy:UInt32}} % {NAMES} = 0, name,
          concat(name, '-', toString({{copy:UInt32}} % {NAMES}))),
       kind, instance, namespace, team, owner, project, cost_center, queue, model, precision,
       batch_class, phase, cluster, version
FROM workload FINAL
WHERE position(key, '~') = 0 AND ({{day:UInt32}} = 0 OR position(key, '{DATED}') > 0)
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How often the fleet, and how many days before its own."""

    copies: int
    days: int


def enlarge(client: Client, size: Size, end_s: int) -> None:
    """Copy what the store holds, whose past ends at ``end_s`` (Unix seconds)."""
    for copy in range(1, size.copies):
        client.command(DEVICES, {"copy": copy})
        client.command(WORKLOADS, {"copy": copy, "day": 0})
    for table in NOW + HOURS:
        _copy(client, table, size.copies)
    for day in range(1, size.days):
        for copy in range(size.copies):
            client.command(WORKLOADS, {"copy": copy, "day": day})
    hour = end_s // HOUR_S * HOUR_S
    for table in HOURS + BOTH:
        for day in range(1, size.days):
            _earlier(client, table, day, hour)


def _copy(client: Client, table: str, copies: int) -> None:
    """Give each row of a device or a workload to all copies of the fleet."""
    columns = _columns(client, table)
    chosen = ", ".join(
        f"if({name} = 0, 0, cityHash64({name}, n.copy))" if name.endswith("_id")
        else "arrayMap(one -> cityHash64(one, n.copy), path)" if name == "path"
        else name
        for name in columns
    )  # fmt: skip
    # Rows that belong to nobody and to no device would only be doubled.
    client.command(
        f"INSERT INTO {table} SELECT {chosen} FROM (SELECT * FROM {table}) AS r "
        "CROSS JOIN (SELECT toUInt32(1 + number) AS copy FROM numbers({more:UInt32})) AS n",
        {"more": copies - 1},
    )


def _earlier(client: Client, table: str, day: int, hour_s: int) -> None:
    """Say the last day's rows again of ``day`` days before; a dated workload is another then."""
    columns = _columns(client, table)
    time = next(name for name in columns if name in TIMES)
    chosen = ", ".join(_moved(name) for name in columns)
    by_day = table.endswith(("_1d", "_day"))
    since = "toStartOfDay({until:DateTime('UTC')} - INTERVAL 1 DAY)" if by_day else (
        "{until:DateTime('UTC')} - INTERVAL 1 DAY"
    )  # fmt: skip
    until = "toStartOfDay({until:DateTime('UTC')})" if by_day else "{until:DateTime('UTC')}"
    client.command(
        f"INSERT INTO {table} SELECT {chosen} FROM (SELECT * FROM {table}) AS r "
        f"WHERE r.{time} >= {since} AND r.{time} < {until}",
        {"day": day, "until": hour_s},
    )


def _moved(name: str) -> str:
    if name in TIMES:
        return f"r.{name} - INTERVAL {{day:UInt32}} DAY"
    if name == "workload_id":
        return (
            "if(workload_id IN (SELECT workload_id FROM workload "
            f"WHERE position(key, '{DATED}') > 0), cityHash64(workload_id, {{day:UInt32}}, 0), "
            "workload_id)"
        )
    return f"r.{name}"


def _columns(client: Client, table: str) -> Sequence[str]:
    rows = client.rows(
        "SELECT name FROM system.columns WHERE database = currentDatabase() "
        "AND table = {table:String} AND default_kind NOT IN ('MATERIALIZED', 'ALIAS') "
        "ORDER BY position",
        {"table": table},
    )
    return [str(name) for (name,) in rows]
