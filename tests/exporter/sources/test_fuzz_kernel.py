"""Whatever the files of procfs and powercap hold: a reading that can be, a gap or a reason."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.mutate import refused, spoiled_bytes
from tests.fixtures.sysfs import add_zone

from wattshed_exporter.__main__ import boot_ms
from wattshed_exporter.config import Config, Roots
from wattshed_exporter.errors import SourceError
from wattshed_exporter.sources.cpu_time import read_cpu_times, utilization
from wattshed_exporter.sources.estimate import Estimate
from wattshed_exporter.sources.rapl import Rapl, cpu_model, zone_paths

STAT = b"cpu  10 2 3 400 5 6 7 8 9 0\ncpu0 5 1 1 200 2 3 3 4 4 0\nbtime 1700000000\nctxt 5\n"
CPUINFO = b"processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon\n\nprocessor\t: 1\n"


@pytest.fixture(scope="module")
def procfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("procfs")


@given(spoiled_bytes([STAT]) | st.binary(max_size=80))
def test_any_stat(procfs: Path, content: bytes) -> None:
    (procfs / "stat").write_bytes(content)
    boot = boot_ms(procfs)
    assert boot is None or boot >= 0
    with refused("malformed"):
        times = read_cpu_times(procfs / "stat")
        assert times.cpus >= 1
        assert all(ticks >= 0 for ticks in (*times.busy, *times.quiet))


@given(spoiled_bytes([STAT]), spoiled_bytes([STAT]))
def test_any_two_stats(procfs: Path, first: bytes, second: bytes) -> None:
    source = Estimate(Config(node="n1", roots=Roots(procfs=procfs)), clock=lambda: 10**18)
    try:
        (procfs / "stat").write_bytes(first)
        source.discover()
    except SourceError:
        return
    source.read()
    (procfs / "stat").write_bytes(second)
    (reading,) = source.read().readings
    assert bool(reading.gap) == (reading.power_watts is None)
    assert reading.power_watts is None or 0 < reading.power_watts < 10**7
    assert reading.utilization_ratio is None or 0 <= reading.utilization_ratio <= 1


def test_stats_of_different_kernels_do_not_match(procfs: Path) -> None:
    (procfs / "stat").write_bytes(b"cpu  1 0 0 1 0 0 0\n")
    old = read_cpu_times(procfs / "stat")
    (procfs / "stat").write_bytes(STAT)
    ratio = utilization(old, read_cpu_times(procfs / "stat"))
    assert ratio is None or 0 <= ratio <= 1


@given(spoiled_bytes([CPUINFO]) | st.binary(max_size=80))
def test_any_cpuinfo(procfs: Path, content: bytes) -> None:
    (procfs / "cpuinfo").write_bytes(content)
    for said in cpu_model(procfs):
        said.encode()
        assert said.isprintable()


def test_cpuinfo_without_end(procfs: Path) -> None:
    (procfs / "cpuinfo").write_bytes(b"model name: " + b"x" * 10_000_000)
    assert len(cpu_model(procfs)[1]) < 5000


CONTENTS = st.binary(max_size=30) | st.integers(-5, 10**25).map(lambda n: b"%d\n" % n)
NAMES = st.sampled_from([b"package-0", b"psys", b"dram", b"core", b"package-0-die-1"]) | CONTENTS
DIRECTORIES = [
    "intel-rapl:0",
    "intel-rapl:0:0",
    "intel-rapl:0:a",
    "intel-rapl:1",
    "intel-rapl-mmio:0",
]
ZONES = st.dictionaries(
    st.sampled_from(DIRECTORIES), st.tuples(NAMES, CONTENTS, CONTENTS), min_size=1
)


@settings(max_examples=100, deadline=None)
@given(ZONES)
def test_any_zones(zones: Mapping[str, tuple[bytes, bytes, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for directory, (name, energy, limit) in zones.items():
            add_zone(Path(folder), directory, "", energy, limit)
            (Path(folder) / "class/powercap" / directory / "name").write_bytes(name)
        source = Rapl(Config(node="n1", roots=Roots(sysfs=Path(folder))), clock=lambda: 10**18)
        devices = source.discover()
        readings = source.read().readings
    assert len({device.key for device in devices}) == len(devices) == len(readings)
    for device, reading in zip(devices, readings, strict=True):
        assert device.key.encode()
        assert device.name.isprintable()
        assert device.counter_range_uj is None or device.counter_range_uj > 0
        assert bool(reading.gap) == (reading.energy_uj is None)
        assert reading.energy_uj is None or 0 <= reading.energy_uj < 10**20


@given(st.dictionaries(st.text(":ab", min_size=1, max_size=8), st.text(max_size=8), max_size=8))
def test_paths_of_zones_are_unique(names: dict[str, str]) -> None:
    paths = zone_paths(names)
    assert paths.keys() == names.keys()
    kept = {(directory.partition(":")[0], path) for directory, path in paths.items()}
    assert len(kept) == len(names), "one path for each zone of an interface"
