"""Electricity Maps, API v3: average intensity over the life cycle, with forecasts where paid for.

Source: the reference at portal.electricitymaps.com; zones are its own (``DE``, ``US-CAL-CISO``). A
free key has the last 24 hours and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from wattshed_collector.grid.series import Step

from . import Get, Refused, Secret, answers

URL = "https://api.electricitymap.org"
HOUR_S = 3600
MOST_S = 10 * 86400
"""Hours are told for so long at a time."""


class ElectricityMaps:
    """gCO2e/kWh, hourly. ``is_estimated`` is as the service says of each hour."""

    name = "electricity_maps"
    kind = "carbon"
    unit = "g/kWh"

    def __init__(self, get: Get, token: Secret, url: str = URL) -> None:
        self._get = get
        self._token = token
        self._url = f"{url.rstrip('/')}/v3/carbon-intensity"

    async def actual(self, zone: str, start_s: int, end_s: int) -> list[Step]:
        steps: list[Step] = []
        try:
            for since, until in answers.spans(start_s, end_s, MOST_S):
                asked = {"zone": zone, "start": answers.iso(since), "end": answers.iso(until)}
                steps += self._read(await self._ask("past-range", asked))
        except Refused:
            steps = self._read(await self._ask("history", {"zone": zone}))
        return [step for step in steps if step.start_s < end_s and step.end_s > start_s]

    async def forecast(self, zone: str) -> list[Step]:
        body = await self._ask("forecast", {"zone": zone})
        return answers.read(self.name, body, lambda said: _steps(said["forecast"]))

    def _read(self, body: bytes) -> list[Step]:
        return answers.read(
            self.name,
            body,
            lambda said: _steps(said["data"] if "data" in said else said["history"]),
        )

    async def _ask(self, what: str, asked: Mapping[str, str]) -> bytes:
        headers = {"auth-token": self._token()}
        return await self._get(f"{self._url}/{what}?{urlencode(asked)}", headers)


def _steps(rows: list[dict[str, Any]]) -> list[Step]:
    told = {answers.instant(row["datetime"]): row for row in rows}
    starts = sorted(told)
    length = min(HOUR_S, answers.length_of(starts, HOUR_S))
    return [
        Step(
            start,
            start + length,
            answers.value(told[start].get("carbonIntensity")),
            told[start].get("isEstimated"),
        )
        for start in starts
    ]
