"""How long rows are kept, changed after the tables were made.

Which table is kept by which rule is read from the migrations. A part remembers when it expires, so
changing the table alone would leave what is stored to the old rule, shorter or longer; the engine
is told to work that out again, in the background and without rewriting a row.
"""

from __future__ import annotations

import calendar
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from . import ledger_state
from .client import Client
from .layout import Layout
from .migrate import migrations

log = logging.getLogger(__name__)

_CREATED = re.compile(r"CREATE (?:OR REPLACE )?TABLE (?:IF NOT EXISTS )?(\w+)")
_RULE = re.compile(r"\{\{(\w+_TTL)\}\}")
_DAYS = re.compile(r"\bTTL\b[^()]*\(?.*?toIntervalDay\((\d+)\)")
_TABLES = """
SELECT name, engine_full FROM system.tables
WHERE database = {database:String} AND name IN {names:Array(String)}
"""
_OLDEST_DAY = """
SELECT partition_id, groupUniqArray(table) FROM system.parts
WHERE database = currentDatabase() AND active AND table IN {names:Array(String)}
  AND match(partition_id, '^[0-9]{8}$') GROUP BY partition_id ORDER BY partition_id LIMIT 1
"""
RAW = "tick"
"""The table whose retention says how far back the ledger can compute."""


@dataclass(frozen=True, slots=True)
class Change:
    """A table that was kept for ``before`` days and is kept for ``after``; 0 is for ever."""

    table: str
    before: int
    after: int

    @property
    def shortens(self) -> bool:
        return bool(self.after) and (not self.before or self.after < self.before)


def rules() -> dict[str, str]:
    """Return the name of the rule (a placeholder) of each table that has one."""
    found: dict[str, str] = {}
    for migration in migrations():
        for statement in re.sub(r"--[^\n]*", "", migration.template).split(";"):
            if created := _CREATED.search(statement):
                found.pop(created[1], None)
                if rule := _RULE.search(statement):
                    found[created[1]] = rule[1]
    return found


def apply(client: Client, layout: Layout, now: Callable[[], float] = time.time) -> list[Change]:
    """Make the tables keep their rows as ``layout`` says; return what that changed."""
    known = rules()
    placeholders = layout.placeholders()
    asked = {"database": layout.shard_database, "names": sorted(known)}
    changes = []
    for name, engine in sorted(client.rows(_TABLES, asked)):
        wanted = placeholders[known[name]]
        change = Change(str(name), days(str(engine)), _written_days(wanted))
        if change.before != change.after:
            _change(client, change, wanted, layout, now())
            changes.append(change)
    return changes


def drop_oldest(client: Client, keep_days: int, now: float) -> str:
    """Drop the oldest day of raw readings, unless it is one of the last ``keep_days``.

    Returns what was dropped, "" where nothing was.
    """
    raw = sorted(table for table, rule in rules().items() if rule == "RAW_TTL")
    rows = client.rows(_OLDEST_DAY, {"names": raw})
    if not rows:
        return ""
    day, tables = str(rows[0][0]), sorted(map(str, rows[0][1]))
    end = calendar.timegm(time.strptime(day, "%Y%m%d")) + 86_400
    if end > now // 86_400 * 86_400 - keep_days * 86_400:
        return ""
    ledger_state.keep_raw_since(client, max(end, ledger_state.raw_since(client)))
    for table in tables:
        client.command(f"ALTER TABLE {table} DROP PARTITION ID {{day:String}}", {"day": day})
    return f"{day} of {', '.join(tables)}"


def days(engine: str) -> int:
    """Return for how many days the engine's clause keeps rows, 0 where that is for ever."""
    found = _DAYS.search(engine)
    return int(found[1]) if found else 0


def _written_days(clause: str) -> int:
    found = re.search(r"INTERVAL (\d+) DAY", clause)
    return int(found[1]) if found else 0


def _change(client: Client, change: Change, clause: str, layout: Layout, now: float) -> None:
    if change.table == RAW and change.before and not change.shortens:
        # What was dropped stays dropped, and hours without their readings must not be computed.
        gone = round(now) - change.before * 86_400
        ledger_state.keep_raw_since(client, max(gone, ledger_state.raw_since(client)))
    alter = f"ALTER TABLE `{layout.shard_database}`.{change.table} {layout.on_cluster} "
    if clause:
        client.command(f"{alter} MODIFY SETTING materialize_ttl_recalculate_only = 1")
        client.command(f"{alter} MODIFY {clause} SETTINGS mutations_sync = 0")
    else:
        client.command(f"{alter} REMOVE TTL")
    level = logging.WARNING if change.shortens else logging.INFO
    told = [f"{n} days" if n else "for ever" for n in (change.before, change.after)]
    log.log(level, "%s was kept %s and is kept %s from now on", change.table, *told)
