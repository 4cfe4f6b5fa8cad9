"""What the store tells of itself, asked now and then on a thread of its own and kept for scrapes.

A scrape never waits for the store: it gets what was found last. What could not be found this time
is absent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from .errors import CollectorError
from .own_energy import OwnEnergy
from .store import ledger_state
from .store.client import Client
from .store.parts import Table, tables
from .store.read import Reader
from .telemetry import Labels, Telemetry

log = logging.getLogger(__name__)

FIRST_SECONDS = 5.0
INTERVAL_SECONDS = 60.0


class SelfWatch:
    """``keep`` asks each minute until it is cancelled."""

    def __init__(self, reader: Reader, energy: OwnEnergy, telemetry: Telemetry) -> None:
        self._reader = reader
        self._energy = energy
        self._tables: list[Table] = []
        self._ledger: ledger_state.State | None = None
        for name in ("parts", "rows", "bytes"):
            telemetry.watch(f"table_{name}", lambda name=name: self._of_tables(name))  # type: ignore[misc]
        telemetry.watch("ledger_dirty_hours", self._dirty_hours)
        telemetry.watch("ledger_settled_timestamp_seconds", self._settled)
        telemetry.watch("energy_joules_total", lambda: _known(self._energy.joules))

    async def keep(self) -> None:
        """Look now and then."""
        pause = FIRST_SECONDS
        while True:
            await asyncio.sleep(pause)
            pause = INTERVAL_SECONDS
            try:
                await self._reader.ask(self.look)
            except CollectorError as error:
                self._tables, self._ledger = [], None
                log.warning("the store does not tell of itself: %s", error)

    def look(self, client: Client) -> None:
        """Ask the store once."""
        self._tables = tables(client)
        self._ledger = ledger_state.read(client)
        self._energy.look(client)

    def _of_tables(self, name: str) -> Mapping[Labels, float]:
        return {(table.name,): getattr(table, name) for table in self._tables}

    def _dirty_hours(self) -> Mapping[Labels, float]:
        return _known(None if self._ledger is None else len(self._ledger["dirty_hours"]))

    def _settled(self) -> Mapping[Labels, float]:
        return _known(None if self._ledger is None else self._ledger["settled"])


def _known(value: float | None) -> Mapping[Labels, float]:
    return {} if value is None else {(): value}
