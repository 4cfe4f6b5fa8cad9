"""The Redfish source where a controller fails, hangs, goes away or talks nonsense."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.redfish import (
    ALL,
    ENV,
    ONE,
    ROOT,
    clock,
    energy,
    hold,
    hold_environment,
    only,
    watts,
)
from tests.fixtures.web import Web, anything

from wattshed_exporter.config import Config
from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import Reading
from wattshed_exporter.sources import redfish
from wattshed_exporter.sources.http_json import HttpJson, parse
from wattshed_exporter.sources.redfish import Redfish, create, environment

SECRET = "s3cret-Pa55word"
Make = Callable[..., Redfish]


def test_absent(make: Make) -> None:
    with pytest.raises(NoData, match=r"redfish\.url"):
        make("").discover()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(SourceError, match="cannot be reached") as caught:
        make(f"http://127.0.0.1:{port}").discover()
    assert caught.value.reason == "unreachable"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "malformed"),
        (b"<html>", "malformed"),
        (b"[1]", "malformed"),
        (b'{"a": NaN}', "malformed"),
        (b'{"a": 1e9999999999999999999}', "malformed"),
        (b'{"a": ' + b"9" * 5000 + b"}", "malformed"),
        (b"[" * 100_000, "malformed"),
        (b"\xff\xfe\x00", "malformed"),
        (b"x" * (4 << 20) + b"x", "malformed"),
        (500, "http_error"),
        (503, "http_error"),
        (403, "unauthorized"),
        (404, "vanished"),
        (308, "redirect"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_garbage(web: Web, make: Make, answer: object, reason: str) -> None:
    hold_environment(web, energy(1))
    source = make(web.url())
    source.discover()
    web.resources[ROOT] = answer
    web.headers = {"Location": "https://elsewhere/"}
    with pytest.raises(SourceError) as caught:
        make(web.url()).discover()
    assert caught.value.reason == reason
    web.resources[ENV] = answer
    if reason == "unauthorized":
        with pytest.raises(SourceError):
            source.read()
    elif reason == "vanished":
        with pytest.raises(DevicesChanged):
            source.read()
    else:
        assert only(source).gap == reason
    web.resources[ENV] = energy(1)
    if reason != "vanished":
        assert watts(source) == [500.0]


def test_hang(web: Web, make: Make) -> None:
    hold_environment(web, energy(1))
    source = make(web.url(), timeout_seconds=0.2)
    source.discover()
    web.hang.clear()
    began = time.monotonic()
    with pytest.raises(SourceError, match=r"no answer within 0\.2 s") as caught:
        source.read()
    assert caught.value.reason == "timeout"
    assert time.monotonic() - began < 2
    web.hang.set()
    assert watts(source) == [500.0]


def test_one_chassis_vanishes_and_returns(web: Web, make: Make) -> None:
    two, far = f"{ALL}/2", f"{ALL}/2/EnvironmentMetrics"
    hold_environment(web, energy(1))
    hold(web, ONE, two)
    web.resources.update({two: {"EnvironmentMetrics": {"@odata.id": far}}, far: energy(2)})
    source = make(web.url())
    source.discover()
    del web.resources[far]
    assert [r.gap for r in source.read().readings] == ["", "vanished"]
    web.resources[far] = energy(2)
    assert watts(source) == [500.0, 500.0]
    web.resources[two] = 500
    assert len(source.discover()) == 1, "one that fails leaves the others"


def test_all_vanish_and_return(web: Web, make: Make) -> None:
    hold_environment(web, energy(1))
    source = make(web.url())
    source.discover()
    hold(web)
    del web.resources[ENV]
    with pytest.raises(DevicesChanged):
        source.read()
    with pytest.raises(NoData):
        source.discover()
    with pytest.raises(DevicesChanged):
        source.read()
    web.resources[ROOT] = {}
    with pytest.raises(NoData, match="lists no chassis"):
        source.discover()
    hold_environment(web, energy(1))
    source.discover()
    assert watts(source) == [500.0]


def test_the_connection_is_lost(make: Make, web: Web) -> None:
    hold_environment(web, energy(1))
    web.close_idle = True
    source = make(web.url())
    source.discover()
    port = web.server_address[1]
    web.socket.close()
    with pytest.raises(SourceError) as caught:
        source.read()
    assert caught.value.reason == "unreachable"
    assert str(port) in str(caught.value)


def test_create_opens_nothing() -> None:
    access = {"url": "https://192.0.2.1", "username": "root", "password": SECRET}
    section = SimpleNamespace(**access, ca_file=None, cache_seconds=20.0)
    config: Any = SimpleNamespace(interval_seconds=1.0, deadline_seconds=5.0, redfish=section)
    source = create(config)
    assert (source.name, source.interval_seconds) == ("redfish", 20.0)


NAMES = ["@odata.id", "Chassis", "Members", "EnvironmentMetrics", "Power", "PowerSubsystem"]
NAMES += ["PowerControl", "PowerConsumedWatts", "PowerWatts", "Reading", "EnergykWh", "Links"]
NAMES += ["EnergyJoules", "SensorResetTime", "PowerSupplies", "PowerInputWatts", "ContainedBy"]
NAMES += ["PowerCapacityWatts", "Metrics", "InputPowerWatts", "Status", "State", "ChassisType"]
NAMES += ["Manufacturer", "Members@odata.count"]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
LEAVES |= st.sampled_from(["/a", "/a/b", "//c", "Absent", "2023-01-01T00:00:00Z", 1e-5, 10**400])
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner, max_size=6)
    ),
    max_leaves=25,
)
OBJECTS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8)


def believable(reading: Reading) -> bool:
    power, counter = reading.power_watts, reading.energy_uj
    assert power is None or 0 < power <= 10**14
    assert counter is None or 0 <= counter < 2**63
    return (power is None and counter is None) == bool(reading.gap)


@settings(max_examples=300, deadline=None)
@given(st.lists(OBJECTS, min_size=1, max_size=4))
def test_any_json(documents: list[dict[str, object]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redfish, "HttpJson", anything(documents))
        source = Redfish(Config(node="n1"), "http://bmc", cache_seconds=0.0, clock=clock)
        try:
            devices = source.discover()
            readings = source.read().readings
        except SourceError:
            return
    assert len({device.id for device in devices}) == len(devices) == len(readings)
    assert all(map(believable, readings))


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
def test_any_bytes(body: bytes) -> None:
    with suppress(SourceError):
        environment([parse(body, "x")])


@pytest.fixture(scope="module")
def raw() -> Iterator[tuple[str, list[bytes]]]:
    """Serve the last of a list of bytes to every connection, whatever is asked."""
    answers = [b""]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            while True:
                peer, _ = server.accept()
                with peer:
                    if not peer.recv(65536):
                        return
                    peer.sendall(answers[-1])

        thread = threading.Thread(target=run)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", answers
        socket.create_connection(server.getsockname()).close()
        thread.join()


HEADS = [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"]
HEADS += [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 200 OK\r\nX"]
HEADS += [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/9.9 -1\r\n\r\n", b"HTTP/1.1 200 OK\r\n" * 200]


@settings(max_examples=60, deadline=None)
@given(head=st.sampled_from(HEADS), rest=st.binary(max_size=60))
def test_any_answer(raw: tuple[str, list[bytes]], head: bytes, rest: bytes) -> None:
    url, answers = raw
    answers.append(head + rest)
    reader = HttpJson(url, timeout_seconds=2.0, keep=True)
    try:
        with suppress(SourceError):
            reader.get("/x y\u20ac\r\n")
    finally:
        reader.close()
