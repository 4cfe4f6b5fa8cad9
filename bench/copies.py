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
SELECT cityHash64(device_id, n.copy), concat(key, '~', toString(n.copy)), kind,
       concat(node, '~', toString(n.copy)), name, vendor, model, serial, driver, firmware, parent,
       site, tier, cluster, scope, source, method, overlap, uncertainty_ratio, power_limit_watts,
       version
FROM (SELECT * FROM device FINAL) AS d
CROSS JOIN (SELECT toUInt32(1 + number) AS copy FROM numbers({copies:UInt32} - 1)) AS n
"""
WORKLOADS = f"""
INSERT INTO workload
SELECT cityHash64(if(n.copy = 0, workload_id, cityHash64(workload_id, n.copy)), n.day, 0),
       concat(key, '~', toString(n.copy), '~', toString(n.day)),
       if(n.copy % {NAMES} = 0, name, concat(name, '-', toString(n.copy % {NAMES}))),
       kind, instance, namespace, team, owner, project, cost_center, queue, model, precision,
       batch_class, phase, cluster, version
FROM (SELECT * FROM workload FINAL) AS w
CROSS JOIN (
    SELECT toUInt32(number % {{copies:UInt32}}) AS copy,
           toUInt32(intDiv(number, {{copies:UInt32}})) AS day
    FROM numbers({{copies:UInt32}} * {{days:UInt32}})
) AS n
WHERE n.day > 0 AND position(key, '{DATED}') > 0
"""
SERVICES = f"""
INSERT INTO workload
SELECT cityHash64(workload_id, n.copy), concat(key, '~', toString(n.copy)),
       if(n.copy % {NAMES} = 0, name, concat(name, '-', toString(n.copy % {NAMES}))),
       kind, instance, namespace, team, owner, project, cost_center, queue, model, precision,
       batch_class, phase, cluster, version
FROM (SELECT * FROM workload FINAL WHERE position(key, '~') = 0) AS w
CROSS JOIN (SELECT toUInt32(1 + number) AS copy FROM numbers({{copies:UInt32}} - 1)) AS n
"""
"""Those of the last day; the two before it are of the days before."""


@dataclass(frozen=True, slots=True)
class Size:
    """How often the fleet, and how many days before its own."""

    copies: int
    days: int


def enlarge(client: Client, size: Size, end_s: int) -> None:
    """Copy what the store holds, whose past ends at ``end_s`` (Unix seconds)."""
    given = {"copies": size.copies, "days": size.days}
    # Those of days before first: they are made of the fleet's own.
    client.command(WORKLOADS, given)
    client.command(DEVICES, given)
    client.command(SERVICES, given)
    for table in NOW + HOURS:
        _copy(client, table, size.copies)
    hour = end_s // HOUR_S * HOUR_S
    for table in HOURS + BOTH:
        _earlier(client, table, size, hour)


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


def _earlier(client: Client, table: str, size: Size, hour_s: int) -> None:
    """Say the last day's rows again of the days before; a dated workload is another one then."""
    columns = _columns(client, table)
    time = next(name for name in columns if name in TIMES)
    chosen = ", ".join(map(_moved, columns))
    until = "toDateTime({until:UInt32}, 'UTC')"
    if table.endswith(("_1d", "_day")):
        until = f"toStartOfDay({until})"
    dated = (
        "LEFT JOIN (SELECT workload_id AS id FROM workload FINAL "
        f"WHERE position(key, '{DATED}') > 0 "
        "AND length(splitByChar('~', key)) < 3) AS d ON d.id = r.workload_id"
        if "workload_id" in columns
        else ""
    )
    client.command(
        f"INSERT INTO {table} SELECT {chosen} FROM (SELECT * FROM {table} "
        f"WHERE {time} >= {until} - INTERVAL 1 DAY AND {time} < {until}) AS r {dated} "
        "CROSS JOIN (SELECT toUInt32(1 + number) AS day FROM numbers({more:UInt32})) AS n "
        "SETTINGS max_partitions_per_insert_block = 1000",
        {"more": size.days - 1, "until": hour_s},
    )


def _moved(name: str) -> str:
    if name in TIMES:
        return f"r.{name} - toIntervalDay(n.day)"
    if name == "workload_id":
        return "if(d.id != 0, cityHash64(r.workload_id, n.day, 0), r.workload_id)"
    return f"r.{name}"


def _columns(client: Client, table: str) -> Sequence[str]:
    rows = client.rows(
        "SELECT name FROM system.columns WHERE database = currentDatabase() "
        "AND table = {table:String} AND default_kind NOT IN ('MATERIALIZED', 'ALIAS') "
        "ORDER BY position",
        {"table": table},
    )
    return [str(name) for (name,) in rows]
