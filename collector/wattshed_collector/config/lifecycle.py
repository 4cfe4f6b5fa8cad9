"""What hardware costs before it draws a joule."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wattshed_collector.lifecycle.told import LONGEST_YEARS
from wattshed_exporter.settings import option


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """Embodied carbon and what devices are worth; what is told of a device goes before this."""

    lifetime_years: float = option(
        5.0, "Over how many years embodied carbon is written off, where nobody told another."
    )

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        years = self.lifetime_years
        if not (math.isfinite(years) and 0 < years <= LONGEST_YEARS):
            return [f"lifetime_years: {years:g} is not between 0 and {LONGEST_YEARS:g}"]
        return []
