"""What became of objectives, as one document: the API answers it, the command line explains it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from . import spreadsheet
from .errors import InvalidInput
from .store import slo_queries
from .store.client import Client

Record = dict[str, Any]

DAY_S = 86_400
OF_PAIR = (
    "severity", "factor", "long_seconds", "short_seconds", "burn_long", "burn_short",
    "is_burning", "state",
)  # fmt: skip
OF_BUDGET = ("unit", "total", "spent", "left_ratio", "state", "since", "until")
OF_WINDOW = (
    "outcomes", "bad_outcomes", "unmeasured_outcomes", "joules", "idle_joules", "allowed_joules",
    "joules_per_outcome",
)  # fmt: skip


def build(client: Client, name: str = "") -> Record:
    """Return every objective in force with its budget and burn rates; with ``name`` that one alone,
    and who spent most.

    Times are Unix seconds, energies joules; None is what a window with too few outcomes does not
    say. Raises InvalidInput where there is none of that name.
    """
    rows = slo_queries.burn(client, name)
    found = {row["slo"] for row in rows}  # one may come or go between the two questions
    slos = [_one(t, rows) for t in slo_queries.defined(client, name) if t["slo"] in found]
    if name and not slos:
        raise _unknown(name)
    if name:
        slos[0]["workloads"] = slo_queries.spenders(client, name)
    return {"slos": slos}


def burn(client: Client, name: str = "") -> list[Record]:
    """Return rows of ``slo_queries.burn``. Raises InvalidInput as ``build`` does."""
    rows = slo_queries.burn(client, name)
    if name and not rows:
        raise _unknown(name)
    return rows


def _unknown(name: str) -> InvalidInput:
    return InvalidInput(f"no SLO is named {name!r}; `wattshed slo list` shows them", "slo")


def as_csv(rows: Iterable[Record]) -> str:
    """Return rows of ``slo_queries.burn`` as CSV, a line per objective and pair of windows."""
    columns = ("slo", "owner", "outcome", "sli", *OF_PAIR, *(f"budget_{c}" for c in OF_BUDGET))
    return spreadsheet.written((*columns, *OF_WINDOW), rows)


def burning(slos: Sequence[Record]) -> list[Record]:
    """Return those of which a pair of windows burns."""
    return [slo for slo in slos if slo["is_burning"]]


def _one(told: Record, rows: Sequence[Record]) -> Record:
    mine = [row for row in rows if row["slo"] == told["slo"]]
    pairs = [{key: row[key] for key in OF_PAIR} for row in mine]
    last = mine[-1]
    budget = {key: last[f"budget_{key}"] for key in OF_BUDGET}
    is_burning = any(pair["is_burning"] for pair in pairs)
    budget["gone_in_seconds"] = _gone_in(budget["left_ratio"], pairs, told["window_days"])
    state = budget["state"] if budget["state"] == "spent" else last["state"]
    return {
        **told,
        "state": "burning" if is_burning else state,
        "is_burning": is_burning,
        **{key: last[key] for key in OF_WINDOW},
        "budget": budget,
        "burn": pairs,
    }


def _gone_in(left_ratio: float | None, pairs: Sequence[Record], days: int) -> float | None:
    """Return after how many seconds nothing is left at the rate of the first window that burns, or
    else of the longest; None where that is never, or not known."""
    if left_ratio is None:
        return None
    if left_ratio <= 0:
        return 0.0
    pair = next((pair for pair in pairs if pair["is_burning"]), pairs[-1])
    rate = pair["burn_long"]
    return left_ratio * days * DAY_S / rate if rate else None
