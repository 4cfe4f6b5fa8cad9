"""Whose a cgroup is, by its path, in the forms that kubelets, engines and schedulers use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.cgroups import POD, Burner, hierarchies, made, scope_of, slice_of

from wattshed_exporter.allocations.cgroup_paths import ROOT, Rank, parse, place_of

C, D = "c" * 64, "d" * 64
UNDER = POD.replace("-", "_")
STATIC = "0123456789abcdef0123456789abcdef"
KIND = f"kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UNDER}.slice"
QEMU = "machine-qemu\\x2d1\\x2dubuntu.scope"
USER = "/user.slice/user-1000.slice/user@1000.service"

PATHS = [
    (f"/kubepods/pod{POD}/{C}", f"pod:{POD}", f"container:{C}"),
    (f"/kubepods/burstable/pod{POD}/{C}", f"pod:{POD}", f"container:{C}"),
    (f"/kubepods/besteffort/pod{STATIC}/{C}", f"pod:{STATIC}", f"container:{C}"),
    (f"/{slice_of(POD)}", f"pod:{POD}", ""),
    (f"/{scope_of(POD, 12)}", f"pod:{POD}", f"container:{12:064x}"),
    (f"/{slice_of(POD, 'burstable')}/crio-{C}.scope", f"pod:{POD}", f"container:{C}"),
    (f"/{slice_of(POD, 'besteffort')}/docker-{C}.scope", f"pod:{POD}", f"container:{C}"),
    (f"/{slice_of(POD)}/crio-conmon-{C}.scope", f"pod:{POD}", f"container:{C}"),
    (
        f"/system.slice/containerd.service/kubepods-burstable-pod{UNDER}.slice:cri-containerd:{C}",
        f"pod:{POD}",
        f"container:{C}",
    ),
    (f"/system.slice:docker:{C}", f"container:{C}", ""),
    (f"/docker/{C}", f"container:{C}", ""),
    (f"/system.slice/docker-{C}.scope", f"container:{C}", ""),
    (f"/system.slice/docker-{C}.scope/system.slice/cron.service", f"container:{C}", ""),
    (f"/machine.slice/libpod-{C}.scope/container", f"container:{C}", ""),
    (f"/machine.slice/machine-libpod_pod_{D}.slice/libpod-{C}.scope", f"container:{C}", ""),
    (f"/libpod_parent/libpod-payload-{C}", f"container:{C}", ""),
    (f"{USER}/user.slice/libpod-{C}.scope/container", f"container:{C}", ""),
    (f"/containerd-{C}", f"container:{C}", ""),
    ("/slurm/uid_1000/job_42/step_0/task_3", "slurm:42", ""),
    ("/slurm_node1/uid_1000/job_42/step_batch", "slurm:42", ""),
    ("/system.slice/slurmstepd.scope/job_42/step_extern/user/task_0", "slurm:42", ""),
    ("/system.slice/node1_slurmstepd.scope/job_42/step_interactive", "slurm:42", ""),
    (f"/slurm/uid_1000/job_42/step_0/docker/{C}", "slurm:42", f"container:{C}"),
    ("/system.slice/slurmstepd.scope/system", "unit:slurmstepd.scope", ""),
    ("/torque/1182724.batch", "torque:1182724.batch", ""),
    ("/system.slice/ssh.service", "unit:ssh.service", ""),
    ("/init.scope", "unit:init.scope", ""),
    ("/user.slice/user-1000.slice/session-3.scope", "unit:session-3.scope", ""),
    (f"{USER}/app.slice/train.service", "unit:user@1000.service/train.service", ""),
    (f"{USER}/init.scope", "unit:user@1000.service", ""),
    (f"{USER}/\udcff\x1b[2J.service", "unit:user@1000.service", ""),
    (f'{USER}/a"b,c.scope', "unit:user@1000.service", ""),
    ("/torque/1182724[3].batch/0", "torque:1182724[3].batch", ""),
    ("/torque/\udcff", "", ""),
    (f"/machine.slice/{QEMU}/libvirt/vcpu0", f"unit:{QEMU}", ""),
    # A node of kind is a container; in it the pods are what counts.
    (f"/docker/{C}/{KIND}/cri-containerd-{D}.scope", f"pod:{POD}", f"container:{D}"),
    (f"/docker/{C}/kubelet.slice/kubelet.service", f"container:{C}", ""),
    # Docker in Docker, on a plain host and in a pod.
    (f"/docker/{C}/docker/{D}", f"container:{D}", ""),
    (f"/kubepods/pod{POD}/{C}/docker/{D}", f"pod:{POD}", f"container:{D}"),
    # As a process in a namespace of its own sees it.
    (f"/../../kubepods-pod{UNDER}.slice/cri-containerd-{C}.scope", f"pod:{POD}", f"container:{C}"),
    (f"/../cri-containerd-{C}.scope", f"container:{C}", ""),
    (f"/docker/{C} (deleted)", f"container:{C}", ""),
    ("/", "", ""),
    ("/system.slice", "", ""),
    ("/slurm/uid_1000", "", ""),
    ("/kubepods/burstable/podcast", "", ""),
    (f"/kubepods/pod{POD}x", "", ""),
    (f"/docker/{C}0", "", ""),
    ("/job_42", "", ""),
]


@pytest.mark.parametrize(("path", "holder", "container"), PATHS)
def test_the_holder_of_a_path(path: str, holder: str, container: str) -> None:
    place = parse(path)
    assert (place.holder, place.container) == (holder, container)


def test_only_guaranteed_pods_and_jobs_own_the_cpus_that_they_are_given() -> None:
    owners = [f"/kubepods/pod{POD}/{C}", f"/{scope_of(POD, 1)}", "/slurm/uid_1/job_2/step_0"]
    others = [f"/{scope_of(POD, 1, 'burstable')}", f"/kubepods/besteffort/pod{POD}", f"/docker/{C}"]
    assert [parse(path).tenured for path in owners] == [True, True, True]
    assert [parse(path).tenured for path in others] == [False, False, False]


def test_of_many_hierarchies_the_one_that_knows_most_counts() -> None:
    text = f"9:name=systemd:/system.slice/docker.service\n4:memory:/docker/{C}\n1:cpu:/\n0::/\n"
    assert place_of(text).holder == f"container:{C}"
    assert place_of("no colon\n1:cpu\n0::/init.scope\n").holder == "unit:init.scope"
    assert place_of("") == ROOT


@pytest.mark.parametrize("name", ["cgroups/cgroup", "invalid-cgroup/cgroup", "v2/cgroup-subdir"])
def test_recorded_files_without_a_holder_have_none(data: Path, name: str) -> None:
    text = (data / "recordings/proc-cgroup/automaxprocs/proc" / name).read_text()
    assert text
    assert place_of(text) == ROOT


NAMES = f"""kubepods docker burstable pod{POD} {C} docker-{D}.scope slurm job_7 torque user.slice
user@1.service a.service .. x:y:z slurmstepd.scope""".split()
names = st.sampled_from([*NAMES, ""])


@given(st.lists(names | st.text(max_size=40), max_size=12))
def test_any_path_has_a_holder_that_it_names_or_none(parts: list[str]) -> None:
    place = parse("/".join(parts))
    assert bool(place.holder) == (place.rank is not Rank.NOBODY)
    assert not place.container or place.rank is Rank.POD_OR_JOB
    if place.holder.startswith("pod:"):
        uid = place.holder.removeprefix("pod:")
        assert uid in "/".join(parts).replace("_", "-")


@given(st.lists(names, max_size=8), st.lists(st.sampled_from(["app", "x", "user"]), max_size=3))
def test_what_has_no_meaning_below_changes_nothing(parts: list[str], below: list[str]) -> None:
    above = parse("/".join(parts))
    deeper = parse("/".join([*parts, *below]))
    if above.below != "torque":
        assert (deeper.holder, deeper.rank) == (above.holder, above.rank)


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert place_of(text).rank in Rank


def test_a_real_process_is_found_from_a_cgroup_namespace_of_its_own() -> None:
    """A container sees the paths of others from its own place, as ``/../..``."""
    _, top = hierarchies(2)
    enter = "import os,sys; open(sys.argv[1],'w').write('0'); os.execvp('unshare', sys.argv[2:])"
    burner = Burner(0)
    try:
        with made(top, scope_of(POD, 1), "kubepods.slice/reader"):
            (top / scope_of(POD, 1) / "cgroup.procs").write_text(str(burner.pid))
            reader = [str(top / "kubepods.slice/reader/cgroup.procs"), "unshare", "--cgroup", "cat"]
            seen = subprocess.run(
                [sys.executable, "-c", enter, *reader, f"/proc/{burner.pid}/cgroup"],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            burner.end()
    finally:
        burner.end()
    assert "0::/../kubepods-pod" in seen
    assert place_of(seen).holder == f"pod:{POD}"
