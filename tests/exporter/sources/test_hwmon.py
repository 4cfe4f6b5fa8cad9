"""The hwmon source over trees of files: recorded ones, and some built from the kernel's documents.

No recording of an ACPI meter, an Intel GPU or a Jetson's sysfs may be passed on: those trees are
written here from the documents that ``hwmon_chips`` names. The rails' names and powers of eight
Jetsons come from recorded lines of tegrastats.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.sysfs import (
    add_chip,
    refusing,
    unpack,
    unprivileged,
)

from wattshed_exporter.config import Config, Roots
from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import Device, Kind, Method, Overlap, Reading
from wattshed_exporter.sources.hwmon import Hwmon, create

INNER, OUTER, NONE = Overlap.INNER, Overlap.OUTER, Overlap.NONE
NOW_MS = 1_700_000_000_123


def hwmon(sysfs: Path, interval: float = 1.0) -> Hwmon:
    config = Config(node="node1", site="here", interval_seconds=interval, roots=Roots(sysfs=sysfs))
    return Hwmon(config, clock=lambda: NOW_MS * 1_000_000 + 999_999)


def rails(*labels: str, milliwatts: int = 1000) -> dict[str, object]:
    """Files of an INA3221 with these rails at 5 V, and the shunt voltages that are none."""
    files: dict[str, object] = {"in7_label": "sum of shunt voltages", "in7_input": 12_000}
    files["curr4_input"] = 999
    for n, label in enumerate(labels, 1):
        files |= {f"in{n}_label": label, f"in{n}_input": 5000, f"in{n}_enable": 1}
        files |= {f"curr{n}_input": milliwatts // 5, f"in{n + 3}_input": 4000 + n}
    return files


def placed(sysfs: Path) -> list[tuple[str, Kind, Overlap, str]]:
    devices = hwmon(sysfs).discover()
    names = {device.key: device.name for device in devices} | {"": ""}
    return [(d.name, d.kind, d.overlap, names[d.parent]) for d in devices]


@pytest.fixture
def orin_nx(tmp_path: Path) -> Path:
    add_chip(tmp_path, 1, "ina3221", rails("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"), "1-0040")
    model = tmp_path / "firmware/devicetree/base/model"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"NVIDIA Jetson Orin NX Engineering Reference Developer Kit\0")
    return tmp_path


def test_rails_of_a_module(orin_nx: Path) -> None:
    total, compute, soc = hwmon(orin_nx).discover()
    assert total == Device(
        key="node1/hwmon/ina3221-1-0040/in1",
        kind=Kind.MODULE,
        node="node1",
        source="hwmon",
        name="VDD_IN",
        model="NVIDIA Jetson Orin NX Engineering Reference Developer Kit",
        site="here",
        scope="VDD_IN",
        method=Method.INTEGRAL,
    )
    assert (compute.name, compute.kind, compute.overlap) == ("VDD_CPU_GPU_CV", Kind.MODULE, INNER)
    assert (soc.name, soc.overlap) == ("VDD_SOC", INNER)
    assert {compute.parent, soc.parent} == {total.key}


def test_read_gives_volts_times_amperes(orin_nx: Path) -> None:
    source = hwmon(orin_nx)
    source.discover()
    chip = orin_nx / "class/hwmon/hwmon1"
    (chip / "in1_input").write_text("19064\n")
    (chip / "curr1_input").write_text("278\n")
    first, *_ = source.read().readings
    assert first == Reading("node1/hwmon/ina3221-1-0040/in1", NOW_MS, power_watts=5.299792)


BOARDS = {
    "agx-orin": 4940 + 988 + 4442,
    "agx-orin_r36": 3205 + 4405 + 4767,
    "agx-xavier": 311 + 932 + 621 + 1482,
    "jetson-nano": 1022,
    "jetson-tx1": 2532,
    "jetson-tx2": 3056,
    "orin-nx_mW-suffix": 5299,
    "xavier-nx": 4067,
}


@pytest.mark.parametrize("board", BOARDS)
def test_recorded_rails_add_up_once(data: Path, tmp_path: Path, board: str) -> None:
    line = (data / f"recordings/tegrastats/datadog-agent/{board}.txt").read_text()
    said = re.findall(r"(\w+) (\d+)(?:mW)?/\d+(?:mW)?(?= |$)", line.strip())
    for chip in range(0, len(said), 3):
        files: dict[str, object] = {}
        for n, (label, milliwatts) in enumerate(said[chip : chip + 3], 1):
            files |= {f"in{n}_label": label, f"in{n}_input": 1000, f"curr{n}_input": milliwatts}
        add_chip(tmp_path, chip, "ina3221", files, f"1-004{chip // 3}")
    source = hwmon(tmp_path)
    devices = source.discover()
    assert {device.name for device in devices} == {label for label, _ in said}
    outer = [device.overlap is NONE for device in devices]
    powers = [reading.power_watts or 0.0 for reading in source.read().readings]
    total = sum(watts for watts, counts in zip(powers, outer, strict=True) if counts)
    assert total == pytest.approx(BOARDS[board] / 1000)
    if "VDD_IN" in line or "POM_5V_IN" in line:
        assert outer.count(True) == 1
        assert all(device.parent for device in devices if device.overlap is INNER)


def test_rails_of_an_agx_orin(tmp_path: Path) -> None:
    add_chip(tmp_path, 3, "ina3221", rails("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"), "1-0040")
    add_chip(tmp_path, 4, "ina3221", rails("NC", "VDDQ_VDD2_1V8AO", "NC"), "1-0041")
    assert placed(tmp_path) == [
        ("VDD_GPU_SOC", Kind.MODULE, NONE, ""),
        ("VDD_CPU_CV", Kind.MODULE, NONE, ""),
        ("VIN_SYS_5V0", Kind.BOARD, NONE, ""),
        ("VDDQ_VDD2_1V8AO", Kind.MODULE, INNER, "VIN_SYS_5V0"),
    ]


def test_rails_of_an_agx_thor(tmp_path: Path) -> None:
    vin = {"label": "VIN", "power1_input": 23_000_000, "in0_input": 1, "in1_input": 20_000}
    add_chip(tmp_path, 1, "ina3221", rails("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"), "2-0040")
    add_chip(tmp_path, 2, "ina238", vin | {"curr1_input": 1_150}, "2-0044")
    assert placed(tmp_path) == [
        ("VDD_GPU", Kind.GPU, INNER, "VIN"),
        ("VDD_CPU_SOC_MSS", Kind.MODULE, INNER, "VIN"),
        ("VIN_SYS_5V0", Kind.BOARD, INNER, "VIN"),
        ("VIN", Kind.BOARD, NONE, ""),
    ]


def test_rails_of_a_tx2_and_its_carrier(tmp_path: Path) -> None:
    add_chip(tmp_path, 1, "ina3221", rails("VDD_SYS_GPU", "VDD_SYS_SOC", "VDD_4V0_WIFI"), "0-0040")
    add_chip(tmp_path, 2, "ina3221", rails("VDD_IN", "VDD_SYS_CPU", "VDD_SYS_DDR"), "0-0041")
    add_chip(tmp_path, 3, "ina3221", rails("VDD_MUX", "VDD_5V0_IO_SYS", "VDD_3V3_SYS"), "1-0042")
    assert placed(tmp_path) == [
        ("VDD_SYS_GPU", Kind.GPU, INNER, "VDD_IN"),
        ("VDD_SYS_SOC", Kind.MODULE, INNER, "VDD_IN"),
        ("VDD_4V0_WIFI", Kind.BOARD, INNER, "VDD_IN"),
        ("VDD_IN", Kind.MODULE, NONE, ""),
        ("VDD_SYS_CPU", Kind.CPU, INNER, "VDD_IN"),
        ("VDD_SYS_DDR", Kind.MEMORY, INNER, "VDD_IN"),
        ("VDD_MUX", Kind.BOARD, NONE, ""),
        ("VDD_5V0_IO_SYS", Kind.BOARD, INNER, "VDD_MUX"),
        ("VDD_3V3_SYS", Kind.BOARD, INNER, "VDD_MUX"),
    ]


def test_a_nameless_rail_counts_only_where_it_is_alone(tmp_path: Path) -> None:
    add_chip(tmp_path, 1, "ina226", {"power1_input": 4_200_000}, "1-0041")
    assert placed(tmp_path) == [("ina226-1-0041/power1", Kind.BOARD, NONE, "")]
    add_chip(tmp_path, 2, "ina3221", rails("VDD_IN"), "1-0040")
    assert placed(tmp_path)[0] == ("ina226-1-0041/power1", Kind.BOARD, INNER, "")


def test_power_and_energy_of_one_sensor_are_one_meter(tmp_path: Path) -> None:
    files = {"power1_input": 1_500_000, "energy1_input": 77, "in1_input": 5, "curr1_input": 5}
    add_chip(tmp_path, 0, "ina228", files, "1-0045")
    source = hwmon(tmp_path)
    (device,) = source.discover()
    assert (device.method, device.counter_range_uj) == (Method.COUNTER, None)
    assert source.read().readings == [Reading(device.key, NOW_MS, 1.5, 77)]


def test_intel_gpus(tmp_path: Path) -> None:
    limits = {"power1_max": 190_000_000, "curr1_crit": 40_000, "in0_input": 900}
    counters = {"energy1_input": 10**13, "energy2_input": 9 * 10**12, "energy1_label": "card"}
    add_chip(tmp_path, 0, "xe", limits | counters | {"energy2_label": "pkg"}, "0000:03:00.0")
    add_chip(tmp_path, 1, "xe", limits | {"energy2_input": 5}, "0000:04:00.0")
    add_chip(tmp_path, 2, "i915", limits | {"energy1_input": 6}, "0000:05:00.0")
    add_chip(tmp_path, 3, "i915_gt0", {"energy1_input": 4}, "0000:05:00.0")
    assert placed(tmp_path) == [
        ("card", Kind.GPU, NONE, ""),
        ("pkg", Kind.GPU, INNER, "card"),
        ("xe-0000:04:00.0/energy2", Kind.GPU, NONE, ""),
        ("i915-0000:05:00.0/energy1", Kind.GPU, NONE, ""),
        ("i915_gt0-0000:05:00.0/energy1", Kind.GPU, INNER, ""),
    ]
    source = hwmon(tmp_path)
    assert {device.vendor for device in source.discover()} == {"Intel"}
    energies = [reading.energy_uj for reading in source.read().readings]
    assert energies == [10**13, 9 * 10**12, 5, 6, 4]


@pytest.mark.parametrize("state", ["suspended", "suspending"])
def test_a_sleeping_gpu_is_not_woken(tmp_path: Path, state: str) -> None:
    chip = add_chip(tmp_path, 0, "xe", {"energy1_input": 7}, "0000:03:00.0")
    status = tmp_path / "devices/0000:03:00.0/power/runtime_status"
    status.parent.mkdir()
    status.write_text(f"{state}\n")
    (chip / "energy1_input").unlink()
    (chip / "energy1_input").mkdir()
    source = hwmon(tmp_path)
    (device,) = source.discover()
    assert source.read().readings == [Reading(device.key, NOW_MS, gap="suspended")]
    status.write_text("active\n")
    assert source.read().readings[0].gap == "io_error"


@pytest.mark.parametrize("old_driver", [True, False])
def test_acpi_power_meter(tmp_path: Path, old_driver: bool) -> None:
    folder = add_chip(tmp_path, 0, "power_meter", {}, "ACPI000D:00")
    home = tmp_path / "devices/ACPI000D:00" if old_driver else folder
    if old_driver:
        (folder / "name").rename(home / "name")
    (home / "power1_average").write_text("182000000\n")
    (home / "power1_average_interval").write_text("300000\n")
    (home / "power1_average_interval_max").write_text("300000\n")
    source = hwmon(tmp_path)
    (device,) = source.discover()
    assert (device.key, device.kind, device.overlap) == (
        "node1/hwmon/power_meter-ACPI000D:00/power1",
        Kind.HOST,
        OUTER,
    )
    assert source.read().readings[0].power_watts == 182.0
    (home / "power1_average").write_text(f"{0xFFFFFFFF * 1000}\n")
    assert source.read().readings[0] == Reading(device.key, NOW_MS, gap="no_data")


@pytest.mark.parametrize(
    ("interval", "watts"),
    [("", 118.0), ("nonsense", 118.0), ("1000", 118.0), ("60000", 120.0), ("2685198000", 120.0)],
)
def test_a_short_mean_goes_before_a_momentary_value(
    tmp_path: Path, interval: str, watts: float
) -> None:
    files = {"power1_average": 118_000_000, "power1_input": 120_000_000}
    add_chip(tmp_path, 0, "fam15h_power", files | {"power1_average_interval": interval})
    source = hwmon(tmp_path)
    source.discover()
    assert source.read().readings[0].power_watts == watts


def test_a_mean_over_a_month_is_no_meter(tmp_path: Path) -> None:
    files = {"power1_average": 118_000_000, "power1_average_interval": 2_685_198_000}
    add_chip(tmp_path, 0, "power_meter", files)
    with pytest.raises(NoData):
        hwmon(tmp_path).discover()


def test_what_other_sources_own_is_left_to_them(tmp_path: Path) -> None:
    add_chip(tmp_path, 0, "amdgpu", {"power1_average": 1, "energy1_input": 1}, "0000:03:00.0")
    add_chip(tmp_path, 1, "nvme", {"temp1_input": 40_000, "fan1_input": 900}, "nvme0")
    with pytest.raises(NoData):
        hwmon(tmp_path).discover()
    cores = {"energy1_label": "Ecore000", "energy1_input": 5}
    sockets = {"energy2_label": "Esocket0", "energy2_input": 9}
    add_chip(tmp_path, 2, "amd_energy", cores | sockets, "amd_energy.0")
    assert placed(tmp_path) == [
        ("Ecore000", Kind.CPU, INNER, ""),
        ("Esocket0", Kind.CPU, NONE, ""),
    ]
    (tmp_path / "class/powercap/intel-rapl:0").mkdir(parents=True)
    with pytest.raises(NoData):
        hwmon(tmp_path).discover()


def test_keys_do_not_depend_on_the_number(tmp_path: Path) -> None:
    for root, number in ((tmp_path / "a", 1), (tmp_path / "b", 5)):
        add_chip(root, number, "ina226", {"power1_input": 1}, "1-0041")
    first, second = hwmon(tmp_path / "a").discover(), hwmon(tmp_path / "b").discover()
    assert first == second


def test_chips_of_one_name_stay_apart(tmp_path: Path) -> None:
    for number in (0, 1):
        add_chip(tmp_path, number, "asus", {"power1_label": "PSU", "power1_input": 7 + number})
    source = hwmon(tmp_path)
    devices = source.discover()
    assert [device.key for device in devices] == [
        "node1/hwmon/asus@hwmon0/power1",
        "node1/hwmon/asus@hwmon1/power1",
    ]
    assert [device.name for device in devices] == ["asus@hwmon0/power1", "asus@hwmon1/power1"]
    assert [reading.power_watts for reading in source.read().readings] == [7e-06, 8e-06]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "malformed"),
        ("12.5", "malformed"),
        ("1_000", "malformed"),
        ("0x10", "malformed"),
        ("9" * 21, "malformed"),
        ("\xb2", "malformed"),
        ("-392", "negative"),
    ],
)
def test_garbage_leaves_the_others(orin_nx: Path, content: str, reason: str) -> None:
    source = hwmon(orin_nx)
    devices = source.discover()
    current = orin_nx / "class/hwmon/hwmon1/curr2_input"
    current.write_text(content)
    readings = source.read().readings
    assert readings[1] == Reading(devices[1].key, NOW_MS, gap=reason)
    assert [reading.power_watts for reading in readings] == [1.0, None, 1.0]
    current.write_text("100\n")
    assert source.read().readings[1].power_watts == 0.5


def test_one_chip_vanishes_and_comes_back(orin_nx: Path) -> None:
    add_chip(orin_nx, 2, "ina226", {"power1_input": 3_000_000}, "1-0045")
    source = hwmon(orin_nx)
    source.discover()
    link = orin_nx / "class/hwmon/hwmon2"
    target = os.readlink(link)
    link.unlink()
    assert [reading.gap for reading in source.read().readings] == ["", "", "", "vanished"]
    link.symlink_to(target)
    assert source.read().readings[3].power_watts == 3.0


def test_all_chips_vanish_and_come_back(orin_nx: Path) -> None:
    source = hwmon(orin_nx)
    source.discover()
    link = orin_nx / "class/hwmon/hwmon1"
    link.rename(orin_nx / "away")
    with pytest.raises(DevicesChanged):
        source.read()
    with pytest.raises(NoData):
        source.discover()
    (orin_nx / "away").rename(link)
    assert len(source.discover()) == 3


def test_a_channel_switched_off_while_it_runs(orin_nx: Path) -> None:
    source = hwmon(orin_nx)
    source.discover()
    with refusing(errno.ENODATA, "in"):
        assert [reading.gap for reading in source.read().readings] == ["no_data"] * 3


@pytest.mark.parametrize("files", [{}, {"temp1_input": 1}, {"in1_input": 1}, {"curr1_input": 2}])
def test_no_power_is_no_data(tmp_path: Path, files: Mapping[str, object]) -> None:
    with pytest.raises(NoData, match="no chip that measures"):
        hwmon(tmp_path).discover()
    add_chip(tmp_path, 0, "ina3221", files)
    with pytest.raises(NoData):
        hwmon(tmp_path).discover()


def test_no_permission(public: Path) -> None:
    first = (
        add_chip(public, 0, "amd_energy", {"energy1_input": 1}, "amd_energy.0") / "energy1_input"
    )
    first.chmod(0)
    source = hwmon(public)
    with unprivileged(), pytest.raises(SourceError, match="run the exporter as root") as caught:
        source.discover()
    assert caught.value.reason == "permission"
    add_chip(public, 1, "ina226", {"power1_input": 2_000_000}, "1-0045")
    with unprivileged():
        source.discover()
        assert [reading.gap for reading in source.read().readings] == ["permission", ""]
    first.chmod(0o444)
    with unprivileged():
        assert [reading.gap for reading in source.read().readings] == ["", ""]


def test_no_permission_to_list(public: Path) -> None:
    add_chip(public, 0, "ina226", {"power1_input": 1})
    (public / "class/hwmon").chmod(0)
    with unprivileged(), pytest.raises(SourceError) as caught:
        hwmon(public).discover()
    assert caught.value.reason == "permission"


def test_a_class_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    (tmp_path / "class/hwmon").write_text("")
    with pytest.raises(SourceError) as caught:
        hwmon(tmp_path).discover()
    assert caught.value.reason == "io_error"


@pytest.mark.parametrize(("configured", "used"), [(1.0, 1.0), (300.0, 60.0)])
def test_interval_is_short_enough(tmp_path: Path, configured: float, used: float) -> None:
    assert hwmon(tmp_path, configured).interval_seconds == used


def test_create_opens_nothing() -> None:
    assert create(Config(node="node1")).name == "hwmon"


CONTENTS = st.one_of(
    st.binary(max_size=30),
    st.integers(-(10**21), 10**21).map(lambda n: str(n).encode()),
    st.sampled_from([b"0\n", b"1\n", b"VDD_IN\n", b"NC\n", b"Ecore1\n", b"suspended"]),
)
STEMS = [f"{stem}{n}" for stem in ("power", "energy", "in", "curr") for n in range(4)]
ODD = ["name", "label", "device", "power1_average_interval", "energy1_average", "power99999_input"]
FILES = st.sampled_from(
    ODD + [f"{stem}_{item}" for stem in STEMS for item in ("input", "average", "label", "enable")]
)
CHIPS = [b"ina3221\n", b"ina238", b"xe", b"i915_gt1", b"amd_energy", b"power_meter"]


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(FILES, CONTENTS, max_size=20), st.sampled_from(CHIPS) | CONTENTS)
def test_any_content_gives_readings_or_gaps(files: Mapping[str, bytes], name: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sysfs = Path(folder)
        for number in (0, 1):
            chip = sysfs / f"class/hwmon/hwmon{number}"
            chip.mkdir(parents=True)
            for file, content in {"name": name, **files}.items():
                (chip / file).write_bytes(content)
        source = hwmon(sysfs)
        try:
            devices = source.discover()
            readings = source.read().readings
        except SourceError:
            return
        assert len({device.key for device in devices}) == len(devices) == len(readings)
        assert all(device.key.encode() and device.name for device in devices)
        for reading in readings:
            values = [v for v in (reading.power_watts, reading.energy_uj) if v is not None]
            assert all(0 <= value < 10**41 for value in values)
            assert bool(values) != bool(reading.gap)


def test_recorded_tree_of_node_exporter(data: Path, tmp_path: Path) -> None:
    """Links, a chip without a name, shared labels and ``power/`` folders, but no power."""
    archive = data / "recordings/sysfs/node_exporter_fixtures/sys.ttar"
    unpack(archive, ("sys/class/hwmon", "sys/devices"), tmp_path)
    assert (tmp_path / "sys/class/hwmon/hwmon0/name").read_text() == "coretemp\n"
    with pytest.raises(NoData):
        hwmon(tmp_path / "sys").discover()
    chip = tmp_path / "sys/class/hwmon/hwmon4"
    assert not (chip / "name").exists()
    (chip / "power1_input").write_text("2500000\n")
    (tmp_path / "sys/class/hwmon/hwmon0/power1_input").write_text("1500000\n")
    source = hwmon(tmp_path / "sys")
    assert [device.key for device in source.discover()] == [
        "node1/hwmon/coretemp-coretemp.0/power1",
        "node1/hwmon/hwmon4/power1",
    ]
    assert [reading.power_watts for reading in source.read().readings] == [1.5, 2.5]


RECORDED = {
    "k10temp/power1": 45.0,
    "k10temp/power2": 15.0,
    "platform_sensor/power1": 30.0,
    "multi_sensor/power1": 50.0,
    "multi_sensor/power2": 30.0,
    "hwmon_device_path/power1": 25.0,
    "hwmon_dir_fallback/power1": 35.0,
    "ina3221@hwmon_disabled_channel/in1": 12.0,
    "ina3221@hwmon_disabled_channel/in2": 10.0,
    "test_power_chip/power1": 45.0,
    "test_power_chip/power2": 15.0,
    "ina226@hwmon_ina226/in1": 60.0,
    "ina3221@hwmon_ina3221/in1": 12.0,
    "ina3221@hwmon_ina3221/in2": 2.5,
    "ina3221@hwmon_ina3221/in3": 0.66,
    "max20730/in2": 120.0,
    "ina3221@hwmon_voltage_current/in1": 60.0,
    "ina3221@hwmon_voltage_current_average/in1": 57.82,
    "ina3221@hwmon_voltage_current_multi/in1": 60.0,
    "ina3221@hwmon_voltage_current_multi/in2": 33.0,
    "ina3221@hwmon_voltage_current_partial_average/in1": 60.0,
}
RECORDED_UJ = {
    "energy_meter/energy1": 500_000_000,
    "energy_with_enable/energy1": 500_000_000,
    "energy_with_enable/energy2": 200_000_000,
    "multi_energy/energy1": 500_000_000,
    "multi_energy/energy2": 200_000_000,
    "multi_energy/energy3": 100_000_000,
    "power_chip/energy1": 300_000_000,
}


def test_recorded_tree_of_kepler(data: Path) -> None:
    """All its chips at once; amdgpu's, the switched off and the undocumented ones are left out."""
    source = hwmon(data / "recordings/sysfs/kepler_testdata/sys")
    devices = source.discover()
    readings = source.read().readings
    keys = [device.key.removeprefix("node1/hwmon/") for device in devices]
    powers = {k: r.power_watts for k, r in zip(keys, readings, strict=True) if r.energy_uj is None}
    energies = {k: r.energy_uj for k, r in zip(keys, readings, strict=True) if r.energy_uj}
    assert powers == RECORDED
    assert energies == RECORDED_UJ
    assert {d.overlap for d in devices if not d.key.startswith("node1/hwmon/ina")} == {INNER}
    assert {d.method for d in devices if "/energy" in d.key} == {Method.COUNTER}
