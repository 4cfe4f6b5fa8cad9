"""Who used how much, by cgroup: real processes in real cgroups, recorded and written trees."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.fixtures.cgroups import (
    OTHER_POD,
    POD,
    Burner,
    device,
    hierarchies,
    made,
    plugin,
    scope_of,
    slice_of,
    write,
    write_proc,
)
from tests.fixtures.sysfs import unpack

from wattshed_exporter.allocations import Claim, Meters, Told
from wattshed_exporter.allocations.cgroup import Cgroup
from wattshed_exporter.allocations.cgroup_tree import Tree, find_layout
from wattshed_exporter.allocations.cgroup_usage import CpuTime
from wattshed_exporter.errors import NoData, SourceError
from wattshed_exporter.model import Device, Kind, Overlap, ProcessUse

CPU = Meters(0, {"cpu": device("cpu")})
NANOS = 10**9
ONLINE = os.sysconf("SC_NPROCESSORS_ONLN")
CPUS, ROUND = 4, 10
"""Of the machine that ``write_proc`` writes, and of the plug-in's clock in seconds."""


def used(told: Told, cpus: int = CPUS, key: str = "cpu") -> dict[str, float]:
    """Return CPU seconds by holder of one meter."""
    return {c.holder: (c.activity or 0.0) * cpus * ROUND for c in told.claims if c.device == key}


def count(folder: Path, version: int, seconds: float) -> None:
    """Write how much CPU time a cgroup has used."""
    if version == 1:
        write(folder, {"cpuacct.usage": round(seconds * NANOS)})
    else:
        write(folder, {"cpu.stat": f"usage_usec {round(seconds * 10**6)}\nuser_usec 0"})


class Machine:
    """A written machine of one version of cgroups, without any yet."""

    def __init__(self, root: Path, version: int) -> None:
        self.version = version
        self.root, self.proc, self.sysfs = root / "cgroup", root / "proc", root / "sys"
        self.top = self.root / "cpuacct" if version == 1 else self.root
        write(self.top, {"cpuacct.usage": 0} if version == 1 else {"cgroup.controllers": "cpu"})
        self._ticks = [0, 0]
        self.busy(0)

    def busy(self, seconds: float) -> None:
        """Let a round pass in which the CPUs were busy for so long."""
        self._ticks[0] += round(seconds * 100)
        self._ticks[1] += round((CPUS * ROUND - seconds) * 100)
        write_proc(self.proc, *self._ticks)

    def count(self, path: str, seconds: float) -> None:
        count(self.top / path, self.version, seconds)

    def plugin(self) -> Cgroup:
        return plugin(self.root, self.proc, self.sysfs)


@pytest.fixture(params=[1, 2])
def machine(tmp_path: Path, request: pytest.FixtureRequest) -> Machine:
    return Machine(tmp_path, request.param)


@pytest.mark.parametrize("version", [1, 2])
def test_real_processes_are_charged_for_the_cpu_time_that_they_used(version: int) -> None:
    root, top = hierarchies(version)
    burners = {POD: Burner(0.3), OTHER_POD: Burner(0.1)}
    cgroup = plugin(root)
    try:
        with made(top, scope_of(POD, 1), scope_of(OTHER_POD, 2)):
            for number, (pod, burner) in enumerate(burners.items(), 1):
                (top / scope_of(pod, number) / "cgroup.procs").write_text(str(burner.pid))
            assert not used(cgroup.read(CPU))
            for burner in burners.values():
                burner.start()
            truth = {f"pod:{pod}": burner.used_seconds() for pod, burner in burners.items()}
            told = cgroup.read(CPU)
            for burner in burners.values():
                burner.end()
    finally:
        for burner in burners.values():
            burner.end()
    found = {h: seconds for h, seconds in used(told, ONLINE).items() if h in truth}
    assert found == pytest.approx(truth, rel=0.1, abs=0.02)
    assert told.same[f"container:{1:064x}"] == f"pod:{POD}"


