"""What a board can be narrowed to, and how a query says so.

A query compares through ``where``, which gives Grafana's form that is true for "All"; the values
are quoted there, never by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

DATASOURCE = "datasource"
DATASOURCE_TYPE = "grafana-clickhouse-datasource"
MOST_CHOICES = 1000
"""Choices of one variable: a list of 10,000 nodes is of no use to anybody."""


@dataclass(frozen=True, slots=True)
class Variable:
    """``sql`` gives its choices in one column; it may use the variables that stand before it."""

    name: str
    label: str
    sql: str
    is_multi: bool = True


def where(*names: str, **columns: str) -> str:
    """Return a condition that holds for the chosen values of variables, ``AND`` between them.

    By name the column is called as the variable; ``model="ai_model"`` says another column.
    """
    pairs = [(name, name) for name in names] + list(columns.items())
    return " AND ".join(
        f"$__conditionalAll({column} IN (${{{name}:singlequote}}), ${name})"
        for name, column in pairs
    )


def _of_devices(name: str, *before: str) -> str:
    narrowed = f" AND {where(*before)}" if before else ""
    return (
        f"SELECT DISTINCT {name} FROM v_device WHERE {name} != ''{narrowed} "
        f"ORDER BY {name} LIMIT {MOST_CHOICES}"
    )


def _of_workloads(column: str, **before: str) -> str:
    narrowed = f" AND {where(**before)}" if before else ""
    return (
        f"SELECT DISTINCT {column} FROM v_workload WHERE {column} != ''{narrowed} "
        f"ORDER BY {column} LIMIT {MOST_CHOICES}"
    )


VARIABLES = MappingProxyType(
    {
        variable.name: variable
        for variable in (
            Variable("site", "Site", _of_devices("site")),
            Variable("tier", "Tier", _of_devices("tier", "site")),
            Variable("cluster", "Cluster", _of_devices("cluster", "site", "tier")),
            Variable("node", "Node", _of_devices("node", "site", "tier", "cluster")),
            Variable("device", "Device", _of_devices("device", "node")),
            Variable("team", "Team", _of_workloads("team")),
            Variable("workload", "Workload", _of_workloads("workload", team="team")),
            Variable("model", "Model", _of_workloads("ai_model", team="team", workload="workload")),
        )
    }
)
"""In the order in which they stand on a board; each narrows those after it."""
