"""Tables as CSV that a spreadsheet opens: no text of somebody's becomes a formula there.

A cell that begins with ``=``, ``+``, ``-``, ``@``, a tabulator or a line break is computed by
spreadsheets, and names of teams, workloads and devices come from whoever sends. Such texts get a
quote in front (OWASP, CSV Injection); numbers stay numbers. ``plain`` takes the quote away again
where a table is read back.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

BEGINS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What a formula may begin with; the last four are the same in full width."""
QUOTE = "'"


def written(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as CSV (RFC 4180) with a header; what is None is empty, and what a row has beside
    ``columns`` is left out. Raises KeyError where it lacks one."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(map(defused, columns))
    writer.writerows([defused(row[name]) for name in columns] for row in rows)
    return text.getvalue()


def defused(cell: Any) -> Any:
    """Return a cell as it may be written."""
    return f"{QUOTE}{cell}" if isinstance(cell, str) and _begins(cell) else cell


def plain(cell: str) -> str:
    """Return a cell as it was before ``defused``."""
    return cell[1:] if cell.startswith(QUOTE) and _begins(cell[1:]) else cell


def _begins(text: str) -> bool:
    """A text that begins as a defused one would not be told from it: it gets one more."""
    return text.lstrip(QUOTE).startswith(BEGINS)