def test_recorded_jobs_of_slurm_and_torque_are_found(data: Path, tmp_path: Path) -> None:
    archive = data / "recordings/cgroup/slurm_torque_cgroup_exporter/fixtures.ttar"
    unpack(archive, ("fixtures/cpuacct", "fixtures/memory", "fixtures/cpuset"), tmp_path)
    root = tmp_path / "fixtures"
    write(root / "cpuacct", {"cpuacct.usage": 0})  # the recording leaves the root out
    write_proc(tmp_path / "proc", 0, 100)
    cgroup = plugin(root, tmp_path / "proc", tmp_path)
    meters = Meters(0, {"cpu": device("cpu"), "dram": device("dram", Kind.MEMORY)})
    told = cgroup.read(meters)
    dram = {c.holder for c in told.claims if c.device == "dram"}
    assert {"slurm:10", "slurm:11", "torque:1182724.batch"} <= dram
    job = root / "cpuacct/slurm/uid_20821/job_10"
    before = int((job / "cpuacct.usage").read_text())
    write(job, {"cpuacct.usage": before + 3 * NANOS})
    assert used(cgroup.read(CPU))["slurm:10"] == pytest.approx(3)


def test_recorded_jobs_of_slurm_on_version_2_are_found(data: Path, tmp_path: Path) -> None:
    archive = data / "recordings/cgroup/slurm_torque_cgroup_exporter/fixtures.ttar"
    unpack(archive, "fixtures/system.slice", tmp_path)
    root = tmp_path / "fixtures"
    write(root, {"cgroup.controllers": "cpu memory"})
    write_proc(tmp_path / "proc", 0, 100)
    cgroup = plugin(root, tmp_path / "proc", tmp_path)
    cgroup.read(CPU)
    job = root / "system.slice/slurmstepd.scope/job_4"
    assert "usage_usec 126686\n" in (job / "cpu.stat").read_text()
    write(job, {"cpu.stat": "usage_usec 2126686"})
    assert used(cgroup.read(CPU))["slurm:4"] == pytest.approx(2)


def test_a_recorded_machine_of_libvirt_and_its_memory(data: Path, tmp_path: Path) -> None:
    recorded = data / "recordings/cgroup/cgroupfs_telegraf"
    scope = "machine-qemu\\x2d1\\x2dubuntu.scope"
    folder = tmp_path / "machine.slice" / scope
    shutil.copytree(recorded / "v2", folder)
    shutil.copy(recorded / "backslash/machine-qemu-1-ubuntu/cpu.stat", folder)
    write(tmp_path, {"cgroup.controllers": "cpu memory"})
    write(folder, {"cgroup.events": "populated 1\nfrozen 0"})  # not recorded
    write_proc(tmp_path / "proc", 0, 100)
    told = plugin(tmp_path, tmp_path / "proc").read(Meters(0, {"d": device("d", Kind.MEMORY)}))
    held = {c.holder: c.activity for c in told.claims}
    current = int((folder / "memory.current").read_text())
    stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    expected = (current - int(stat["inactive_file"])) / 16_384_000_000
    assert held[f"unit:{scope}"] == pytest.approx(expected)
    assert sum(a for a in held.values() if a) == pytest.approx(10 / 16)


def test_what_is_in_no_holder_is_the_systems_and_nothing_is_left_over(machine: Machine) -> None:
    paths = {
        slice_of(POD): 4.0,
        f"system.slice/docker-{'c' * 64}.scope": 1.0,
        "system.slice/train.service": 2.0,
        "system.slice/cron.service": 0.0001,
    }
    for path in paths:
        machine.count(path, 100)
    cgroup = machine.plugin()
    assert not used(cgroup.read(CPU))
    for path, seconds in paths.items():
        machine.count(path, 100 + seconds)
    machine.busy(10)
    told = cgroup.read(CPU)
    assert used(told) == pytest.approx(
        {
            f"pod:{POD}": 4,
            f"container:{'c' * 64}": 1,
            "unit:train.service": 2,
            "unit:system": 3,
        }
    )
    assert {c.share for c in told.claims} == {0.0}
    assert told.about["unit:system"] == {"name": "system", "kind": "system"}


