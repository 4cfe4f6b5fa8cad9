"""Yearly carbon intensity of the grids of countries: what holds where no provider is asked.

Grams of CO2 equivalent per kilowatt hour over the life cycle of generation, average and
location-based, of the newest year that the source has. Source: Ember and Energy Institute,
compiled by Our World in Data (CC BY 4.0) as of 2024. Of the Central African Republic the source
says 0, which is a hole in the data; it is left out.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("countries.csv")


@dataclass(frozen=True, slots=True)
class Country:
    """``zone`` is ISO 3166-1 alpha-2, ``g_per_kwh`` the mean of ``year``."""

    zone: str
    alpha3: str
    name: str
    year: int
    g_per_kwh: float

    @property
    def source(self) -> str:
        return f"table: {self.name} {self.year}, Ember and Energy Institute by Our World in Data"

    @property
    def said_s(self) -> int:
        """The end of the year (Unix seconds), before which nobody could say its mean."""
        return int(datetime(self.year + 1, 1, 1, tzinfo=UTC).timestamp())


@cache
def countries() -> Mapping[str, Country]:
    """Return every country of the table by zone."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return {
            row["zone"]: Country(
                row["zone"],
                row["alpha3"],
                row["country"],
                int(row["year"]),
                float(row["g_per_kwh"]),
            )
            for row in csv.DictReader(file)
        }


def of_zone(zone: str) -> Country | None:
    """Return the country in which ``zone`` lies (``DE``, ``US-CAL-CISO``), None where unknown."""
    return countries().get(zone.split("-", 1)[0].upper())
