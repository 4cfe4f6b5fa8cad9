"""How large the tables are, and in how many parts: many mean that merges do not keep up."""

from __future__ import annotations

from dataclasses import dataclass

from .client import Client


@dataclass(frozen=True, slots=True)
class Table:
    """One table on disk: active parts, rows before duplicates are merged, bytes."""

    name: str
    parts: int
    rows: int
    bytes: int


def tables(client: Client) -> list[Table]:
    """Return every table that has rows."""
    found = client.rows(
        "SELECT table, count(), sum(rows), sum(bytes_on_disk) FROM system.parts "
        "WHERE active AND database = currentDatabase() GROUP BY table ORDER BY table"
    )
    return [Table(str(name), int(p), int(r), int(b)) for name, p, r, b in found]
