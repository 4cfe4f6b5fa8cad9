"""Keeps the store told of what the grid emits: zones of sites, files, and services now and then.

A service that does not answer is asked again later and later, and told of once; what is known
stays, and what it leaves unknown falls back to the yearly table, which every gram says. Keys are
read from their files for each question and stand in no message.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .config import Grid
from .errors import CollectorError, InvalidInput
from .grid import files
from .grid.countries import of_zone
from .grid.providers import Provider, ProviderError, Refused
from .grid.series import Step
from .store import grid
from .store.client import Client
from .store.grid import Told
from .store.read import Reader
from .telemetry import Telemetry

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
LONGEST_PAUSE_S = 6 * 3600
REVISED_S = 24 * 3600
"""Services correct what they said of the last day."""


@dataclass(slots=True)
class Asked:
    """A provider and zone: ``zone`` is ours, ``region`` the provider's name for it."""

    provider: Provider
    zone: str
    region: str
    with_forecast: bool = True
    due_s: float = 0.0
    failures: int = 0


class GridWatch:
    """``keep`` works until it is cancelled."""

    def __init__(
        self,
        reader: Reader,
        told: Grid,
        asked: Sequence[Asked],
        telemetry: Telemetry,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._reader = reader
        self._told = told
        self._asked = asked
        self._telemetry = telemetry
        self._now = now
        self._are_zones_told = False
        self._seen: dict[Path, tuple[int, int]] = {}
        self._ends: dict[tuple[str, str], int] = {}
        telemetry.watch("grid_age_seconds", self._ages)

    async def keep(self) -> None:
        """Look for what is due every few seconds."""
        while True:
            try:
                await self.look()
            except CollectorError as error:
                log.warning("the store does not take what the grid emits: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Do what is due. Raises StoreError; services that fail are counted."""
        if not self._are_zones_told:
            await self._reader.ask(self._tell_zones)
            self._are_zones_told = True
        for file in self._told.files:
            await self._reader.ask(partial(self._take, file))
        for asked in self._asked:
            if self._now() >= asked.due_s:
                await self._ask(asked)

    def _tell_zones(self, client: Client) -> None:
        """Put the zones of the settings into force; a site that is not there any more has none."""
        wanted: dict[str, tuple[str, float | None, str]]
        wanted = dict.fromkeys(grid.told_zones(client), ("", None, ""))
        said = {}
        for site, zone in self._told.zones.items():
            country = of_zone(zone)
            wanted[site] = (
                (zone, country.g_per_kwh, country.source) if country else (zone, None, "")
            )
            if country:
                said[site] = country.said_s
        grid.put_zones(client, wanted, self._now(), said)

    def _take(self, file: Path, client: Client) -> None:
        stamp: tuple[int, int] | None = None
        try:
            stat = file.stat()
            stamp = stat.st_mtime_ns, stat.st_size
            if self._seen.get(file) == stamp:
                return
            series = files.load(file)
        except (OSError, InvalidInput) as error:
            self._count("file", "failed")
            if stamp is not None:
                self._seen[file] = stamp
            log.error("the grid stays as it was: %s", error)
            return
        said = grid.of_file(file)
        told = [Told(s.kind, s.zone, s.unit, said, int(self._now()), s.steps) for s in series]
        read = list(map(grid.of_file, self._told.files))
        self._write([*told, *grid.taken_back(client, told, read)], [], client)
        self._seen[file] = stamp  # not before the store has it
        self._count("file", "ok")

    async def _ask(self, asked: Asked) -> None:
        provider, now = asked.provider, int(self._now())
        try:
            newest = await self._reader.ask(grid.newest, provider.kind, asked.zone)
            first = now - round(self._told.backfill_days * 86400)
            start = max(first, min(newest.end_s, now) - REVISED_S) if newest else first
            was = self._as_told(asked, await provider.actual(asked.region, start, now))
            # What was is kept, also where there is no forecast for this key.
            await self._reader.ask(partial(self._write, [was], []))
            expected = await _expected(asked)
        except ProviderError as error:
            self._failed(asked, error)
            return
        await self._reader.ask(partial(self._write, [], [self._as_told(asked, expected)]))
        if asked.failures:
            log.info("%s answers again for %s", provider.name, asked.zone)
        asked.failures = 0
        asked.due_s = now + self._told.refresh_seconds
        self._count(provider.name, "ok")

    def _as_told(self, asked: Asked, steps: Sequence[Step]) -> Told:
        provider = asked.provider
        return Told(
            provider.kind, asked.zone, provider.unit, provider.name, int(self._now()), steps
        )

    def _failed(self, asked: Asked, error: ProviderError) -> None:
        asked.failures += 1
        pause = min(self._told.refresh_seconds * 2.0 ** (asked.failures - 1), LONGEST_PAUSE_S)
        asked.due_s = self._now() + pause
        self._count(asked.provider.name, "failed")
        if asked.failures == 1:
            log.warning("%s: %s; what is known of %s stays", asked.provider.name, error, asked.zone)

    def _write(self, was: Sequence[Told], expected: Sequence[Told], client: Client) -> None:
        grid.put(client, was, self._now())
        grid.put_forecast(client, expected, self._now())
        for told in was:
            ends = [step.end_s for step in told.steps if step.value is not None]
            if ends:
                key = told.kind, told.zone
                self._ends[key] = max(self._ends.get(key, 0), *ends)

    def _count(self, source: str, result: str) -> None:
        self._telemetry.count("grid_requests_total", 1, source=source, result=result)

    def _ages(self) -> dict[tuple[str, ...], float]:
        now = self._now()
        return {key: max(0.0, now - end) for key, end in self._ends.items()}


async def _expected(asked: Asked) -> list[Step]:
    """Ask for the forecast, until the key turns out to have none."""
    if not asked.with_forecast:
        return []
    try:
        return await asked.provider.forecast(asked.region)
    except Refused as error:
        log.warning("%s: %s; no forecast is asked for again", asked.provider.name, error)
        asked.with_forecast = False
        return []
