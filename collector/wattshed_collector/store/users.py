"""Who may do what on a server: roles with the least that each part of the collector needs, as SQL.

Four roles: ``writer`` takes facts in, ``ledger`` computes, ``reader`` answers and serves Grafana,
``migrator`` makes the tables. A collector that does everything but migrate has the first three. A
materialized view runs as who made it, so a writer needs nothing of what it fills.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from .layout import Layout
from .ledger_state import READ

WRITES = (
    "advice",
    "advice_state",
    "allocation",
    "decision",
    "detail",
    "device",
    "device_limit",
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
    "power_hour",
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
USERS = {
    "wattshed_collector": ROLES[:3],
    "wattshed_grafana": ("reader",),
    "wattshed_migrate": ("migrator",),
}
"""Users and their roles."""


def statements(layout: Layout) -> list[str]:
    """Return what makes the roles and grants them what they need, to be run once by an admin."""
    made = [f"CREATE ROLE IF NOT EXISTS {_role(r, layout)}{_on(layout)}" for r in ROLES]
    grants = [grant for role in ROLES for grant in _grants(role, layout)]
    return [*made, *grants]


def examples(layout: Layout) -> list[str]:
    """Return users that have the roles; the passwords are to be replaced."""
    found = []
    for name in USERS:
        word = f"'<sha256 of the password of {name}>'"
        found += [_created(name, layout, word), _granted(name, layout)]
    return found


def people(layout: Layout, passwords: Mapping[str, str]) -> list[tuple[str, dict[str, str]]]:
    """Return what makes the users whose passwords are given, and what each statement's parameters
    are; who is there already gets the password. Only a hash of it leaves this process."""
    found: list[tuple[str, dict[str, str]]] = []
    for name, password in passwords.items():
        told = {"hash": hashlib.sha256(password.encode()).hexdigest()}
        found.append((_created(name, layout, "{hash:String}"), told))
        found.append((f"ALTER USER {name}{_on(layout)} {_identified('{hash:String}')}", told))
        found.append((_granted(name, layout), {}))
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
            *_of_system(("clusters", "parts"), layout, to),
            *(everywhere("REMOTE") if layout.is_sharded else ()),
        ]
    tables = "SELECT, INSERT, ALTER, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW"
    made = [f"GRANT{_on(layout)} CREATE DATABASE ON `{name}`.* {to}" for name in databases]
    # Databases are made from there.
    made.append(f"GRANT{_on(layout)} SHOW DATABASES ON `default`.* {to}")
    cluster = [*everywhere("CLUSTER"), *everywhere("REMOTE")] if layout.cluster else []
    told = _of_system(("clusters", "mutations"), layout, to)
    return [*made, *on_tables(tables, "*"), *cluster, *told]


def _of_system(tables: Iterable[str], layout: Layout, to: str) -> list[str]:
    """A server asks for these where select_from_system_db_requires_grant is on, as it ships."""
    return [f"GRANT{_on(layout)} SELECT ON system.{table} {to}" for table in tables]


def _created(name: str, layout: Layout, word: str) -> str:
    readonly = " SETTINGS readonly = 2" if USERS[name] == ("reader",) else ""
    return f"CREATE USER IF NOT EXISTS {name}{_on(layout)} {_identified(word)}{readonly}"


def _identified(word: str) -> str:
    return f"IDENTIFIED WITH sha256_hash BY {word}"


def _granted(name: str, layout: Layout) -> str:
    given = ", ".join(_role(role, layout) for role in USERS[name])
    return f"GRANT{_on(layout)} {given} TO {name}"


def _role(role: str, layout: Layout) -> str:
    database = "" if layout.database in ("default", "wattshed") else f"{layout.database}_"
    return f"`wattshed_{database}{role}`"


def _on(layout: Layout) -> str:
    return f" {layout.on_cluster}" if layout.cluster else ""
