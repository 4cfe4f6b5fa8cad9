"""Whose a request is: what of it its sender may write, and by what name it waits its turn."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from wattshed_collector.security.keys import IDENTITY, TENANCY
from wattshed_collector.security.tenancy import Mine
from wattshed_collector.store.stacks import Rows
from wattshed_exporter.model import Batch


def mine(request: web.Request, batch: Batch, frames: Sequence[Rows] = ()) -> Mine:
    """Return what of a delivery its sender may write; the gate has found out who that is."""
    who = request.get(IDENTITY)
    if who is None:  # there is no gate before these routes
        return Mine(batch, tuple(frames))
    return request.app[TENANCY].check(who, batch, frames)


def authenticated(request: web.Request) -> str:
    """Return who was authenticated, "" where nobody was."""
    who = request.get(IDENTITY)
    return who.name if who is not None else ""
