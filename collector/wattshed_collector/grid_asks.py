"""The services that the settings name, ready to be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from .config import Grid, GridProvider, Service
from .grid.providers import Get, Provider, ProviderError
from .grid.providers.electricity_maps import URL as ELECTRICITY_MAPS
from .grid.providers.electricity_maps import ElectricityMaps
from .grid.providers.uk import URL as UK
from .grid.providers.uk import CarbonIntensityUk
from .grid.providers.watttime import URL as WATTTIME
from .grid.providers.watttime import WattTime
from .grid_watch import Asked


def asked(told: Grid, get: Get) -> list[Asked]:
    """Return a question for each zone of each provider."""
    return [
        Asked(maker(provider, get), zone, region or zone, provider.forecast)
        for provider in told.providers
        if (maker := MAKERS.get(provider.service)) is not None
        for zone, region in provider.zones.items()
    ]


def _electricity_maps(told: GridProvider, get: Get) -> Provider:
    return ElectricityMaps(get, _secret(told.token_file), told.url or ELECTRICITY_MAPS)


def _watttime(told: GridProvider, get: Get) -> Provider:
    password = _secret(told.password_file)
    return WattTime(get, told.username, password, told.signal, told.url or WATTTIME)


def _uk(told: GridProvider, get: Get) -> Provider:
    return CarbonIntensityUk(get, told.url or UK)


MAKERS: Mapping[Service | None, Callable[[GridProvider, Get], Provider]] = {
    Service.ELECTRICITY_MAPS: _electricity_maps,
    Service.WATTTIME: _watttime,
    Service.UK_CARBON_INTENSITY: _uk,
}


def _secret(file: Path | None) -> Callable[[], str]:
    """Return what reads the key anew for each question, so that it may change."""

    def read() -> str:
        try:
            return file.read_text(encoding="ascii").strip() if file is not None else ""
        except (OSError, UnicodeDecodeError) as error:
            raise ProviderError(f"{file} cannot be read: {type(error).__name__}") from error

    return read
