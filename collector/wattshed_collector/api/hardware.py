"""Everything that is asked of hardware beside its joules, as one set of routes."""

from __future__ import annotations

from aiohttp import web

from wattshed_collector.store.read import Reader

from .devices import DevicesApi
from .documents import Unpacked
from .procurement import ProcurementApi
from .sci import SciApi


def routes(
    reader: Reader, clerk: Reader, unpacked: Unpacked, longest_seconds: float
) -> list[web.RouteDef]:
    """Return the routes of the register, of SCI, of scorecards and of keeping or replacing."""
    return [
        *DevicesApi(reader, clerk, unpacked).routes(),
        *SciApi(reader, longest_seconds).routes(),
        *ProcurementApi(reader, longest_seconds).routes(),
    ]
