"""The amdgpu source over trees of files built here, some with recorded values in them."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import re
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed_exporter.config import Config, Roots
from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.integrate import Meter
from wattshed_exporter.model import Device, Kind, Method, Reading
from wattshed_exporter.sources.amdgpu import Amdgpu, create
from wattshed_exporter.sources.amdgpu_card import Taken, agree
from wattshed_exporter.sources.gpu_metrics import NOTHING, Metrics, parse

START_NS = 1_700_000_000_123_000_000
RANGE_UJ = 65_712_999_628
SIZES = {0: 80, 1: 96, 2: 104, 3: 120, 4: 288, 5: 328, 6: 1664, 7: 2208, 8: 3360}
PLACES = {0: (34, 36), 1: (22, 24), 2: (22, 24), 3: (22, 24)}
PLACES |= {4: (10, 24), 5: (10, 56), 6: (10, 16), 7: (10, 24), 8: (10, 24)}
POWER_ID, ENERGY_ID, UNIT_WATT = 3, 7, 3
U16, U32, U64 = 2, 4, 6
Said = Any
"""What a file says: bytes, or anything that makes a line of text."""


def table(content: int, watts: int = 0xFFFF, units: int = 2**64 - 1, form: int = 1) -> bytes:
    """Pack a gpu_metrics table as the kernel does: all ones, then what the GPU fills in."""
    if content == 9:
        return listed((POWER_ID, U16, [watts]), (ENERGY_ID, U64, [units]))
    packed = bytearray(b"\xff" * SIZES[content])
    struct.pack_into("=HBB", packed, 0, len(packed), form, content)
    power, energy = PLACES[content]
    struct.pack_into("=H", packed, power, watts)
    if content == 0:
        struct.pack_into("=I", packed, energy, units & 0xFFFFFFFF)
    else:
        struct.pack_into("=Q", packed, energy, units)
    return bytes(packed)


def listed(*attributes: tuple[int, int, list[int]], count: int | None = None) -> bytes:
    """Pack a table of revision 1.9: a list of attributes, each with its encoding before it."""
    body = struct.pack("=i", len(attributes) if count is None else count)
    for identity, of, values in attributes:
        encoding = UNIT_WATT << 24 | of << 20 | identity << 10 | len(values)
        body += struct.pack(f"=Q{len(values)}{'BbHhIiQq'[of]}", encoding, *values)
    return struct.pack("=HBB", 4 + len(body), 1, 9) + body


class Tree:
    """A sysfs with cards, and a clock; ``burn`` moves the energy counters while time passes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now_ns = START_NS
        self.slept = 0
        self.burn: Callable[[float], None] = lambda _: None
        (root / "class/drm").mkdir(parents=True)

    def card(
        self,
        number: int = 0,
        driver: str = "amdgpu",
        hwmon: Mapping[str, object] | None = None,
        **files: Said,
    ) -> Path:
        slot = f"0000:{number + 3:02x}:00.0"
        folder = self.root / "devices/pci0000:00" / slot
        (folder / "power").mkdir(parents=True)
        for name, said in {"uevent": f"DRIVER={driver}\nPCI_SLOT_NAME={slot}", **files}.items():
            write(folder / name, said)
        write(folder / "power/runtime_status", "active")
        if hwmon is not None:
            (folder / f"hwmon/hwmon{number + 4}").mkdir(parents=True)
            for name, said in hwmon.items():
                write(folder / f"hwmon/hwmon{number + 4}" / name, said)
        drivers = self.root / "bus/pci/drivers" / driver
        drivers.mkdir(parents=True, exist_ok=True)
        (folder / "driver").symlink_to(drivers)
        card = self.root / f"class/drm/card{number}"
        card.mkdir()
        (card / "device").symlink_to(folder)
        return folder

    def source(self) -> Amdgpu:
        config = Config(node="node1", site="here", roots=Roots(sysfs=self.root))
        return Amdgpu(config, clock=lambda: self.now_ns, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.slept += 1
        self.now_ns += round(seconds * 1e9)
        self.burn(seconds)


def write(path: Path, said: object) -> None:
    path.write_bytes(said if isinstance(said, bytes) else f"{said}\n".encode())


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def mi300x(tree: Tree, number: int = 0, content: int = 6, **files: Said) -> Path:
    """Add a GPU of 200 W whose counter is right."""
    told: dict[str, Said] = {
        "unique_id": f"79ccd55167a2124{number}",
        "product_name": "AMD Instinct MI300X",
        "serial_number": "692251001124",
        "vendor": "0x1002",
        "device": "0x74a1",
        "gpu_busy_percent": 97,
        "mem_info_vram_used": 206_158_430_208,
    }
    sensors = {"power1_input": 200_000_000, "power1_cap": 750_000_000, "temp2_input": 42_000}
    folder = tree.card(number, hwmon=sensors, **told | files)
    charge(tree, folder, 200, content)
    return folder


def charge(tree: Tree, folder: Path, watts: float, content: int = 6, units: float = 1e6) -> None:
    """Let the counter of a card count so many watts while the source waits."""
    before, total = tree.burn, units

    def burn(seconds: float) -> None:
        nonlocal total
        before(seconds)
        total += watts * seconds * 65536
        write(folder / "gpu_metrics", table(content, 200, int(total)))

    tree.burn = burn
    burn(0)


def one(tree: Tree) -> tuple[Device, Reading]:
    source = tree.source()
    (device,) = source.discover()
    (reading,) = source.read().readings
    return device, reading


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


@pytest.mark.parametrize("content", range(10))
def test_table_of_each_revision(content: int) -> None:
    units = 3_000_000_000
    if content < 4:
        assert parse(table(content, 87, units)) == Metrics(87.0, 45_900_000_000, RANGE_UJ)
    else:
        assert parse(table(content, 87, units)) == Metrics(87.0, 45_776_367_187)


@pytest.mark.parametrize("content", range(10))
def test_what_a_table_does_not_fill_is_none(content: int) -> None:
    assert parse(table(content)) == NOTHING
    assert parse(table(content, 5)) == Metrics(5.0)


@pytest.mark.parametrize("content", range(10))
def test_table_cut_short_is_malformed(content: int) -> None:
    whole = table(content, 5, 6)
    for length in range(len(whole)):
        with pytest.raises(SourceError) as caught:
            parse(whole[:length])
        assert caught.value.reason == "malformed"
    claims_less = struct.pack("=H", 12) + whole[2:]
    with pytest.raises(SourceError):
        parse(claims_less)


def test_attributes_that_are_not_wanted_are_passed_over() -> None:
    gpu_clocks, temperature = (33, U16, [2100] * 8), (0, U16, [42])
    power, energy = (POWER_ID, U16, [194]), (ENERGY_ID, U64, [65536])
    said = listed(temperature, gpu_clocks, power, (60, U32, [1]), (61, 0, []), energy)
    assert parse(said) == Metrics(194.0, 1_000_000)
    assert parse(listed((POWER_ID, 3, [-1]), (ENERGY_ID, 7, [-5]))) == NOTHING
    with pytest.raises(SourceError):
        parse(listed(power, count=2))
    with pytest.raises(SourceError, match="unknown type"):
        parse(struct.pack("=HBBiQ", 16, 1, 9, 1, 0xF << 20))


@pytest.mark.parametrize(("form", "content"), [(2, 3), (3, 0), (1, 10), (0, 0)])
def test_tables_without_a_counter(form: int, content: int) -> None:
    assert parse(struct.pack("=HBB", 120, form, content) + bytes(116)) == NOTHING


@pytest.mark.parametrize("blob", [b"", b"\x04\x00\x01", b"\xff" * 64, bytes(3)])
def test_garbage_is_no_table(blob: bytes) -> None:
    with pytest.raises(SourceError):
        parse(blob)


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
    assert device.counter_range_uj == (RANGE_UJ if old else None)


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
                sample.result(5)
        else:
            assert sample.result(5).readings[0].power_watts == 190.0


@contextmanager
def refusing(monkeypatch: pytest.MonkeyPatch, code: int, name: str) -> Iterator[None]:
    """Let reads of a file fail as the kernel lets them fail, which no real file can do."""
    allowed = os.open

    def refused(path: str, flags: int, mode: int = 0o777) -> int:
        if Path(path).name.startswith(name):
            raise OSError(code, os.strerror(code), path)
        return allowed(path, flags, mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refused)
        yield


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
def test_refusals_of_the_kernel(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, code: int, gap: str
) -> None:
    folder = mi300x(tree)
    source = tree.source()
    source.discover()
    (folder / "gpu_metrics").unlink()
    with refusing(monkeypatch, code, "power1_"):
        assert source.read().readings[0].gap == gap
    assert source.read().readings[0].power_watts == 200.0


def test_refusal_at_first_is_made_up_for_later(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = mi300x(tree)
    said = (folder / "gpu_metrics").read_bytes()
    (folder / "gpu_metrics").unlink()
    source = tree.source()
    with refusing(monkeypatch, errno.EPERM, "power1_"):
        assert source.discover()[0].method is Method.INTEGRAL
        assert source.read().readings[0].gap == "not_ready"
    write(folder / "gpu_metrics", said)
    with pytest.raises(DevicesChanged):
        source.read()
    assert source.discover()[0].method is Method.COUNTER


@contextmanager
def unprivileged() -> Iterator[None]:
    """Drop root for a while, because root reads what nobody may read."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public() -> Iterator[Tree]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Tree(Path(folder))


def test_permission_denied(public: Tree) -> None:
    for number in (0, 1):
        mi300x(public, number)
    closed = [*public.root.rglob("power1_*"), *public.root.rglob("gpu_metrics")]
    for path in closed:
        path.chmod(0)
    source = public.source()
    with unprivileged(), pytest.raises(SourceError) as caught:
        source.discover()
    assert caught.value.reason == "permission"
    assert not isinstance(caught.value, NoData)
    for path in (path for path in closed if "0000:03" in str(path)):
        path.chmod(0o444)
    public.burn = lambda _: None
    with unprivileged():
        source.discover()
        assert [reading.gap for reading in source.read().readings] == ["", "permission"]


def test_no_permission_to_list(public: Tree) -> None:
    mi300x(public)
    (public.root / "class/drm").chmod(0)
    with unprivileged(), pytest.raises(SourceError) as caught:
        public.source().discover()
    assert caught.value.reason == "permission"


def test_close_may_be_repeated(tree: Tree) -> None:
    mi300x(tree)
    source = tree.source()
    source.close()
    source.discover()
    source.close()
    source.close()
    with pytest.raises(DevicesChanged):
        source.read()
    assert len(source.discover()) == 1


def test_read_holds_no_file(tree: Tree) -> None:
    mi300x(tree)
    source = tree.source()
    source.discover()
    before = len(os.listdir("/proc/self/fd"))
    source.read()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(("configured", "used"), [(1.0, 1.0), (60.0, 10.0)])
def test_interval_is_short_enough_for_32_bits(configured: float, used: float) -> None:
    source = create(Config(node="node1", interval_seconds=configured))
    assert (source.name, source.interval_seconds) == ("amdgpu", used)


@given(
    st.one_of(
        st.binary(max_size=400),
        st.builds(
            lambda content, form, body: struct.pack("=HBB", 4 + len(body), form, content) + body,
            st.integers(0, 12),
            st.integers(0, 3),
            st.binary(max_size=200),
        ),
        st.builds(
            lambda count, body: struct.pack("=HBBi", 8 + len(body), 1, 9, count) + body,
            st.integers(-(2**31), 2**31 - 1),
            st.binary(max_size=200),
        ),
    )
)
def test_any_table_is_read_or_malformed(blob: bytes) -> None:
    try:
        found = parse(blob)
    except SourceError:
        return
    for said in (found.power_watts, found.energy_uj):
        assert said is None or (math.isfinite(said) and said >= 0)


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
