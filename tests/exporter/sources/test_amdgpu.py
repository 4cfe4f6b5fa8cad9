"""The amdgpu source over trees of files built here, some with recorded values in them."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest
from tests.fixtures.amdgpu import (
    Said,
    Tree,
    charge,
    mi300x,
    one,
    table,
)
from tests.fixtures.sysfs import (
    write,
)

from wattshed_exporter.config import Config, Roots
from wattshed_exporter.errors import DevicesChanged, NoData
from wattshed_exporter.integrate import Meter
from wattshed_exporter.model import Device, Kind, Method, Reading
from wattshed_exporter.sources.amdgpu import Amdgpu, create
from wattshed_exporter.sources.amdgpu_card import Taken, agree
from wattshed_exporter.sources.gpu_metrics import NOTHING, Metrics


def test_a_gpu_with_a_counter_that_holds(tree: Tree) -> None:
    mi300x(tree)
    device, reading = one(tree)
    assert device == Device(
        key="AMD-79ccd55167a21240",
        kind=Kind.GPU,
        node="node1",
        source="amdgpu",
        name="card0",
        vendor="AMD",
        model="AMD Instinct MI300X",
        serial="692251001124",
        site="here",
        scope="gpu",
        method=Method.COUNTER,
        uncertainty_ratio=0.05,
        power_limit_watts=750.0,
    )
    assert tree.slept == 1
    units = 1_000_000 + 200 * 65536 // 2
    assert reading == Reading(
        device.key,
        tree.now_ns // 1_000_000,
        power_watts=200.0,
        energy_uj=units * 15625 // 1024,
        utilization_ratio=0.97,
        memory_used_bytes=206_158_430_208,
        temperature_celsius=42.0,
    )


def test_counter_is_tried_once_however_many_gpus(tree: Tree) -> None:
    for number in (0, 1, 2, 10):
        mi300x(tree, number)
    source = tree.source()
    assert [device.name for device in source.discover()] == ["card0", "card1", "card2", "card10"]
    assert {device.method for device in source.discover()} == {Method.COUNTER}
    assert tree.slept == 1


@pytest.mark.parametrize(
    ("sensors", "watts"),
    [
        ({"power1_average": 41_000_000, "power1_input": 43_000_000}, 41.0),
        ({"power1_input": 43_000_000}, 43.0),
        ({"power1_average": 65_535_000_000, "power1_input": 43_000_000}, 43.0),
        ({"power1_average": "N/A", "power1_input": 43_000_000}, 43.0),
        ({"power1_cap": 550_000_000}, 7.0),
        ({"power1_average": 4_294_967_295_000_000}, 7.0),
        ({}, 7.0),
    ],
)
def test_one_power_is_taken_and_no_limit(
    tree: Tree, sensors: dict[str, Said], watts: float
) -> None:
    tree.card(hwmon=sensors, gpu_metrics=table(4, 7))
    device, reading = one(tree)
    assert (reading.power_watts, reading.energy_uj) == (watts, None)
    assert device.method is Method.INTEGRAL
    assert tree.slept == 0


def test_recorded_figures_of_an_mi300a(tree: Tree, data: Path) -> None:
    text = (data / "recordings/amd-smi/docs/CHANGELOG_L1445-1548.txt").read_text()
    names = ("MTBL_SOCKET_POWER_LIMIT", "MTBL_SOCKET_POWER", "MTBL_SOCKET_ENERGY_ACC")
    cap, power, kilojoules = (float(re.findall(rf"{name}: ([0-9.]+)", text)[0]) for name in names)
    assert (cap, power, kilojoules) == (550.0, 102.678, 166_127.84)
    sensors = {"power1_input": round(power * 1e6), "power1_cap": round(cap * 1e6)}
    folder = tree.card(device="0x74a0", hwmon=sensors)
    charge(tree, folder, power, 6, kilojoules * 1000 * 65536)
    device, reading = one(tree)
    assert (device.kind, device.scope, device.power_limit_watts) == (Kind.MODULE, "module", 550.0)
    assert reading.power_watts == 102.678
    assert reading.energy_uj == pytest.approx(kilojoules * 1e9 + power * 0.5e6, abs=16)


RECORDED = {
    "mi100_rocm571": (6, [39, 37, 35, 39, 39, 40], ""),
    "mi100_rocm602": (4, [36, 44, 43, 39], "AMD-79ccd55167a2124a"),
    "rx6700xt_rocm430": (1, [6], ""),
    "rx6700xt_rocm571": (1, [6], ""),
    "rx6700xt_rocm602": (0, [], ""),
    "rx6700xt_rocm612": (1, [6], ""),
    "vega-10-XT": (1, [15], "AMD-2150e7d042a1124"),
    "vega-20-WKS-GL-XE": (1, [26], "AMD-2f048617326b1ea"),
}


@pytest.mark.parametrize("file", RECORDED)
def test_recorded_values_of_rocm_smi(tree: Tree, data: Path, file: str) -> None:
    said = json.loads((data / f"recordings/rocm-smi/telegraf/{file}.json").read_text())
    for number, (name, card) in enumerate(sorted(said.items())):
        if name != "system":
            recorded_card(tree, number, card)
    count, watts, key = RECORDED[file]
    source = tree.source()
    if not count:
        with pytest.raises(NoData, match=r"no card of amdgpu .* has a sensor of power"):
            source.discover()
        return
    devices = source.discover()
    readings = source.read().readings
    assert [reading.power_watts for reading in readings] == watts
    assert devices[0].key.startswith(key or "node1/amdgpu/0000:")
    assert all(device.power_limit_watts and device.serial != "N/A" for device in devices)
    assert all(r.temperature_celsius and r.memory_used_bytes for r in readings)
    assert {r.utilization_ratio for r in readings} == {0.0}


def recorded_card(tree: Tree, number: int, said: dict[str, str]) -> None:
    """Put the numbers, which are strings there, where the kernel has them."""
    power = said["Average Graphics Package Power (W)"]
    sensors: dict[str, Said] = {
        "power1_cap": round(float(said["Max Graphics Package Power (W)"]) * 1e6),
        "temp1_input": round(float(said["Temperature (Sensor edge) (C)"]) * 1000),
    }
    if power != "N/A (Secondary die)":
        sensors["power1_average"] = round(float(power) * 1e6)
    tree.card(
        number,
        hwmon=sensors,
        unique_id=said["Unique ID"].removeprefix("0x"),
        serial_number=said["Serial Number"],
        product_name=said.get("Card series", ""),
        gpu_busy_percent=said["GPU use (%)"],
        mem_info_vram_used=said["VRAM Total Used Memory (B)"],
    )


def test_recorded_hwmon_without_a_card_has_no_data(data: Path) -> None:
    sysfs = data / "recordings/sysfs/kepler_testdata/sys"
    assert (sysfs / "class/hwmon/hwmon1/name").read_text().strip() == "amdgpu"
    with pytest.raises(NoData):
        Amdgpu(Config(node="node1", roots=Roots(sysfs=sysfs))).discover()


def test_frozen_counter_is_said_once_and_power_is_used(
    tree: Tree, caplog: pytest.LogCaptureFixture
) -> None:
    mi100 = tree.card(hwmon={"power1_average": 39_000_000}, gpu_metrics=table(3, 39, 12345))
    source = tree.source()
    with caplog.at_level(logging.WARNING):
        (device,) = source.discover()
        source.discover()
        (reading,) = source.read().readings
    assert (device.method, device.counter_range_uj) == (Method.INTEGRAL, None)
    assert (reading.power_watts, reading.energy_uj, reading.gap) == (39.0, None, "")
    assert [record.getMessage() for record in caplog.records] == [
        "card0: frozen_counter: energy disagrees with power, which is used"
    ]
    assert tree.slept == 3
    (mi100 / "hwmon/hwmon4/power1_average").unlink()
    write(mi100 / "gpu_metrics", table(3, 0xFFFF, 12345))
    assert source.read().readings[0].gap == "frozen_counter"


@pytest.mark.parametrize(
    ("content", "counted", "method"),
    [
        (3, 200, Method.COUNTER),
        (3, 130, Method.COUNTER),
        (3, 350, Method.COUNTER),
        (3, 80, Method.INTEGRAL),
        (3, 200 * 65536 / 1e6, Method.INTEGRAL),
        (6, 80, Method.COUNTER),
        (6, 700, Method.COUNTER),
        (6, 0, Method.INTEGRAL),
        (6, 200_000, Method.INTEGRAL),
        (9, 200, Method.COUNTER),
    ],
)
def test_counter_is_held_against_power(
    tree: Tree, content: int, counted: float, method: Method
) -> None:
    folder = tree.card(hwmon={"power1_average": 200_000_000})
    charge(tree, folder, counted, content)
    device, reading = one(tree)
    assert device.method is method
    assert (reading.energy_uj is not None) == (method is Method.COUNTER)
    old = content < 4 and method is Method.COUNTER
    assert device.counter_range_uj == (65_712_999_628 if old else None)


def test_load_that_jumps_is_tried_again(tree: Tree) -> None:
    folder = mi300x(tree, content=3)
    steady = tree.burn

    def jump(seconds: float) -> None:
        steady(seconds if tree.slept > 1 else seconds * 20)

    tree.burn = jump
    assert one(tree)[0].method is Method.COUNTER
    assert tree.slept == 2
    assert folder.exists()


def test_counter_without_power_needs_only_to_gain() -> None:
    still = Taken(0, None, Metrics(None, 5_000_000))
    assert not agree(still, Taken(10**9, None, Metrics(None, 5_000_000)))
    assert agree(still, Taken(10**9, None, Metrics(None, 5_000_001)))
    assert not agree(still, Taken(10**9, None, NOTHING))
    assert not agree(Taken(0, 0.0, Metrics(None, 5)), Taken(10**9, 0.0, Metrics(None, 6)))


def test_counter_of_32_bits_that_wraps_is_unwrapped(tree: Tree) -> None:
    mi100 = tree.card(hwmon={"power1_average": 200_000_000, "power1_cap": 290_000_000})
    charge(tree, mi100, 200, 3, units=2**32 - 14_000_000)
    source = tree.source()
    (device,) = source.discover()
    meter, joules = Meter(device, 1000), []
    for units in (2**32 - 13_000_000, 2**32 - 1, 13_000_000 - 1):
        write(mi100 / "gpu_metrics", table(3, 200, units))
        tick = meter.feed(source.read().readings[0])
        assert tick is not None
        assert tick.energy_uj is not None
        joules.append(tick.energy_uj / 1e6)
        tree.now_ns += 10**9
    assert joules == pytest.approx([0.0, 198.9, 397.8])


def test_second_die_is_left_out(tree: Tree) -> None:
    mi300x(tree, 0, content=3)
    tree.card(1, hwmon={"power1_average": 0}, gpu_metrics=table(3, 0, 0), unique_id="a1")
    tree.card(2, hwmon={"temp1_input": 40_000}, gpu_metrics=table(3), unique_id="a2")
    third = tree.card(3, unique_id="a3")
    source = tree.source()
    assert [device.name for device in source.discover()] == ["card0"]
    assert len(source.read().readings) == 1
    write(third / "power/runtime_status", "suspended")
    assert len(source.read().readings) == 1
    write(third / "power/runtime_status", "active")
    write(third / "gpu_metrics", table(4, 30))
    with pytest.raises(DevicesChanged, match="card3 is awake or has power"):
        source.read()
    assert [device.name for device in source.discover()] == ["card0", "card3"]


def test_second_die_found_asleep_is_left_out_when_it_wakes(tree: Tree) -> None:
    mi300x(tree, 0)
    second = tree.card(1, hwmon={"power1_average": 0}, gpu_metrics=table(3, 0, 0))
    write(second / "power/runtime_status", "suspended")
    source = tree.source()
    assert len(source.discover()) == 2
    write(second / "power/runtime_status", "active")
    with pytest.raises(DevicesChanged):
        source.read()
    assert len(source.discover()) == 1


def test_partitions_of_one_chip_are_one_device(tree: Tree) -> None:
    mi300x(tree, 0)
    mi300x(tree, 1, unique_id="79CCD55167A21240")
    source = tree.source()
    assert [device.name for device in source.discover()] == ["card0"]
    assert len(source.read().readings) == 1


def test_other_cards_are_left_out(tree: Tree) -> None:
    tree.card(0, driver="i915", hwmon={"power1_input": 5_000_000})
    (tree.root / "class/drm/card1-DP-1").mkdir()
    (tree.root / "class/drm/renderD128").mkdir()
    (tree.root / "class/drm/version").write_text("drm 1.1.0 20060810\n")
    with pytest.raises(NoData, match="no card of the driver amdgpu"):
        tree.source().discover()


@pytest.mark.parametrize("unique", ["", "0", "0000000000000000", "N/A", "x y", "\xff\n1"])
def test_chip_without_identity_goes_by_its_slot(tree: Tree, unique: str) -> None:
    folder = tree.card(hwmon={"power1_input": 1}, unique_id=unique, vendor="0x1002", device="0x1")
    device, _ = one(tree)
    assert (device.key, device.model) == ("node1/amdgpu/0000:03:00.0", "1002:1")
    write(folder / "uevent", b"\xff")
    assert one(tree)[0].key == "node1/amdgpu/card0"


@pytest.mark.parametrize("files", [{"in1_input": 800}, {}])
def test_power_of_an_apu_is_that_of_the_module(tree: Tree, files: dict[str, Said]) -> None:
    tree.card(hwmon={"power1_input": 15_000_000, **files})
    device, _ = one(tree)
    assert (device.kind, device.scope) == ((Kind.MODULE, "module") if files else (Kind.GPU, "gpu"))


@pytest.mark.parametrize(
    ("files", "sensors", "expected"),
    [
        ({"gpu_busy_percent": 101}, {}, (None, None, None)),
        ({"gpu_busy_percent": 65535}, {"temp1_input": 65_535_000}, (None, None, None)),
        ({"gpu_busy_percent": "-1"}, {"temp1_input": "-5000"}, (None, None, None)),
        ({"mem_info_vram_used": 2**64 - 1}, {"temp1_input": ""}, (None, None, None)),
        ({"mem_info_vram_used": 7}, {"temp2_input": 55_500}, (None, 7, 55.5)),
        ({"gpu_busy_percent": 0}, {"temp1_input": 30, "temp2_input": 99}, (0.0, None, 0.03)),
    ],
)
def test_side_values_that_cannot_be_are_none(
    tree: Tree,
    files: dict[str, Said],
    sensors: dict[str, Said],
    expected: tuple[object, object, object],
) -> None:
    tree.card(hwmon={"power1_input": 5_000_000, **sensors}, **files)
    _, reading = one(tree)
    said = (reading.utilization_ratio, reading.memory_used_bytes, reading.temperature_celsius)
    assert said == expected


@pytest.mark.parametrize(("configured", "used"), [(1.0, 1.0), (60.0, 10.0)])
def test_interval_is_short_enough_for_32_bits(configured: float, used: float) -> None:
    source = create(Config(node="node1", interval_seconds=configured))
    assert (source.name, source.interval_seconds) == ("amdgpu", used)
