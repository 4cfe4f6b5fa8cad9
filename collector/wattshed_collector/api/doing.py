"""What could be done about energy, and when, as one set of routes."""

from __future__ import annotations

from aiohttp import web

from wattshed_collector.config import Grid
from wattshed_collector.store.read import Reader

from .advice import AdviceApi
from .decide import DecideApi
from .documents import Unpacked
from .when import WhenApi


def routes(reader: Reader, clerk: Reader, unpacked: Unpacked, grid: Grid) -> list[web.RouteDef]:
    """Return the routes of windows for jobs, of decisions about them and of advice."""
    return [
        *WhenApi(reader, grid.forecast_max_age_seconds).routes(),
        *DecideApi(reader, clerk, grid, unpacked).routes(),
        *AdviceApi(reader, clerk, unpacked).routes(),
    ]
