"""What every source keeps to, whatever it reads: ``sources.Source`` says what that is.

NVML is left out here, because its library stays loaded; test_nvml.py closes it in a process of its
own. A recording ends when it is closed, and a made-up fleet holds nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from tests.fixtures.faults import Time
from tests.fixtures.worlds import ROWS, World, public

from wattshed_exporter.errors import DevicesChanged

READS = 20
NAMES = sorted(ROWS.keys() - {"nvml", "replay", "simulate"})


@pytest.fixture(params=NAMES)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    folder, time = public(), Time()
    build = ROWS[request.param].build
    assert build is not None
    world = build(folder, time.ns)
    yield world
    world.source.close()
    world.close()
    shutil.rmtree(folder)


def test_close_may_be_repeated_and_read_asks_for_discovery(world: World) -> None:
    source = world.source
    source.close()
    devices = source.discover()
    assert devices
    source.close()
    source.close()
    with pytest.raises(DevicesChanged):
        source.read()
    assert source.discover() == devices


def test_reading_holds_nothing_more(world: World) -> None:
    world.source.discover()
    world.source.read()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(READS):
        world.source.read()
    # The server's side of a question may not have been closed yet.
    assert len(os.listdir("/proc/self/fd")) < before + READS / 2


def test_devices_are_well_told(world: World) -> None:
    devices = world.source.discover()
    assert len({device.key for device in devices}) == len(devices)
    for device in devices:
        assert (device.node, device.source) == ("n1", world.source.name)
        assert device.key
        assert device.name
    assert {reading.device for reading in world.source.read().readings} <= {d.key for d in devices}
