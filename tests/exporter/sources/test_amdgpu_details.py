"""What AMD cards say beside their power: clocks, memory, temperatures, limits, errors, reasons."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fixtures.amdgpu import Tree, mi300x, table
from tests.fixtures.sysfs import write

from wattshed_exporter import semconv
from wattshed_exporter.config import Config, Roots
from wattshed_exporter.sources.amdgpu import Amdgpu
from wattshed_exporter.sources.gpu_metrics import parse

SENSORS = {
    "temp1_label": "edge",
    "temp1_input": 41_000,
    "temp2_label": "junction",
    "temp2_input": 58_000,
    "temp3_label": "mem",
    "temp3_input": 62_500,
    "freq1_label": "sclk",
    "freq1_input": 2_100_000_000,
    "freq2_label": "mclk",
    "freq2_input": 1_300_000_000,
    "power1_cap_default": 750_000_000,
    "power1_cap_min": 0,
    "power1_cap_max": 750_000_000,
}
FILES = {"mem_info_vram_total": 206_141_652_992, "mem_busy_percent": 37}
SAID = {
    ("wattshed_memory_total_bytes",): 206_141_652_992,
    ("wattshed_memory_activity_ratio",): 0.37,
    ("wattshed_clock_hertz", "graphics"): 2.1e9,
    ("wattshed_clock_hertz", "memory"): 1.3e9,
    ("wattshed_sensor_temperature_celsius", "edge"): 41.0,
    ("wattshed_sensor_temperature_celsius", "junction"): 58.0,
    ("wattshed_sensor_temperature_celsius", "mem"): 62.5,
    ("wattshed_power_limit_bound_watts", "default"): 750.0,
    ("wattshed_power_limit_bound_watts", "min"): 0.0,
    ("wattshed_power_limit_bound_watts", "max"): 750.0,
    ("wattshed_ecc_errors_total", "uncorrected"): 1.0,
    ("wattshed_ecc_errors_total", "corrected"): 12.0,
}


def card(tree: Tree) -> Path:
    folder = mi300x(tree, vbios_version="113-MI3SRIOV-001", **FILES)
    for name, said in SENSORS.items():
        write(folder / "hwmon/hwmon4" / name, said)
    (folder / "ras").mkdir()
    write(folder / "ras/umc_err_count", "ue: 1\nce: 12")
    return folder


def details(source: Amdgpu) -> dict[tuple[str, ...], float]:
    said = source.read().details
    assert all(len(d.attributes) == len(semconv.DETAIL_METRICS[d.metric].own) for d in said)
    return {(d.metric, *d.attributes): d.value for d in said}


def test_everything_that_a_card_says(tree: Tree) -> None:
    card(tree)
    (tree.root / "module/amdgpu").mkdir(parents=True)
    write(tree.root / "module/amdgpu/version", "6.12.12")
    source = tree.source()
    (device,) = source.discover()
    assert (device.firmware, device.driver) == ("113-MI3SRIOV-001", "6.12.12")
    said = source.read().details
    assert {(d.device, d.ts_ms, d.start_ms) for d in said} == {
        (device.key, tree.now_ns // 1_000_000, None)
    }
    tree.now_ns += 5_000_000_000
    assert details(source) == SAID


def test_details_keep_their_own_beat(tree: Tree) -> None:
    card(tree)
    roots = Roots(sysfs=tree.root)
    config = Config(node="node1", detail_seconds=3.0, roots=roots)
    source = Amdgpu(config, clock=lambda: tree.now_ns, sleep=tree.sleep)
    source.discover()
    told = []
    for _ in range(7):
        told.append(bool(source.read().details))
        tree.now_ns += 1_000_000_000
    assert told == [True, False, False, True, False, False, True]
    tree.now_ns -= 10**15
    source.read()
    tree.now_ns += 3_000_000_000
    assert source.read().details, "a clock that was set back does not silence them for long"


def test_a_card_that_says_nothing_more(tree: Tree) -> None:
    folder = mi300x(tree)
    (folder / "hwmon/hwmon4/temp2_input").unlink()
    source = tree.source()
    source.discover()
    assert details(source) == {}


@pytest.mark.parametrize(
    ("bits", "reasons"),
    [
        (0, []),
        (1 << 0, ["power"]),
        (1 << 22 | 1 << 7, ["power", "current"]),
        (1 << 36 | 1 << 47, ["thermal"]),
        (1 << 57, ["other"]),
    ],
)
def test_why_the_clocks_are_held_down(tree: Tree, bits: int, reasons: list[str]) -> None:
    packed = bytearray(table(3, 200, 5))
    struct.pack_into("=Q", packed, 112, bits)
    assert parse(bytes(packed)).throttlers == bits
    tree.card(hwmon={"power1_average": 200_000_000}, gpu_metrics=bytes(packed))
    source = tree.source()
    source.discover()
    said = details(source)
    assert [label for (_, label), value in said.items() if value] == reasons
    assert len(said) == 4


def test_a_sleeping_card_is_asked_for_nothing(tree: Tree) -> None:
    folder = card(tree)
    write(folder / "power/runtime_status", "suspended")
    source = tree.source()
    source.discover()
    assert source.read().details == []
    write(folder / "power/runtime_status", "active")
    source.discover()
    tree.now_ns += 5_000_000_000
    assert details(source) == SAID


CONTENT = st.binary(max_size=30) | st.integers(-5, 2**70).map(lambda n: b"%d\n" % n)
LABELS = st.sampled_from([b"sclk", b"mclk", b"edge", b"mem\n", b"\xff"]) | CONTENT
ERRORS = st.sampled_from([b"ue: 3\nce: 99999999999999999999\n", b"ue: -1\nce: x", b"ce: 1"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries({name: CONTENT for name in SENSORS if "label" not in name}),
    st.fixed_dictionaries({name: LABELS for name in SENSORS if "label" in name}),
    st.fixed_dictionaries(dict.fromkeys(FILES, CONTENT)),
    ERRORS | CONTENT,
)
def test_any_files_give_details_that_can_be(
    tmp_path_factory: pytest.TempPathFactory,
    sensors: dict[str, bytes],
    labels: dict[str, bytes],
    files: dict[str, bytes],
    errors: bytes,
) -> None:
    tree = Tree(tmp_path_factory.mktemp("sysfs"))
    folder = card(tree)
    for name, said in {**sensors, **labels}.items():
        (folder / "hwmon/hwmon4" / name).write_bytes(said)
    for name, said in {**files, "ras/umc_err_count": errors}.items():
        (folder / name).write_bytes(said)
    source = tree.source()
    source.discover()
    for key, value in details(source).items():
        assert 0 <= value <= 2**64
        assert all(label.isprintable() for label in key)
        assert value <= 1 or not key[0].endswith("_ratio")
