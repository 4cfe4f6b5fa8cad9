"""How busy each package is: one socket and two, CPUs that go and come, files that are nonsense."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.mutate import refused, spoiled_bytes
from tests.fixtures.sysfs import add_zone

from wattshed_exporter.config import Config, Roots
from wattshed_exporter.sources.cpu_time import PackageLoad, packages, read_cpu_times, read_each_cpu
from wattshed_exporter.sources.rapl import Rapl


class Machine:
    """A procfs and a sysfs of some CPUs, whose package is their number modulo the packages."""

    def __init__(self, root: Path, cpus: int, sockets: int) -> None:
        self.root = root
        self.busy = dict.fromkeys(range(cpus), 0)
        self.quiet = dict.fromkeys(range(cpus), 0)
        self.sockets = sockets
        self.online = set(range(cpus))
        for cpu in range(cpus):
            self.plug(cpu)
        self.write()

    def topology(self, cpu: int) -> Path:
        return self.root / f"devices/system/cpu/cpu{cpu}/topology"

    def plug(self, cpu: int) -> None:
        self.online.add(cpu)
        self.topology(cpu).mkdir(parents=True)
        (self.topology(cpu) / "physical_package_id").write_text(f"{cpu % self.sockets}\n")

    def unplug(self, cpu: int) -> None:
        """Take a CPU offline: its line in stat and its topology are gone, its folder stays."""
        self.online.discard(cpu)
        shutil.rmtree(self.topology(cpu))

    def pass_time(self, **busy: float) -> None:
        """Let 100 ticks pass on every CPU; ``p1=0.5`` keeps the CPUs of package 1 half busy."""
        for cpu in self.online:
            worked = round(100 * busy.get(f"p{cpu % self.sockets}", 0.0))
            self.busy[cpu] += worked
            self.quiet[cpu] += 100 - worked
        self.write()

    def write(self) -> None:
        each = [(self.busy[cpu], self.quiet[cpu]) for cpu in sorted(self.online)]
        lines = [f"cpu  {sum(b for b, _ in each)} 0 0 {sum(q for _, q in each)} 0 0 0 0 0 0"]
        lines += [
            f"cpu{cpu} {self.busy[cpu]} 0 0 {self.quiet[cpu]} 0 0 0 0 0 0"
            for cpu in sorted(self.online)
        ]
        (self.root / "stat").write_text("\n".join([*lines, "intr 5 1", "btime 1700000000", ""]))

    def load(self, *numbers: int) -> PackageLoad:
        return PackageLoad(self.root, self.root, numbers)


def test_which_cpu_is_in_which_package(tmp_path: Path) -> None:
    Machine(tmp_path, 6, 2)
    (tmp_path / "devices/system/cpu/cpufreq").mkdir()
    (tmp_path / "devices/system/cpu/cpu4/topology/physical_package_id").write_text("-1\n")
    assert packages(tmp_path) == {0: {0, 2}, 1: {1, 3, 5}}
    assert packages(tmp_path / "nowhere") == {}


def test_each_of_two_sockets_has_its_own_cpus(tmp_path: Path) -> None:
    machine = Machine(tmp_path, 8, 2)
    load = machine.load(0, 1)
    assert load.look() == {}
    machine.pass_time(p0=0.25, p1=1.0)
    assert load.look() == {0: 0.25, 1: 1.0}
    assert load.look() == {}, "no tick has passed"


def test_the_only_package_is_the_whole_machine(tmp_path: Path) -> None:
    machine = Machine(tmp_path, 4, 1)
    (tmp_path / "devices/system/cpu/cpu3/topology/physical_package_id").write_text("?")
    load = machine.load(0)
    load.look()
    machine.pass_time(p0=0.5)
    assert load.look() == {0: 0.5}


def test_of_two_sockets_one_that_is_asked_for_is_not_the_whole_machine(tmp_path: Path) -> None:
    machine = Machine(tmp_path, 4, 2)
    load = machine.load(1)
    load.look()
    machine.pass_time(p0=1.0, p1=0.5)
    assert load.look() == {1: 0.5}


def test_a_cpu_that_goes_offline_and_comes_back(tmp_path: Path) -> None:
    machine = Machine(tmp_path, 8, 2)
    load = machine.load(0, 1)
    load.look()
    machine.unplug(1)
    machine.pass_time(p0=1.0, p1=0.5)
    assert load.look() == {0: 1.0, 1: 0.5}
    machine.plug(1)
    machine.pass_time(p0=1.0, p1=0.5)
    assert load.look() == {0: 1.0, 1: 0.5}
    machine.busy[1] += 800
    machine.pass_time(p1=0.5)
    assert load.look()[1] == pytest.approx(1000 / 1200)


def test_a_package_whose_cpus_are_not_known_says_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, 4, 2)
    load = machine.load(0, 7)
    load.look()
    machine.pass_time(p0=0.5)
    assert load.look() == {0: 0.5}


@pytest.mark.parametrize("content", ["", "nonsense", "cpu\n", "cpu  1 2 3 4 5 6 7\ncpux 1\n"])
def test_nonsense_says_nothing_and_the_next_interval_begins_anew(
    tmp_path: Path, content: str
) -> None:
    machine = Machine(tmp_path, 4, 2)
    load = machine.load(0, 1)
    load.look()
    (tmp_path / "stat").write_text(content)
    assert load.look() == {}
    machine.pass_time(p0=0.5)
    assert load.look() == {}
    machine.pass_time(p0=0.5)
    assert load.look() == {0: 0.5, 1: 0.0}
    (tmp_path / "stat").unlink()
    assert load.look() == {}


STAT = b"cpu  9 0 3 80 1 0 2 0 0 0\ncpu0 4 0 1 40 1 0 1 0 0 0\ncpu1 5 0 2 40 0 0 1 0 0 0\nintr 7\n"


@given(spoiled_bytes([STAT]) | st.binary(max_size=80), spoiled_bytes([STAT]))
def test_whatever_it_says_a_share_is_one(
    tmp_path_factory: pytest.TempPathFactory, first: bytes, second: bytes
) -> None:
    root = tmp_path_factory.getbasetemp() / "any"
    if not root.exists():
        root.mkdir()
        Machine(root, 2, 2)
    load = PackageLoad(root, root, [0, 1])
    for content in (STAT, first, second, first):
        (root / "stat").write_bytes(content)
        assert all(0 <= share <= 1 for share in load.look().values())
        with refused("malformed"):
            read_each_cpu(root / "stat")


def test_recorded_stat_of_two_sockets(data: Path) -> None:
    file = data / "recordings/proc-stat/xeon-bisocket_scaphandre/xeon-bisocket.txt"
    each, whole = read_each_cpu(file), read_cpu_times(file)
    assert sorted(each) == list(range(24))
    # The kernel adds the CPUs up while they count on.
    assert sum(times.busy[0] for times in each.values()) == pytest.approx(whole.busy[0], rel=1e-6)


def test_rapl_says_it_of_packages_alone(tmp_path: Path) -> None:
    machine = Machine(tmp_path, 8, 2)
    add_zone(tmp_path, "intel-rapl:0", "package-0", 11)
    add_zone(tmp_path, "intel-rapl:0:0", "core", 12)
    add_zone(tmp_path, "intel-rapl:0:1", "dram", 13)
    add_zone(tmp_path, "intel-rapl:1", "package-1-die-0", 21)
    add_zone(tmp_path, "intel-rapl:2", "package-1-die-1", 22)
    add_zone(tmp_path, "intel-rapl:3", "psys", 31)
    source = Rapl(Config(node="n", roots=Roots(sysfs=tmp_path, procfs=tmp_path)))
    source.discover()
    assert {r.utilization_ratio for r in source.read().readings} == {None}
    machine.pass_time(p0=0.25, p1=1.0)
    assert {
        r.device.removeprefix("n/rapl/"): r.utilization_ratio for r in source.read().readings
    } == {
        "package-0": 0.25,
        "package-0/core": None,
        "package-0/dram": None,
        "package-1-die-0": 1.0,
        "package-1-die-1": 1.0,
        "psys": None,
    }
    (tmp_path / "stat").unlink()
    assert [r.energy_uj for r in source.read().readings] == [11, 12, 13, 21, 22, 31]
