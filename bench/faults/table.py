"""The campaign's table and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from .trial import Row

HEAD = (
    f"{'scenario':22}{'sent':>8}{'acked':>8}{'refused':>18}{'repeat':>8}{'samples acked':>15}"
    f"{'stored':>10}{'lost':>6}{'doubled':>9}{'residual':>10}{'vs truth':>10}{'peak MB':>9}"
    f"{'s':>7}  result"
)


def text(rows: Sequence[Row], conditions: dict[str, object]) -> str:
    """Return the table, with what was done and what went wrong below each line."""
    told = ", ".join(f"{name} {value}" for name, value in conditions.items())
    return "\n".join([told, HEAD, *map(line, rows)])


def line(row: Row) -> str:
    """Return one scenario's lines."""
    counts, balance = row.found.counts, row.found.balance
    refused = ", ".join(f"{count}x{status}" for status, count in row.refused.items()) or "0"
    said = (
        f"{row.scenario:22}{row.sent:>8}{row.acknowledged:>8}{refused:>18}{row.repeated:>8}"
        f"{counts.acknowledged:>15}{counts.stored:>10}{counts.lost:>6}{counts.doubled:>9}"
        f"{balance.residual:>10.1e}{balance.off:>10.1e}{row.peak_mb:>9.0f}{row.seconds:>7.0f}"
        f"  {'FAIL' if row.problems else 'ok'}"
    )
    below = [row.done, *row.notes, *(f"FAIL: {problem}" for problem in row.problems)]
    return "\n".join([said, *(f"    {told}" for told in below)])


def as_json(rows: Sequence[Row], conditions: dict[str, object]) -> str:
    """Return everything that was counted."""
    return json.dumps({"conditions": conditions, "scenarios": [asdict(row) for row in rows]})
