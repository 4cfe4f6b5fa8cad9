"""What can be said of a panel's statement without an engine, by its text alone."""

from __future__ import annotations

import re
from collections.abc import Iterator

_READ = re.compile(r"\b(?:FROM|JOIN)\s+([A-Za-z_][\w.]*)(?!\w|\s*\()", re.IGNORECASE)
_WITH = re.compile(r"(?:\bWITH\b|,)\s*(\w+)\s+AS\s*\(", re.IGNORECASE)
_ITEMS = re.compile(r"\bSELECT\s+(?:DISTINCT\s+)?(.*?)(?:\bFROM\b|$)", re.IGNORECASE | re.DOTALL)
_GROUPED = re.compile(
    r"\bGROUP\s+BY\s+(.*?)(?:\b(?:HAVING|ORDER|LIMIT)\b|$)", re.IGNORECASE | re.DOTALL
)
_ORDERED = re.compile(r"\bORDER\s+BY\s+(\w+)(\s+DESC)?", re.IGNORECASE)


def sources(sql: str) -> set[str]:
    """Return the names that are read from, without those that the statement defines itself."""
    text = without_strings(sql)
    own = set(_WITH.findall(text)) if re.search(r"\bWITH\b", text, re.IGNORECASE) else set()
    return set(_READ.findall(text)) - own


def without_strings(sql: str) -> str:
    """Return the statement with each quoted text empty."""
    return re.sub(r"'(?:[^'\\]|\\.)*'", "''", sql)


def outermost(sql: str) -> str:
    """Return the statement with the inside of each parenthesis left out."""
    return "".join(_outside(without_strings(sql)))


def _outside(text: str) -> Iterator[str]:
    depth = 0
    for character in text:
        depth -= character == ")"
        if not depth:
            yield character
        depth += character == "("


def columns(sql: str) -> list[str]:
    """Return the names of the answer's columns in their order."""
    found = _ITEMS.search(outermost(sql))
    items = found[1].split(",") if found else []
    return [item.split()[-1].rpartition(".")[2].strip('`"') for item in items if item.split()]


def groups(sql: str) -> list[str]:
    """Return what the outermost statement groups by."""
    found = _GROUPED.search(outermost(sql))
    return [name.strip() for name in found[1].split(",")] if found else []


def ascends_by(sql: str) -> str:
    """Return the column that the outermost statement orders by first, "" if it descends."""
    found = _ORDERED.search(outermost(sql))
    return found[1] if found and not found[2] else ""
