"""WattTime, API v3: marginal (``co2_moer``) or average (``co2_aoer``) operating intensity.

Source: docs.watttime.org. A name and a password are exchanged for a token that holds half an hour;
values come in pounds of CO2 per megawatt hour.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from wattshed_collector.grid.series import Step

from . import Get, ProviderError, Secret, answers

URL = "https://api.watttime.org"
G_PER_LB = 453.59237
KINDS = {"co2_moer": "carbon_marginal", "co2_aoer": "carbon"}
TOKEN_SECONDS = 25 * 60
FIVE_MINUTES_S = 300
MOST_S = 30 * 86400
"""The service answers for 32 days at a time."""


class WattTime:
    """gCO2/kWh, in steps of the length that the service says (five minutes)."""

    name = "watttime"
    unit = "g/kWh"

    def __init__(
        self,
        get: Get,
        user: str,
        password: Secret,
        signal: str = "co2_moer",
        url: str = URL,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.kind = KINDS[signal]
        self._get = get
        self._user = user
        self._password = password
        self._signal = signal
        self._url = url.rstrip("/")
        self._now = now
        self._token = ""
        self._until = 0.0

    async def actual(self, zone: str, start_s: int, end_s: int) -> list[Step]:
        found: list[Step] = []
        for since, until in answers.spans(start_s, end_s, MOST_S):
            asked = {"start": answers.iso(since), "end": answers.iso(until)}
            found += await self._ask("historical", zone, asked)
        return found

    async def forecast(self, zone: str) -> list[Step]:
        return await self._ask("forecast", zone, {})

    async def _ask(self, what: str, zone: str, asked: dict[str, str]) -> list[Step]:
        query = urlencode({"region": zone, "signal_type": self._signal, **asked})
        headers = {"Authorization": f"Bearer {await self._bearer()}"}
        try:
            body = await self._get(f"{self._url}/v3/{what}?{query}", headers)
        except ProviderError:
            self._until = 0.0  # perhaps of a token that holds no more
            raise
        return answers.read(self.name, body, _steps)

    async def _bearer(self) -> str:
        if self._now() >= self._until:
            said = f"{self._user}:{self._password()}".encode()
            headers = {"Authorization": f"Basic {base64.b64encode(said).decode()}"}
            body = await self._get(f"{self._url}/login", headers)
            self._token = answers.read(self.name, body, lambda said: str(said["token"]))
            self._until = self._now() + TOKEN_SECONDS
        return self._token


def _steps(said: Any) -> list[Step]:
    meta = said["meta"]
    if meta["units"] != "lbs_co2_per_mwh":
        raise ValueError(f"units are {meta['units']!r}, not lbs_co2_per_mwh")
    length = int(meta.get("data_point_period_seconds") or FIVE_MINUTES_S)
    rows = ((answers.instant(row["point_time"]), row["value"]) for row in said["data"])
    return [
        Step(start, start + length, answers.value(pounds, G_PER_LB / 1000))
        for start, pounds in sorted(rows)
    ]
