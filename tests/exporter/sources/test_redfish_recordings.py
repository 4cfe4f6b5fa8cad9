"""The Redfish source against recorded answers of Dell, HPE, Lenovo and Supermicro."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.redfish import (
    ALL,
    NOW_MS,
    ONE,
    POWER,
    ROOT,
    hold,
    hold_power,
    only,
    watts,
)
from tests.fixtures.web import Web

from wattshed_exporter.errors import NoData, SourceError
from wattshed_exporter.integrate import Meter
from wattshed_exporter.model import Device, Kind, Method, Overlap, Reading
from wattshed_exporter.sources.redfish import Redfish

Make = Callable[..., Redfish]


@pytest.fixture
def recorded(data: Path) -> Callable[[str], Any]:
    def read(name: str) -> Any:
        return json.loads((data / "recordings/redfish" / name).read_text())

    return read


Recorded = Callable[[str], Any]
DELL, DELL_POWER = f"{ALL}/System.Embedded.1", f"{ALL}/System.Embedded.1/Power"


def hold_dell(web: Web, recorded: Recorded) -> Any:
    """Hold the recorded iDRAC; return its power resource."""
    folder = "dell_idrac_telegraf"
    hold(web, DELL)
    web.resources[ROOT] = recorded(f"{folder}/base.json")
    web.resources[f"{ALL}/"] = web.resources.pop(ALL)
    web.resources[DELL] = recorded(f"{folder}/dell_chassis.json")
    power = web.resources[DELL_POWER] = recorded(f"{folder}/dell_power.json")
    return power


def test_idrac(web: Web, make: Make, recorded: Recorded) -> None:
    hold_dell(web, recorded)
    source = make(web.url())
    (device,) = source.discover()
    assert device == Device(
        key="n1/redfish/System.Embedded.1",
        kind=Kind.HOST,
        node="n1",
        source="redfish",
        name="System.Embedded.1",
        vendor="Dell Inc.",
        model="PowerEdge R640",
        serial="CNIVC007CV0803",
        site="here",
        scope="chassis",
        method=Method.INTEGRAL,
        overlap=Overlap.OUTER,
    )
    assert only(source) == Reading(device.key, NOW_MS, power_watts=429.0)


def test_idrac_over_its_limit_is_believed(web: Web, make: Make, recorded: Recorded) -> None:
    hold_dell(web, recorded)
    source = make(web.url())
    (device,) = source.discover()
    tick = Meter(device, 10_000).feed(only(source))
    assert tick is not None
    assert (tick.power_watts, tick.gap) == (429.0, "")


def test_idrac_rating_is_no_reading(web: Web, make: Make, recorded: Recorded) -> None:
    hold_dell(web, recorded)["PowerControl"] = []
    with pytest.raises(NoData, match="has a power reading"):
        make(web.url()).discover()


@pytest.mark.parametrize("name", ["dell_power", "dell_chassis"])
def test_idrac_broken(web: Web, make: Make, recorded: Recorded, data: Path, name: str) -> None:
    hold_dell(web, recorded)
    path = DELL_POWER if name == "dell_power" else DELL
    whole = web.resources[path]
    broken = data / f"recordings/redfish/dell_idrac_telegraf/{name}invalid.json"
    web.resources[path] = broken.read_bytes()
    source = make(web.url())
    with pytest.raises(SourceError, match="is not JSON") as caught:
        source.discover()
    assert caught.value.reason == "malformed"
    web.resources[path] = whole
    source.discover()
    assert watts(source) == [429.0]
    web.resources[DELL_POWER] = broken.read_bytes()
    if name == "dell_power":
        assert only(source).gap == "malformed"


def test_ilo(web: Web, make: Make, recorded: Recorded) -> None:
    folder = "hpe_ilo_telegraf"
    power = recorded(f"{folder}/hp_power.json")
    hold(web, ONE, **{ONE: recorded(f"{folder}/hp_chassis.json"), POWER: power})
    source = make(web.url())
    (device,) = source.discover()
    assert (device.vendor, device.model) == ("HP", "Proliant Gen10")
    assert watts(source) == [221.0], "neither the outputs of the supplies nor the average"
    del power["PowerControl"]
    with pytest.raises(NoData):
        make(web.url()).discover()


def hold_subsystem(web: Web, recorded: Recorded) -> tuple[Any, Any, Any]:
    """Hold the recorded PowerSubsystem; return its collection, its supply and the metrics."""
    folder, base = "hpe_ilo_telegraf", f"{ALL}/1/PowerSubsystem"
    hold(web, ONE, **{ONE: recorded(f"{folder}/hp_chassis_subsys.json")})
    supply = f"{base}/PowerSupplies/PowerSupply1"
    names = {
        base: "",
        f"{base}/PowerSupplies": "_psu",
        supply: "_psu_1",
        f"{supply}/Metrics": "_metrics",
    }
    for path, name in names.items():
        web.resources[path] = recorded(f"{folder}/power_subsys/hp_power_subsys{name}.json")
    _, collection, one, metrics = (web.resources[path] for path in names)
    return collection, one, metrics


def test_power_subsystem_as_recorded_is_not_believed(
    web: Web, make: Make, recorded: Recorded
) -> None:
    collection, supply, _ = hold_subsystem(web, recorded)
    with pytest.raises(NoData):
        make(web.url()).discover()
    collection["Members@odata.count"] = 1
    with pytest.raises(NoData):  # 937 W into a supply of 400 W
        make(web.url()).discover()
    supply["PowerCapacityWatts"], collection["Members@odata.count"] = 1000, 2
    with pytest.raises(NoData):  # one of two supplies is not listed
        make(web.url()).discover()
    collection["Members@odata.count"] = 1
    source = make(web.url())
    source.discover()
    assert watts(source) == [937.4]


def test_power_subsystem_of_two_supplies(web: Web, make: Make, recorded: Recorded) -> None:
    collection, supply, metrics = hold_subsystem(web, recorded)
    second = f"{ALL}/1/PowerSubsystem/PowerSupplies/PowerSupply2"
    collection["Members"].append({"@odata.id": second})
    supply["PowerCapacityWatts"] = 1000
    web.resources[second] = {**supply, "Metrics": {"@odata.id": f"{second}/Metrics"}}
    web.resources[f"{second}/Metrics"] = {"InputPowerWatts": {"Reading": 0}}
    source = make(web.url())
    source.discover()
    assert watts(source) == [937.4], "a supply in standby takes nothing"
    metrics["InputPowerWatts"]["Reading"] = None
    assert only(source).gap == "no_reading", "the rest is not the whole"
    web.resources[second]["Status"] = {"State": "Absent"}
    metrics["InputPowerWatts"]["Reading"] = 100
    source.discover()
    assert watts(source) == [100.0]


def test_outputs_of_supplies_alone_are_no_reading(web: Web, make: Make, recorded: Recorded) -> None:
    folder, enclosure = "dmtf-style_sushy", f"{ALL}/MultiBladeEncl"
    web.resources[ROOT] = recorded(f"{folder}/root.json")
    web.resources[ALL] = recorded(f"{folder}/chassis_collection.json")
    web.resources[enclosure] = {"Power": {"@odata.id": f"{enclosure}/Power"}}
    web.resources[f"{enclosure}/Power"] = recorded(f"{folder}/power.json")
    for number in range(1, 5):
        web.resources[f"{ALL}/Blade{number}"] = recorded(f"{folder}/chassis.json")
    with pytest.raises(NoData):
        make(web.url()).discover()


def test_xcc_links_to_a_resource_that_was_not_recorded(
    web: Web, make: Make, recorded: Recorded
) -> None:
    folder, chassis = "sampleOut_redfish_exporter", f"{ALL}/1/"
    web.resources[ROOT] = recorded(f"{folder}/ServiceRoot.json")
    web.resources[f"{ALL}/"] = {"Members": [{"@odata.id": chassis}]}
    web.resources[chassis] = recorded(f"{folder}/chassis.json")
    source = make(web.url())
    with pytest.raises(SourceError, match="Power/ does not exist") as caught:
        source.discover()
    assert caught.value.reason == "vanished"
    web.resources[f"{chassis}Power/"] = {"PowerControl": [{"PowerConsumedWatts": 344}]}
    (device,) = source.discover()
    assert (device.key, device.vendor, watts(source)) == ("n1/redfish/1", "Lenovo", [344.0])


@pytest.mark.parametrize(
    "name",
    [
        "bmclib/smc_1.9.0_serviceroot.json",
        "bmclib/smc_1.14.0_serviceroot.json",
        "bmclib/serviceroot_no_manager.json",
        "bmclib/dell/serviceroot.json",
        "dell_sushy/root.json",
    ],
)
def test_recorded_service_roots(web: Web, make: Make, recorded: Recorded, name: str) -> None:
    hold_power(web, {"PowerControl": [{"PowerConsumedWatts": 1}]})
    web.resources[ROOT] = recorded(name)
    source = make(f"{web.url()}/redfish/v1/")
    source.discover()
    assert watts(source) == [1.0]
