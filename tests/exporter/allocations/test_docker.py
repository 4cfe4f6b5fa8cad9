"""Containers and their GPUs: a real dockerd, and a stand-in for what none can be had for here."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.cgroups import MOUNT, device, hierarchies
from tests.fixtures.cgroups import plugin as cgroup_plugin
from tests.fixtures.dockerd import Engine, StandIn, running

from wattshed_exporter.allocations import Claim, Meters
from wattshed_exporter.allocations.cgroup_paths import place_of
from wattshed_exporter.allocations.docker import Docker, create, listed
from wattshed_exporter.allocations.gpu_requests import Asked, Finder, asked
from wattshed_exporter.allocations.options import Allocations
from wattshed_exporter.allocations.options import Docker as Settings
from wattshed_exporter.config import Config, Roots
from wattshed_exporter.errors import NoData, SourceError
from wattshed_exporter.model import Device, Instance, Kind

A, B = "a" * 64, "b" * 64
GPUS = ("GPU-aaaa0000-1", "GPU-bbbb0000-2", "GPU-cccc0000-3")


def gpu(key: str, name: str, vendor: str = "NVIDIA") -> Device:
    return Device(key, Kind.GPU, "n", "s", name=name, vendor=vendor)


NVIDIA_ONLY = {key: gpu(key, f"gpu{number}") for number, key in enumerate(GPUS)}
BOTH = {**NVIDIA_ONLY, "amd-1": gpu("amd-1", "card1", "AMD"), "amd-2": gpu("amd-2", "card2", "AMD")}
INSTANCES = [Instance(GPUS[1], f"{n + 1}/0", f"MIG-{n}{n}{n}{n}0000", 0, 3) for n in range(2)]
METERS = Meters(0, BOTH, INSTANCES)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A real dockerd, started once for this file."""
    with running(tmp_path_factory.mktemp("dockerd")) as started:
        yield started


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[StandIn]:
    server = StandIn(tmp_path / "docker.sock")
    yield server
    server.close()


def plugin(path: Path, root: Path = Path("/nowhere")) -> Docker:
    settings = Allocations(docker=Settings(socket=path))
    return create(Config(node="n", roots=Roots(procfs=root, sysfs=root), allocations=settings))


def test_a_real_engine_tells_who_runs_and_whose_it_is(engine: Engine) -> None:
    labels = ["--label", "team=vision", "--label", "com.docker.compose.service=api"]
    labels += ["--label", "com.docker.compose.project=shop", "--label", "other=thing"]
    key = engine("run", "-d", "--network=none", "--name=shop-api-1", *labels, "tiny:1")
    docker = plugin(engine.socket)
    told = docker.read(METERS)
    assert told.about == {
        f"container:{key}": {
            "name": "api",
            "instance": "shop-api-1",
            "kind": "container",
            "project": "shop",
            "team": "vision",
        }
    }
    assert (told.claims, told.rejected) == ([], {})
    pid = json.loads(engine("inspect", key))[0]["State"]["Pid"]
    assert place_of(Path(f"/proc/{pid}/cgroup").read_text()).holder == f"container:{key}"
    engine("rename", key, "renamed")
    assert docker.read(METERS).about[f"container:{key}"]["instance"] == "renamed"
    engine("rm", "-f", key)
    assert not docker.read(METERS).about


def test_the_work_of_a_real_container_is_charged_under_its_name(engine: Engine) -> None:
    root, _ = hierarchies(1 if (MOUNT / "cpuacct").is_dir() else 2)
    cgroup = cgroup_plugin(root)
    meters = Meters(0, {"cpu": device("cpu")})
    cgroup.read(meters)
    key = engine("run", "-d", "--network=none", "--name=busy", "tiny:1", "/pause", "work")
    while not (worked := engine("logs", key)):
        time.sleep(0.05)
    (claim,) = [c for c in cgroup.read(meters).claims if c.holder == f"container:{key}"]
    name = plugin(engine.socket).read(meters).about[claim.holder]["name"]
    engine("rm", "-f", key)
    seconds = (claim.activity or 0.0) * 10 * os.sysconf("SC_NPROCESSORS_ONLN")
    # Beside its own work the container has what the runtime did in it to start it.
    assert float(worked) * 0.9 <= seconds <= float(worked) + 0.3
    assert name == "busy"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--gpus=all"], [Asked("", "all")]),
        (["--gpus=2"], [Asked("", count=2)]),
        (["--gpus", '"device=GPU-aaaa0000-1,1"'], [Asked("", GPUS[0]), Asked("", "1")]),
        (["--gpus", "all,capabilities=utility"], []),
        (["--gpus", 'all,"capabilities=compute,utility"'], [Asked("", "all")]),
        (["--device=/dev/nvidia0", "--device=/dev/nvidiactl"], [Asked("NVIDIA", "/dev/nvidia0")]),
        (["--device=/dev/dri/renderD128"], [Asked("AMD", "/dev/dri/renderD128")]),
        (["--device=/dev/kfd", "--device=/dev/dri"], [Asked("AMD", "all")]),
        (["--env=NVIDIA_VISIBLE_DEVICES=all"], []),  # runc obeys no such variable
        (["--gpus=all", "--env=NVIDIA_DRIVER_CAPABILITIES=utility"], []),
        ([], []),
    ],
)
def test_what_a_real_engine_says_that_a_container_was_given(
    engine: Engine, flags: list[str], expected: list[Asked]
) -> None:
    """Containers with GPUs are only made, not started: there is no driver to give them one."""
    key = engine("create", "--network=none", *flags, "tiny:1")
    (inspected,) = json.loads(engine("inspect", key))
    engine("rm", key)
    assert list(asked(inspected)) == expected


