"""Tables and lines on a terminal. What comes from outside is no markup there and steers nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TextIO

from wattshed_collector.present import clean

ID = "id"
LONGEST = 10_000


def table(
    titles: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[str] = ()
) -> None:
    """Print rows below ``titles``, those of ``right`` on the right; an id is never broken, because
    it is copied into the next command."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:  # a program reads lines, and folds none
        console = Console(width=LONGEST)
    made = Table(box=None, pad_edge=False)
    for title in titles:
        made.add_column(
            title,
            overflow="fold",
            justify="right" if title in right else "left",
            no_wrap=title == ID,
        )
    for row in rows:
        made.add_row(*(Text(clean(cell)) for cell in row))
    console.print(made)


def say(text: str, file: TextIO | None = None) -> None:
    """Print text of one line or several, to standard output where no file is named."""
    print("\n".join(map(clean, text.split("\n"))), file=file)
