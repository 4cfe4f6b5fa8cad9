"""Rows on their way to one table, already in the engine's own bytes.

Native is ClickHouse's column format: per block the number of columns and rows, then each column's
name, type and values. What is written once here can be inserted now, or kept on disk and inserted
later, with the same result: every table of facts is replacing.
Source: https://clickhouse.com/docs/interfaces/specs/NativeFormat (revision 0, as FORMAT Native).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .texts import plain


@dataclass(frozen=True, slots=True)
class Insert:
    """``body`` holds ``rows`` rows of ``table`` as FORMAT Native, columns in the named order."""

    table: str
    columns: tuple[str, ...]
    rows: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Column:
    """Values of one column, shape (rows,); ``present`` False is NULL, None: nothing is missing.

    With ``texts`` (as ``texts.encoded`` writes them) the values are places in it, so that a text
    which comes again and again is encoded once.
    """

    values: NDArray[Any]
    present: NDArray[np.bool_] | None = None
    texts: Sequence[bytes] | None = None

    def said(self) -> list[Any]:
        """Return the values, texts as they read; where nothing is said, any."""
        values: list[Any] = self.values.tolist()
        return values if self.texts is None else [plain(self.texts[at]) for at in values]

    def at(self, rows: NDArray[Any] | slice) -> Column:
        """Return the values of some rows."""
        present = None if self.present is None else self.present[rows]
        return Column(self.values[rows], present, self.texts)


@dataclass(frozen=True, slots=True)
class Frame:
    """Rows of ``table`` as arrays, in the units of the table; every column has the same length."""

    table: str
    columns: Mapping[str, Column]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(next(iter(self.columns.values())).values)
