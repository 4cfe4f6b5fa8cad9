"""How the tables are laid out: the same statements for a folder, a server and a cluster.

* embedded, or one server: as the files say.
* replicated: every node of a cluster has every row; engines are Replicated, statements run ON
  CLUSTER.
* sharded: each shard is a store of its own devices. Its tables and views have the names of the
  files, in the database ``<database>_shard``; ``<database>`` has a Distributed twin of each, which
  is what writers and readers know. A device's rows meet on the shard of its hash, so that repeated
  rows, FINAL and joins by device stay there. What everybody joins (devices, workloads, policies,
  factors, the tree) and what only one may hold (the lease) is whole on every node.

The zookeeper path has the table's UUID, which is one on all nodes of an ON CLUSTER statement, so
that CREATE OR REPLACE does not meet the table that it replaces.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_BY_DEVICE = "cityHash64(device_id)"
_BY_WORKLOAD = "cityHash64(workload_id)"
SHARDED = {
    "activity_hour": _BY_DEVICE,
    "allocation": _BY_DEVICE,
    "allocation_hour": "",
    "charge_1h": _BY_DEVICE,
    "charge_1m": _BY_DEVICE,
    "detail": _BY_DEVICE,
    "device_1d": _BY_DEVICE,
    "device_limit": _BY_DEVICE,
    "device_work": _BY_DEVICE,
    "dirty": "cityHash64(hour)",
    "idle_hour": _BY_DEVICE,
    "latest": _BY_DEVICE,
    "ledger_hour": "",
    "ledger_open": "",
    "measured_1m": _BY_DEVICE,
    "metric_sample": "cityHash64(metric, labels)",
    "outcome": _BY_WORKLOAD,
    "outcome_1d": _BY_WORKLOAD,
    "outcome_1h": _BY_WORKLOAD,
    "outcome_1m": _BY_WORKLOAD,
    "outcome_kind": _BY_WORKLOAD,
    "outcome_reach": _BY_WORKLOAD,
    "piece": _BY_DEVICE,
    "power_hour": _BY_DEVICE,
    "quarantine": "cityHash64(device)",
    "reconcile_1h": _BY_DEVICE,
    "sample": _BY_DEVICE,
    "tick": _BY_DEVICE,
    "tick_beside": _BY_DEVICE,
    "tick_day": _BY_DEVICE,
    "tick_hour": _BY_DEVICE,
    "workload_1d": "",
    "workload_1h": "",
    "workload_1m": "",
}
"""Tables of which each shard has a part, and where a row belongs; "": only a shard itself writes
them. What is summed over devices (``workload_1h``) has a row for each shard that has such devices.
"""
WHOLE = frozenset(
    {
        "advice",
        "advice_state",
        "decision",
        "device",
        "device_told",
        "embodied",
        "expected_idle",
        "factor",
        "grid",
        "grid_forecast",
        "lease",
        "ledger_state",
        "migration",
        "policy",
        "quality",
        "quality_limit",
        "site_zone",
        "slo",
        "slo_1h",
        "slo_1m",
        "slo_member",
        "slo_reach",
        "tree",
        "workload",
        "workload_seen",
    }
)
"""Tables that are whole on every node."""
WHOLE_VIEWS = frozenset(
    {
        "v_advice",
        "v_carbon_1h",
        "v_decision",
        "v_device",
        "v_factor",
        "v_factor_1h",
        "v_grid",
        "v_grid_1h",
        "v_grid_forecast",
        "v_hardware",
        "v_lifecycle",
        "v_numerics",
        "v_quality",
        "v_score",
        "v_site_zone",
        "v_slo",
        "v_slo_1h",
        "v_slo_budget_1h",
        "v_slo_burn",
        "v_slo_now",
        "v_slo_window",
        "v_tree",
        "v_workload",
    }
)
"""Views over such tables alone; a view over any other is the union of the shards'."""
UNITED_VIEWS = frozenset({"v_firmware_drift"})
"""Views that compare devices of all shards: they read the twins, and no shard is asked for them."""

