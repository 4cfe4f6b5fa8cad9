"""Run the numbered SQL migrations: immutable files, checksummed, each statement idempotent."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from wattshed_collector.errors import Permanent

from .client import Client

VERSIONS = """
CREATE TABLE IF NOT EXISTS migration {on_cluster} (
    number UInt32, name String, checksum String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
) ENGINE = {replicated}ReplacingMergeTree(applied_at) ORDER BY number
"""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the tables are laid out; embedded by default, replicated where a cluster is named."""

    cluster: str = ""
    raw_days: int = 30
    minute_days: int = 180

    def placeholders(self) -> dict[str, str]:
        return {
            "ON_CLUSTER": f"ON CLUSTER '{self.cluster}'" if self.cluster else "",
            "REPLICATED": "Replicated" if self.cluster else "",
            "RAW_TTL": _ttl("toDateTime(ts)", self.raw_days),
            "HELD_TTL": _ttl("toDateTime(end_ts)", self.raw_days),
            "HOUR_TTL": _ttl("hour", self.raw_days),
            "DAY_TTL": _ttl("day", self.raw_days),
            "MINUTE_TTL": _ttl("t", self.minute_days),
        }


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file. ``checksum`` is taken over the template, before any layout."""

    number: int
    name: str
    template: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.template.encode()).hexdigest()[:16]

    def statements(self, layout: Layout) -> list[str]:
        """Return the statements for ``layout``; an unknown placeholder is a KeyError."""
        values = layout.placeholders()
        text = re.sub(r"--[^\n]*", "", self.template)
        text = re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], text)
        return [statement.strip() for statement in text.split(";") if statement.strip()]


def migrations() -> list[Migration]:
    """Return the migrations that this version knows, in order."""
    folder = resources.files("wattshed_collector") / "migrations"
    found = [
        Migration(int(entry.name[:4]), entry.name[5:-4], entry.read_text(encoding="utf-8"))
        for entry in folder.iterdir()
        if re.fullmatch(r"\d{4}_\w+\.sql", entry.name)
    ]
    return sorted(found, key=lambda migration: migration.number)


def migrate(client: Client, layout: Layout, *, dry_run: bool = False) -> Sequence[Migration]:
    """Apply what is missing and return it; with ``dry_run`` only say what would be applied.

    Raises Permanent when an applied migration was edited, or when the store is newer than this
    version: both would silently give tables that the code does not know.
    """
    placeholders = layout.placeholders()
    if not dry_run:
        client.command(
            VERSIONS.format(
                on_cluster=placeholders["ON_CLUSTER"], replicated=placeholders["REPLICATED"]
            )
        )
    applied = _applied(client)
    known = migrations()
    _check(known, applied)
    missing = [migration for migration in known if migration.number not in applied]
    if not dry_run:
        for migration in missing:
            _apply(client, migration, layout)
    return missing


def _applied(client: Client) -> dict[int, str]:
    ((exists,),) = client.rows("EXISTS TABLE migration")
    if not exists:
        return {}
    rows = client.rows("SELECT number, checksum FROM migration FINAL")
    return {int(number): str(checksum) for number, checksum in rows}


def _apply(client: Client, migration: Migration, layout: Layout) -> None:
    for statement in migration.statements(layout):
        client.command(statement)
    client.insert(
        "migration",
        {
            "number": [migration.number],
            "name": [migration.name],
            "checksum": [migration.checksum],
        },
    )


def _check(known: Sequence[Migration], applied: dict[int, str]) -> None:
    newest = known[-1].number
    if applied and max(applied) > newest:
        raise Permanent(
            f"the store is at migration {max(applied)}, this version knows only {newest}: "
            "run a newer wattshed, or point it at another data folder"
        )
    for migration in known:
        if applied.get(migration.number, migration.checksum) != migration.checksum:
            raise Permanent(
                f"migration {migration.number:04d}_{migration.name} was edited after it was "
                "applied; migrations are immutable, add a new one"
            )


def _ttl(column: str, days: int) -> str:
    return f"TTL {column} + INTERVAL {days} DAY" if days else ""
