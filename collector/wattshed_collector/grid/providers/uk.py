"""The Carbon Intensity API of Great Britain's system operator: half hours, no key.

Source: carbon-intensity.github.io/api-definitions. Its factors are those of operation, not of the
life cycle, so its grams are not comparable with Electricity Maps'.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from wattshed_collector.grid.series import Step

from . import Get, answers

URL = "https://api.carbonintensity.org.uk"
MOST_S = 14 * 86400
"""The service answers for at most so long at a time."""


class CarbonIntensityUk:
    """gCO2/kWh. A half hour whose actual value is not out yet has the forecast, as estimated."""

    name = "uk_carbon_intensity"
    kind = "carbon"
    unit = "g/kWh"

    def __init__(self, get: Get, url: str = URL, now: Callable[[], float] = time.time) -> None:
        self._get = get
        self._url = f"{url.rstrip('/')}/intensity"
        self._now = now

    async def actual(self, zone: str, start_s: int, end_s: int) -> list[Step]:
        found: list[Step] = []
        for since, until in answers.spans(start_s, end_s, MOST_S):
            url = f"{self._url}/{answers.iso(since)}/{answers.iso(until)}"
            found += answers.read(self.name, await self._get(url, {}), _measured)
        return [step for step in found if step.start_s < end_s and step.end_s > start_s]

    async def forecast(self, zone: str) -> list[Step]:
        url = f"{self._url}/{answers.iso(int(self._now()))}/fw48h"
        return answers.read(self.name, await self._get(url, {}), _expected)


def _measured(said: Any) -> list[Step]:
    return [_step(row, row["intensity"].get("actual")) for row in said["data"]]


def _expected(said: Any) -> list[Step]:
    return [_step(row, None) for row in said["data"]]


def _step(row: dict[str, Any], actual: Any) -> Step:
    is_estimated = actual is None
    said = row["intensity"]["forecast"] if is_estimated else actual
    return Step(
        answers.instant(row["from"]), answers.instant(row["to"]), answers.value(said), is_estimated
    )