_TABLE = re.compile(r"^CREATE (?:OR REPLACE )?TABLE (?:IF NOT EXISTS )?(\w+)")
_NAMED = re.compile(
    r"^(?:CREATE (?:OR REPLACE )?(?:TABLE|VIEW)|ALTER TABLE) (?:IF NOT EXISTS )?(\w+)"
)
_READ = re.compile(r"\b(FROM|JOIN) ([a-z]\w*)")
_ENGINE = re.compile(r"ENGINE = Replicated(\w*MergeTree)(?:\(([^()]*)\))?")
_MUTATION = re.compile(r"^ALTER TABLE [^;]*?\b(UPDATE|DELETE WHERE|MATERIALIZE)\b", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Layout:
    """Embedded by default, replicated where a cluster is named, sharded where a whole one is too.

    ``whole_cluster`` has one shard with every node as its replica. 0 days keep rows for ever.
    """

    cluster: str = ""
    raw_days: int = 30
    minute_days: int = 180
    whole_cluster: str = ""
    database: str = "default"

    @property
    def is_sharded(self) -> bool:
        return bool(self.whole_cluster)

    @property
    def shard_database(self) -> str:
        """Where the tables themselves are."""
        return f"{self.database}_shard" if self.is_sharded else self.database

    def placeholders(self) -> dict[str, str]:
        return {
            "ON_CLUSTER": self.on_cluster,
            "REPLICATED": "Replicated" if self.cluster else "",
            "RAW_TTL": _ttl("toDateTime(ts)", self.raw_days),
            "HELD_TTL": _ttl("toDateTime(end_ts)", self.raw_days),
            "HOUR_TTL": _ttl("hour", self.raw_days),
            "DAY_TTL": _ttl("day", self.raw_days),
            "MINUTE_TTL": _ttl("t", self.minute_days),
        }

    @property
    def on_cluster(self) -> str:
        return f"ON CLUSTER '{self.cluster}'" if self.cluster else ""

    def render(self, template: str) -> list[str]:
        """Return the statements of a file; an unknown placeholder or table is a KeyError."""
        values = self.placeholders()
        text = re.sub(r"--[^\n]*", "", template)
        text = re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], text)
        return [self._replicated(s.strip()) for s in text.split(";") if s.strip()]

    def databases(self) -> list[str]:
        """Return the statements that make the databases of a sharded layout."""
        if not self.is_sharded:
            return []
        return [
            f"CREATE DATABASE IF NOT EXISTS `{name}` {self.on_cluster}".strip()
            for name in (self.database, self.shard_database)
        ]

    def twins(self, statements: list[str]) -> list[str]:
        """Return what gives each table and view of ``statements`` its twin, once each, in order."""
        if not self.is_sharded:
            return []
        named = ((_NAMED.match(statement), statement) for statement in statements)
        found = {match[1]: statement for match, statement in named if match}
        return [
            self._united(name, statement) if name in UNITED_VIEWS else self.twin(name)
            for name, statement in found.items()
        ]

    def twin(self, name: str) -> str:
        """Return the statement that makes the twin of ``name`` anew; it holds no rows."""
        is_whole = name in WHOLE or name in WHOLE_VIEWS
        key = "" if is_whole or name.startswith("v_") else SHARDED[name]
        place = f"'{self.whole_cluster if is_whole else self.cluster}', '{self.shard_database}'"
        return (
            f"CREATE OR REPLACE TABLE `{self.database}`.{name} {self.on_cluster} "
            f"AS `{self.shard_database}`.{name} "
            f"ENGINE = Distributed({place}, '{name}'{f', {key}' if key else ''})"
        )

    def _united(self, name: str, statement: str) -> str:
        """Return the view itself, in the database of the twins and over them."""

        def read(found: re.Match[str]) -> str:
            known = found[2] in SHARDED or found[2] in WHOLE or found[2].startswith("v_")
            return f"{found[1]} `{self.database}`.{found[2]}" if known else found[0]

        text = statement.replace(f"VIEW {name}", f"VIEW `{self.database}`.{name}", 1)
        return _READ.sub(read, text)

    def _replicated(self, statement: str) -> str:
        named = _TABLE.match(statement)
        if not self.cluster or named is None:
            return statement
        of_shard = self.is_sharded and named[1] in SHARDED
        if self.is_sharded and not of_shard and named[1] not in WHOLE:
            raise KeyError(
                f"nobody says whether table {named[1]} is whole or has a part on a shard"
            )
        path = "/clickhouse/tables/{uuid}/" + ("{shard}" if of_shard else "whole")
        replica = "{replica}" if of_shard or not self.is_sharded else "{shard}-{replica}"

        def engine(found: re.Match[str]) -> str:
            more = f", {found[2]}" if found[2] else ""
            return f"ENGINE = Replicated{found[1]}('{path}', '{replica}'{more})"

        return _ENGINE.sub(engine, statement, count=1)


def is_mutation(statement: str) -> bool:
    """Return whether a statement only starts something that goes on in the background."""
    return _MUTATION.match(statement) is not None


def _ttl(column: str, days: int) -> str:
    return f"TTL {column} + INTERVAL {days} DAY" if days else ""
