"""What became of calibrations, asked now and then and kept for scrapes, so that rules can alert.

A scrape never waits for the store. What could not be found this time is absent. A collector says
its limits to the store once, when it starts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from .config import Quality
from .errors import CollectorError
from .store import quality
from .store.client import Client
from .store.read import Reader
from .telemetry import NUMERICS, Labels, Telemetry

log = logging.getLogger(__name__)

FIRST_SECONDS = 5.0
INTERVAL_SECONDS = 60.0
MOST_SERIES = 200
DAY_S = 86400.0


class NumericsWatch:
    """``keep`` asks each minute until it is cancelled."""

    def __init__(
        self,
        reader: Reader,
        limits: Quality,
        telemetry: Telemetry,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._reader = reader
        self._limits = limits
        self._now = now
        self._is_told = False
        self._rows: list[dict[str, Any]] = []
        self._states: dict[str, int] = {}
        telemetry.watch("numerics", lambda: {(k,): n for k, n in self._states.items()})
        telemetry.watch("numerics_drift_ratio", lambda: self._known("drift_ratio"))
        telemetry.watch("calibration_age_seconds", self._ages)
        drift, days = limits.drift_ratio, limits.calibration_days
        telemetry.watch("numerics_drift_limit_ratio", lambda: {(): drift})
        telemetry.watch("calibration_limit_seconds", lambda: {(): days * DAY_S})

    async def keep(self) -> None:
        """Look now and then."""
        pause = FIRST_SECONDS
        while True:
            await asyncio.sleep(pause)
            pause = INTERVAL_SECONDS
            try:
                await self._reader.ask(self.look)
            except CollectorError as error:
                self._rows, self._states = [], {}
                log.warning("the store does not tell of calibrations: %s", error)

    def look(self, client: Client) -> None:
        """Ask the store once."""
        if not self._is_told:
            told = self._limits.drift_ratio, self._limits.calibration_days
            quality.keep_limits(client, *told, self._now())
            self._is_told = True
        self._rows = quality.numerics(client, limit=MOST_SERIES)
        self._states = quality.states(client)

    def _known(self, column: str) -> Mapping[Labels, float]:
        return {
            tuple(str(row[label]) for label in NUMERICS): row[column]
            for row in self._rows
            if row[column] is not None
        }

    def _ages(self) -> Mapping[Labels, float]:
        now = self._now()
        return {key: now - at for key, at in self._known("calibrated_at_s").items()}
