"""Smart plugs over HTTP servers that hold recordings, and the documented formats without one.

There is no recording of a Tasmota plug or of a Gen1 EM: their answers here are written by hand from
the documentation.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.plugs import (
    HOUR_UJ,
    MAC,
    NOW_MS,
    STATUS1,
    STATUS2,
    STATUS5,
    STATUS8,
    hold_gen2,
    hold_tasmota,
    source,
    switch,
    told,
)
from tests.fixtures.web import Web

from wattshed_exporter.config import Config
from wattshed_exporter.errors import NoData, SourceError
from wattshed_exporter.integrate import Meter
from wattshed_exporter.model import Device, Kind, Method, Overlap, Reading
from wattshed_exporter.sources.http_json import parse
from wattshed_exporter.sources.smartplug import SmartPlug
from wattshed_exporter.sources.smartplug_families import gen1, gen2
from wattshed_exporter.split import spans

Recorded = Callable[[Web, str], Path]


@pytest.fixture
def recorded(data: Path) -> Recorded:
    """Let a server hold a recorded Shelly, named by the beginning of its file's name."""

    def hold(server: Web, name: str) -> Path:
        (file,) = (data / "recordings/smart-plug/shelly_aioshelly").glob(f"{name}_*.json")
        said = json.loads(file.read_text(), parse_float=Decimal)
        status = STATUS1 if name.startswith("gen1") else STATUS2
        server.resources = {"/shelly": encode(said["shelly"]), status: encode(said["status"])}
        return file

    return hold


def encode(value: object) -> bytes:
    """Write JSON with its decimals as they were recorded."""
    if isinstance(value, dict):
        return b"{%s}" % b",".join(b"%s:%s" % (encode(k), encode(v)) for k, v in value.items())
    if isinstance(value, list):
        return b"[%s]" % b",".join(map(encode, value))
    return str(value).encode() if isinstance(value, Decimal) else json.dumps(value).encode()


