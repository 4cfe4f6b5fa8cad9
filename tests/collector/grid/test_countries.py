"""The yearly table against where it is from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from wattshed_collector.grid.countries import countries, of_zone

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("zone", "name", "g"),
    [("US", "United States", 369.473), ("US-CAL-CISO", "United States", 369.473)],
)
def test_of_zone(zone: str, name: str, g: float) -> None:
    found = of_zone(zone)
    assert found is not None
    assert (found.name, found.g_per_kwh) == (name, g)
    assert found.source.startswith("table: United States 2023")


def test_nobody_emits_nothing() -> None:
    assert of_zone("CF") is None
    assert of_zone("XX") is None
    assert of_zone("") is None
    assert min(country.g_per_kwh for country in countries().values()) > 0


def test_it_is_what_its_source_says(data: Path) -> None:
    file = data / "carbon/codecarbon_global_energy_mix.json"
    said = json.loads(file.read_text())
    ours = {c.alpha3: (c.name, c.year, c.g_per_kwh) for c in countries().values()}
    theirs = {
        key: (row["country_name"], row["year"], float(f"{row['carbon_intensity']:.6g}"))
        for key, row in said.items()
        if row["carbon_intensity"]
    }
    assert ours == theirs
