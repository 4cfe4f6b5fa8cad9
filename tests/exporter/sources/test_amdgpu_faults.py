"""AMD GPUs that sleep, refuse, vanish, hang and talk nonsense."""

from __future__ import annotations

import errno
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.amdgpu import (
    Said,
    Tree,
    mi300x,
    one,
)
from tests.fixtures.sysfs import (
    refusing,
    unprivileged,
    write,
)

from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import Method, Reading


@contextmanager
def watching() -> Iterator[list[str]]:
    """Collect the paths that are opened; a hook cannot be removed, so it is put to sleep."""
    opened: list[str] = []
    on = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if on and event in ("open", "os.listdir", "os.scandir"):
            opened.append(os.fspath(arguments[0]) if arguments[0] is not None else "")

    sys.addaudithook(hook)
    try:
        yield opened
    finally:
        on = False


@pytest.mark.parametrize("state", ["suspended", "suspending"])
def test_suspended_gpu_is_left_asleep(tree: Tree, state: str) -> None:
    folder = mi300x(tree)
    write(folder / "power/runtime_status", state)
    with watching() as opened:
        device, reading = one(tree)
    assert reading == Reading(device.key, tree.now_ns // 1_000_000, gap="suspended")
    assert (device.method, device.power_limit_watts) == (Method.INTEGRAL, None)
    names = {Path(path).name for path in opened if "/device/" in path}
    assert "runtime_status" in names
    assert names - {"hwmon"} <= {
        "runtime_status",
        "unique_id",
        "vendor",
        "device",
        "product_name",
        "serial_number",
        "vbios_version",
    }
    assert tree.slept == 0


def test_gpu_that_wakes_is_tried_and_keeps_what_was_found(tree: Tree) -> None:
    folder = mi300x(tree)
    write(folder / "power/runtime_status", "suspended")
    source = tree.source()
    source.discover()
    source.read()
    write(folder / "power/runtime_status", "active")
    with pytest.raises(DevicesChanged, match="awake"):
        source.read()
    (awake,) = source.discover()
    assert (awake.method, awake.power_limit_watts) == (Method.COUNTER, 750.0)
    assert source.read().readings[0].power_watts == 200.0
    write(folder / "power/runtime_status", "suspended")
    assert source.read().readings[0].gap == "suspended"
    assert source.discover() == [awake]
    write(folder / "power/runtime_status", "active")
    assert source.read().readings[0].energy_uj is not None
    assert tree.slept == 1


def test_state_that_is_not_told_counts_as_awake(tree: Tree) -> None:
    (mi300x(tree) / "power/runtime_status").unlink()
    assert one(tree)[1].power_watts == 200.0


def test_no_cards_is_no_data(tree: Tree) -> None:
    with pytest.raises(NoData):
        tree.source().discover()
    (tree.root / "class/drm").rmdir()
    with pytest.raises(NoData):
        tree.source().discover()


@pytest.mark.parametrize("content", [b"", b"-5", b"12.5", b"1_000", b"garbage", b"\xff", b"9" * 99])
def test_garbage_leaves_the_others(tree: Tree, content: bytes) -> None:
    broken = tree.card(0, hwmon={"power1_average": 1}, unique_id="a1")
    mi300x(tree, 1)
    source = tree.source()
    source.discover()
    (broken / "hwmon/hwmon4/power1_average").write_bytes(content)
    write(broken / "gpu_metrics", content)
    assert [reading.gap for reading in source.read().readings] == ["malformed", ""]
    write(broken / "hwmon/hwmon4/power1_average", 6_000_000)
    assert [reading.power_watts for reading in source.read().readings] == [6.0, 200.0]


def test_card_that_vanishes_and_comes_back(tree: Tree) -> None:
    mi300x(tree, 0)
    mi300x(tree, 1)
    source = tree.source()
    source.discover()
    card = tree.root / "class/drm/card0"
    card.rename(card.with_name("away"))
    with pytest.raises(DevicesChanged):
        source.read()
    assert [device.name for device in source.discover()] == ["card1"]
    card.with_name("away").rename(card)
    with pytest.raises(DevicesChanged):
        source.read()
    assert len(source.discover()) == 2
    assert tree.slept == 1


def test_sensors_that_vanish_and_come_back_elsewhere(tree: Tree) -> None:
    folder = mi300x(tree)
    source = tree.source()
    source.discover()
    hwmon = folder / "hwmon/hwmon4"
    (folder / "gpu_metrics").rename(folder / "away")
    hwmon.rename(folder / "away.hwmon")
    assert source.read().readings[0].gap == "vanished"
    (folder / "hwmon").rmdir()
    assert source.read().readings[0].gap == "vanished"
    (folder / "hwmon").mkdir()
    (folder / "away.hwmon").rename(folder / "hwmon/hwmon9")
    (reading,) = source.read().readings
    assert (reading.power_watts, reading.energy_uj, reading.gap) == (200.0, None, "")


@pytest.mark.parametrize("closed", [False, True])
def test_sensor_that_hangs(tree: Tree, closed: bool) -> None:
    sensor = mi300x(tree) / "hwmon/hwmon4/power1_input"
    source = tree.source()
    source.discover()
    sensor.unlink()
    os.mkfifo(sensor)
    with ThreadPoolExecutor(1) as pool:
        sample = pool.submit(source.read)
        with pytest.raises(TimeoutError):
            sample.result(0.1)
        if closed:
            source.close()
        sensor.write_text("190000000\n")
        if closed:
            with pytest.raises(DevicesChanged):
                sample.result(120)
        else:
            assert sample.result(120).readings[0].power_watts == 190.0


@pytest.mark.parametrize(
    ("code", "gap"),
    [
        (errno.EACCES, "permission"),
        (errno.EPERM, "not_ready"),
        (errno.EBUSY, "not_ready"),
        (errno.EOPNOTSUPP, "not_supported"),
        (errno.ENODEV, "vanished"),
        (errno.EIO, "io_error"),
    ],
)
def test_refusals_of_the_kernel(tree: Tree, code: int, gap: str) -> None:
    folder = mi300x(tree)
    source = tree.source()
    source.discover()
    (folder / "gpu_metrics").unlink()
    with refusing(code, "power1_"):
        assert source.read().readings[0].gap == gap
    assert source.read().readings[0].power_watts == 200.0


def test_refusal_at_first_is_made_up_for_later(tree: Tree) -> None:
    folder = mi300x(tree)
    said = (folder / "gpu_metrics").read_bytes()
    (folder / "gpu_metrics").unlink()
    source = tree.source()
    with refusing(errno.EPERM, "power1_"):
        assert source.discover()[0].method is Method.INTEGRAL
        assert source.read().readings[0].gap == "not_ready"
    write(folder / "gpu_metrics", said)
    with pytest.raises(DevicesChanged):
        source.read()
    assert source.discover()[0].method is Method.COUNTER


def test_permission_denied(public: Path) -> None:
    tree = Tree(public)
    for number in (0, 1):
        mi300x(tree, number)
    closed = [*public.rglob("power1_*"), *public.rglob("gpu_metrics")]
    for path in closed:
        path.chmod(0)
    source = tree.source()
    with unprivileged(), pytest.raises(SourceError) as caught:
        source.discover()
    assert caught.value.reason == "permission"
    assert not isinstance(caught.value, NoData)
    for path in (path for path in closed if "0000:03" in str(path)):
        path.chmod(0o444)
    tree.burn = lambda _: None
    with unprivileged():
        source.discover()
        assert [reading.gap for reading in source.read().readings] == ["", "permission"]


def test_no_permission_to_list(public: Path) -> None:
    tree = Tree(public)
    mi300x(tree)
    (public / "class/drm").chmod(0)
    with unprivileged(), pytest.raises(SourceError) as caught:
        tree.source().discover()
    assert caught.value.reason == "permission"


CONTENT = st.one_of(st.binary(max_size=30), st.integers(-5, 2**64).map(lambda n: b"%d\n" % n))


@settings(max_examples=60)
@given(
    st.dictionaries(st.sampled_from(["power1_average", "power1_input", "power1_cap"]), CONTENT),
    st.dictionaries(
        st.sampled_from(
            ["gpu_metrics", "unique_id", "uevent", "gpu_busy_percent", "mem_info_vram_used"]
        ),
        CONTENT,
    ),
    st.dictionaries(st.sampled_from(["temp1_input", "in1_input"]), CONTENT),
)
def test_any_files_give_readings_that_can_be(
    power: dict[str, Said], files: dict[str, Said], rest: dict[str, Said]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(Path(folder))
        tree.card(hwmon=power | rest, **files)
        source = tree.source()
        try:
            source.discover()
            readings = source.read().readings
        except SourceError:
            return
        for reading in readings:
            said = (reading.power_watts, reading.energy_uj, reading.memory_used_bytes)
            assert all(v is None or (math.isfinite(v) and v >= 0) for v in said)
            assert reading.utilization_ratio is None or 0 <= reading.utilization_ratio <= 1
            assert reading.gap or reading.power_watts is not None or reading.energy_uj is not None
