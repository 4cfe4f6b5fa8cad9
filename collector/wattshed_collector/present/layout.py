"""Tables for a terminal: as wide as it allows, names give way, numbers never do.

Names come from outside: they are never read as markup, and what would steer a terminal is replaced.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from . import clean, units

WIDTH = 80
"""Nothing is printed wider than this, however wide the terminal is."""
GAP = 2
LEAST = 6
"""A column of names is never made narrower than this."""


def table(width: int, columns: Sequence[str], names: int, rows: Sequence[Sequence[Text]]) -> Table:
    """Return a table of ``width``: the first ``names`` columns give way, numbers never do."""
    built = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, GAP - 1, 0, 0), show_edge=False)
    natural = [
        max([cell_len(title), *(_width(row[at]) for row in rows if at < len(row))])
        for at, title in enumerate(columns)
    ]
    room = width - sum(natural[names:]) - GAP * (len(columns) - 1)
    fitted = _fit(natural[:names], room)
    for at, title in enumerate(columns):
        if at < names:
            built.add_column(
                Text(title),
                min_width=fitted[at],
                max_width=fitted[at],
                no_wrap=True,
                overflow="ellipsis",
            )
        else:
            built.add_column(Text(title), min_width=natural[at], no_wrap=True, justify="right")
    for row in rows:
        shown = (_short(text, fitted[at]) if at < names else text for at, text in enumerate(row))
        built.add_row(*shown)
    return built


def _fit(widths: Sequence[int], room: int) -> list[int]:
    """Take from the widest until all fit in ``room`` or none is wider than ``LEAST``."""
    fitted = list(widths)
    while sum(fitted) > room and max(fitted) > LEAST:
        fitted[fitted.index(max(fitted))] -= 1
    return fitted


def _short(text: Text, width: int) -> Text:
    """Take out the middle: names of a fleet differ at their ends."""
    plain = text.plain
    if len(plain) <= width:
        return text
    head = (width - 1) // 2
    return Text(f"{plain[:head]}…{plain[len(plain) - (width - 1 - head) :]}", style=text.style)


def _width(text: Text) -> int:
    return max(cell_len(line) for line in text.plain.split("\n"))


def named(value: object) -> Text:
    text = clean(str(value or ""))
    return Text(text) if text else Text(units.UNKNOWN, style="dim italic")
