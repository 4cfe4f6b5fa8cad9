"""Statements over the public views that show what an advice rests on."""

from __future__ import annotations

import re
from collections.abc import Sequence


def stated(template: str, **values: str | int | Sequence[str]) -> str:
    """Return ``template`` with its ``{names}`` filled: texts as literals, one or a list of them."""
    # In one pass: a workload may be called {site}.
    return re.sub(r"\{(\w+)\}", lambda name: _literal(values[name[1]]), template)


def _literal(value: str | int | Sequence[str]) -> str:
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return "(" + ", ".join(map(_literal, value)) + ")"
