"""Slurm's map of jobs, their cgroups and environments: who holds which part of which GPU."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fixtures.sysfs import unpack

from wattshed_exporter.allocations import Meters, Told, create
from wattshed_exporter.allocations.combine import Held, combine
from wattshed_exporter.allocations.options import Allocations, Slurm
from wattshed_exporter.allocations.slurm import STARTING_MS, SlurmAllocator
from wattshed_exporter.allocations.slurm_jobs import (
    LONGEST_VALUE,
    Jobs,
    read_environ,
    user_name,
)
from wattshed_exporter.config import Config, Roots
from wattshed_exporter.errors import NoData, SourceError
from wattshed_exporter.model import Device, Instance, Kind, ProcessUse

BOOT_MS, NOW_MS = 1_700_000_000_000, 1_700_000_100_000
TREE = "cgroup/slurm_torque_cgroup_exporter/fixtures.ttar"


def gpu(index: int, node: str = "n1", key: str = "") -> Device:
    return Device(key or f"GPU-{index}", Kind.GPU, node, "nvml", name=f"gpu{index}")


def meters(
    *devices: Device, instances: tuple[Instance, ...] = (), pids: tuple[int, ...] = ()
) -> Meters:
    known = devices or (gpu(0), gpu(1))
    uses = [ProcessUse("GPU-0", pid, NOW_MS) for pid in pids]
    return Meters(NOW_MS, {d.key: d for d in known}, instances, uses)


def mig(name: str, slices: int, uuid: str) -> Instance:
    return Instance("GPU-0", name, uuid, NOW_MS, slices)


class Node:
    """A machine's files under one folder."""

    def __init__(self, root: Path) -> None:
        self.map, self.proc, self.cgroups = root / "map", root / "proc", root / "cgroup"
        self.map.mkdir()
        self.proc.mkdir()
        (self.proc / "stat").write_text(f"cpu  1 2 3\nbtime {BOOT_MS // 1000}\n")

    def put(self, name: str, text: str, written_ms: int = NOW_MS) -> None:
        file = self.map / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        os.utime(file, (written_ms / 1000, written_ms / 1000))

    def process(self, pid: int, **variables: str) -> None:
        (self.proc / str(pid)).mkdir()
        entries = "\0".join(f"{name}={value}" for name, value in variables.items())
        (self.proc / str(pid) / "environ").write_text(entries + "\0")

    def step(self, job: int, step: str, *pids: int) -> Path:
        folder = self.cgroups / f"system.slice/slurmstepd.scope/job_{job}/step_{step}"
        (folder / "user/task_0").mkdir(parents=True)
        (folder / "user/task_0/cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
        return folder

    def allocator(self, gpu_order: tuple[str, ...] = (), shards_per_gpu: int = 0) -> SlurmAllocator:
        return SlurmAllocator(
            self.map,
            Jobs(self.proc, self.cgroups),
            node="n1",
            gpu_order=gpu_order,
            shards_per_gpu=shards_per_gpu,
            procfs=self.proc,
        )


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def shares(told: Told) -> dict[tuple[str, str], float | None]:
    return {(claim.device, claim.holder): claim.share for claim in told.claims}


class TestMap:
    def test_whole_gpus(self, node: Node) -> None:
        node.put("0", "17\n")
        node.put("1", "18")
        told = node.allocator().read(meters())
        assert shares(told) == {("GPU-0", "slurm:17"): 1.0, ("GPU-1", "slurm:18"): 1.0}
        assert {claim.method for claim in told.claims} == {"slurm"}
        assert not told.rejected
        assert told.about["slurm:17"] == {"instance": "17", "kind": "job"}

    def test_several_jobs_have_equal_parts(self, node: Node) -> None:
        node.put("0", "17\n18\n\n19\n17\n")
        found = shares(node.allocator().read(meters()))
        assert found == {("GPU-0", f"slurm:{job}"): pytest.approx(1 / 3) for job in (17, 18, 19)}

    def test_jobstats_says_the_user_beside_the_job(self, node: Node) -> None:
        node.put("0", "17 0\n")
        told = node.allocator().read(meters())
        assert told.about["slurm:17"]["owner"] == "root"

    def test_a_user_whom_nobody_knows_is_a_number(self, node: Node) -> None:
        node.put("0", "17 4294967294\n")
        assert node.allocator().read(meters()).about["slurm:17"]["owner"] == "4294967294"

    def test_what_the_prolog_wrote(self, node: Node) -> None:
        node.put("0", "17\n")
        node.put("jobs/17", "user=ada\naccount=physics\npartition=gpu\nname=a=b c\nnonsense\n")
        told = node.allocator().read(meters())
        assert told.about["slurm:17"] == {
            "name": "a=b c",
            "owner": "ada",
            "project": "physics",
            "queue": "gpu",
            "instance": "17",
            "kind": "job",
        }

    def test_the_order_of_gres_conf(self, node: Node) -> None:
        node.put("0", "17\n")
        node.put("2", "18\n")
        told = node.allocator(gpu_order=("GPU-1", "GPU-0")).read(meters())
        assert shares(told) == {("GPU-1", "slurm:17"): 1.0}
        assert told.rejected == {"unknown_gpu": 1}

    def test_names_that_are_not_of_the_map(self, node: Node) -> None:
        node.put(".lock", "")
        node.put("README", "17\n")
        node.put("0.tmp", "17\n")
        told = node.allocator().read(meters())
        assert (told.claims, told.rejected) == ([], {})

    @pytest.mark.parametrize(
        "text", ["x\n", "-1\n", "17 ada\n", "99999999999\n", "\x00\n", "1 2 3\n"]
    )
    def test_a_line_that_makes_no_sense_leaves_the_others(self, node: Node, text: str) -> None:
        node.put("0", "17\n" + text)
        told = node.allocator().read(meters())
        assert shares(told) == {("GPU-0", "slurm:17"): 1.0}
        assert told.rejected == {"malformed_map": 1}

    def test_bytes_that_are_not_utf8(self, node: Node) -> None:
        (node.map / "0").write_bytes(b"17\n\xff\xfe\n")
        assert node.allocator().read(meters()).rejected == {"malformed_map": 1}

    def test_a_file_that_cannot_be_read_leaves_the_others(self, node: Node) -> None:
        (node.map / "0").mkdir()
        node.put("1", "18\n")
        told = node.allocator().read(meters())
        assert shares(told) == {("GPU-1", "slurm:18"): 1.0}
        assert told.rejected == {"unreadable_map": 1}

    def test_of_two_machines_with_a_gpu0_this_one_is_meant(self, node: Node) -> None:
        node.put("0", "17\n")
        told = node.allocator().read(meters(gpu(0), gpu(0, "n2", "GPU-far")))
        assert shares(told) == {("GPU-0", "slurm:17"): 1.0}

    def test_two_devices_of_one_name(self, node: Node) -> None:
        node.put("0", "17\n")
        told = node.allocator().read(meters(gpu(0), gpu(0, key="GPU-b")))
        assert (told.claims, told.rejected) == ([], {"ambiguous_gpu": 1})

    def test_neither_map_nor_jobs(self, node: Node) -> None:
        node.map.rmdir()
        with pytest.raises(NoData):
            node.allocator().read(meters())

    def test_a_map_that_cannot_be_listed(self, node: Node) -> None:
        node.map.rmdir()
        node.map.symlink_to(node.map)
        with pytest.raises(SourceError) as error:
            node.allocator().read(meters())
        assert error.value.reason == "io_error"


class TestMig:
    """A board's part, and what of it worked, are for those to say who know instances."""

    parts = (mig("1/0", 3, "MIG-1"), mig("2/0", 1, "MIG-2"), mig("2/1", 1, "MIG-3"))

    def test_a_gpu_instance_is_all_its_compute_instances(self, node: Node) -> None:
        node.put("0.1", "17\n")
        node.put("0.2", "18\n19\n")
        assert shares(node.allocator().read(meters(instances=self.parts))) == {
            ("MIG-1", "slurm:17"): 1.0,
            ("MIG-2", "slurm:18"): 0.5,
            ("MIG-2", "slurm:19"): 0.5,
            ("MIG-3", "slurm:18"): 0.5,
            ("MIG-3", "slurm:19"): 0.5,
        }

    def test_by_uuid(self, node: Node) -> None:
        node.put("MIG-2", "17 0\n")
        found = shares(node.allocator().read(meters(instances=self.parts)))
        assert found == {("MIG-2", "slurm:17"): 1.0}

    def test_a_job_has_of_a_board_what_its_instance_is_and_worked(self, node: Node) -> None:
        node.put("0.1", "17\n")
        board = replace(gpu(0), model="NVIDIA A30")
        busy = Instance("GPU-0", "1/0", "MIG-1", NOW_MS, 1, 0.5)
        known = meters(board, instances=(busy,))
        said = [("slurm", node.allocator().read(known))]
        assert combine(said, known, "n1", "").held == (
            Held("GPU-0", "slurm/n1/17", 0.25, 0.125, "slurm"),
        )

    def test_an_instance_that_is_not_there(self, node: Node) -> None:
        node.put("0.1", "17\n")
        node.put("MIG-x", "17\n")
        told = node.allocator().read(meters(instances=(mig("11/0", 1, "MIG-1"),)))
        assert (told.claims, told.rejected) == ([], {"unknown_instance": 2})


class TestShares:
    def test_shards_of_all_that_a_gpu_has(self, node: Node) -> None:
        node.put("0", "17\n18\n")
        node.put("jobs/17", "shards=2\n")
        node.put("jobs/18", "shards=1\n")
        found = shares(node.allocator(shards_per_gpu=8).read(meters()))
        assert found == {("GPU-0", "slurm:17"): 0.25, ("GPU-0", "slurm:18"): 0.125}

    def test_shards_share_all_of_it_where_nobody_says_how_many_there_are(self, node: Node) -> None:
        node.put("0", "17\n18\n")
        node.put("jobs/17", "shards=3\n")
        node.put("jobs/18", "shards=1\n")
        found = shares(node.allocator().read(meters()))
        assert found == {("GPU-0", "slurm:17"): 0.75, ("GPU-0", "slurm:18"): 0.25}

    def test_shards_of_a_node_are_those_of_all_of_its_gpus(self, node: Node) -> None:
        node.put("0", "17\n")
        node.put("1", "17\n")
        node.put("jobs/17", "shards=4\n")
        found = shares(node.allocator(shards_per_gpu=4).read(meters()))
        assert found == {("GPU-0", "slurm:17"): 0.5, ("GPU-1", "slurm:17"): 0.5}

    def test_a_percentage_of_mps_and_who_has_the_rest(self, node: Node) -> None:
        node.put("0", "17\n18\n19\n")
        node.put("jobs/17", "mps_percent=50\n")
        found = shares(node.allocator().read(meters()))
        assert found[("GPU-0", "slurm:17")] == 0.5
        assert found[("GPU-0", "slurm:18")] == found[("GPU-0", "slurm:19")] == 0.25

    @pytest.mark.parametrize(("together", "share"), [(False, 1.0), (True, 0.2)])
    def test_a_percentage_that_a_job_says_itself_counts_only_beside_others(
        self, node: Node, together: bool, share: float
    ) -> None:
        node.put("0", "17\n18\n" if together else "17\n")
        node.step(17, "0", 5)
        node.process(5, SLURM_JOB_ID="17", CUDA_MPS_ACTIVE_THREAD_PERCENTAGE="20")
        assert shares(node.allocator().read(meters()))[("GPU-0", "slurm:17")] == share

    @pytest.mark.parametrize("said", ["0", "-4", "x", "101", "1e9", "nan"])
    def test_a_percentage_that_makes_no_sense(self, node: Node, said: str) -> None:
        node.put("0", "17\n")
        node.put("jobs/17", f"mps_percent={said}\n")
        assert shares(node.allocator().read(meters())) == {("GPU-0", "slurm:17"): 1.0}


class TestStale:
    def test_older_than_the_kernel(self, node: Node) -> None:
        node.put("0", "17\n", BOOT_MS - 1000)
        node.put("1", "18\n")
        told = node.allocator().read(meters())
        assert shares(told) == {("GPU-1", "slurm:18"): 1.0}
        assert told.rejected == {"stale_map": 1}
        assert "slurm:17" not in told.about

    def test_a_line_that_a_later_job_was_written_below(self, node: Node) -> None:
        node.put("0", "17\n18\n")
        node.put("jobs/17", "user=ada\n", BOOT_MS - 1000)
        node.put("jobs/18", "user=bob\n")
        told = node.allocator().read(meters())
        assert shares(told) == {("GPU-0", "slurm:18"): 1.0}
        assert told.rejected == {"stale_map": 1}

    def test_a_job_without_a_cgroup_where_each_has_one(self, node: Node) -> None:
        node.put("0", "17\n", NOW_MS - STARTING_MS - 1)
        node.put("1", "18\n", NOW_MS - STARTING_MS - 1)
        node.step(18, "extern")
        told = node.allocator().read(meters())
        assert shares(told) == {("GPU-1", "slurm:18"): 1.0}
        assert told.rejected == {"job_gone": 1}

    def test_it_may_be_about_to_start(self, node: Node) -> None:
        node.put("0", "17\n", NOW_MS - STARTING_MS)
        node.step(18, "extern")
        assert ("GPU-0", "slurm:17") in shares(node.allocator().read(meters()))

    def test_an_allocation_between_two_steps_has_none_where_nothing_contains_it(
        self, node: Node
    ) -> None:
        node.put("0", "17\n", NOW_MS - STARTING_MS - 1)
        node.step(18, "0")
        assert ("GPU-0", "slurm:17") in shares(node.allocator().read(meters()))

    def test_once_seen_it_is_remembered(self, node: Node) -> None:
        allocator = node.allocator()
        extern = node.step(18, "extern")
        allocator.read(meters())
        extern.rename(node.cgroups / "away")
        extern.parent.rmdir()
        node.put("0", "18\n", NOW_MS - STARTING_MS - 1)
        assert allocator.read(meters()).rejected == {"job_gone": 1}


class TestProcesses:
    def test_the_environment_says_who_and_which_gpus(self, node: Node) -> None:
        node.step(17, "batch", 5)
        node.process(
            5,
            SLURM_JOB_ID="17",
            SLURM_JOB_USER="ada",
            SLURM_JOB_ACCOUNT="physics",
            SLURM_JOB_PARTITION="gpu",
            SLURM_JOB_NAME="train",
            SLURM_JOB_GPUS="0,1",
            SLURM_STEP_GPUS="1",
            HOME="/secret",
        )
        told = node.allocator().read(meters())
        assert shares(told) == {("GPU-0", "slurm:17"): 1.0, ("GPU-1", "slurm:17"): 1.0}
        about = told.about["slurm:17"]
        assert (about["name"], about["project"], about["queue"]) == ("train", "physics", "gpu")
        # The owner of the process, whatever its environment says.
        assert about["owner"] == user_name(os.geteuid())

    def test_what_the_prolog_wrote_counts_more(self, node: Node) -> None:
        node.put("1", "17\n")
        node.put("jobs/17", "user=ada\naccount=physics\n")
        node.step(17, "batch", 5)
        node.process(5, SLURM_JOB_ID="17", SLURM_JOB_ACCOUNT="free", SLURM_JOB_GPUS="0")
        told = node.allocator().read(meters())
        assert shares(told) == {("GPU-1", "slurm:17"): 1.0}
        assert told.about["slurm:17"]["project"] == "physics"
        assert told.about["slurm:17"]["owner"] == "ada"

    def test_gpus_of_a_step_where_nothing_says_those_of_the_job(self, node: Node) -> None:
        node.step(17, "0", 5)
        node.process(5, SLURM_JOB_ID="17", SLURM_STEP_GPUS="1")
        assert shares(node.allocator().read(meters())) == {("GPU-1", "slurm:17"): 1.0}

    def test_a_process_on_a_gpu_names_its_job_without_any_cgroup(self, node: Node) -> None:
        node.put("0", "17\n")
        node.process(9, SLURM_JOB_ID="17", SLURM_JOB_NAME="train")
        node.process(10, PATH="/bin")
        allocator = node.allocator()
        assert allocator.read(meters(pids=(9, 10))).about["slurm:17"]["name"] == "train"
        assert "name" not in allocator.read(meters()).about["slurm:17"]

    def test_the_environment_of_another_job_is_not_believed(self, node: Node) -> None:
        node.put("0", "17\n")
        node.step(17, "0", 5)
        node.process(5, SLURM_JOB_ID="99", SLURM_JOB_ACCOUNT="other")
        assert "project" not in node.allocator().read(meters()).about["slurm:17"]

    def test_a_job_that_somebody_made_up_has_nothing_where_each_has_a_cgroup(
        self, node: Node
    ) -> None:
        node.put("0", "17\n")
        node.step(17, "extern")
        node.process(9, SLURM_JOB_ID="4711", SLURM_JOB_GPUS="0,1")
        told = node.allocator().read(meters(pids=(9,)))
        assert shares(told) == {("GPU-0", "slurm:17"): 1.0}
        assert set(told.about) == {"slurm:17"}

    def test_what_is_read_of_an_environment_is_bounded_and_nothing_else(self, node: Node) -> None:
        node.process(
            9, MY_SLURM_JOB_NAME="secret", SLURM_JOB_NAME="n" * 100_000, SLURM_JOB_ID="17",
            TOKEN="a=SLURM_JOB_ACCOUNT=secret", SLURM_JOB_GPUS="1",
        )  # fmt: skip
        assert read_environ(node.proc / "9") == {
            "SLURM_JOB_NAME": "n" * LONGEST_VALUE, "SLURM_JOB_ID": "17", "SLURM_JOB_GPUS": "1",
        }  # fmt: skip

    def test_processes_that_are_gone_or_forbidden(self, node: Node) -> None:
        node.put("0", "17\n")
        node.step(17, "0", 5, 6)
        (node.proc / "6").mkdir()
        told = node.allocator().read(meters())
        assert told.about["slurm:17"]["owner"] == user_name(os.geteuid())

    def test_a_job_is_asked_again_until_it_has_said_who_it_is(self, node: Node) -> None:
        node.put("0", "17\n")
        node.step(17, "0", 5)
        allocator = node.allocator()
        assert "name" not in allocator.read(meters()).about["slurm:17"]
        node.process(5, SLURM_JOB_ID="17", SLURM_JOB_NAME="train")
        assert allocator.read(meters()).about["slurm:17"]["name"] == "train"


@pytest.mark.parametrize(
    ("under", "jobs"),
    [("fixtures/cpuacct/slurm", {"10", "11"}), ("fixtures/system.slice", {"4"})],
)
def test_recorded_cgroups(data: Path, tmp_path: Path, under: str, jobs: set[str]) -> None:
    """Real trees of v1 and v2, both with steps called extern."""
    unpack(data / "recordings" / TREE, under, tmp_path)
    seen = Jobs(tmp_path / "proc", tmp_path / "fixtures")
    seen.look(())
    assert seen.in_cgroups == jobs
    assert seen.contained


def test_it_is_built_from_the_settings(node: Node) -> None:
    node.put("1", "17\n", NOW_MS)
    settings = Allocations(slurm=Slurm(job_map=node.map, gpu_order=("GPU-1", "GPU-0")))
    node.step(17, "extern")
    roots = Roots(procfs=node.proc, cgroupfs=node.cgroups)
    allocator = create("slurm", Config(roots=roots, allocations=settings))
    assert shares(allocator.read(meters())) == {("GPU-0", "slurm:17"): 1.0}
    allocator.close()
    assert list(Slurm(shards_per_gpu=-1).problems()) == ["shards_per_gpu: -1 is below 0"]
