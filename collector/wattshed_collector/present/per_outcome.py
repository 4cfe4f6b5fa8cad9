"""Joules per outcome in a terminal, at most 80 columns wide."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from . import units
from .layout import WIDTH, clean, table

NOTHING = (
    "Nothing was produced or charged in this window: ask for a longer one with --since, or see "
    "`wattshed outcomes check` for what a serving engine's page would give."
)
STATES = {
    "no_energy": "no joules are known of it",
    "no_outcome": "never produced anything",
}


def print_page(page: Mapping[str, Any], console: Console) -> None:
    """Print the rows of a page of ``outcome_pages``, what cannot be divided with its reason."""
    rows = page["rows"]
    if not rows:
        console.print(NOTHING)
        return
    by = [*(["t_s"] if page["window"]["step"] else []), *page["by"]]
    names = [*by, "outcome"]
    titles = [name.removesuffix("_s").replace("_", " ") for name in names]
    figures = ("count", "active", "loaded", "+-", "before")
    told = [_row(names, row) for row in rows]
    console.print(table(min(console.width, WIDTH), [*titles, *figures], len(names), told))
    apart = [row for row in rows if row["state"] in STATES]
    for row in apart:
        whose = ", ".join(clean(str(row[name] or "nobody named")) for name in page["by"])
        what = f"{clean(row['outcome'])}: " if row["outcome"] else ""
        console.print(Text(f"{whose}: {what}{STATES[row['state']]}", style="yellow"))
    console.print(
        "Active, loaded, +-: joules per outcome; before: joules before the first outcome."
    )


def _row(names: list[str], row: Mapping[str, Any]) -> list[Text]:
    told = [Text(_name(name, row[name])) for name in names]
    active, loaded = row["joules_per_outcome_active"], row["joules_per_outcome_loaded"]
    high = row["joules_per_outcome_loaded_high"]
    doubt = None if high is None or loaded is None else high - loaded
    figures = units.count(row["count"]), units.joules(active), units.joules(loaded)
    return [*told, *map(Text, (*figures, units.joules(doubt), units.joules(row["before_joules"])))]


def _name(name: str, value: Any) -> str:
    if name == "t_s":
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%MZ")
    return clean(str(value)) or "-"
