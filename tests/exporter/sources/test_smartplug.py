"""Smart plugs over HTTP servers that hold recordings, and the documented formats without one.

There is no recording of a Tasmota plug or of a Gen1 EM: their answers here are written by hand from
the documentation.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed_exporter.config import Config
from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.integrate import Meter
from wattshed_exporter.model import Device, Kind, Method, Overlap, Reading
from wattshed_exporter.sources import smartplug
from wattshed_exporter.sources.http_json import HttpJson, parse
from wattshed_exporter.sources.smartplug import SmartPlug, create, gen1, gen2, tasmota
from wattshed_exporter.split import spans

NOW_MS = 1_700_000_000_123
MAC = "AABBCCDDEEFF"
HOUR_UJ = 3_600_000_000
STATUS1, STATUS2 = "/status", "/rpc/Shelly.GetStatus"
STATUS5, STATUS8 = "/cm?cmnd=Status%205", "/cm?cmnd=Status%208"


class Server(ThreadingHTTPServer):
    """A plug that holds ``resources``: an object, bytes, or an HTTP status."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.resources: dict[str, Any] = {}
        self.hang = threading.Event()
        self.hang.set()
        self.over = threading.Event()
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    wbufsize = -1

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.hang.wait(5)
        answer = self.server.resources.get(self.path, 404)
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        with suppress(OSError):
            self.send_response(answer if isinstance(answer, int) else 200)
            self.end_headers()
            self.wfile.write(body)
            while answer == "trickle" and not self.server.over.wait(0.05):
                self.wfile.write(b" ")
                self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.hang.set()
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def plug() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def plugs() -> Iterator[list[Server]]:
    with ExitStack() as stack:
        yield [stack.enter_context(serving()) for _ in range(3)]


def source(*servers: Server, timeout_seconds: float = 2.0) -> SmartPlug:
    config = Config(node="n1", site="here")
    urls = [server.url for server in servers]
    return SmartPlug(
        config, urls, timeout_seconds=timeout_seconds, clock=lambda: NOW_MS * 1_000_000
    )


def hold_gen2(server: Server, status: dict[str, object], mac: str = MAC) -> None:
    server.resources = {
        "/shelly": {"name": "Rack", "mac": mac, "model": "SNPL-00112EU", "gen": 2},
        STATUS2: {"sys": {"mac": mac}, **status},
    }


def hold_tasmota(server: Server, energy: object, mac: str = "aa:bb:cc:dd:ee:01") -> None:
    server.resources = {
        STATUS5: {"StatusNET": {"Hostname": "tasmota-1", "Mac": mac}},
        STATUS8: {"StatusSNS": {"Time": "2026-01-01T00:00:00", "ENERGY": energy}},
    }


def switch(power: object, total: object = None, **more: object) -> dict[str, object]:
    return {"apower": power, "aenergy": {"total": total}, **more}


def told(read: SmartPlug) -> list[tuple[float | None, int | None, str]]:
    return [(r.power_watts, r.energy_uj, r.gap) for r in read.read().readings]


# Recordings

Recorded = Callable[[Server, str], None]


@pytest.fixture
def recorded(data: Path) -> Recorded:
    """Let a server hold a recorded Shelly, named by the beginning of its file's name."""

    def hold(server: Server, name: str) -> None:
        (file,) = (data / "recordings/smart-plug/shelly_aioshelly").glob(f"{name}_*.json")
        said = json.loads(file.read_text(), parse_float=Decimal)
        status = STATUS1 if name.startswith("gen1") else STATUS2
        server.resources = {"/shelly": encode(said["shelly"]), status: encode(said["status"])}

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
    plug: Server,
    recorded: Recorded,
    name: str,
    channel: str,
    watts: float,
    energy_uj: int,
    model: str,
) -> None:
    recorded(plug, name)
    shelly = source(plug)
    assert shelly.discover() == [
        Device(
            key=f"{MAC}/{channel}",
            kind=Kind.HOST,
            node="n1",
            source="smartplug",
            name=f"Test Name {channel}",
            vendor="Shelly",
            model=model,
            site="here",
            scope="plug",
            method=Method.COUNTER,
            overlap=Overlap.OUTER,
        )
    ]
    assert shelly.read().readings == [Reading(f"{MAC}/{channel}", NOW_MS, watts, energy_uj)]


def test_gen1_counts_in_watt_minutes(plug: Server, recorded: Recorded) -> None:
    recorded(plug, "gen1_Shelly Plug S")
    shelly = source(plug)
    shelly.discover()
    assert told(shelly)[0][1] == 157_920_000_000  # 43.87 Wh


def test_recorded_minutes_agree_with_the_power(plug: Server, recorded: Recorded) -> None:
    recorded(plug, "gen2_Shelly Plus Plug S")
    minute = parse(plug.resources[STATUS2], "")["switch:0"]["aenergy"]["by_minute"][1]
    assert float(minute) / 1000 * 60 == pytest.approx(2.7, abs=0.05), "by_minute is in mWh"


