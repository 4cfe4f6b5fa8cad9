"""HomeWizard sockets and meters over servers that hold recordings of their local interface."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fixtures.plugs import HOUR_UJ, source, told
from tests.fixtures.web import Web

from wattshed_exporter.errors import NoData, SourceError
from wattshed_exporter.model import Device, Kind, Method, Overlap
from wattshed_exporter.sources.http_json import parse
from wattshed_exporter.sources.smartplug_families import homewizard

SERIAL = "3C39E7AABBCC"
Hold = Callable[..., None]


@pytest.fixture
def hold(web: Web, data: Path) -> Hold:
    """Let the server hold a recorded device."""

    def held(name: str, answer: str = "data") -> None:
        folder = data / "recordings/smart-plug/homewizard_v1" / name
        web.resources = {
            "/api": (folder / "device.json").read_bytes(),
            "/api/v1/data": (folder / f"{answer}.json").read_bytes(),
        }

    return held


@pytest.mark.parametrize(
    ("name", "answer", "watts", "kilowatt_hours"),
    [
        ("HWE-SKT", "data", 123.0, 10830.511),
        ("HWE-KWH3", "data", 7100.278, 2940.101),
        ("SDM630-wifi", "data", 7100.278, 2940.101),
    ],
)
def test_recorded_meters(
    web: Web, hold: Hold, name: str, answer: str, watts: float, kilowatt_hours: float
) -> None:
    hold(name, answer)
    meter = source(web)
    (device,) = meter.discover()
    assert (device.key, device.kind) == (f"{SERIAL}/energy:0", Kind.HOST)
    assert (device.vendor, device.model, device.firmware) == ("HomeWizard", name, "2.11")
    assert told(meter) == [(watts, round(kilowatt_hours * 1000) * HOUR_UJ, "")]
    assert web.asked == ["/shelly", "/api", *["/api/v1/data"] * 2]


def test_the_device_of_a_recorded_socket(web: Web, hold: Hold) -> None:
    hold("HWE-SKT")
    assert source(web).discover() == [
        Device(
            key=f"{SERIAL}/energy:0",
            kind=Kind.HOST,
            node="n1",
            source="smartplug",
            name="Energy Socket energy:0",
            vendor="HomeWizard",
            model="HWE-SKT",
            firmware="2.11",
            site="here",
            scope="plug",
            method=Method.COUNTER,
            overlap=Overlap.OUTER,
        )
    ]


@pytest.mark.parametrize("name", ["HWE-KWH1", "SDM230-wifi"])
def test_what_flows_back_is_no_consumption(web: Web, hold: Hold, name: str) -> None:
    hold(name)
    meter = source(web)
    meter.discover()
    assert told(meter) == [(None, None, "export")]
    said = json.loads(web.resources["/api/v1/data"])
    web.resources["/api/v1/data"] = {**said, "active_power_w": 10.5}
    assert told(meter) == [(10.5, 122_376 * HOUR_UJ, "")], "the counter of imports goes on"


@pytest.mark.parametrize(
    ("answer", "total"),
    [
        ("data", 13_779_338),
        ("data_minimal", 13_779_338),
        ("data_no_gas", 13_779_338),
        ("data_single_phase", 13_779_338),
    ],
)
def test_a_recorded_p1_meter_is_that_of_the_site(
    web: Web, hold: Hold, answer: str, total: int
) -> None:
    hold("HWE-P1", answer)
    meter = source(web)
    (device,) = meter.discover()
    assert (device.kind, device.model) == (Kind.SITE, "HWE-P1")
    assert told(meter) == [(None, None, "export")]
    said = parse(web.resources["/api/v1/data"], "")
    assert homewizard({**said, "active_power_w": 5})["energy:0"].energy_uj == total * HOUR_UJ


def test_a_recorded_water_meter_has_none(web: Web, hold: Hold) -> None:
    hold("HWE-WTR")
    with pytest.raises(NoData, match="no plug has a meter"):
        source(web).discover()


@pytest.mark.parametrize("name", ["data_invalid_external_data", "data_invalid_external_ean"])
def test_broken_gas_meters_do_not_matter(web: Web, hold: Hold, data: Path, name: str) -> None:
    folder = data / "recordings/smart-plug/homewizard_v1/exceptions"
    hold("HWE-SKT")
    said = json.loads(web.resources["/api/v1/data"])
    broken = json.loads((folder / f"{name}.json").read_text())
    web.resources["/api/v1/data"] = {**broken, **said}
    web.resources["/api"] = (folder / "device_extra_parameters.json").read_bytes()
    meter = source(web)
    meter.discover()
    assert told(meter)[0][0] == 123.0


def test_an_interface_that_is_switched_off(web: Web, hold: Hold) -> None:
    hold("HWE-SKT")
    web.resources["/api/v1/data"] = 403
    with pytest.raises(SourceError) as caught:
        source(web).discover()
    assert caught.value.reason == "unauthorized"