def test_a_holder_inside_another_is_taken_out_of_it(machine: Machine) -> None:
    outer, inner = f"docker/{'c' * 64}", f"docker/{'c' * 64}/kubelet/pod{POD}"
    for path in (outer, inner):
        machine.count(path, 0)
    cgroup = machine.plugin()
    cgroup.read(CPU)
    machine.count(outer, 5)
    machine.count(inner, 3)
    machine.busy(5)
    found = used(cgroup.read(CPU))
    assert found == pytest.approx({f"container:{'c' * 64}": 2, f"pod:{POD}": 3})


def test_cgroups_that_come_and_go_lose_at_most_a_round(machine: Machine) -> None:
    machine.count("docker/" + "a" * 64, 50)
    cgroup = machine.plugin()
    cgroup.read(CPU)
    machine.count("docker/" + "a" * 64, 51)
    machine.count("docker/" + "b" * 64, 2)
    machine.busy(4)
    assert used(cgroup.read(CPU)) == pytest.approx(
        {"container:" + "a" * 64: 1, "container:" + "b" * 64: 2, "unit:system": 1}
    )
    shutil.rmtree(machine.top / "docker" / ("a" * 64))
    machine.count("docker/" + "c" * 64, 3)
    assert used(cgroup.read(CPU)) == pytest.approx({"container:" + "c" * 64: 3})


def test_a_name_that_is_used_again_starts_from_zero(machine: Machine) -> None:
    path = "docker/" + "a" * 64
    machine.count(path, 5)
    cgroup = machine.plugin()
    cgroup.read(CPU)
    keep = machine.top / "docker" / ("b" * 64)
    (machine.top / path).rename(keep)  # so that its inode is not given out again
    machine.count(path, 7)
    shutil.rmtree(keep)
    machine.busy(7)
    assert used(cgroup.read(CPU)) == pytest.approx({"container:" + "a" * 64: 7})
    machine.count(path, 1)
    assert used(cgroup.read(CPU)) == pytest.approx({"container:" + "a" * 64: 1})


def test_a_real_cgroup_that_is_made_anew_starts_from_zero() -> None:
    root, top = hierarchies(2)
    cgroup = plugin(root)
    cgroup.read(CPU)
    for _ in range(2):
        burner = Burner(0.05)
        try:
            with made(top, scope_of(POD, 1)):
                (top / scope_of(POD, 1) / "cgroup.procs").write_text(str(burner.pid))
                burner.start()
                truth = burner.used_seconds()
                found = used(cgroup.read(CPU), ONLINE)[f"pod:{POD}"]
                assert found == pytest.approx(truth, rel=0.1, abs=0.02)
                assert cgroup.read(CPU).same[f"container:{1:064x}"] == f"pod:{POD}"
                burner.end()
        finally:
            burner.end()
    assert f"container:{1:064x}" not in cgroup.read(CPU).same  # others have pods of their own


