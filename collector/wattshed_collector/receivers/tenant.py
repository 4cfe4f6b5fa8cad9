"""Whose a request is: what of it its sender may write, and by what name it waits its turn."""

from __future__ import annotations

from collections.abc import Sequence

from wattshed_collector.security.rules import Identity
from wattshed_collector.security.tenancy import Mine, Tenancy
from wattshed_collector.store.stacks import Rows
from wattshed_exporter.model import Batch


def mine(
    tenancy: Tenancy | None, who: Identity | None, batch: Batch, frames: Sequence[Rows] = ()
) -> Mine:
    """Return what of a delivery its sender may write; the gate has found out who that is."""
    if who is None or tenancy is None:  # there is no gate before these routes
        return Mine(batch, tuple(frames))
    return tenancy.check(who, batch, frames)
