"""Who may do what on a server: roles with the least that each part of the collector needs, as SQL.

Four roles: ``writer`` takes facts in, ``ledger`` computes, ``reader`` answers and serves Grafana,
``migrator`` makes the tables. A collector that does everything but migrate has the first three. A
materialized view runs as who made it, so a writer needs nothing of what it fills.
"""

from __future__ import annotations

from collections.abc import Iterable

from .layout import Layout
from .ledger_state import READ

WRITES = (
    "advice",
    "advice_state",
    "allocation",
    "decision",
    "detail",
    "device",
    "device_told",
    "device_work",
    "dirty",
    "embodied",
    "expected_idle",
    "factor",
    "grid",
    "grid_forecast",
    "latest",
    "metric_sample",
    "outcome",
    "quality",
    "quality_limit",
    "quarantine",
    "sample",
    "site_zone",
    "tick",
    "workload",
)
"""Tables that facts go to."""
COMPUTES = (
    "charge_1h",
    "charge_1m",
    "device_1d",
    "dirty",
    "lease",
    "ledger_hour",
    "ledger_open",
    "ledger_state",
    "measured_1m",
    "outcome_1d",
    "outcome_1h",
    "outcome_1m",
    "outcome_kind",
    "outcome_reach",
    "piece",
    "policy",
    "reconcile_1h",
    "slo",
    "slo_1h",
    "slo_1m",
    "slo_member",
    "slo_reach",
    "tick_beside",
    "tick_hour",
    "tree",
    "workload_1d",
    "workload_1h",
    "workload_1m",
)
"""Tables that the ledger writes."""
FILLED = ("activity_hour", "allocation_hour", "idle_hour", "tick_day", "workload_seen")
"""Tables that materialized views fill alone."""
ROLES = ("writer", "ledger", "reader", "migrator")


def statements(layout: Layout) -> list[str]:
    """Return what makes the roles and grants them what they need, to be run once by an admin."""
    made = [f"CREATE ROLE IF NOT EXISTS {_role(r, layout)}{_on(layout)}" for r in ROLES]
    grants = [grant for role in ROLES for grant in _grants(role, layout)]
    return [*made, *grants]


def examples(layout: Layout) -> list[str]:
    """Return users that have the roles; the passwords are to be replaced."""
    on = _on(layout)
    users = (("collector", ROLES[:3]), ("grafana", ("reader",)), ("migrate", ("migrator",)))
    found = []
    for user, roles in users:
        name = f"wattshed_{user}"
        readonly = " SETTINGS readonly = 2" if user == "grafana" else ""
        word = f"IDENTIFIED WITH sha256_hash BY '<sha256 of the password of {name}>'"
        found.append(f"CREATE USER IF NOT EXISTS {name}{on} {word}{readonly}")
        given = ", ".join(_role(role, layout) for role in roles)
        found.append(f"GRANT{on} {given} TO {name}")
    return found


def text(layout: Layout) -> str:
    """Return both as a file for clickhouse-client."""
    return "\n".join(
        [
            "-- Roles of wattshed. Run by a user that may manage access; may be run again.",
            *(f"{statement};" for statement in statements(layout)),
            "",
            "-- Users that have them.",
            *(f"{statement};" for statement in examples(layout)),
            "",
        ]
    )


def _grants(role: str, layout: Layout) -> list[str]:
    to = f"TO {_role(role, layout)}"
    databases = dict.fromkeys((layout.database, layout.shard_database))

    def on_tables(rights: str, tables: Iterable[str]) -> list[str]:
        return [
            f"GRANT{_on(layout)} {rights} ON `{database}`.{table} {to}"
            for database in databases
            for table in tables
        ]

    def everywhere(rights: str) -> list[str]:
        return [f"GRANT{_on(layout)} {rights} ON *.* {to}"]

    if role == "writer":
        return on_tables("SELECT, INSERT", WRITES) + on_tables("SELECT", ("migration",))
    if role == "reader":
        return on_tables("SELECT", "*")
    if role == "ledger":
        merges = on_tables("SYSTEM MERGES", READ)
        replicas = on_tables("SYSTEM SYNC REPLICA", "*") + everywhere("CLUSTER")
        return [
            *on_tables("SELECT", "*"),
            *on_tables("INSERT", COMPUTES),
            *(replicas if layout.cluster else merges),
            *everywhere("CREATE TEMPORARY TABLE"),
            *(everywhere("REMOTE") if layout.is_sharded else ()),
        ]
    tables = "SELECT, INSERT, ALTER, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW"
    made = [f"GRANT{_on(layout)} CREATE DATABASE ON `{name}`.* {to}" for name in databases]
    cluster = [*everywhere("CLUSTER"), *everywhere("REMOTE")] if layout.cluster else []
    return [*made, *on_tables(tables, "*"), *cluster]


def _role(role: str, layout: Layout) -> str:
    database = "" if layout.database in ("default", "wattshed") else f"{layout.database}_"
    return f"`wattshed_{database}{role}`"


def _on(layout: Layout) -> str:
    return f" {layout.on_cluster}" if layout.cluster else ""
