"""Joules per outcome in a terminal, at most 80 columns wide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import clean, units
from .layout import WIDTH, named, table

PRODUCED = 17
"""Widest text about what was produced."""
MODELS = 20
"""Rows of the table by model."""

NOTHING = (
    "Nothing was produced or charged in this window: ask for a longer one with --since, or see "
    "`wattshed outcomes check` for what a serving engine's page would give."
)
STATES = {
    "no_energy": "no joules are known of it",
    "no_outcome": "never produced anything",
}

_OUTCOMES = {"token_in": "tokens in", "token_out": "tokens out"}


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


def by_model(rows: Sequence[Mapping[str, Any]], width: int) -> Table:
    """Return a table of rows of ``outcome_pages`` by AI model and precision.

    The joules of a model stand in the rows of each kind that it produces, so what is left out is
    told as how many rows, and not as a sum.
    """
    columns = ("AI model", "Produced", "Energy", "Active", "Loaded", "+-", "Before")
    told = [_model(row) for row in rows[:MODELS]]
    if len(rows) > MODELS:
        rest = Text(f"{len(rows) - MODELS} others", style="dim")
        told.append((rest, *[Text("")] * (len(columns) - 1)))
    return table(width, columns, 1, told)


def _model(row: Mapping[str, Any]) -> tuple[Text, ...]:
    model = named(" ".join(filter(None, (row["ai_model"], row["precision"]))))
    loaded, before = row["loaded_joules"], row["before_joules"]
    was_before = Text(units.joules(before) if before else "")
    if row["state"] == "no_outcome":
        none = Text("none counted", style="dim italic")
        return model, none, Text(units.joules(loaded)), *[Text("")] * 3, was_before
    made = Text(produced(row["outcome"], row["count"]))
    if row["state"] == "no_energy":
        return model, made, Text(units.UNKNOWN, style="dim italic"), *[Text("")] * 4
    doubt = row["uncertainty_joules"]
    off = doubt / loaded if doubt is not None and loaded else None
    figures = (
        units.joules(loaded),
        units.joules(row["joules_per_outcome_active"]),
        units.joules(row["joules_per_outcome_loaded"]),
        units.percent(off),
    )
    return model, made, *map(Text, figures), was_before


def produced(kind: str, amount: float) -> str:
    """Return how many of what, at most ``PRODUCED`` wide."""
    plural = "" if amount == 1 else "s"
    name = _OUTCOMES.get(kind) or clean(kind).replace("_", " ") + plural
    text = f"{units.count(amount)} {name}"
    return text if len(text) <= PRODUCED else text[: PRODUCED - 1] + "…"


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
