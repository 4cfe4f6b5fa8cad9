"""Pods on shared GPUs, from the driver's counter to the ledger's rows, in real processes.

The exporter and the collector are the real programs. What stands in is named so: the driver's
library (compiled), the kubelet (a real gRPC server), the API server (real HTTP), and the folders
of ``/proc`` and ``/sys/fs/cgroup`` that say whose the processes on a GPU are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from prometheus_client.samples import Sample
from tests.fixtures import kube, kubelet
from tests.fixtures.driver import FAR_US, Driver
from tests.fixtures.programs import ask, collecting, exporting, newest, until
from tests.fixtures.stores import Stores

from wattshed_collector.store.migrate import Layout

pytestmark = pytest.mark.e2e

UIDS = {
    "chat-7d4b9c-x": "0a1b2c3d-0000-1111-2222-333344445551",
    "vision-0": "0a1b2c3d-0000-1111-2222-333344445552",
    "slice-job-z": "0a1b2c3d-0000-1111-2222-333344445553",
    "nightly-28000000-q": "0a1b2c3d-0000-1111-2222-333344445554",
}
CHAT, VISION, SLICE, NIGHTLY = UIDS
SHARED, CUT, WHOLE = (f"GPU-0000000{n}-0000-1111-2222-333344445555" for n in range(3))
PIDS = {CHAT: 4242, VISION: 4343, SLICE: 4444, NIGHTLY: 4545}
WATTS = (400.0, 300.0, 700.0)
NAMED = {("chat", SHARED), ("vision", SHARED), ("slice-job", CUT), ("nightly", WHOLE)}


def scenario() -> Iterator[str]:
    """Yield what the driver says of instances and of processes."""
    yield from ("mig.1 1", "mig_count.1 2")
    for instance, (uuid, slices) in enumerate((("MIG-a", "3,3,40448"), ("MIG-b", "1,1,9984"))):
        of = f"mig{instance}"
        yield from (f"{of}_gi.1 {instance + 1}", f"{of}_ci.1 0", f"{of}_uuid.1 {uuid}")
        yield f"{of}_slices.1 {slices}"
    # One works three times as much as the other.
    yield f"compute.0 {PIDS[CHAT]} {PIDS[VISION]}"
    yield from (f"compute.1 {PIDS[SLICE]}@1/0", f"compute.2 {PIDS[NIGHTLY]}")
    yield f"util.0 {PIDS[CHAT]},{FAR_US},60 {PIDS[VISION]},{FAR_US},20"
    yield f"util.2 {PIDS[NIGHTLY]},{FAR_US},80"


def pods() -> Iterator[kube.Json]:
    """Make the pods as the API has them: a Deployment's, a StatefulSet's, a Job's, a CronJob's."""
    for name, kind, owner, labels in (
        (CHAT, "ReplicaSet", "chat-7d4b9c", {"pod-template-hash": "7d4b9c", "team": "nlp"}),
        (VISION, "StatefulSet", "vision", {"team": "vision", "cost-center": "42"}),
        (SLICE, "Job", "slice-job", {"team": "nlp"}),
        (NIGHTLY, "Job", "nightly-28000000", {"team": "search"}),
    ):
        owners = [{"kind": kind, "name": owner, "controller": True}]
        created = (
            "2023-03-28T10:40:07Z"  # seven seconds after the minute that the Job is named after
        )
        yield kube.pod(
            UIDS[name], name, labels=labels, ownerReferences=owners, creationTimestamp=created
        )


def machine(folder: Path) -> None:
    """Lay out what the kernel says of the processes on the shared GPU."""
    (folder / "cgroup").mkdir()
    (folder / "cgroup/cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (folder / "proc/self/ns").mkdir(parents=True)
    (folder / "proc/self/ns/pid").symlink_to("pid:[4026531836]")
    for name, pid in PIDS.items():
        slice_of = UIDS[name].replace("-", "_")
        container = UIDS[name][-1] * 64
        (folder / f"proc/{pid}").mkdir()
        (folder / f"proc/{pid}/cgroup").write_text(
            "0::/kubepods.slice/kubepods-burstable.slice/"
            f"kubepods-burstable-pod{slice_of}.slice/cri-containerd-{container}.scope\n"
        )


Live = dict[tuple[str, str], float]
"""Joules by name of the workload ("" for nobody) and device."""


def live(samples: list[Sample]) -> Live:
    """Return what a scrape says of workloads."""
    found: Live = {}
    for sample in samples:
        if sample.name == "wattshed_workload_energy_joules_total":
            key = sample.labels["workload"], sample.labels["device"]
            found[key] = found.get(key, 0.0) + sample.value
    return found


def is_charged(seen: Live) -> bool:
    """Whether all are charged, and more of the whole board than nobody is for the time before."""
    return all(map(seen.get, NAMED)) and seen["nightly", WHOLE] > 2 * seen.get(("", WHOLE), 0.0)


@pytest.fixture(scope="module")
def cluster(
    fake_nvml: Path, stores: Stores, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Live]:
    """A node that ran for some rounds: the collector's data, and the last scrape."""
    folder = tmp_path_factory.mktemp("node")
    machine(folder)
    with ExitStack() as stack:
        api = stack.enter_context(kube.serving(kube.Kube()))
        for each in pods():
            api.put(each)
        agent = stack.enter_context(kubelet.running(folder / "kubelet.sock"))
        agent.pods = [
            kubelet.pod(CHAT, f"{SHARED}::0", resource="nvidia.com/gpu.shared"),
            kubelet.pod(VISION, f"{SHARED}::1", resource="nvidia.com/gpu.shared"),
            kubelet.pod(SLICE, "MIG-a", resource="nvidia.com/mig-3g.40gb"),
            kubelet.pod(NIGHTLY, WHOLE),
        ]
        boards = (SHARED, CUT, WHOLE)
        stack.enter_context(Driver(folder / "scenario", boards, WATTS, 80, scenario))
        stores.prepare(folder / "data", Layout())
        collector = stack.enter_context(collecting(folder))
        scrape = stack.enter_context(exporter(folder, api.url, fake_nvml, collector))
        seen: Live = {}

        def all_pay() -> bool:
            seen.update(live(scrape()))
            return is_charged(seen)

        until(all_pay)
        now = time.time()
        until(lambda: newest(collector) > now)
    return folder / "data", seen


