"""What providers are asked, and how their answers are read.

The answers have the shapes of the services' published references; no service was asked.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from wattshed_collector.grid.providers import ProviderError, Refused
from wattshed_collector.grid.providers.electricity_maps import ElectricityMaps
from wattshed_collector.grid.providers.uk import MOST_S, CarbonIntensityUk
from wattshed_collector.grid.providers.watttime import WattTime
from wattshed_collector.grid.series import Step

AT = 1_769_846_400
"""2026-01-31T08:00Z"""
HOUR = 3600


class Service:
    """Answers by what the URL holds, and keeps what it was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Mapping[str, str]]] = []

    async def get(self, url: str, headers: Mapping[str, str]) -> bytes:
        self.asked.append((url, headers))
        said = next(said for part, said in self.answers.items() if part.replace("_", "-") in url)
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, bytes) else json.dumps(said).encode()


def maps_row(at: str, grams: int | None, estimated: bool) -> dict[str, Any]:
    return {
        "zone": "DE",
        "carbonIntensity": grams,
        "datetime": at,
        "updatedAt": "2026-01-31T09:10:00.000Z",
        "createdAt": "2026-01-28T08:00:00.000Z",
        "emissionFactorType": "lifecycle",
        "isEstimated": estimated,
        "estimationMethod": "TIME_SLICER_AVERAGE" if estimated else None,
    }


MAPS = [
    maps_row("2026-01-31T09:00:00.000Z", None, True),
    maps_row("2026-01-31T08:00:00.000Z", 302, False),
]


@pytest.mark.parametrize("key", ["data", "history"])
async def test_electricity_maps(key: str) -> None:
    service = Service(past_range={"zone": "DE", key: MAPS})
    provider = ElectricityMaps(service.get, lambda: "secret")
    assert await provider.actual("DE", AT, AT + 2 * HOUR) == [
        Step(AT, AT + HOUR, 302.0, False),
        Step(AT + HOUR, AT + 2 * HOUR, None, True),
    ]
    ((url, headers),) = service.asked
    assert url == (
        "https://api.electricitymap.org/v3/carbon-intensity/past-range"
        "?zone=DE&start=2026-01-31T08%3A00Z&end=2026-01-31T10%3A00Z"
    )
    assert headers == {"auth-token": "secret"}


async def test_electricity_maps_without_a_paid_key_has_a_day() -> None:
    early = maps_row("2026-01-30T08:00:00.000Z", 400, False)
    service = Service(past_range=Refused("answers 401"), history={"history": [early, *MAPS]})
    provider = ElectricityMaps(service.get, lambda: "secret")
    found = await provider.actual("DE", AT, AT + 2 * HOUR)
    assert [step.start_s for step in found] == [AT, AT + HOUR]
    assert service.asked[-1][0].endswith("/v3/carbon-intensity/history?zone=DE")
    service.answers["history"] = Refused("answers 401")
    with pytest.raises(Refused):
        await provider.actual("DE", AT, AT + 2 * HOUR)


async def test_long_spans_are_asked_in_parts() -> None:
    maps = Service(past_range={"data": []})
    await ElectricityMaps(maps.get, lambda: "secret").actual("DE", AT, AT + 11 * 24 * HOUR)
    assert [url.rpartition("end=")[2] for url, _ in maps.asked] == [
        "2026-02-10T08%3A00Z",
        "2026-02-11T08%3A00Z",
    ]
    time_ = Service(login={"token": "abc"}, historical=watttime())
    provider = WattTime(time_.get, "ada", lambda: "pw", now=lambda: 0.0)
    assert len(await provider.actual("CAISO_NORTH", AT, AT + 31 * 24 * HOUR)) == 4
    assert [url.rpartition("end=")[2] for url, _ in time_.asked[1:]] == [
        "2026-03-02T08%3A00Z",
        "2026-03-03T08%3A00Z",
    ]


async def test_electricity_maps_away_is_not_asked_for_the_day() -> None:
    service = Service(past_range=ProviderError("answers 503"))
    with pytest.raises(ProviderError, match="503"):
        await ElectricityMaps(service.get, lambda: "secret").actual("DE", AT, AT + HOUR)
    assert len(service.asked) == 1


async def test_electricity_maps_expects() -> None:
    rows = [
        {"carbonIntensity": 250, "datetime": "2026-01-31T08:00:00.000Z"},
        {"carbonIntensity": 240, "datetime": "2026-01-31T08:15:00.000Z"},
    ]
    service = Service(forecast={"zone": "DE", "forecast": rows, "updatedAt": "x"})
    provider = ElectricityMaps(service.get, lambda: "secret")
    assert await provider.forecast("DE") == [
        Step(AT, AT + 900, 250.0),
        Step(AT + 900, AT + 1800, 240.0),
    ]