def test_recorded_four_channels(plug: Server, recorded: Recorded) -> None:
    recorded(plug, "gen2_Shelly Pro 4PM")
    shelly = source(plug)
    assert [d.key for d in shelly.discover()] == [f"{MAC}/switch:{n}" for n in range(4)]
    assert told(shelly) == [(0.0, 0, "")] * 4


def test_recorded_three_phases(plug: Server, recorded: Recorded) -> None:
    recorded(plug, "gen2_Shelly Pro 3EM")
    shelly = source(plug)
    assert [d.key for d in shelly.discover()] == [f"{MAC}/em:0/{phase}" for phase in "abc"]
    hundredth_uj = HOUR_UJ // 100
    said = told(shelly)
    assert said == [
        (375.5, 203_461_671 * hundredth_uj, ""),
        (170.8, 18_568_689 * hundredth_uj, ""),
        (12.7, 36_946_980 * hundredth_uj, ""),
    ], "each phase consumes for itself; what b and c gave back is not taken off"
    total = parse(plug.resources[STATUS2], "")
    assert sum(watts or 0 for watts, _, _ in said) == pytest.approx(
        float(total["em:0"]["total_act_power"]), abs=0.1
    )


def test_recorded_cover(plug: Server, data: Path) -> None:
    folder = data / "recordings/smart-plug/shelly_aioshelly_rpc/shelly2pmg3"
    hold_gen2(plug, {})
    plug.resources[STATUS2] = (folder / "Shelly.GetStatus").read_bytes()
    shelly = source(plug)
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
def test_recorded_without_a_meter(plug: Server, recorded: Recorded, data: Path, name: str) -> None:
    folder = data / "recordings/smart-plug"
    if name.startswith("shelly"):
        folder /= f"shelly_aioshelly_rpc/{name}"
        info, status = "Shelly.GetDeviceInfo", "Shelly.GetStatus"
        plug.resources = {"/shelly": (folder / info).read_bytes()}
        plug.resources[STATUS2] = (folder / status).read_bytes()
    elif name.endswith(".json"):
        said = json.loads((folder / "shelly_aioshelly" / name).read_text())
        plug.resources = {"/shelly": said["shelly"], STATUS2: said["status"]}
    else:
        recorded(plug, name)
    with pytest.raises(NoData, match="no plug has a meter"):
        source(plug).discover()


def test_recorded_plug_with_a_password(plug: Server, data: Path) -> None:
    folder = data / "recordings/smart-plug/shelly_aioshelly_rpc/shellyplus2pm"
    plug.resources = {"/shelly": (folder / "shelly.json").read_bytes(), STATUS2: 401}
    with pytest.raises(SourceError, match="asks for a password") as caught:
        source(plug).discover()
    assert caught.value.reason == "unauthorized"
    hold_gen2(plug, {})
    plug.resources[STATUS2] = (folder / "Cover.Close_auth_failure").read_bytes()
    with pytest.raises(NoData):
        source(plug).discover()


# Documented formats


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


def test_gen2_counter_of_both_directions_gives_way_to_power(plug: Server) -> None:
    hold_gen2(plug, {"switch:0": switch(40, 100, ret_aenergy={"total": 0})})
    shelly = source(plug)
    assert shelly.discover()[0].method is Method.COUNTER
    assert told(shelly) == [(40.0, 100 * HOUR_UJ, "")]
    plug.resources[STATUS2]["switch:0"] = switch(40, 101, ret_aenergy={"total": 0.5})
    assert told(shelly) == [(40.0, None, "")]
    assert source(plug).discover()[0].method is Method.INTEGRAL


def test_export_is_never_consumption(plug: Server) -> None:
    hold_gen2(plug, {"switch:0": switch(100, 1000)})
    now_ms = 0
    shelly = SmartPlug(Config(node="n1"), [plug.url], clock=lambda: now_ms * 1_000_000)
    (device,) = shelly.discover()
    meter, gaps, ticks = Meter(device, 5000), [], []
    for power, total in ((100, 1000), (-300, 1000.4), (-300, 1000.8), (100, 1001), (100, 1002)):
        now_ms += 5000
        plug.resources[STATUS2]["switch:0"] = switch(power, total)
        (reading,) = shelly.read().readings
        gaps.append(reading.gap)
        tick = meter.feed(reading)
        assert tick is not None
        ticks.append(tick)
    assert gaps == ["", "export", "export", "", ""]
    assert [(span.joules, span.reason) for span in spans(ticks)] == [(None, "export"), (500.0, "")]


