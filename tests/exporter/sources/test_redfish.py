"""The Redfish source against the documented formats, held by a real HTTP server."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.fixtures.redfish import (
    ALL,
    ENV,
    NOW_MS,
    ONE,
    POWER,
    energy,
    hold,
    hold_environment,
    hold_power,
    only,
    watts,
)
from tests.fixtures.web import Web

from wattshed_exporter.errors import SourceError
from wattshed_exporter.model import Method, Reading
from wattshed_exporter.sources.http_json import Counter
from wattshed_exporter.sources.redfish import Redfish

Make = Callable[..., Redfish]
HOUR_UJ = 3_600_000_000_000


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        ([{"PowerConsumedWatts": 344}, {"PowerConsumedWatts": 53}], 344.0),
        (
            [
                {"PhysicalContext": "CPU", "PowerConsumedWatts": 53},
                {"PhysicalContext": "Chassis", "PowerConsumedWatts": 344.5},
            ],
            344.5,
        ),
        ([{"PowerConsumedWatts": None}, {"PowerConsumedWatts": 53}], None),
        ([{"PowerConsumedWatts": 0, "PowerMetrics": {"AverageConsumedWatts": 5}}], None),
        ([{"PowerConsumedWatts": -3}], None),
        ([{"PowerConsumedWatts": "344"}], None),
        ([{"PowerConsumedWatts": True}], None),
        ([None, {"PowerConsumedWatts": 53}], None),
        ("garbage", None),
    ],
)
def test_power_control(web: Web, make: Make, control: object, expected: float | None) -> None:
    hold_power(web, {"PowerControl": [{"PowerConsumedWatts": 1}]})
    source = make(web.url())
    source.discover()
    web.resources[POWER] = {"PowerControl": control}
    assert only(source) == Reading(
        "n1/redfish/1", NOW_MS, expected, gap="" if expected else "no_reading"
    )


def test_environment_metrics_come_first(web: Web, make: Make) -> None:
    hold_power(web, {"PowerControl": [{"PowerConsumedWatts": 1}]})
    web.resources[ONE]["EnvironmentMetrics"] = {"@odata.id": ENV}
    source = make(web.url())
    assert source.discover()[0].method is Method.INTEGRAL, "although the link leads nowhere"
    assert watts(source) == [1.0]
    web.resources[ENV] = {"FanSpeedsPercent": []}
    source.discover()
    assert watts(source) == [1.0]
    web.resources[ENV] = energy(12.345, SensorResetTime="2023-01-01T01:00:00+01:00")
    assert source.discover()[0].method is Method.COUNTER
    assert only(source) == Reading(
        "n1/redfish/1", NOW_MS, 500.0, 44_442_000_000_000, 1_672_531_200_000
    )


@pytest.mark.parametrize(
    "moment",
    ["2023-01-01T00:00:00", "0001-01-01T00:00:00+00:00", "soon", 5, "2030-01-01T00:00:00Z"],
)
def test_a_reset_time_without_sense_is_none(web: Web, make: Make, moment: object) -> None:
    hold_environment(web, energy(12.345, SensorResetTime=moment))
    source = make(web.url())
    source.discover()
    reading = only(source)
    assert (reading.start_ms, reading.energy_uj) == (None, 44_442_000_000_000)


def test_joules_come_before_kilowatt_hours(web: Web, make: Make) -> None:
    hold_environment(web, {**energy(12), "EnergyJoules": {"Reading": 7}})
    source = make(web.url())
    source.discover()
    assert only(source).energy_uj == 7_000_000


def test_a_coarse_counter_gives_way_to_power(web: Web, make: Make) -> None:
    hold_environment(web, energy(325675))
    source = make(web.url())
    assert source.discover()[0].method is Method.INTEGRAL
    assert (only(source).energy_uj, only(source).power_watts) == (None, 500.0)
    web.resources[ENV] = energy(325675.125)
    assert only(source).energy_uj == 325675125 * HOUR_UJ // 1000
    web.resources[ENV] = energy(325675.13)  # a last digit of zero is not written
    assert only(source).energy_uj == 325675130 * HOUR_UJ // 1000


def test_a_coarse_counter_alone_counts(web: Web, make: Make) -> None:
    hold_environment(web, {"EnergykWh": {"Reading": 325675}})
    source = make(web.url())
    assert source.discover()[0].method is Method.COUNTER
    assert only(source).energy_uj == 325675 * HOUR_UJ


def test_a_counter_that_falls_a_little_is_left_out(web: Web, make: Make) -> None:
    hold_environment(web, energy(10.001))
    source = make(web.url())
    source.discover()
    seen = []
    for value in (10.001, 9.999, 10.002, 0.001, 0.002):
        web.resources[ENV] = energy(value)
        seen.append(only(source).energy_uj)
    assert [s and s * 1000 // HOUR_UJ for s in seen] == [10001, None, 10002, 1, 2]


def test_a_reset_that_is_dated_may_fall_a_little() -> None:
    counter = Counter()
    assert [counter.take(100, 1), counter.take(90, 1), counter.take(90, 2)] == [100, None, 90]
    assert counter.take(None, 2) is None


def test_parts_and_containers(web: Web, make: Make) -> None:
    paths = [f"{ALL}/{name}" for name in ("Enclosure", "Blade 1/", "HGX_GPU_SXM_1", "Blade 1")]
    hold(web, *paths)
    power = {"Power": {"@odata.id": POWER}, "Manufacturer": "\ud800 Odd\n"}
    web.resources[POWER] = {"PowerControl": [{"PowerConsumedWatts": 9}]}
    web.resources[paths[0]] = {**power, "Links": {"ContainedBy": {"@odata.id": f"{ALL}/Rack"}}}
    blade = {**power, "Links": {"ContainedBy": {"@odata.id": paths[0]}}}
    for path in (f"{ALL}/Blade%201", f"{ALL}/Blade%201/"):
        web.resources[path] = blade
    web.resources[paths[2]] = {**power, "ChassisType": "Component"}
    devices = make(web.url()).discover()
    assert [(d.key, d.parent, d.vendor) for d in devices] == [
        ("n1/redfish/Enclosure", "", "Odd"),
        ("n1/redfish/Blade 1", "n1/redfish/Enclosure", "Odd"),
    ]


def test_a_link_to_elsewhere_is_not_opened(web: Web, make: Make) -> None:
    hold_power(web, {})
    for path in (f"{web.url()}{ONE}", "//127.0.0.1/x", "redfish"):
        hold(web, path)
        with pytest.raises(SourceError, match="leads elsewhere"):
            make(web.url()).discover()
    assert ONE not in web.asked
