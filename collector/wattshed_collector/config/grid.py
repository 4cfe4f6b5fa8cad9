"""Which zone of the grid each site lies in, and who tells what that emits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from wattshed_exporter.settings import option

from .discovery import breaks, is_web
from .ingest import above_zero


class Service(StrEnum):
    """Providers that are known."""

    ELECTRICITY_MAPS = "electricity_maps"
    WATTTIME = "watttime"
    UK_CARBON_INTENSITY = "uk_carbon_intensity"


class Signal(StrEnum):
    """WattTime's: marginal or average."""

    MARGINAL = "co2_moer"
    AVERAGE = "co2_aoer"


@dataclass(frozen=True, slots=True, kw_only=True)
class GridProvider:
    """A service that is asked for some zones."""

    service: Service | None = option(None, f"{', '.join(Service)}.")
    zones: dict[str, str] = option(
        dict, "Zone to what the service calls it; '': the same. Great Britain's has no zones."
    )
    token_file: Path | None = option(None, "File with the key of electricity_maps.")
    username: str = option("", "Name at watttime.")
    password_file: Path | None = option(None, "File with the password of watttime.")
    signal: Signal = option(Signal.MARGINAL, "What watttime tells: co2_moer or co2_aoer.")
    forecast: bool = option(True, "Ask for forecasts as well.")
    url: str = option("", "Address of the service, where it is not its own.")

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        return list(self._problems())

    def _problems(self) -> Iterator[str]:
        if self.service is None:
            yield f"service: is missing; choose one of {', '.join(Service)}"
        if not self.zones:
            yield "zones: none is named"
        if self.service is Service.ELECTRICITY_MAPS and self.token_file is None:
            yield "token_file: is missing; electricity_maps asks for a key"
        if self.service is Service.WATTTIME and not (self.username and self.password_file):
            yield "username: and password_file are needed by watttime"
        if self.url and not is_web(self.url):
            yield f"url: {self.url!r} is not an http or https URL"
        if breaks(self.username):
            yield "username: holds a character that cannot be sent in a header"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Carbon and price of the grid (docs/CARBON.md)."""

    zones: dict[str, str] = option(
        dict,
        "Site to zone of the grid, such as IE or US-CAL-CISO; the site '' is every other. Where "
        "nobody knows better, the yearly table of its country holds.",
    )
    providers: tuple[GridProvider, ...] = option(
        (), "Services that are asked, only in the file.", file_only=True
    )
    files: tuple[Path, ...] = option(
        (), "CSV or JSON files with series by zone; taken in when they change."
    )
    refresh_seconds: float = option(900.0, "Time between two questions to a service.")
    backfill_days: float = option(7.0, "How far back a service is asked at first.")

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        found = [
            f"zones: {zone!r} of site {site!r} is no zone"
            for site, zone in self.zones.items()
            if not zone or not zone.isascii() or len(zone) > 64
        ]
        found += [f"files: {file} is not there" for file in self.files if not file.is_file()]
        return found + above_zero(
            {"refresh_seconds": self.refresh_seconds, "backfill_days": self.backfill_days}
        )