def inspection(host: dict[str, Any], *env: str) -> dict[str, Any]:
    return {"HostConfig": host, "Config": {"Env": list(env)}}


CDI = {"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=0:1", "amd.com/gpu=all", "acme.com/x=1"]}


@pytest.mark.parametrize(
    ("inspected", "expected"),
    [
        (
            inspection({"DeviceRequests": [CDI]}),
            [Asked("NVIDIA", "0:1"), Asked("AMD", "all")],
        ),
        (
            inspection({"Devices": [{"PathOnHost": "nvidia.com/gpu=GPU-x"}]}),
            [Asked("NVIDIA", "GPU-x")],
        ),
        (
            inspection({"Runtime": "nvidia"}, "NVIDIA_VISIBLE_DEVICES=0,MIG-x", "A=B"),
            [Asked("NVIDIA", "0"), Asked("NVIDIA", "MIG-x")],
        ),
        (
            inspection({"Runtime": "nvidia"}, "NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu=1"),
            [Asked("NVIDIA", "1")],
        ),
        (inspection({"Runtime": "nvidia"}, "NVIDIA_VISIBLE_DEVICES=void"), []),
        (inspection({"Runtime": "amd"}, "AMD_VISIBLE_DEVICES=1"), [Asked("AMD", "1")]),
        (
            inspection({"DeviceRequests": [{"Driver": "nvidia", "Capabilities": [["tpu"]]}]}),
            [],
        ),
    ],
)
def test_what_other_engines_say(inspected: object, expected: list[Asked]) -> None:
    """Written by hand: there is no CDI or runtime of a vendor here."""
    assert list(asked(inspected)) == expected


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        (Asked("", "all"), GPUS),
        (Asked("", count=2), GPUS[:2]),
        (Asked("NVIDIA", "1"), GPUS[1:2]),
        (Asked("NVIDIA", "gpu2"), GPUS[2:]),
        (Asked("NVIDIA", GPUS[0]), GPUS[:1]),
        (Asked("NVIDIA", "GPU-bbbb"), GPUS[1:2]),
        (Asked("NVIDIA", "GPU-"), ()),
        (Asked("NVIDIA", "GPU-dddd0000"), ()),
        (Asked("NVIDIA", "9"), ()),
        (Asked("NVIDIA", "1:1"), ("MIG-11110000",)),
        (Asked("NVIDIA", "mig1:0"), ("MIG-00000000",)),
        (Asked("NVIDIA", "1:7"), ()),
        (Asked("NVIDIA", "MIG-00000000"), ("MIG-00000000",)),
        (Asked("NVIDIA", "/dev/nvidia1"), GPUS[1:2]),
        (Asked("AMD", "all"), ("amd-1", "amd-2")),
        (Asked("AMD", "2"), ("amd-2",)),
        (Asked("AMD", "/dev/dri/renderD129"), ("amd-2",)),
        (Asked("AMD", "/dev/dri/renderD140"), ()),
    ],
)
def test_which_devices_are_meant(tmp_path: Path, wanted: Asked, keys: tuple[str, ...]) -> None:
    for node, board in (("card1", "x"), ("renderD128", "x"), ("card2", "y"), ("renderD129", "y")):
        link = tmp_path / "class/drm" / node / "device"
        link.parent.mkdir(parents=True)
        (tmp_path / board).mkdir(exist_ok=True)
        link.symlink_to(tmp_path / board)
    assert tuple(Finder(METERS, tmp_path / "proc", tmp_path).find(wanted)) == keys


def test_a_device_file_is_the_gpu_whose_minor_number_the_driver_tells(tmp_path: Path) -> None:
    """Written as NVIDIA's driver writes it; it need not be the index."""
    for slot, minor, uuid in (("0000:01:00.0", 1, GPUS[0]), ("0000:02:00.0", 0, GPUS[1])):
        folder = tmp_path / "driver/nvidia/gpus" / slot
        folder.mkdir(parents=True)
        said = f"Model: \t\t NVIDIA A100\nGPU UUID: \t {uuid}\nDevice Minor: \t {minor}\n"
        (folder / "information").write_text(said)
    finder = Finder(METERS, tmp_path, tmp_path)
    assert finder.find(Asked("NVIDIA", "/dev/nvidia0")) == [GPUS[1]]
    assert finder.find(Asked("NVIDIA", "/dev/nvidia7")) == []


