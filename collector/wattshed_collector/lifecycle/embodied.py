"""Kilograms of CO2 equivalent that it took to make GPUs, as far as somebody published them.

Few makers publish any, and what there is differs in what it counts: each figure says its source and
how far it may be off. What an operator tells of a device or model goes before this table; of what
neither knows nothing is said.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("embodied.csv")
YEAR_H = 8766.0
"""Hours of a year of 365.25 days."""


@dataclass(frozen=True, slots=True)
class Embodied:
    """``kg`` CO2 equivalent of one GPU, between ``low_kg`` and ``high_kg``; of models that match.

    ``pattern`` is RE2, for the model's name in small letters; ``year`` is that of the source.
    """

    pattern: str
    kg: float
    low_kg: float
    high_kg: float
    year: int
    source: str


@cache
def table() -> Sequence[Embodied]:
    """Return every figure that is brought along."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return tuple(
            Embodied(
                row["pattern"],
                float(row["kg"]),
                float(row["low_kg"]),
                float(row["high_kg"]),
                int(row["year"]),
                row["source"],
            )
            for row in csv.DictReader(file)
        )


def amortised_g(kg: float, lifetime_years: float, seconds: float) -> float:
    """Return the grams that fall to ``seconds`` of a device, written off in equal parts."""
    return kg * 1000 * seconds / (lifetime_years * YEAR_H * 3600)
