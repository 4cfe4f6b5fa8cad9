"""What each process and each MIG instance uses, for those who find out whose they are."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.exporter.sources.nvml.conftest import Process, Start

MIG = (
    "mig 1", "mig_count 3",
    "mig0_gi 2", "mig0_ci 0", "mig0_uuid MIG-3g", "mig0_slices 3,3,40448", "mig0_gpm_2 50",
    "mig1_gi 9", "mig1_ci 0", "mig1_uuid MIG-1g", "mig1_slices 1,1,9984", "mig1_gpm_2 100",
    "mig2_gi 5", "mig2_ci 0", "mig2_uuid MIG-2g", "mig2_slices 2,2,20096",
)  # fmt: skip


def samples(*rows: tuple[int, float, int]) -> str:
    """Samples of the process, of so many seconds ago, with so many percent."""
    now_us = time.time_ns() // 1000
    text = " ".join(f"{pid},{now_us - int(ago * 1e6)},{percent}" for pid, ago, percent in rows)
    return f"util {text}"


def used(process: Process) -> dict[int, tuple[float | None, int | None]]:
    told = process.uses()["processes"]
    found = {u["pid"]: (u["sm_ratio"], u["memory_used_bytes"]) for u in told}
    assert len(found) == len(told)
    assert {u["device"] for u in told} <= {"GPU-fake-0"}
    return found


def test_each_process_has_its_mean_and_its_memory(start: Start) -> None:
    nvml = start(detail_seconds=600.0)
    nvml.tell(
        "compute 7:4096 8 9", "graphics 8:2097152 10",
        samples((7, 3, 90), (7, 1, 30), (8, 2, 40), (9, 1, 4294967295), (11, 1, 20)),
    )  # fmt: skip
    nvml.discover()
    assert used(nvml) == {
        7: (0.6, 4096),
        8: (0.2, 2097152),  # it was idle in one of two periods
        9: (0.0, 1 << 20),
        10: (0.0, 1 << 20),
        11: (0.1, None),  # it has ended
    }
    assert nvml.read()[0]["contexts"] == 4


@pytest.mark.parametrize("answer", ["util none", "util empty"])
def test_nobody_worked(nvml: Process, answer: str) -> None:
    nvml.tell("compute 7", answer)
    nvml.discover()
    assert used(nvml) == {7: (0.0, 1 << 20)}


def test_what_the_driver_does_not_tell_is_not_known(nvml: Process) -> None:
    nvml.tell("compute 7:18446744073709551615")
    nvml.discover()
    assert used(nvml) == {7: (None, None)}


def test_where_a_gpu_does_not_tell_its_processes_nobodys_are_known(nvml: Process) -> None:
    nvml.tell("count 2", "compute 7", "compute_rc.1 999")
    nvml.discover()
    assert nvml.uses()["processes"] is None
    nvml.tell("count 2", "compute 7", "device_rc.1 15")
    assert [u["pid"] for u in nvml.uses()["processes"]] == [7]


def test_outside_the_hosts_pid_namespace_they_are_not_asked(start: Start) -> None:
    nvml = start(pids="pid:[4026532281]")
    nvml.tell("util none", "compute 7")
    nvml.discover()
    assert nvml.uses() == {"processes": None, "instances": []}


@pytest.mark.parametrize(("library", "worked"), [("old", None), ("r525", 0.0)])
def test_older_drivers_tell_processes_as_well(
    start: Start, fake_nvml: Path, library: str, worked: float | None
) -> None:
    nvml = start(fake_nvml / library)
    nvml.tell("compute 7:4096", "util none")
    nvml.discover()
    assert used(nvml) == {7: (worked, 4096)}


def test_instances_have_slices_and_the_activity_of_their_own(nvml: Process) -> None:
    nvml.tell(*MIG, "mig2_gpm_2 0")
    nvml.discover()
    first = nvml.uses()["instances"]
    assert {i["activity_ratio"] for i in first} == {None}  # it needs two samples
    told = {i["uuid"]: (i["name"], i["slices"], i["activity_ratio"])
            for i in nvml.uses()["instances"]}  # fmt: skip
    assert told == {
        "MIG-3g": ("2/0", 3, 0.5), "MIG-1g": ("9/0", 1, 1.0), "MIG-2g": ("5/0", 2, 0.0),
    }  # fmt: skip
    assert nvml.ask("held")["samples"] == 6


def test_where_the_driver_has_no_samples_of_instances_their_activity_is_not_known(
    nvml: Process,
) -> None:
    nvml.tell(*(line for line in MIG if "gpm" not in line), "gpm_2 50")
    nvml.discover()
    nvml.uses()
    assert {i["activity_ratio"] for i in nvml.uses()["instances"]} == {None}
    assert nvml.ask("held")["samples"] == 0


def test_compute_instances_of_one_gpu_instance_are_not_told_apart(nvml: Process) -> None:
    nvml.tell(*(line.replace("mig1_gi 9", "mig1_gi 2").replace("mig1_ci 0", "mig1_ci 1")
                for line in MIG), "mig2_gpm_2 25")  # fmt: skip
    nvml.discover()
    nvml.uses()
    told = {i["uuid"]: i["activity_ratio"] for i in nvml.uses()["instances"]}
    assert told == {"MIG-3g": None, "MIG-1g": None, "MIG-2g": 0.25}


def test_an_instance_that_is_gone_gives_its_samples_back(nvml: Process) -> None:
    nvml.tell(*MIG, "mig2_gpm_2 0")
    nvml.discover()
    nvml.uses()
    nvml.tell(*MIG, "mig_count 2")
    assert len(nvml.uses()["instances"]) == 2
    assert nvml.ask("held")["samples"] == 4
    nvml.tell("mig 0")
    assert nvml.uses()["instances"] == []
    assert nvml.ask("held")["samples"] == 0


def test_processes_in_instances_are_told_by_instance(nvml: Process) -> None:
    nvml.tell(*MIG, "compute 7@2/0:4096 8@9/0 9@1/0")
    nvml.discover()
    told = nvml.uses()["processes"]
    assert {u["pid"]: (u["device"], u["sm_ratio"]) for u in told} == {
        7: ("MIG-3g", None), 8: ("MIG-1g", None), 9: ("GPU-fake-0", None),
    }  # fmt: skip
