"""The RAPL source over trees of files, some built here and some recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fixtures.sysfs import (
    add_zone,
    unpack,
    unprivileged,
)

from wattshed_exporter.config import Config, Roots
from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import Kind, Method, Overlap, Reading
from wattshed_exporter.sources.rapl import Rapl, cpu_model, create, zone_paths
from wattshed_exporter.sources.sysfs import read_number

RANGE_UJ = 262_143_328_850
CPUINFO = (
    "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 9654\n\nprocessor\t: 1\n"
)


def rapl(sysfs: Path, procfs: Path = Path("/nowhere"), interval: float = 1.0) -> Rapl:
    roots = Roots(sysfs=sysfs, procfs=procfs)
    config = Config(node="node1", site="here", interval_seconds=interval, roots=roots)
    return Rapl(config, clock=lambda: 1_700_000_000_123_999_999)


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """Two packages with DRAM, core and uncore zones, a psys zone and the mmio repeats."""
    add_zone(tmp_path, "intel-rapl:0", "package-0", 11)
    add_zone(tmp_path, "intel-rapl:0:0", "core", 12)
    add_zone(tmp_path, "intel-rapl:0:1", "dram", 13, 65_532_610_987)
    add_zone(tmp_path, "intel-rapl:1", "package-1", 21)
    add_zone(tmp_path, "intel-rapl:1:0", "uncore", 22)
    add_zone(tmp_path, "intel-rapl:2", "psys", 31)
    add_zone(tmp_path, "intel-rapl-mmio:0", "package-0", 41)
    add_zone(tmp_path, "intel-rapl-mmio:0:0", "dram", 42)
    (tmp_path / "class/powercap/intel-rapl").mkdir()
    (tmp_path / "class/powercap/dtpm:0").mkdir()
    return tmp_path


def test_zones_of_a_server(server: Path) -> None:
    devices = rapl(server).discover()
    assert [(d.name, d.kind, d.overlap, d.parent, d.scope) for d in devices] == [
        ("package-0", Kind.CPU, Overlap.NONE, "", "package"),
        ("package-0/core", Kind.CPU, Overlap.INNER, "node1/rapl/package-0", "core"),
        ("package-0/dram", Kind.MEMORY, Overlap.NONE, "node1/rapl/package-0", "dram"),
        ("package-1", Kind.CPU, Overlap.NONE, "", "package"),
        ("package-1/uncore", Kind.CPU, Overlap.INNER, "node1/rapl/package-1", "uncore"),
        ("psys", Kind.HOST, Overlap.OUTER, "", "psys"),
    ]
    assert [d.counter_range_uj for d in devices] == [RANGE_UJ] * 2 + [65_532_610_987] + [
        RANGE_UJ
    ] * 3
    assert {d.key for d in devices} == {f"node1/rapl/{d.name}" for d in devices}
    assert {(d.node, d.source, d.site, d.method) for d in devices} == {
        ("node1", "rapl", "here", Method.COUNTER)
    }


def test_read_gives_raw_counters(server: Path) -> None:
    source = rapl(server)
    source.discover()
    readings = source.read().readings
    assert [reading.energy_uj for reading in readings] == [11, 12, 13, 21, 22, 31]
    assert readings[1] == Reading("node1/rapl/package-0/core", 1_700_000_000_123, energy_uj=12)
    add_zone(server, "intel-rapl:0", "package-0", 5)
    assert source.read().readings[0].energy_uj == 5


def test_psys_alone_overlaps_nothing(tmp_path: Path) -> None:
    add_zone(tmp_path, "intel-rapl:0", "psys")
    (device,) = rapl(tmp_path).discover()
    assert (device.kind, device.overlap) == (Kind.HOST, Overlap.NONE)


def test_unknown_zones_are_never_counted_twice(tmp_path: Path) -> None:
    add_zone(tmp_path, "intel-rapl:0", "package-0-die-1")
    add_zone(tmp_path, "intel-rapl:0:0", "novel")
    add_zone(tmp_path, "intel-rapl:1", "novel")
    package, inside, beside = rapl(tmp_path).discover()
    assert (package.scope, package.overlap) == ("package", Overlap.NONE)
    assert (inside.kind, inside.overlap) == (Kind.CPU, Overlap.INNER)
    assert (beside.kind, beside.overlap) == (Kind.HOST, Overlap.OUTER)


def test_mmio_counts_where_nothing_else_does(tmp_path: Path) -> None:
    add_zone(tmp_path, "intel-rapl-mmio:0", "package-0", 77)
    source = rapl(tmp_path)
    assert [device.key for device in source.discover()] == ["node1/rapl/package-0"]
    assert source.read().readings[0].energy_uj == 77


def test_twins_get_their_number() -> None:
    names = {
        "intel-rapl:0": "package-0",
        "intel-rapl:1": "psys",
        "intel-rapl:2": "package-1",
        "intel-rapl:3": "psys",
        "intel-rapl:0:0": "dram",
        "intel-rapl:2:0": "dram",
        "intel-rapl:2:1": "dram",
        "intel-rapl:a": "package-10",
    }
    assert zone_paths(names) == {
        "intel-rapl:0": "package-0",
        "intel-rapl:1": "psys@1",
        "intel-rapl:2": "package-1",
        "intel-rapl:3": "psys@3",
        "intel-rapl:0:0": "package-0/dram",
        "intel-rapl:2:0": "package-1/dram@0",
        "intel-rapl:2:1": "package-1/dram@1",
        "intel-rapl:a": "package-10",
    }


def test_twins_keep_their_kind(tmp_path: Path) -> None:
    add_zone(tmp_path, "intel-rapl:0", "package-0")
    add_zone(tmp_path, "intel-rapl:1", "psys")
    add_zone(tmp_path, "intel-rapl:2", "psys")
    assert [(d.scope, d.kind, d.overlap) for d in rapl(tmp_path).discover()[1:]] == [
        ("psys", Kind.HOST, Overlap.OUTER)
    ] * 2


@pytest.mark.parametrize("content", ["", "-5", "12.5", "1_000", "garbage", "\xff"])
def test_malformed_counter_leaves_the_others(server: Path, content: str) -> None:
    source = rapl(server)
    source.discover()
    counter = server / "class/powercap/intel-rapl:0:0/energy_uj"
    counter.write_bytes(content.encode("latin-1"))
    readings = source.read().readings
    assert (readings[1].gap, readings[1].energy_uj) == ("malformed", None)
    assert [reading.energy_uj for reading in readings] == [11, None, 13, 21, 22, 31]
    counter.write_text("14\n")
    assert source.read().readings[1] == Reading(
        "node1/rapl/package-0/core", 1_700_000_000_123, energy_uj=14
    )


def test_zone_that_vanishes_and_comes_back(server: Path) -> None:
    source = rapl(server)
    source.discover()
    zone = server / "class/powercap/intel-rapl:1"
    zone.rename(zone.with_name("away"))
    readings = source.read().readings
    assert [reading.gap for reading in readings] == ["", "", "", "vanished", "", ""]
    zone.with_name("away").rename(zone)
    assert source.read().readings[3].energy_uj == 21


def test_another_error_of_the_file_is_said(server: Path) -> None:
    source = rapl(server)
    source.discover()
    counter = server / "class/powercap/intel-rapl:2/energy_uj"
    counter.unlink()
    counter.mkdir()
    assert source.read().readings[-1].gap == "io_error"


def test_all_zones_vanish_and_come_back(tmp_path: Path) -> None:
    zone = add_zone(tmp_path, "intel-rapl:0", "package-0", 7)
    source = rapl(tmp_path)
    source.discover()
    zone.rename(zone.with_name("away"))
    with pytest.raises(DevicesChanged):
        source.read()
    with pytest.raises(NoData):
        source.discover()
    zone.with_name("away").rename(zone)
    source.discover()
    assert source.read().readings[0].energy_uj == 7


@pytest.mark.parametrize("limit", ["0", "", "none"])
def test_unknown_range_is_none(tmp_path: Path, limit: str) -> None:
    add_zone(tmp_path, "intel-rapl:0", "package-0", limit=limit)
    assert rapl(tmp_path).discover()[0].counter_range_uj is None


def test_zone_without_a_name(tmp_path: Path) -> None:
    (add_zone(tmp_path, "intel-rapl:0", "package-0") / "name").unlink()
    assert rapl(tmp_path).discover()[0].key == "node1/rapl/intel-rapl:0"


def test_no_zones_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(NoData, match=r"has no RAPL zone.*roots\.sysfs"):
        rapl(tmp_path).discover()
    (tmp_path / "class/powercap/intel-rapl").mkdir(parents=True)
    with pytest.raises(NoData):
        rapl(tmp_path).discover()


def test_masked_tree_is_no_data(tmp_path: Path) -> None:
    (tmp_path / "class/powercap").mkdir(parents=True)
    (tmp_path / "class/powercap/intel-rapl:0").symlink_to(tmp_path / "masked/intel-rapl:0")
    with pytest.raises(NoData):
        rapl(tmp_path).discover()


def test_no_permission_says_what_to_do(public: Path) -> None:
    for directory, name in (("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "dram")):
        (add_zone(public, directory, name) / "energy_uj").chmod(0)
    source = rapl(public)
    with unprivileged(), pytest.raises(SourceError) as caught:
        source.discover()
    assert caught.value.reason == "permission"
    assert not isinstance(caught.value, NoData)
    said = str(caught.value)
    assert said.startswith(f"{public}/class/powercap/intel-rapl:0/energy_uj may not be read")
    assert all(word in said for word in ("root", "CAP_DAC_READ_SEARCH", "chmod", "udev"))
    for path in public.glob("class/powercap/*/energy_uj"):
        path.chmod(0o444)
    with unprivileged():
        assert len(source.discover()) == 2


def test_no_permission_for_one_zone(public: Path) -> None:
    add_zone(public, "intel-rapl:0", "package-0", 5)
    (add_zone(public, "intel-rapl:1", "package-1") / "energy_uj").chmod(0)
    source = rapl(public)
    with unprivileged():
        assert len(source.discover()) == 2
        readings = source.read().readings
    assert [(reading.energy_uj, reading.gap) for reading in readings] == [
        (5, ""),
        (None, "permission"),
    ]


def test_no_permission_to_list(public: Path) -> None:
    add_zone(public, "intel-rapl:0", "package-0")
    (public / "class/powercap").chmod(0)
    with unprivileged(), pytest.raises(SourceError) as caught:
        rapl(public).discover()
    assert caught.value.reason == "permission"


@pytest.mark.parametrize(("configured", "used"), [(1.0, 1.0), (10.0, 10.0), (60.0, 10.0)])
def test_interval_is_short_enough_for_the_range(
    tmp_path: Path, configured: float, used: float
) -> None:
    assert rapl(tmp_path, interval=configured).interval_seconds == used


def test_create_opens_nothing() -> None:
    assert create(Config(node="node1")).name == "rapl"


def test_cpu_model(tmp_path: Path) -> None:
    assert cpu_model(tmp_path) == ("", "")
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    assert cpu_model(tmp_path) == ("AMD", "AMD EPYC 9654")
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")
    assert cpu_model(tmp_path) == ("", "")
    (tmp_path / "cpuinfo").write_bytes(b"vendor_id\t: Odd\xff\nmodel name\t: a: b\n")
    assert cpu_model(tmp_path) == ("Odd\ufffd", "a: b")


def test_the_model_is_on_every_device(server: Path, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    assert {(d.vendor, d.model) for d in rapl(server, tmp_path).discover()} == {
        ("AMD", "AMD EPYC 9654")
    }


def test_read_number(tmp_path: Path) -> None:
    (tmp_path / "n").write_text("18446744073709551615\n")
    assert read_number(tmp_path / "n") == 2**64 - 1


@pytest.mark.parametrize(
    ("file", "under"),
    [
        ("rapl/node_exporter_powercap_section.ttar.txt", "sys/class/powercap"),
        ("recordings/sysfs/node_exporter_fixtures/sys.ttar", "sys/class/powercap"),
    ],
)
def test_recorded_tree_of_node_exporter(data: Path, tmp_path: Path, file: str, under: str) -> None:
    unpack(data / file, under, tmp_path)
    source = rapl(tmp_path / "sys")
    package, core = source.discover()
    assert (package.key, core.key) == ("node1/rapl/package-0", "node1/rapl/package-0/core")
    assert package.counter_range_uj == core.counter_range_uj == RANGE_UJ
    assert core.overlap is Overlap.INNER
    readings = source.read().readings
    assert [reading.energy_uj for reading in readings] == [240_422_366_267, 118_821_284_256]


def test_recorded_tree_with_mmio_and_a_letter(data: Path) -> None:
    source = rapl(data / "recordings/sysfs/kepler_testdata/sys")
    assert [(device.name, device.overlap) for device in source.discover()] == [
        ("package-0", Overlap.NONE),
        ("package-0/core", Overlap.INNER),
        ("package-10", Overlap.NONE),
    ]
    assert [reading.energy_uj for reading in source.read().readings] == [
        240_422_366_267,
        118_821_284_256,
        240_422_366_267,
    ]


def test_recorded_cpuinfo(data: Path) -> None:
    procfs = data / "recordings/sysfs/intel_powerstat_telegraf"
    assert cpu_model(procfs) == ("Intel", "Intel(R) Xeon(R) Platinum 8480+")
