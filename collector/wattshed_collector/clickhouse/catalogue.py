"""SHOW, DESCRIBE and EXISTS, as editors ask them, put into queries of ours.

They are recognised as a whole by their text; of that only names go on, as values of parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from .tables import DATABASE

_NAME = r"(?:[A-Za-z_]\w*|\"[^\"\\`]+\"|`[^\"\\`]+`)"
_TABLE = rf"(?:(?P<database>{_NAME})\s*\.\s*)?(?P<table>{_NAME})"
_END = r"\s*+(?:;\s*+)?\Z"
_START = r"\A\s*+"
SHOWN: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(_START + pattern + _END, re.IGNORECASE), sql)
    for pattern, sql in (
        (r"SHOW\s+DATABASES", "SELECT name FROM system.databases ORDER BY name"),
        (
            rf"SHOW\s+TABLES(?:\s+(?:FROM|IN)\s+(?P<database>{_NAME}))?",
            "SELECT name FROM system.tables WHERE database = {database:String} ORDER BY name",
        ),
        (
            rf"(?:DESCRIBE|DESC)\s+(?:TABLE\s+)?{_TABLE}",
            "SELECT name, type, default_kind AS default_type, default_expression, comment, "
            "'' AS codec_expression, '' AS ttl_expression FROM system.columns "
            "WHERE database = {database:String} AND table = {table:String} ORDER BY position",
        ),
        (
            rf"EXISTS\s+(?:TABLE\s+|VIEW\s+)?{_TABLE}",
            "SELECT toUInt8(count() > 0) AS result FROM system.tables "
            "WHERE database = {database:String} AND name = {table:String}",
        ),
    )
)
FORMAT = re.compile(r"(?<=\s)FORMAT\s++(\w++)\s*+(?:;\s*+)?\Z", re.IGNORECASE)
LONGEST = 1000
"""Characters of such a statement."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A query of ours; it is checked as any other. ``format`` is "" where none was said."""

    sql: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    format: str = ""
    table: str = ""


def shown(sql: str, database: str) -> Shown | None:
    """Return what answers a statement of an editor, None where it is none."""
    if len(sql) > LONGEST:
        return None
    form = FORMAT.search(sql)
    bare = FORMAT.sub("", sql) if form else sql
    for pattern, ours in SHOWN:
        if found := pattern.match(bare):
            told = {key: _bare(value) for key, value in found.groupdict().items() if value}
            names = {"database": database or DATABASE, **told}
            wanted = {key: value for key, value in names.items() if f"{{{key}:" in ours}
            described = told.get("table", "") if "system.columns" in ours else ""
            return Shown(ours, wanted, form[1] if form else "", described)
    return None


def _bare(name: str) -> str:
    return name.strip('"`')