@pytest.mark.parametrize(
    ("name", "channel", "watts", "energy_uj", "model"),
    [
        ("gen1_Shelly Plug S", "meter:0", 0.0, 2632 * 60_000_000, "SHPLG-S"),
        ("gen1_Shelly Air", "meter:0", 0.0, 0, "SHAIR-1"),
        ("gen1_Shelly Vintage", "meter:0", 0.0, 60_000_000, "SHVIN-1"),
        ("gen2_Shelly Plus 1PM", "switch:0", 0.0, 110_046 * HOUR_UJ // 1000, "SNSW-001P16EU"),
        ("gen2_Shelly Plus Plug IT", "switch:0", 0.8, 922_282 * HOUR_UJ // 1000, "SNPL-00110IT"),
        ("gen2_Shelly Plus Plug S", "switch:0", 2.7, 7_258_589 * HOUR_UJ // 1000, "SNPL-00112EU"),
    ],
)
def test_recorded_plugs(
    web: Web,
    recorded: Recorded,
    name: str,
    channel: str,
    watts: float,
    energy_uj: int,
    model: str,
) -> None:
    file = recorded(web, name)
    shelly = source(web)
    (device,) = shelly.discover()
    assert file.stem.endswith(device.firmware.replace("/", "-"))
    assert [device] == [
        Device(
            key=f"{MAC}/{channel}",
            kind=Kind.HOST,
            node="n1",
            source="smartplug",
            name=f"Test Name {channel}",
            vendor="Shelly",
            model=model,
            firmware=device.firmware,
            site="here",
            scope="plug",
            method=Method.COUNTER,
            overlap=Overlap.OUTER,
        )
    ]
    assert shelly.read().readings == [Reading(f"{MAC}/{channel}", NOW_MS, watts, energy_uj)]


def test_gen1_counts_in_watt_minutes(web: Web, recorded: Recorded) -> None:
    recorded(web, "gen1_Shelly Plug S")
    shelly = source(web)
    shelly.discover()
    assert told(shelly)[0][1] == 157_920_000_000  # 43.87 Wh


def test_recorded_minutes_agree_with_the_power(web: Web, recorded: Recorded) -> None:
    recorded(web, "gen2_Shelly Plus Plug S")
    minute = parse(web.resources[STATUS2], "")["switch:0"]["aenergy"]["by_minute"][1]
    assert float(minute) / 1000 * 60 == pytest.approx(2.7, abs=0.05), "by_minute is in mWh"


def test_recorded_four_channels(web: Web, recorded: Recorded) -> None:
    recorded(web, "gen2_Shelly Pro 4PM")
    shelly = source(web)
    assert [d.key for d in shelly.discover()] == [f"{MAC}/switch:{n}" for n in range(4)]
    assert told(shelly) == [(0.0, 0, "")] * 4


def test_recorded_three_phases(web: Web, recorded: Recorded) -> None:
    recorded(web, "gen2_Shelly Pro 3EM")
    shelly = source(web)
    assert [d.key for d in shelly.discover()] == [f"{MAC}/em:0/{phase}" for phase in "abc"]
    hundredth_uj = HOUR_UJ // 100
    said = told(shelly)
    assert said == [
        (375.5, 203_461_671 * hundredth_uj, ""),
        (170.8, 18_568_689 * hundredth_uj, ""),
        (12.7, 36_946_980 * hundredth_uj, ""),
    ], "each phase consumes for itself; what b and c gave back is not taken off"
    total = parse(web.resources[STATUS2], "")
    assert sum(watts or 0 for watts, _, _ in said) == pytest.approx(
        float(total["em:0"]["total_act_power"]), abs=0.1
    )


def test_recorded_cover(web: Web, data: Path) -> None:
    folder = data / "recordings/smart-plug/shelly_aioshelly_rpc/shelly2pmg3"
    hold_gen2(web, {})
    web.resources[STATUS2] = (folder / "Shelly.GetStatus").read_bytes()
    shelly = source(web)
    assert [d.key for d in shelly.discover()] == [f"{MAC}/cover:0"]
    assert told(shelly) == [(0.0, 314_614 * HOUR_UJ // 1000, "")]
    moving = parse((folder / "Cover.GetStatus").read_bytes(), "")
    assert gen2({"cover:0": moving})["cover:0"].watts == 123.1


@pytest.mark.parametrize(
    "name",
    [
        "gen1_Shelly Gas",
        "gen2_Shelly Pro 3",
        "gen2_Shelly Wall Display",
        "gen2_Shelly BLU Gateway_SNGW-BT01_20231219-133956-1.1.0-g34b5d4f.json",
        "gen2_Shelly BLU Gateway_SNGW-BT01_20240213-140411-1.2.0-gb1b9aa8.json",
        "shellyblugatewaygen3",
        "shellymini1gen4",
    ],
)
def test_recorded_without_a_meter(web: Web, recorded: Recorded, data: Path, name: str) -> None:
    folder = data / "recordings/smart-plug"
    if name.startswith("shelly"):
        folder /= f"shelly_aioshelly_rpc/{name}"
        info, status = "Shelly.GetDeviceInfo", "Shelly.GetStatus"
        web.resources = {"/shelly": (folder / info).read_bytes()}
        web.resources[STATUS2] = (folder / status).read_bytes()
    elif name.endswith(".json"):
        said = json.loads((folder / "shelly_aioshelly" / name).read_text())
        web.resources = {"/shelly": said["shelly"], STATUS2: said["status"]}
    else:
        recorded(web, name)
    with pytest.raises(NoData, match="no plug has a meter"):
        source(web).discover()


def test_recorded_plug_with_a_password(web: Web, data: Path) -> None:
    folder = data / "recordings/smart-plug/shelly_aioshelly_rpc/shellyplus2pm"
    web.resources = {"/shelly": (folder / "shelly.json").read_bytes(), STATUS2: 401}
    with pytest.raises(SourceError, match="asks for a password") as caught:
        source(web).discover()
    assert caught.value.reason == "unauthorized"
    hold_gen2(web, {})
    web.resources[STATUS2] = (folder / "Cover.Close_auth_failure").read_bytes()
    with pytest.raises(NoData):
        source(web).discover()


def test_gen1_energy_meters() -> None:
    emeter = {"power": 169.88, "is_valid": True, "total": 2019449.8, "total_returned": 0.0}
    status = {
        "emeters": [
            emeter,
            {**emeter, "power": -373.89, "total_returned": 1856785.4},
            {**emeter, "is_valid": False},
        ]
    }
    said = gen1(parse(json.dumps(status).encode(), ""))
    assert [(s.watts, s.energy_uj, s.gap) for s in said.values()] == [
        (169.88, 20_194_498 * HOUR_UJ // 10, ""),
        (None, None, "export"),
        (None, None, "invalid"),
    ]
    assert list(said) == ["emeter:0", "emeter:1", "emeter:2"]


def test_gen1_power_that_was_typed_in_is_no_measurement() -> None:
    assert gen1({"meters": [{"power": 60.0, "is_valid": True}, None]}) == {}


def test_single_phase_clamps() -> None:
    status = {
        "em1:0": {"act_power": 501, "errors": []},
        "em1data:0": {"total_act_energy": 12, "total_act_ret_energy": 3},
        "em1:1": {"act_power": None},
        "em:1": {"a_act_power": -1, "total_act_power": -1},
        "pm1:0": {"apower": 5},
        "light:0": {"apower": 7, "aenergy": {"total": 1}},
        "script:1": {"mem": 1},
        "Switch 0": {"apower": 1},
        "switch:0": None,
    }
    said = gen2(status)
    assert {name: (s.watts, s.energy_uj, s.gap) for name, s in said.items()} == {
        "em1:0": (501.0, 12 * HOUR_UJ, ""),
        "em1:1": (None, None, "no_reading"),
        "em:1/a": (None, None, "export"),
        "pm1:0": (5.0, None, ""),
        "light:0": (7.0, HOUR_UJ, ""),
    }


def test_gen2_counter_of_both_directions_gives_way_to_power(web: Web) -> None:
    hold_gen2(web, {"switch:0": switch(40, 100, ret_aenergy={"total": 0})})
    shelly = source(web)
    assert shelly.discover()[0].method is Method.COUNTER
    assert told(shelly) == [(40.0, 100 * HOUR_UJ, "")]
    web.resources[STATUS2]["switch:0"] = switch(40, 101, ret_aenergy={"total": 0.5})
    assert told(shelly) == [(40.0, None, "")]
    assert source(web).discover()[0].method is Method.INTEGRAL


def test_export_is_never_consumption(web: Web) -> None:
    hold_gen2(web, {"switch:0": switch(100, 1000)})
    now_ms = 0
    shelly = SmartPlug(Config(node="n1"), [web.url()], clock=lambda: now_ms * 1_000_000)
    (device,) = shelly.discover()
    meter, gaps, ticks = Meter(device, 5000), [], []
    for power, total in ((100, 1000), (-300, 1000.4), (-300, 1000.8), (100, 1001), (100, 1002)):
        now_ms += 5000
        web.resources[STATUS2]["switch:0"] = switch(power, total)
        (reading,) = shelly.read().readings
        gaps.append(reading.gap)
        tick = meter.feed(reading)
        assert tick is not None
        ticks.append(tick)
    assert gaps == ["", "export", "export", "", ""]
    assert [(span.joules, span.reason) for span in spans(ticks)] == [(None, "export"), (500.0, "")]


def test_a_counter_that_runs_backwards(web: Web) -> None:
    energy = {"Total": 3.185, "Power": 100}
    hold_tasmota(web, energy)
    shelly = source(web)
    shelly.discover()
    assert told(shelly) == [(100.0, 3185 * HOUR_UJ, "")]
    energy["Total"] = 3.1
    assert told(shelly) == [(100.0, None, "")], "it did not start anew"
    energy["Total"] = 3.2
    assert told(shelly) == [(100.0, 3200 * HOUR_UJ, "")]
    energy["Total"] = 0.001
    assert told(shelly) == [(100.0, HOUR_UJ, "")], "the plug was reset"
    energy["Power"] = -1
    assert told(shelly) == [(None, None, "export")]
    energy.update(Power=5, Total=0.002)
    assert told(shelly) == [(5.0, None, "")], "power alone from now on"


TASMOTA = {"TotalStartTime": "2022-11-22T13:42:58", "Yesterday": 1.0, "Voltage": 230}


@pytest.mark.parametrize(
    ("energy", "expected"),
    [
        ({"Total": 3.185, "Power": 42, "ApparentPower": 50}, [(42.0, 3185 * HOUR_UJ, "")]),
        ({"Total": 0.5, "Power": [10, 20, 30]}, [(60.0, 500 * HOUR_UJ, "")]),
        ({"Total": 0.5, "Power": [10, -20, 30]}, [(None, None, "export")]),
        ({"Total": 0.5, "Power": [10, None, 30]}, [(None, 500 * HOUR_UJ, "")]),
        (
            {"Total": [0.5, 1], "Power": [10, -1]},
            [(10.0, 500 * HOUR_UJ, ""), (None, None, "export")],
        ),
        ({"Total": [0.29, 263.0, 0.0], "Power": 759}, [(759.0, None, "")]),
        ({"Total": 0.00627, "Power": 5, "ExportActive": [0.02, 0, 0]}, [(5.0, None, "")]),
        ({"Total": 0.00627, "Power": 5, "ExportActive": 0}, [(5.0, 22_572_000_000, "")]),
        ({"Total": -0.00006, "Power": 0}, [(0.0, None, "")]),
        ({"Power": 4.5}, [(4.5, None, "")]),
        ({"Total": 1}, [(None, 1000 * HOUR_UJ, "")]),
        ({"Power": "4"}, [(None, None, "no_reading")]),
    ],
    ids=str,
)
def test_tasmota(web: Web, energy: dict[str, object], expected: object) -> None:
    hold_tasmota(web, {**TASMOTA, **energy})
    plugged = source(web)
    devices = plugged.discover()
    assert {d.key for d in devices} == {f"AABBCCDDEE01/energy:{n}" for n in range(len(devices))}
    assert told(plugged) == expected
    assert web.asked[:4] == ["/shelly", "/api", STATUS5, STATUS8]


@pytest.mark.parametrize("energy", [None, {}, [], {"Voltage": 230}])
def test_tasmota_without_a_meter(web: Web, energy: object) -> None:
    hold_tasmota(web, energy)
    with pytest.raises(NoData):
        source(web).discover()


def test_tasmota_with_a_password(web: Web) -> None:
    web.resources[STATUS5] = {"WARNING": "Need user=<username>&password=<password>"}
    with pytest.raises(SourceError, match="asks for a password") as caught:
        source(web).discover()
    assert caught.value.reason == "unauthorized"


@pytest.mark.parametrize("mac", ["", "unknown", None])
def test_a_plug_that_does_not_name_itself(web: Web, mac: Any) -> None:
    hold_tasmota(web, {"Power": 1}, mac=mac)
    assert [d.key for d in source(web).discover()] == ["n1/smartplug/127.0.0.1/energy:0"]