def test_a_counter_that_runs_backwards(plug: Server) -> None:
    energy = {"Total": 3.185, "Power": 100}
    hold_tasmota(plug, energy)
    shelly = source(plug)
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
def test_tasmota(plug: Server, energy: dict[str, object], expected: object) -> None:
    hold_tasmota(plug, {**TASMOTA, **energy})
    plugged = source(plug)
    devices = plugged.discover()
    assert {d.key for d in devices} == {f"AABBCCDDEE01/energy:{n}" for n in range(len(devices))}
    assert told(plugged) == expected
    assert plug.asked[:3] == ["/shelly", STATUS5, STATUS8]


@pytest.mark.parametrize("energy", [None, {}, [], {"Voltage": 230}])
def test_tasmota_without_a_meter(plug: Server, energy: object) -> None:
    hold_tasmota(plug, energy)
    with pytest.raises(NoData):
        source(plug).discover()


def test_tasmota_with_a_password(plug: Server) -> None:
    plug.resources[STATUS5] = {"WARNING": "Need user=<username>&password=<password>"}
    with pytest.raises(SourceError, match="asks for a password") as caught:
        source(plug).discover()
    assert caught.value.reason == "unauthorized"


@pytest.mark.parametrize("mac", ["", "unknown", None])
def test_a_plug_that_does_not_name_itself(plug: Server, mac: Any) -> None:
    hold_tasmota(plug, {"Power": 1}, mac=mac)
    assert [d.key for d in source(plug).discover()] == ["n1/smartplug/127.0.0.1/energy:0"]


# Several plugs, and faults


def test_plugs_are_read_side_by_side(plugs: list[Server]) -> None:
    for index, server in enumerate(plugs):
        hold_gen2(server, {"switch:0": switch(index, index)}, mac=f"AABBCCDDEE0{index}")
    shelly = source(*plugs, timeout_seconds=0.8)
    assert [d.key[:12] for d in shelly.discover()] == [f"AABBCCDDEE0{n}" for n in range(3)]
    plugs[0].hang.clear()
    plugs[1].hang.clear()
    began = time.monotonic()
    late = (None, None, "timeout")
    assert told(shelly) == [late, late, (2.0, 2 * HOUR_UJ, "")]
    assert time.monotonic() - began < 1.5, "two that hang take no longer than one"
    for server in plugs:
        server.hang.set()
    until = time.monotonic() + 10
    while any(gap for _, _, gap in told(shelly)):
        assert time.monotonic() < until


def test_a_plug_that_trickles_holds_one_thread(plugs: list[Server]) -> None:
    well, slow, _ = plugs
    hold_gen2(well, {"switch:0": switch(1, 1)})
    hold_gen2(slow, {"switch:0": switch(2, 2)}, mac="AABBCCDDEE01")
    shelly = source(well, slow, timeout_seconds=0.3)
    shelly.discover()
    slow.resources[STATUS2] = "trickle"
    for _ in range(3):
        assert told(shelly) == [(1.0, HOUR_UJ, ""), (None, None, "timeout")]
    names = [thread.name for thread in threading.enumerate()]
    assert names.count(f"ask {slow.url}") == 1
    assert slow.asked.count(STATUS2) == 2


def test_one_address_listed_twice_is_one_plug(plug: Server) -> None:
    hold_gen2(plug, {"switch:0": switch(1, 1)})
    shelly = SmartPlug(Config(node="n1"), [plug.url, plug.url, f"{plug.url}/"])
    assert len(shelly.discover()) == len(told(shelly)) == 1


def test_silent_plug_is_found_when_it_answers(plugs: list[Server]) -> None:
    awake, asleep, _ = plugs
    hold_gen2(awake, {"switch:0": switch(1, 1)})
    asleep.resources["/shelly"] = 500
    shelly = source(awake, asleep)
    assert len(shelly.discover()) == 1
    assert told(shelly) == [(1.0, HOUR_UJ, "")]
    hold_gen2(asleep, {"switch:0": switch(2, 2)}, mac="AABBCCDDEE01")
    with pytest.raises(DevicesChanged, match="answers again"):
        shelly.read()
    assert len(shelly.discover()) == 2
    assert told(shelly) == [(1.0, HOUR_UJ, ""), (2.0, 2 * HOUR_UJ, "")]