def watttime(units: str = "lbs_co2_per_mwh", **meta: Any) -> dict[str, Any]:
    return {
        "data": [
            {"point_time": "2026-01-31T08:05:00+00:00", "value": 900.0, "version": "2024-05-01"},
            {"point_time": "2026-01-31T08:00:00+00:00", "value": 1000.0, "version": "2024-05-01"},
        ],
        "meta": {
            "data_point_period_seconds": 300,
            "region": "CAISO_NORTH",
            "signal_type": "co2_moer",
            "units": units,
            **meta,
        },
    }


async def test_watttime() -> None:
    clock = [0.0]
    service = Service(login={"token": "abc"}, historical=watttime(), forecast=watttime())
    provider = WattTime(service.get, "ada", lambda: "pw", now=lambda: clock[0])
    found = await provider.actual("CAISO_NORTH", AT, AT + 600)
    assert [(step.start_s, step.end_s) for step in found] == [(AT, AT + 300), (AT + 300, AT + 600)]
    assert [step.value for step in found] == pytest.approx([453.59237, 408.233133])
    assert len(await provider.forecast("CAISO_NORTH")) == 2
    login, was, expected = service.asked
    assert base64.b64decode(login[1]["Authorization"].removeprefix("Basic ")) == b"ada:pw"
    assert was[1] == expected[1] == {"Authorization": "Bearer abc"}
    assert "region=CAISO_NORTH&signal_type=co2_moer&start=2026-01-31T08%3A00Z" in was[0]
    assert provider.kind == "carbon_marginal"
    clock[0] = 1500.0
    await provider.forecast("CAISO_NORTH")
    assert [url.rpartition("/")[2][:8] for url, _ in service.asked[3:]] == ["login", "forecast"]


async def test_a_token_that_holds_no_more_is_not_shown_again() -> None:
    service = Service(login={"token": "abc"}, historical=ProviderError("answers 401"))
    provider = WattTime(service.get, "ada", lambda: "pw", "co2_aoer", now=lambda: 0.0)
    for _ in range(2):
        with pytest.raises(ProviderError, match="answers 401"):
            await provider.actual("X", AT, AT + 600)
    assert sum("login" in url for url, _ in service.asked) == 2
    assert provider.kind == "carbon"


async def test_watttime_in_another_unit_is_not_believed() -> None:
    service = Service(login={"token": "abc"}, historical=watttime(units="kg"))
    provider = WattTime(service.get, "ada", lambda: "pw", now=lambda: 0.0)
    with pytest.raises(ProviderError, match="units are 'kg'"):
        await provider.actual("X", AT, AT + 600)


def half_hour(start: str, end: str, forecast: int, actual: int | None) -> dict[str, Any]:
    return {
        "from": start,
        "to": end,
        "intensity": {"forecast": forecast, "actual": actual, "index": "moderate"},
    }


UK = {
    "data": [
        half_hour("2026-01-31T07:30Z", "2026-01-31T08:00Z", 150, 149),
        half_hour("2026-01-31T08:00Z", "2026-01-31T08:30Z", 156, 0),
        half_hour("2026-01-31T08:30Z", "2026-01-31T09:00Z", 160, None),
    ]
}


async def test_uk() -> None:
    service = Service(**{"2026": UK})
    provider = CarbonIntensityUk(service.get)
    # The half hour that ends where ours begins comes along and is left out; 0 is a number.
    assert await provider.actual("GB", AT, AT + HOUR) == [
        Step(AT, AT + 1800, 0.0, False),
        Step(AT + 1800, AT + HOUR, 160.0, True),
    ]
    assert service.asked == [
        ("https://api.carbonintensity.org.uk/intensity/2026-01-31T08:00Z/2026-01-31T09:00Z", {})
    ]


async def test_uk_answers_for_two_weeks_at_a_time() -> None:
    service = Service(**{"2026": {"data": []}})
    await CarbonIntensityUk(service.get).actual("GB", AT, AT + MOST_S + HOUR)
    assert [url.rpartition("/")[2] for url, _ in service.asked] == [
        "2026-02-14T08:00Z",
        "2026-02-14T09:00Z",
    ]


async def test_uk_expects() -> None:
    service = Service(fw48h=UK)
    found = await CarbonIntensityUk(service.get, now=lambda: AT + 60.0).forecast("GB")
    assert [step.value for step in found] == [150.0, 156.0, 160.0]
    assert service.asked[0][0].endswith("/intensity/2026-01-31T08:01Z/fw48h")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b'{"data": [{}]}', b'{"data": 1}', b'{"history": [1]}'],
)
async def test_an_answer_that_cannot_be_read(body: bytes) -> None:
    maps = ElectricityMaps(Service(past_range=body).get, lambda: "secret")
    uk = CarbonIntensityUk(Service(**{"2026": body}).get)
    time_ = WattTime(Service(login=body).get, "a", lambda: "b", now=lambda: 0.0)
    for provider in (maps, uk, time_):
        with pytest.raises(ProviderError, match="cannot be read"):
            await provider.actual("DE", AT, AT + HOUR)