def test_without_nvidia_gpus_a_number_means_those_of_amd() -> None:
    meters = Meters(0, {"amd-1": gpu("amd-1", "card1", "AMD")})
    assert Finder(meters, Path("/x"), Path("/x")).find(Asked("", "all")) == ["amd-1"]


def running_container(key: str, name: str, **labels: str) -> dict[str, Any]:
    request = {"Driver": "", "Count": -1, "DeviceIDs": None, "Capabilities": [["gpu"]]}
    inspected = inspection({"DeviceRequests": [request], "Runtime": "runc"})
    return {"Id": key, "Names": [f"/{name}"], "Labels": labels, "inspected": inspected}


def test_each_container_is_inspected_once_and_holds_all_that_it_was_given(
    stand_in: StandIn, tmp_path: Path
) -> None:
    stand_in.containers(running_container(A, "one"), running_container(B, "two"))
    docker = plugin(tmp_path / "docker.sock")
    meters = Meters(0, {GPUS[0]: NVIDIA_ONLY[GPUS[0]]})
    for _ in range(2):
        assert docker.read(meters).claims == [
            Claim(GPUS[0], f"container:{key}", 1.0, None, "docker") for key in (A, B)
        ]
    assert sum(A in target for target in stand_in.asked) == 1
    assert docker.read(Meters(0)).rejected == {"unknown_device": 2}


def test_a_container_of_a_pod_is_the_pod_and_the_kubelet_says_what_it_holds(
    stand_in: StandIn, tmp_path: Path
) -> None:
    stand_in.containers(running_container(A, "k8s_x", **{"io.kubernetes.pod.uid": "u-1"}))
    told = plugin(tmp_path / "docker.sock").read(METERS)
    assert (told.same, told.claims, told.about) == ({f"container:{A}": "pod:u-1"}, [], {})


@pytest.mark.parametrize("uid", ["", "a\nb", "ns/other", "x" * 64, "\ud800"])
def test_a_label_that_is_no_uid_makes_no_pod(stand_in: StandIn, tmp_path: Path, uid: str) -> None:
    stand_in.containers(running_container(A, "x", **{"io.kubernetes.pod.uid": uid}))
    told = plugin(tmp_path / "docker.sock").read(METERS)
    assert (told.same, list(told.about)) == ({}, [f"container:{A}"])


def test_one_that_ends_before_it_is_inspected_is_no_error_and_one_that_cannot_be_is(
    stand_in: StandIn, tmp_path: Path
) -> None:
    stand_in.containers({"Id": A, "Names": ["/gone"]}, {"Id": B, "Names": None})
    stand_in.answers[f"/containers/{B}/json"] = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
    told = plugin(tmp_path / "docker.sock").read(METERS)
    assert told.rejected == {"http_error": 1}
    assert told.about[f"container:{B}"]["name"] == "b" * 12


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{", "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "malformed"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "http_error"),
        (b"garbage\r\n\r\n", "unreachable"),
        (b"", "unreachable"),
    ],
)
def test_what_the_engine_does_wrong_has_a_reason(
    stand_in: StandIn, tmp_path: Path, answer: bytes, reason: str
) -> None:
    stand_in.answers["/containers/json"] = answer
    docker = plugin(tmp_path / "docker.sock")
    with pytest.raises(SourceError) as failed:
        docker.read(METERS)
    assert failed.value.reason == reason
    stand_in.containers(running_container(A, "back"))
    assert docker.read(METERS).claims


def test_where_there_is_no_socket_there_is_no_engine(tmp_path: Path) -> None:
    with pytest.raises(NoData):
        plugin(tmp_path / "docker.sock").read(METERS)
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="refused"):
        plugin(tmp_path / "file").read(METERS)


WORDS = """HostConfig Config Env DeviceRequests Devices Runtime Driver DeviceIDs Capabilities Count
PathOnHost Id gpu cdi nvidia all 0 -1 0:0 NVIDIA_VISIBLE_DEVICES=0 nvidia.com/gpu=0"""
words = st.sampled_from(WORDS.split())
things = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | words,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(words | st.text(), inner, max_size=4)
    ),
    max_leaves=20,
)
requests = st.lists(st.dictionaries(words, things, max_size=5), max_size=3)
inspections = st.fixed_dictionaries(
    {
        "HostConfig": st.fixed_dictionaries({}, optional={"DeviceRequests": requests})
        | st.fixed_dictionaries({"Devices": requests, "Runtime": things}),
        "Config": st.fixed_dictionaries({"Env": st.lists(things, max_size=4)}) | things,
    }
)


@settings(max_examples=60)
@given(things | inspections)
def test_no_answer_ends_the_plug_in(thing: object) -> None:
    finder = Finder(METERS, Path("/x"), Path("/x"))
    for wanted in asked(thing):
        assert set(finder.find(wanted)) <= {*BOTH, *(i.uuid for i in INSTANCES)}
    if isinstance(thing, list):
        assert len(listed(thing)) <= len(thing)
