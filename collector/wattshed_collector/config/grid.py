"""Which zone of the grid each site lies in, and who tells what that emits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from wattshed_collector.grid.policies import SIGNALS, Policy
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
class GridPolicy:
    """What jobs are told that can wait; the first that matches a job decides."""

    name: str = option("", "Its name, in answers and reports.")
    match: dict[str, str] = option(
        dict, "Patterns such as train-* by attribute of a job: team, workload, queue, site, ..."
    )
    signal: str = option("carbon", f"{', '.join(SIGNALS)}.")
    prefer_below: float | None = option(None, "At or below, it runs at once.")
    hold_above: float | None = option(None, "Above, it waits, while a better time is to come.")
    hold_at_most_seconds: float = option(0.0, "Who waited for so long waits no more.")
    cap_above: float | None = option(None, "Above, it runs with less power.")
    cap_ratio: float | None = option(None, "Of the power limit, where it is capped.")

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        return list(self._problems())

    def _problems(self) -> Iterator[str]:
        if not self.name or breaks(self.name):
            yield "name: is missing, or holds a line break"
        if self.signal not in SIGNALS:
            yield f"signal: {self.signal!r} is none of {', '.join(SIGNALS)}"
        if self.hold_above is not None and self.hold_at_most_seconds <= 0:
            yield "hold_at_most_seconds: must be above 0, or jobs would wait for ever"
        if (self.cap_above is None) is not (self.cap_ratio is None):
            yield "cap_ratio: and cap_above go together"
        if self.cap_ratio is not None and not 0 < self.cap_ratio <= 1:
            yield f"cap_ratio: {self.cap_ratio:g} is not between 0 and 1"
        if None not in (self.prefer_below, self.hold_above) and (
            (self.prefer_below or 0) > (self.hold_above or 0)
        ):
            yield "prefer_below: is above hold_above"

    @property
    def policy(self) -> Policy:
        return Policy(
            name=self.name,
            match=self.match,
            signal=self.signal,
            prefer_below=self.prefer_below,
            hold_above=self.hold_above,
            hold_at_most_s=round(self.hold_at_most_seconds),
            cap_above=self.cap_above,
            cap_ratio=self.cap_ratio,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Carbon and price of the grid (docs/CARBON.md)."""

    zones: dict[str, str] = option(
        dict,
        "Site to zone of the grid, such as IE or US-CAL-CISO; the site '' is every other "
        "(--grid.zones dub=IE,=DE). Where nobody knows better, the yearly table of its country "
        "holds.",
    )
    providers: tuple[GridProvider, ...] = option(
        (), "Services that are asked, only in the file.", file_only=True
    )
    policies: tuple[GridPolicy, ...] = option(
        (), "What jobs are told that can wait, only in the file (docs/CARBON.md).", file_only=True
    )
    files: tuple[Path, ...] = option(
        (), "CSV or JSON files with series by zone; taken in when they change."
    )
    refresh_seconds: float = option(900.0, "Time between two questions to a service.")
    backfill_days: float = option(7.0, "How far back a service is asked at first.")
    forecast_max_age_seconds: float = option(
        86_400.0, "A forecast that was said longer ago is not used; 0: any is."
    )

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        found = [
            f"zones: {zone!r} of site {site!r} is no zone"
            for site, zone in self.zones.items()
            if not zone or not zone.isascii() or len(zone) > 64
        ]
        found += [f"files: {file} is not there" for file in self.files if not file.is_file()]
        if self.forecast_max_age_seconds < 0:
            found.append("forecast_max_age_seconds: must not be below 0")
        return found + above_zero(
            {"refresh_seconds": self.refresh_seconds, "backfill_days": self.backfill_days}
        )