def exporter(
    folder: Path, api: str, library: Path, collector: str
) -> AbstractContextManager[Callable[[], list[Sample]]]:
    flags = (
        "--node=n1", "--cluster=c1", "--sources=nvml", "--interval-seconds=0.25",
        "--detail-seconds=0.25", f"--otlp.endpoint={collector}", "--otlp.batch-seconds=0.5",
        f"--roots.procfs={folder / 'proc'}", f"--roots.cgroupfs={folder / 'cgroup'}",
        f"--roots.sysfs={folder / 'sys'}",
        "--allocations.sources=pods,podresources,cgroup", "--allocations.interval-seconds=0.5",
        "--allocations.window-seconds=0.5",
        f"--allocations.kubernetes.podresources-socket={folder / 'kubelet.sock'}",
        f"--allocations.kubernetes.api={api}",
    )  # fmt: skip
    told = {"LD_LIBRARY_PATH": str(library), "FAKE_NVML_SCENARIO": str(folder / "scenario")}
    return exporting(folder, *flags, **told)


@pytest.fixture(scope="module")
def charged(cluster: tuple[Path, Live]) -> dict[tuple[str, str, str], float]:
    """Joules by workload, device and class, once the ledger has charged all that was measured."""
    (rows,) = ask(
        cluster[0], "SELECT workload, device, class, sum(joules) FROM v_energy_1m GROUP BY ALL"
    )
    return {(str(w), str(d), str(c)): float(j) for w, d, c, j in rows}


def of(charged: dict[tuple[str, str, str], float], workload: str, device: str) -> float:
    return sum(j for (w, d, _), j in charged.items() if (w, d) == (workload, device))


def test_every_joule_of_every_board_is_somebodys_or_nobodys(
    cluster: tuple[Path, Live], charged: dict[tuple[str, str, str], float]
) -> None:
    (rows,) = ask(cluster[0], "SELECT device, sum(joules) FROM v_measured_1m GROUP BY device")
    measured = {str(device): float(joules) for device, joules in rows}
    assert measured.keys() == {SHARED, CUT, WHOLE}
    for device, joules in measured.items():
        given = sum(j for (_, d, _), j in charged.items() if d == device)
        assert given == pytest.approx(joules, rel=1e-9)
        assert joules > 0


def test_who_shares_a_board_pays_for_what_it_did_there(
    charged: dict[tuple[str, str, str], float],
) -> None:
    chat, vision = of(charged, "chat", SHARED), of(charged, "vision", SHARED)
    # By share until the first round of activity, and by three to one from then on.
    assert 1.5 < chat / vision <= 3 * (1 + 1e-6)


def test_who_has_an_instance_pays_for_its_slices(
    charged: dict[tuple[str, str, str], float],
) -> None:
    part = of(charged, "slice-job", CUT) / sum(j for (_, d, _), j in charged.items() if d == CUT)
    assert 0.5 * 3 / 7 < part <= 3 / 7 * (1 + 1e-9)
    assert {w for w, d, _ in charged if d == CUT} == {"slice-job", ""}


def test_who_has_a_board_alone_pays_for_all_of_it(
    charged: dict[tuple[str, str, str], float],
) -> None:
    assert {w for w, d, _ in charged if d == WHOLE} <= {"nightly", ""}
    assert charged["nightly", WHOLE, "active"] > of(charged, "", WHOLE)


def test_labels_say_whose_pods_they_are(cluster: tuple[Path, Live]) -> None:
    (rows,) = ask(
        cluster[0],
        "SELECT workload_key, workload, workload_kind, instance, namespace, team, owner, "
        "cost_center, cluster FROM v_workload ORDER BY instance",
    )
    same = ("pod", "ml", "trainer", "c1")
    told = {str(row[3]): tuple(map(str, row)) for row in rows}
    for name, workload, team, cost in (
        (CHAT, "chat", "nlp", ""),
        (VISION, "vision", "vision", "42"),
        (SLICE, "slice-job", "nlp", ""),
        (NIGHTLY, "nightly", "search", ""),
    ):
        kind, namespace, owner, where = same
        key = f"k8s/c1/{UIDS[name]}"
        assert told[name] == (key, workload, kind, name, namespace, team, owner, cost, where)
    assert len(told) == len(UIDS)


def test_a_scrape_says_the_same_without_a_collector(cluster: tuple[Path, Live]) -> None:
    seen = cluster[1]
    named = {(name, device) for name, device in seen if name}
    assert named == NAMED
    assert all(seen[key] > 0 for key in named)
    assert 1.5 < seen["chat", SHARED] / seen["vision", SHARED] <= 3 * (1 + 1e-6)
