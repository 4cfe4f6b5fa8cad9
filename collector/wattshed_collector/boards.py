"""Boards as the collector itself answers them: the panels' own JSON and SQL, asked of the store.

A board is its classic JSON (``wattshed_dashboards.render``), of which Grafana and our page draw
alike. What somebody chose is bound as parameters, never written into a statement.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypedDict

from wattshed_dashboards import macros
from wattshed_dashboards.macros import Chosen, Window
from wattshed_dashboards.model import Board
from wattshed_dashboards.render import document

from .errors import InvalidInput
from .store.client import Client

EVERYTHING = "$__all"
"""What Grafana's URLs say for All."""
MOST_CHOSEN = 500
"""Values of one variable; more fit into no URL."""
POINTS = 300
"""Of one series over the whole window, about."""
ALIGNED_FROM = 20
"""A window of fewer steps is not cut at full ones: too much would be missing."""

Json = dict[str, Any]


class Column(TypedDict):
    """``kind`` is time (Unix seconds), number, flag or text; ``type`` is ClickHouse's name."""

    name: str
    type: str
    kind: str
    values: list[Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A time range and what was chosen; a variable that is not named has everything.

    Of a range that ends now, the last ``open_ms`` are not charged yet: series end before them.
    """

    window: Window
    chosen: Mapping[str, Sequence[str]]
    open_ms: int = 0


class Boards:
    """The boards by uid, as JSON, and what their panels ask.

    Raises InvalidInput (reason ``unknown``) where there is no such board, panel or variable.
    """

    def __init__(self, boards: Iterable[Board]) -> None:
        self._documents = {board.uid: document(board) for board in boards}

    def documents(self) -> list[Json]:
        """Return the JSON of every board, in the order in which they are listed."""
        return list(self._documents.values())

    def document(self, uid: str) -> Json:
        """Return the JSON of a board."""
        return _found(self._documents, uid, "board")

    def asking(self, uid: str) -> int:
        """Return how many panels of a board ask something."""
        return sum("targets" in panel for panel in panels_of(self.document(uid)))

    def panel(self, uid: str, number: int) -> Json:
        """Return the JSON of a panel that asks something."""
        panels = {panel["id"]: panel for panel in panels_of(self.document(uid))}
        panel: Json = _found(panels, number, f"panel of {uid}")
        if not panel.get("targets"):
            raise InvalidInput(f"panel {number} of {uid} asks nothing", "unknown")
        return panel

    def variable(self, uid: str, name: str) -> Json:
        """Return the JSON of a variable with choices."""
        variable: Json = _found(self._variables(uid), name, f"variable of {uid}")
        return variable

    def variables(self, uid: str) -> list[Json]:
        """Return the JSON of each variable with choices, those first that narrow the others."""
        return list(self._variables(uid).values())

    def answer(self, client: Client, uid: str, number: int, asked: Asked) -> list[Column]:
        """Return what a panel answers."""
        panel = self.panel(uid, number)
        sql = str(panel["targets"][0]["rawSql"])
        is_series = panel["targets"][0]["format"] == 0
        window = aligned(asked.window, asked.open_ms) if is_series else asked.window
        return ask(client, sql, window, self._chosen(uid, asked))

    def choices(self, client: Client, uid: str, name: str, asked: Asked) -> list[str]:
        """Return what a variable can be set to, narrowed by those that stand before it."""
        sql = str(self.variable(uid, name)["query"])
        columns = ask(client, sql, asked.window, self._chosen(uid, asked))
        return [str(value) for value in columns[0]["values"]]

    def _variables(self, uid: str) -> dict[str, Json]:
        listed = self.document(uid)["templating"]["list"]
        return {each["name"]: each for each in listed if each["type"] == "query"}

    def _chosen(self, uid: str, asked: Asked) -> dict[str, Chosen]:
        """Return all variables' values: a link may name others than this board has."""
        return {name: asked.chosen.get(name) or macros.ALL for name in self._variables(uid)}


def panels_of(board: Json) -> Iterator[Json]:
    """Yield every panel of a board's JSON, those in collapsed rows too."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def ask(client: Client, sql: str, window: Window, chosen: Mapping[str, Chosen]) -> list[Column]:
    """Return the answer to a panel's SQL. Raises InvalidInput where it cannot be expanded."""
    try:
        statement, parameters = macros.bind(sql, window, chosen)
    except ValueError as error:
        raise InvalidInput(f"this question cannot be asked: {error}", "panel") from error
    return [_column(*column) for column in client.columns(statement, parameters)]


def aligned(window: Window, open_ms: int = 0) -> Window:
    """Cut a window at full steps, and before what is still open: no curve falls at its edges."""
    step = window.interval_ms
    if (window.to_ms - window.from_ms) // step < ALIGNED_FROM:
        return window
    first, last = window.from_ms // step * step, (window.to_ms - open_ms) // step * step - 1000
    return Window(first, last, step)


def chosen_of(query: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Return what a URL's ``var-<name>=<value>`` choose; a name with All among them is left out.

    Raises InvalidInput where they are too many.
    """
    found: dict[str, list[str]] = {}
    for key, value in query:
        if key.startswith("var-"):
            found.setdefault(key.removeprefix("var-"), []).append(value)
    for name, values in found.items():
        if len(values) > MOST_CHOSEN:
            raise InvalidInput(f"var-{name}: choose at most {MOST_CHOSEN}, or All", "chosen")
    return {name: tuple(values) for name, values in found.items() if EVERYTHING not in values}


def _found(known: Mapping[Any, Any], name: Any, noun: str) -> Any:
    if name not in known:
        raise InvalidInput(f"there is no {noun} called {name!r}", "unknown")
    return known[name]


def _column(name: str, kind: str, values: Sequence[Any]) -> Column:
    bare = kind.removeprefix("LowCardinality(").removeprefix("Nullable(")
    if bare.startswith("Date"):
        return Column(name=name, type=kind, kind="time", values=[_seconds(v) for v in values])
    if bare.startswith("Bool"):
        return Column(name=name, type=kind, kind="flag", values=list(values))
    if bare.startswith(("Int", "UInt", "Float", "Decimal")):
        return Column(name=name, type=kind, kind="number", values=[_number(v) for v in values])
    return Column(name=name, type=kind, kind="text", values=[_text(v) for v in values])


def _seconds(value: Any) -> float | None:
    """Return Unix seconds; the driver gives times without a zone, which are UTC."""
    if value is None:
        return None
    if not isinstance(value, dt.datetime):
        value = dt.datetime(value.year, value.month, value.day)
    seconds = (value if value.tzinfo else value.replace(tzinfo=dt.UTC)).timestamp()
    return int(seconds) if seconds.is_integer() else seconds


def _number(value: Any) -> float | int | None:
    """Return a number that JSON has; what is none (0 / 0) is as unknown as NULL."""
    if isinstance(value, Decimal):
        value = float(value)
    return None if value is None or not math.isfinite(value) else value


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return ", ".join(str(part) for part in value)
    return json.dumps(value, default=str) if isinstance(value, dict) else str(value)
