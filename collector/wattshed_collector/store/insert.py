"""Rows on their way to one table, already in the engine's own bytes.

Native is ClickHouse's column format: per block the number of columns and rows, then each column's
name, type and values. What is written once here can be inserted now, or kept on disk and inserted
later, with the same result: every table of facts is replacing.
Source: https://clickhouse.com/docs/interfaces/specs/NativeFormat (revision 0, as FORMAT Native).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Insert:
    """``body`` holds ``rows`` rows of ``table`` as FORMAT Native, columns in the named order."""

    table: str
    columns: tuple[str, ...]
    rows: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Column:
    """Values of one column, shape (rows,); ``present`` False is NULL, None: nothing is missing."""

    values: NDArray[Any]
    present: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """Rows of ``table`` as arrays, in the units of the table; every column has the same length."""

    table: str
    columns: Mapping[str, Column]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(next(iter(self.columns.values())).values)
