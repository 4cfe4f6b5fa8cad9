"""Smart plugs that fail, hang, change or talk nonsense, and several side by side."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.plugs import (
    HOUR_UJ,
    MAC,
    STATUS2,
    hold_gen2,
    hold_tasmota,
    source,
    switch,
    told,
)
from tests.fixtures.web import Web, anything, trickle

from wattshed_exporter.config import Config
from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.sources import smartplug
from wattshed_exporter.sources.http_json import parse
from wattshed_exporter.sources.smartplug import SmartPlug, create
from wattshed_exporter.sources.smartplug_families import gen1, gen2, homewizard, tasmota


def test_plugs_are_read_side_by_side(webs: list[Web]) -> None:
    for index, server in enumerate(webs):
        hold_gen2(server, {"switch:0": switch(index, index)}, mac=f"AABBCCDDEE0{index}")
    shelly = source(*webs, timeout_seconds=0.8)
    assert [d.key[:12] for d in shelly.discover()] == [f"AABBCCDDEE0{n}" for n in range(3)]
    webs[0].hang.clear()
    webs[1].hang.clear()
    began = time.monotonic()
    late = (None, None, "timeout")
    assert told(shelly) == [late, late, (2.0, 2 * HOUR_UJ, "")]
    assert time.monotonic() - began < 1.5, "two that hang take no longer than one"
    for server in webs:
        server.hang.set()
    until = time.monotonic() + 120
    while any(gap for _, _, gap in told(shelly)):
        assert time.monotonic() < until


def test_a_plug_that_trickles_holds_one_thread(webs: list[Web]) -> None:
    well, slow, _ = webs
    hold_gen2(well, {"switch:0": switch(1, 1)})
    hold_gen2(slow, {"switch:0": switch(2, 2)}, mac="AABBCCDDEE01")
    shelly = source(well, slow, timeout_seconds=0.3)
    shelly.discover()
    slow.resources[STATUS2] = trickle
    for _ in range(3):
        assert told(shelly) == [(1.0, HOUR_UJ, ""), (None, None, "timeout")]
    names = [thread.name for thread in threading.enumerate()]
    assert names.count(f"ask {slow.url()}") == 1
    assert slow.asked.count(STATUS2) == 2


def test_one_address_listed_twice_is_one_plug(web: Web) -> None:
    hold_gen2(web, {"switch:0": switch(1, 1)})
    shelly = SmartPlug(Config(node="n1"), [web.url(), web.url(), f"{web.url()}/"])
    assert len(shelly.discover()) == len(told(shelly)) == 1


def test_silent_plug_is_found_when_it_answers(webs: list[Web]) -> None:
    awake, asleep, _ = webs
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
def test_garbage_and_recovery(webs: list[Web], answer: object, reason: str) -> None:
    sick, well, _ = webs
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


def test_neither_shelly_nor_tasmota(web: Web) -> None:
    web.resources = {"/shelly": b"<html>"}
    with pytest.raises(SourceError) as caught:
        source(web).discover()
    assert caught.value.reason == "vanished"


def test_another_plug_at_the_address(web: Web) -> None:
    hold_gen2(web, {"switch:0": switch(1, 1)})
    shelly = source(web)
    shelly.discover()
    hold_gen2(web, {"switch:0": switch(1, 1)}, mac="AABBCCDDEE01")
    with pytest.raises(DevicesChanged, match="is now AABBCCDDEE01"):
        shelly.read()
    hold_tasmota(web, {"Power": 1})
    with pytest.raises(DevicesChanged, match="does not exist"):
        shelly.read()
    assert shelly.discover()[0].key == "AABBCCDDEE01/energy:0"


def test_channels_change_with_the_profile(web: Web) -> None:
    hold_gen2(web, {"switch:0": switch(1, 1)})
    shelly = source(web)
    shelly.discover()
    status = web.resources[STATUS2]
    status["cover:0"] = status.pop("switch:0")
    with pytest.raises(DevicesChanged, match="channels"):
        shelly.read()
    assert shelly.discover()[0].key == f"{MAC}/cover:0"


def test_a_mistake_of_ours_is_not_hidden(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smartplug, "HttpJson", None)
    with pytest.raises(TypeError):
        source(web).discover()


def test_create_opens_nothing() -> None:
    section = SimpleNamespace(urls=("http://192.0.2.1",))
    config: Any = SimpleNamespace(interval_seconds=1.0, deadline_seconds=5.0, smartplug=section)
    assert (create(config).name, create(config).interval_seconds) == ("smartplug", 5.0)


NAMES = ["mac", "gen", "meters", "emeters", "power", "total", "is_valid", "switch:0", "em:0"]
NAMES += ["emdata:0", "em1:0", "em1data:0", "apower", "aenergy", "ret_aenergy", "a_act_power"]
NAMES += ["a_total_act_energy", "act_power", "total_act_energy", "StatusSNS", "ENERGY", "Power"]
NAMES += ["active_power_w", "total_power_import_kwh", "total_power_import_t1_kwh", "serial"]
NAMES += [
    "product_type",
    "Total",
    "ExportActive",
    "StatusNET",
    "Mac",
    "WARNING",
    "sys",
    "name",
    "model",
    "type",
]
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
        for understand in (gen1, gen2, homewizard, tasmota):
            for name, said in understand(answer).items():
                assert said.watts is None or 0 <= said.watts <= 10**14
                assert said.energy_uj is None or 0 <= said.energy_uj < 2**63
                assert bool(said.gap) == (said.watts is None and said.energy_uj is None)
                assert name.isprintable()


@settings(max_examples=100, deadline=None)
@given(st.lists(OBJECTS, min_size=1, max_size=3))
def test_any_json_is_read(documents: list[dict[str, object]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smartplug, "HttpJson", anything(documents))
        plug = SmartPlug(Config(node="n1"), ["http://plug"])
        try:
            devices = plug.discover()
            readings = plug.read().readings
        except SourceError:
            return
    assert len({device.id for device in devices}) == len(devices) == len(readings)