def two_packages(sysfs: Path) -> Meters:
    """Write a machine of two packages with two CPUs each; return the meters of it."""
    for cpu in range(CPUS):
        folder = sysfs / f"devices/system/cpu/cpu{cpu}/topology"
        write(folder, {"physical_package_id": cpu // 2})
    names = ("package-0", "package-1")
    return Meters(0, {name: device(name) for name in names})


def test_time_goes_to_the_packages_that_the_cpuset_gives(machine: Machine) -> None:
    meters = two_packages(machine.sysfs)
    cpuset = machine.root / "cpuset" if machine.version == 1 else machine.root
    paths = [f"kubepods/burstable/pod{POD}/{'c' * 64}", f"docker/{'d' * 64}"]
    for path in paths:
        machine.count(path, 0)
    machine.count(f"kubepods/burstable/pod{POD}", 0)
    write(cpuset / paths[0], {"cpuset.cpus": "2-3"})
    cgroup = machine.plugin()
    cgroup.read(meters)
    machine.count(f"kubepods/burstable/pod{POD}", 4)
    machine.count(paths[1], 4)
    machine.busy(8)
    told = cgroup.read(meters)
    docker = "container:" + "d" * 64
    assert used(told, 2, "package-0") == pytest.approx({docker: 2})
    assert used(told, 2, "package-1") == pytest.approx({docker: 2, f"pod:{POD}": 4})


def test_who_was_given_cpus_of_its_own_holds_them_even_if_it_sleeps(machine: Machine) -> None:
    cpuset = machine.root / "cpuset" if machine.version == 1 else machine.root
    given = {
        f"kubepods/pod{POD}/{'a' * 64}": "0",  # guaranteed, whole CPUs
        f"kubepods/pod{POD}/{'b' * 64}": "1,3",  # a sidecar of it in the shared pool
        f"kubepods/burstable/pod{OTHER_POD}/{'c' * 64}": "1,3",
        "slurm/uid_1/job_5": "2",
        f"docker/{'d' * 64}": "0-3",
    }
    for path, cpus in given.items():
        machine.count(path, 0)
        write(cpuset / path, {"cpuset.cpus": cpus})
    claims = machine.plugin().read(CPU).claims
    assert sorted(claims, key=lambda c: c.holder) == [
        Claim("cpu", f"pod:{POD}", 0.25, None, "cpu_time"),
        Claim("cpu", "slurm:5", 0.25, None, "cpu_time"),
    ]


def test_a_real_cpuset_of_one_pod_alone_is_its_own() -> None:
    root, top = hierarchies(1)
    cpuset = root / "cpuset"
    if not cpuset.is_dir() or ONLINE < 2:
        pytest.skip("this machine has no cpusets of version 1, or one CPU")
    path = scope_of(POD, 1)
    everywhere = (cpuset / "cpuset.cpus").read_text().strip()
    with made(top, path), made(cpuset, path):
        for folder in (*reversed(Path(path).parents[:-1]), Path(path)):
            (cpuset / folder / "cpuset.cpus").write_text(everywhere)
        assert plugin(root).read(CPU).claims == []
        (cpuset / path / "cpuset.cpus").write_text("0")
        claims = plugin(root).read(CPU).claims
    share = 1 / ONLINE
    assert claims == [Claim("cpu", f"pod:{POD}", share, None, "cpu_time")]


@pytest.mark.parametrize(
    ("meters", "chosen"),
    [
        ([device("c"), device("h", Kind.HOST, Overlap.OUTER)], ["c"]),
        ([device("c", overlap=Overlap.INNER), device("h", Kind.HOST)], ["h"]),
        ([device("h", Kind.HOST, Overlap.OUTER), device("m", Kind.MODULE)], ["m"]),
        ([device("h", Kind.HOST, Overlap.OUTER), device("g", Kind.GPU)], ["h"]),
        ([device("b", Kind.BATTERY), device("g", Kind.GPU)], []),
    ],
)
def test_without_a_meter_of_cpus_the_next_larger_one_is_split(
    machine: Machine, meters: Iterable[Device], chosen: list[str]
) -> None:
    machine.count("docker/" + "a" * 64, 0)
    cgroup, asked = machine.plugin(), Meters(0, {d.key: d for d in meters})
    cgroup.read(asked)
    machine.count("docker/" + "a" * 64, 1)
    assert [c.device for c in cgroup.read(asked).claims] == chosen


def test_memory_is_the_working_set_of_cgroups_with_processes(machine: Machine) -> None:
    if machine.version == 1:
        memory, usage, cached = (
            machine.root / "memory",
            "memory.usage_in_bytes",
            "total_inactive_file",
        )
    else:
        memory, usage, cached = machine.root, "memory.current", "inactive_file"
    alive, dead = "slurm/uid_1/job_1", "slurm/uid_1/job_2"
    for path, procs in ((alive, "7"), (dead, "")):
        machine.count(path, 0)
        (machine.top / path / "cgroup.procs").write_text(procs)
        write(machine.top / path, {"cgroup.events": f"populated {len(procs)}"})
        write(memory / path, {usage: 3 * 1024**3, "memory.stat": f"anon 5\n{cached} {1024**3}"})
    meters = Meters(0, {"dram": device("dram", Kind.MEMORY)})
    claims = machine.plugin().read(meters).claims
    total = 16_000_000 * 1024
    assert {c.holder: c.activity for c in claims} == pytest.approx(
        {"slurm:1": 2 * 1024**3 / total, "unit:system": 10 / 16 - 2 * 1024**3 / total}
    )


def processes(*uses: tuple[str, int, float | None]) -> Meters:
    return Meters(0, {}, (), [ProcessUse(key, pid, 0, ratio) for key, pid, ratio in uses])


def test_processes_of_a_gpu_are_told_by_holder(machine: Machine) -> None:
    for pid, path in ((7, f"/{scope_of(POD, 1)}"), (8, f"/{scope_of(POD, 2)}"), (9, "/")):
        write(machine.proc / str(pid), {"cgroup": f"0::{path}"})
    cgroup = machine.plugin()
    told = cgroup.read(processes(("g", 7, 0.3), ("g", 8, 0.2), ("g", 9, None), ("g", 99, 0.1)))
    assert told.claims == [
        Claim("g", f"pod:{POD}", None, 0.5, "process"),
        Claim("g", "unit:system", None, None, "process"),
        Claim("g", "unit:gone", 0.0, 0.1, "process"),
    ]
    assert told.same == {f"container:{n:064x}": f"pod:{POD}" for n in (1, 2)}
    shutil.rmtree(machine.proc / "7")
    told = cgroup.read(processes(("g", 7, 0.3)))
    assert told.claims == [Claim("g", f"pod:{POD}", None, 0.3, "process")]


def test_where_there_are_no_cgroups_there_is_nothing_to_tell(tmp_path: Path) -> None:
    with pytest.raises(NoData, match=r"roots\.cgroupfs"):
        plugin(tmp_path).read(CPU)


def test_a_tree_that_is_gone_and_what_procfs_does_not_tell_are_errors(machine: Machine) -> None:
    write(machine.root / "memory", {})
    cgroup = machine.plugin()
    cgroup.read(CPU)
    (machine.proc / "stat").unlink()
    with pytest.raises(SourceError, match="stat"):
        cgroup.read(CPU)
    (machine.proc / "meminfo").write_text("MemTotal: many\n")
    with pytest.raises(SourceError, match="meminfo"):
        cgroup.read(Meters(0, {"d": device("d", Kind.MEMORY)}))
    shutil.rmtree(machine.root)
    with pytest.raises(SourceError, match="gone"):
        cgroup.read(Meters(0))


def test_what_lies_very_deep_belongs_to_whom_it_is_in(tmp_path: Path) -> None:
    machine, container = Machine(tmp_path, 2), "docker/" + "a" * 64
    machine.count(container + "/x" * 60 + f"/pod{POD}", 0)
    machine.count(container, 0)
    cgroup = machine.plugin()
    cgroup.read(CPU)
    machine.count(container, 2)
    machine.count(container + "/x" * 60 + f"/pod{POD}", 1)
    assert used(cgroup.read(CPU))["container:" + "a" * 64] == pytest.approx(2)


def test_more_cgroups_than_can_be_walked_are_counted(tmp_path: Path) -> None:
    machine = Machine(tmp_path, 2)
    for number in range(3):
        machine.count(f"docker/{number:064x}", number)
    tree = Tree(find_layout(machine.root), most=3)
    tree.walk()
    assert [g.path.rpartition("/")[2] for g in tree.groups()] == ["", "docker", f"{0:064x}"]
    assert tree.left_out == 2
    # One that is looked at later has not used all of it since.
    tree = Tree(find_layout(machine.root), most=3)
    time = CpuTime(tree)
    tree.walk()
    time.look()
    shutil.rmtree(machine.top / f"docker/{0:064x}")
    tree.walk()
    assert time.look() == ({}, 0)
    machine.count(f"docker/{1:064x}", 5)
    tree.walk()
    assert time.look() == ({f"container:{1:064x}": 4 * NANOS}, 4 * NANOS)
