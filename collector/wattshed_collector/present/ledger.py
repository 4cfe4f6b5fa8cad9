"""The ledger's state and what a recomputation changes, as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import CONSERVED_RATIO, clean, units

ROWS = 40
"""Changes that are shown; the rest is one line, and all of them are in the JSON."""


def print_changes(answer: Mapping[str, Any], console: Console) -> None:
    """Show what changes, per workload and class, the largest first."""
    start, end = _shown(answer["start"]), _shown(answer["end"])
    changes = [change for change in answer["changes"] if _is_one(change)]
    console.print(f"{answer['hours']} hours from {start} to {end}", highlight=False)
    if not changes:
        console.print("nothing changes", highlight=False)
        return
    table = Table(box=None, pad_edge=False)
    for name in ("workload", "team", "class"):
        table.add_column(name, overflow="fold")
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    for change in changes[:ROWS]:
        signed = ("+" if change["change_joules"] > 0 else "-") + units.joules(
            abs(change["change_joules"])
        )
        table.add_row(
            Text(clean(change["workload"] or change["workload_key"] or "nobody")),
            Text(clean(change["team"])),
            change["charge_class"],
            units.joules(change["before_joules"]),
            units.joules(change["after_joules"]),
            signed,
        )
    console.print(table)
    if len(changes) > ROWS:
        console.print(f"and {len(changes) - ROWS} smaller ones: --json has all", highlight=False)


def _is_one(change: Mapping[str, Any]) -> bool:
    """Return whether joules change by more than what sums in another order differ by."""
    changed, whole = change["change_joules"], max(change["before_joules"], change["after_joules"])
    return bool(abs(changed) > whole * CONSERVED_RATIO)


def print_state(state: Mapping[str, Any], console: Console) -> None:
    """Show who computes, how far it is, and by which policy."""
    table = Table(box=None, pad_edge=False, show_header=False)
    leader = state["leader"] or "nobody"
    until = f" until {_shown(state['leader_until'])}" if state["leader"] else ""
    table.add_row("leader", Text(clean(leader) + until))
    table.add_row("settled", _shown(state["settled"]))
    table.add_row("watermark", _shown(state["watermark"]))
    table.add_row("dirty hours", str(len(state["dirty_hours"])))
    run = state["last_run"]
    if run:
        table.add_row(
            "last run",
            f"{run['result']}, {run['hours']} hours in {run['seconds']:.2f} s, {_shown(run['at'])}",
        )
    for policy in state["policies"]:
        since = _shown(policy["since"]) if policy["since"] else "always"
        below = policy["idle_below_e4"] / 1e4
        table.add_row(
            "policy",
            f"{policy['idle_policy']}, idle below {below:g}, host remainder "
            f"{policy['host_remainder']}, since {since}",
        )
    console.print(table)


def _shown(seconds: float | None) -> str:
    if seconds is None:
        return "never"
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
