"""What may be read: our views, and of the engine's own tables what a data source's editor asks.

A view may be read by its name, or by that and its database. One of ``SYSTEM`` stands for a query of
ours that says of the store what its reader may know: no paths, no other tables, no settings.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from .errors import ACCESS_DENIED, UNKNOWN_DATABASE, UNKNOWN_TABLE, Problem
from .nodes import Node

DATABASE = "default"
SYSTEM: Mapping[str, str] = {
    "databases": "SELECT name, engine, comment FROM system.databases WHERE name = 'default'",
    "tables": """
        SELECT database, name, engine, comment, total_rows, total_bytes, is_temporary
        FROM system.tables
        WHERE database = 'default' AND engine = 'View' AND startsWith(name, 'v_')
    """,
    "columns": """
        SELECT database, table, name, type, position, default_kind, default_expression, comment,
            is_in_partition_key, is_in_sorting_key, is_in_primary_key, is_in_sampling_key
        FROM system.columns WHERE database = 'default' AND startsWith(table, 'v_')
    """,
    "functions": """
        SELECT name, is_aggregate, case_insensitive, alias_to, origin, description, syntax,
            arguments, parameters, returned_value, examples, introduced_in, categories
        FROM system.functions
    """,
    "settings": """
        SELECT name, value, changed, description, readonly, type FROM system.settings
        WHERE name IN ('max_execution_time', 'max_result_rows', 'readonly')
    """,
    "one": "SELECT dummy FROM system.one",
}
FIND = """
SELECT name, database = {database:String} AND engine = 'View' AND startsWith(name, 'v_')
FROM system.tables WHERE database = {database:String}
"""


@dataclass(frozen=True, slots=True)
class Tables:
    """``views`` may be read, ``existing`` are all tables there are, and ``system`` has the tree of
    the query that stands for a table of the engine."""

    views: frozenset[str]
    existing: frozenset[str]
    system: Mapping[str, Node]

    def found(self, parts: Collection[str], database: str) -> tuple[str, str]:
        """Return database and name of a table that may be read. Raises Problem."""
        *before, name = parts
        where = before[0] if before else database
        if len(before) > 1 or where not in (DATABASE, "system"):
            raise Problem(UNKNOWN_DATABASE, f"there is no database {where!r} here")
        known: Collection[str] = self.views if where == DATABASE else self.system
        if name not in known:
            raise Problem(*_closed(where, name, name.lower() in self.existing))
        return where, name

    def is_hidden(self, name: str) -> bool:
        """Return whether a name is that of a table that may not be read."""
        return name.lower() in self.existing and name not in self.views


def _closed(database: str, name: str, is_there: bool) -> tuple[tuple[int, str], str]:
    shown = f"{database}.{name}"
    if database == "system":
        return ACCESS_DENIED, f"{shown} is not read here; there are {', '.join(sorted(SYSTEM))}"
    if is_there:
        return ACCESS_DENIED, f"{shown} is not read here: ask the views v_*"
    return UNKNOWN_TABLE, f"there is no view {shown}"
