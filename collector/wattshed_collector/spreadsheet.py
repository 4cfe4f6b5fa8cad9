"""Tables as CSV that a spreadsheet opens: no text of somebody's becomes a formula there.

A cell that begins with ``=``, ``+``, ``-``, ``@``, a tabulator or a line break is computed by
spreadsheets, and names of teams, workloads and devices come from whoever sends. Such texts get a
quote in front (OWASP, CSV Injection); numbers stay numbers. So does what follows a semicolon, a
tabulator or a line break within a text: where a spreadsheet takes those for separators, as it does
in half of Europe, a cell begins there. ``plain`` takes the quotes away again where a table is read
back.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FORMULA = "=+-@\uff1d\uff0b\uff0d\uff20"
"""What a formula begins with; the last four are the same in full width."""
BEGINS = (*FORMULA, *"\t\r\n")
"""What a text may not begin with."""
QUOTE = "'"
# One that begins as a defused one would not be told from it: it gets one more.
_WHERE = rf"(?:^(?='*[{re.escape(''.join(BEGINS))}])|(?<=[;\t\r\n])(?='*[{re.escape(FORMULA)}]))"
_BARE = re.compile(_WHERE)
_QUOTED = re.compile(f"{_WHERE}{QUOTE}")


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
    return _BARE.sub(QUOTE, cell) if isinstance(cell, str) else cell


def plain(cell: str) -> str:
    """Return a cell as it was before ``defused``."""
    return _QUOTED.sub("", cell)
