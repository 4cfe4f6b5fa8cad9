"""The rows behind alerts: what each signal's view says, bounded, the largest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wattshed_dashboards.alerts import Signal

from .client import Client

HELD = "v_alert_held"
"""The view of which several are a part: one question instead of one each."""
OF_HELD: Mapping[str, str] = {
    f"v_alert_{name}": name
    for name in (
        *("idle_burn", "idle_burn_cost", "idle_burn_team", "idle_unallocated", "parked_model"),
        *("low_utilization", "training_stalled"),
    )
}
"""By view the value of its column ``signal``."""


@dataclass(frozen=True, slots=True)
class Told:
    """Values by the labels of a signal, in its order; ``left_out``: how many there are beyond."""

    values: Mapping[tuple[str, ...], float]
    left_out: int = 0


def told(client: Client, signal: Signal, most: int) -> Told:
    """Return the rows of a signal's view. Raises StoreError."""
    names = _names(signal.labels)
    rows = client.rows(
        f"SELECT {names}, value, count() OVER () AS every FROM {signal.view} "
        f"ORDER BY value DESC, {names} LIMIT {{most:UInt32}}",
        {"most": most},
    )
    return _told(rows, len(signal.labels))


def told_of_held(client: Client, signals: Sequence[Signal], most: int) -> dict[str, Told]:
    """Return the same of some signals that are parts of ``HELD``, by name. Raises StoreError."""
    names = list(dict.fromkeys(label for signal in signals for label in signal.labels))
    rows = client.rows(
        f"SELECT signal, {_names(names)}, value, count() OVER (PARTITION BY signal) AS every "
        f"FROM {HELD} WHERE signal IN {{signals:Array(String)}} "
        f"ORDER BY value DESC, {_names(names)} LIMIT {{most:UInt32}} BY signal",
        {"most": most, "signals": [OF_HELD[signal.view] for signal in signals]},
    )
    found = {}
    for signal in signals:
        places = [1 + names.index(label) for label in signal.labels]
        mine = [
            (*(row[place] for place in places), row[-2], row[-1])
            for row in rows
            if row[0] == OF_HELD[signal.view]
        ]
        found[signal.name] = _told(mine, len(places))
    return found


def _names(labels: Sequence[str]) -> str:
    return ", ".join(labels)


def _told(rows: Sequence[tuple[object, ...]], labels: int) -> Told:
    values = {tuple(map(str, row[:labels])): float(str(row[labels])) for row in rows}
    every = int(str(rows[0][labels + 1])) if rows else 0
    return Told(values, every - len(rows))