def test_absent() -> None:
    with pytest.raises(NoData, match=r"smartplug\.urls"):
        source().discover()
    with pytest.raises(DevicesChanged):
        source().read()
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    for addresses, reason in (([url], "unreachable"), (["192.0.2.1"], "config")):
        with pytest.raises(SourceError) as caught:
            SmartPlug(Config(node="n1"), addresses).discover()
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(b"<html>", "malformed"), (500, "http_error"), (401, "unauthorized"), (302, "redirect")],
)
def test_garbage_and_recovery(plugs: list[Server], answer: object, reason: str) -> None:
    sick, well, _ = plugs
    hold_gen2(sick, {"switch:0": switch(1, 1)})
    hold_gen2(well, {"switch:0": switch(2, 2)}, mac="AABBCCDDEE01")
    both, alone = source(sick, well), source(sick)
    both.discover()
    alone.discover()
    good, sick.resources[STATUS2] = sick.resources[STATUS2], answer
    assert told(both) == [(None, None, reason), (2.0, 2 * HOUR_UJ, "")]
    with pytest.raises(SourceError) as caught:
        alone.read()
    assert caught.value.reason == reason
    sick.resources[STATUS2] = good
    assert [gap for _, _, gap in told(both)] == ["", ""]
    assert told(alone) == [(1.0, HOUR_UJ, "")]


def test_neither_shelly_nor_tasmota(plug: Server) -> None:
    plug.resources = {"/shelly": b"<html>"}
    with pytest.raises(SourceError) as caught:
        source(plug).discover()
    assert caught.value.reason == "vanished"


def test_another_plug_at_the_address(plug: Server) -> None:
    hold_gen2(plug, {"switch:0": switch(1, 1)})
    shelly = source(plug)
    shelly.discover()
    hold_gen2(plug, {"switch:0": switch(1, 1)}, mac="AABBCCDDEE01")
    with pytest.raises(DevicesChanged, match="is now AABBCCDDEE01"):
        shelly.read()
    hold_tasmota(plug, {"Power": 1})
    with pytest.raises(DevicesChanged, match="does not exist"):
        shelly.read()
    assert shelly.discover()[0].key == "AABBCCDDEE01/energy:0"


def test_channels_change_with_the_profile(plug: Server) -> None:
    hold_gen2(plug, {"switch:0": switch(1, 1)})
    shelly = source(plug)
    shelly.discover()
    status = plug.resources[STATUS2]
    status["cover:0"] = status.pop("switch:0")
    with pytest.raises(DevicesChanged, match="channels"):
        shelly.read()
    assert shelly.discover()[0].key == f"{MAC}/cover:0"


def test_close_may_be_repeated(plug: Server) -> None:
    hold_gen2(plug, {"switch:0": switch(1, 1)})
    shelly = source(plug)
    shelly.close()
    shelly.discover()
    shelly.close()
    shelly.close()
    with pytest.raises(DevicesChanged):
        shelly.read()
    assert len(shelly.discover()) == 1


def test_a_mistake_of_ours_is_not_hidden(plug: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smartplug, "HttpJson", None)
    with pytest.raises(TypeError):
        source(plug).discover()


def test_create_opens_nothing() -> None:
    section = SimpleNamespace(urls=("http://192.0.2.1",))
    config: Any = SimpleNamespace(interval_seconds=1.0, deadline_seconds=5.0, smartplug=section)
    assert (create(config).name, create(config).interval_seconds) == ("smartplug", 5.0)


# Whatever a foreign machine may say

NAMES = ["mac", "gen", "meters", "emeters", "power", "total", "is_valid", "switch:0", "em:0"]
NAMES += ["emdata:0", "em1:0", "em1data:0", "apower", "aenergy", "ret_aenergy", "a_act_power"]
NAMES += ["a_total_act_energy", "act_power", "total_act_energy", "StatusSNS", "ENERGY", "Power"]
NAMES += ["Total", "ExportActive", "StatusNET", "Mac", "WARNING", "sys", "name", "model", "type"]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
LEAVES |= st.sampled_from([MAC, 10**400, 1e-300, 2, 10**11])
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6)
    ),
    max_leaves=25,
)
OBJECTS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8)


@settings(max_examples=300, deadline=None)
@given(OBJECTS)
def test_any_json_is_understood(document: dict[str, object]) -> None:
    with suppress(SourceError):
        answer = parse(json.dumps(document).encode(), "x")
        for understand in (gen1, gen2, tasmota):
            for name, said in understand(answer).items():
                assert said.watts is None or 0 <= said.watts <= 10**14
                assert said.energy_uj is None or 0 <= said.energy_uj < 2**63
                assert bool(said.gap) == (said.watts is None and said.energy_uj is None)
                assert name.isprintable()


@settings(max_examples=100, deadline=None)
@given(st.lists(OBJECTS, min_size=1, max_size=3))
def test_any_json_is_read(documents: list[dict[str, object]]) -> None:
    class Anything(HttpJson):
        """Answers every path with one of the documents."""

        asked = 0

        def get(self, path: str) -> dict[str, Any]:
            Anything.asked += 1
            body = json.dumps(documents[Anything.asked % len(documents)]).encode()
            return parse(body, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smartplug, "HttpJson", Anything)
        plug = SmartPlug(Config(node="n1"), ["http://plug"])
        try:
            devices = plug.discover()
            readings = plug.read().readings
        except SourceError:
            return
    assert len({device.id for device in devices}) == len(devices) == len(readings)
