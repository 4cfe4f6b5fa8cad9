"""Progress bars: on standard error, only where that is a terminal, and gone when they are done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

Progressed = Callable[[int, int], None]
"""Told how much is done and of how much; 0 where that is not known."""


@contextmanager
def shown(*columns: ProgressColumn) -> Iterator[Progress]:
    """Give bars with these columns, or the usual ones."""
    from rich.console import Console
    from rich.progress import Progress

    errors = Console(stderr=True)
    is_shown = sys.stderr.isatty() and errors.is_terminal
    with Progress(*columns, console=errors, transient=True, disable=not is_shown) as progress:
        yield progress


@contextmanager
def counted(title: str, *columns: ProgressColumn) -> Iterator[Progressed]:
    """Give one bar, as a function that is told how far it is."""
    with shown(*columns) as progress:
        task = progress.add_task(title, total=None)

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total or None)

        yield advance
