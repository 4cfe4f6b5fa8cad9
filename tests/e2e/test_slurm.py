"""Two real jobs on a real Slurm: as the node sees them come and go, and up to the ledger's rows."""

from __future__ import annotations

import io
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fixtures.driver import FAR_US, Driver
from tests.fixtures.programs import ask, collecting, exporting, newest, until
from tests.fixtures.slurm import Cluster, cluster, wait, why_not
from tests.fixtures.stores import Stores

from wattshed_collector.receivers.sacct import Reader
from wattshed_collector.store.migrate import Layout
from wattshed_exporter import allocations
from wattshed_exporter.allocations import Meters, create
from wattshed_exporter.allocations.options import Allocations, Slurm
from wattshed_exporter.config import Config
from wattshed_exporter.model import Device, Kind, ProcessUse

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(why_not()), reason=why_not())]
SLEEP = "exec sleep 60"


@pytest.fixture(scope="module")
def slurm_cluster() -> Iterator[Cluster]:
    # A short path, because it holds a socket.
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, cluster(Path(folder)) as made:
        yield made


def meters(*pids: int) -> Meters:
    gpus = [Device(f"GPU-{i}", Kind.GPU, "n1", "simulate", name=f"gpu{i}") for i in range(2)]
    uses = [ProcessUse("GPU-0", pid, 1) for pid in pids]
    return Meters(2_000_000_000_000, {gpu.key: gpu for gpu in gpus}, (), uses)


def holders(told: allocations.Told) -> dict[str, tuple[str, float | None]]:
    return {claim.device: (claim.holder, claim.share) for claim in told.claims}


def test_jobs_come_and_go(slurm_cluster: Cluster) -> None:
    begun = time.time()
    settings = Allocations(slurm=Slurm(job_map=slurm_cluster.job_map))
    allocator = create("slurm", Config(allocations=settings))
    first = slurm_cluster.submit("train-a", SLEEP)
    second = slurm_cluster.submit("train-b", SLEEP)
    wait(lambda: all(map(slurm_cluster.processes, (first, second))), "the jobs do not run")

    pids = [pid for job in (first, second) for pid in slurm_cluster.processes(job)]
    told = allocator.read(meters(*pids))
    assert holders(told) == {
        "GPU-0": (f"slurm:{first}", 1.0),
        "GPU-1": (f"slurm:{second}", 1.0),
    }
    assert not told.rejected
    assert told.about[f"slurm:{first}"] == {
        "name": "train-a",
        "owner": "root",
        "queue": "p",
        "instance": str(first),
        "kind": "job",
    }
    assert told.about[f"slurm:{second}"]["name"] == "train-b"

    slurm_cluster.cancel(first)
    wait(lambda: not (slurm_cluster.job_map / "0").exists(), "the epilog did not run")
    assert holders(allocator.read(meters())) == {"GPU-1": (f"slurm:{second}", 1.0)}

    slurm_cluster.cancel(second)
    wait(lambda: not (slurm_cluster.job_map / "1").exists(), "the epilog did not run")
    folder = slurm_cluster.job_map / "jobs"
    wait(lambda: not list(folder.iterdir()), "the epilog left something")
    assert holders(allocator.read(meters())) == {}

    history = slurm_cluster.history()
    reader = Reader(io.BytesIO(history.encode()))
    jobs = {job.id: job for job in reader}
    assert not reader.counted, history
    for number, name in ((first, "train-a"), (second, "train-b")):
        job = jobs[str(number)]
        assert (job.name, job.user, job.partition) == (name, "root", "p")
        assert job.nodes == (slurm_cluster.node,)
        assert job.end_ms is not None
        assert begun - 1 <= job.start_ms / 1000 <= job.end_ms / 1000 <= time.time()


GPUS = ("GPU-00000000-0000-1111-2222-333344445555", "GPU-00000001-0000-1111-2222-333344445555")
RESTING, WORKING = (60.0, 70.0), (300.0, 500.0)
JOBS = ("train-a", "train-b")
ROUND_SECONDS = 0.25
SLOW_EPILOG_SECONDS = 3
Joules = dict[tuple[str, str, str], float]
"""By id of the job ("" for nobody), device and class."""


class Node:
    """A node of Slurm with two GPUs, its exporter, and the collector that it pushes to.

    What stands in: the driver's library, and the folder of procfs that says in which cgroup of
    Slurm's plug-in cgroup/v2 the jobs' processes are, because not every machine that runs tests can
    have one.
    """

    def __init__(self, folder: Path, slurm: Cluster, library: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.slurm = slurm
        self.pids: dict[int, int] = {}
        """Of the process on each GPU."""
        (folder / "proc/self/ns").mkdir(parents=True)
        (folder / "proc/self/ns/pid").symlink_to("pid:[4026531836]")
        (folder / "proc/stat").symlink_to("/proc/stat")
        # Where there is none, the first job makes it, and is seen when that is looked for again.
        (slurm.job_map / "jobs").mkdir(parents=True, exist_ok=True)
        (folder / "cgroup").mkdir()
        (folder / "cgroup/cgroup.controllers").write_text("cpuset cpu io memory pids\n")
        driver = Driver(folder / "scenario", GPUS, RESTING, 0, self.processes)
        self.driver = stack.enter_context(driver)
        self.collector = stack.enter_context(collecting(folder))
        flags = (
            f"--node={slurm.node}", "--cluster=c1", "--sources=nvml", "--interval-seconds=0.25",
            "--detail-seconds=0.25", f"--otlp.endpoint={self.collector}",
            "--otlp.batch-seconds=0.5", "--allocations.sources=slurm,cgroup",
            f"--allocations.interval-seconds={ROUND_SECONDS}",
            f"--allocations.window-seconds={ROUND_SECONDS}",
            f"--allocations.slurm.job-map={slurm.job_map}",
            *(f"--roots.{root}fs={folder / root}" for root in ("proc", "sys", "cgroup")),
        )  # fmt: skip
        told = {"LD_LIBRARY_PATH": str(library), "FAKE_NVML_SCENARIO": str(folder / "scenario")}
        self.scrape = stack.enter_context(exporting(folder, *flags, **told))

    def processes(self) -> Iterator[str]:
        """Yield what the driver says of the processes of jobs: each works all the time."""
        for gpu, pid in list(self.pids.items()):
            yield f"compute.{gpu} {pid}"
            yield f"util.{gpu} {pid},{FAR_US},90"

    def begin(self, gpu: int, job: int) -> None:
        """Let a job that has the GPU work on it."""
        (pid,) = self.slurm.processes(job)
        folder = self.folder / f"proc/{pid}"
        folder.mkdir()
        (folder / "environ").symlink_to(f"/proc/{pid}/environ")
        (folder / "cgroup").write_text(
            f"0::/system.slice/slurmstepd.scope/job_{job}/step_batch/user/task_0\n"
        )
        self.pids[gpu] = pid
        self.driver.draw(gpu, WORKING[gpu], 90)

    def end(self, gpu: int) -> None:
        """Let the work be over, and the exporter see that, before Slurm ends the job."""
        del self.pids[gpu]
        self.driver.draw(gpu, RESTING[gpu], 0)
        now = time.time()
        until(lambda: newest(self.collector) > now)

    def live(self, job: int, device: str) -> float:
        """Return the joules that a scrape says."""
        return sum(
            sample.value
            for sample in self.scrape()
            if sample.name == "wattshed_workload_energy_joules_total"
            and sample.labels["workload_instance"] == str(job)
            and sample.labels["device"] == device
        )


@dataclass(frozen=True, slots=True)
class Told:
    """What a store says: joules, joules measured by device, and what was held by job and device.

    What was held is (revision, start, end), in Unix seconds.
    """

    joules: Joules
    measured: dict[str, float]
    held: dict[tuple[str, str], list[tuple[int, float, float]]]
    names: dict[str, tuple[str, str, str]]
    """Name, user and partition by job."""

    def of(self, workload: str, *classes: str) -> float:
        return math.fsum(
            j for (w, _, c), j in self.joules.items() if w == workload and c in (classes or (c,))
        )


def told(data: Path) -> Told:
    charged, measured, held, named = ask(
        data,
        "SELECT instance, device, class, sum(joules) FROM v_energy_1m GROUP BY ALL",
        "SELECT device, sum(joules) FROM v_measured_1m GROUP BY device",
        "SELECT w.instance, d.device, a.revision, toUnixTimestamp64Milli(a.start_ts) AS start, "
        "toUnixTimestamp64Milli(a.end_ts) FROM (SELECT * FROM allocation FINAL) AS a "
        "JOIN v_workload AS w USING (workload_id) JOIN v_device AS d USING (device_id) "
        "ORDER BY start",
        "SELECT instance, workload, owner, queue FROM v_workload",
    )
    spans: dict[tuple[str, str], list[tuple[int, float, float]]] = {}
    for workload, device, revision, start_ms, end_ms in held:
        spans.setdefault((workload, device), []).append((revision, start_ms / 1e3, end_ms / 1e3))
    joules = {(w, d, c): float(j) for w, d, c, j in charged}
    names = {str(job): (str(n), str(o), str(q)) for job, n, o, q in named}
    return Told(joules, {d: float(j) for d, j in measured}, spans, names)


@dataclass(frozen=True, slots=True)
class Ran:
    """Two jobs that are over: what the store says, before and after Slurm's history is known."""

    jobs: tuple[str, ...]
    """The job on each GPU."""
    driver: Driver
    began: tuple[float, ...]
    """When the prolog wrote each job down, Unix seconds."""
    ended: tuple[float, ...]
    """When the epilog had struck it out."""
    ends: dict[str, float]
    """When it ended, as Slurm says."""
    before: Told
    after: Told


@pytest.fixture(scope="module")
def ran(
    slurm_cluster: Cluster,
    fake_nvml: Path,
    stores: Stores,
    tmp_path_factory: pytest.TempPathFactory,
) -> Ran:
    """Two jobs at a time; the second one's epilog takes its time."""
    slurm, folder = slurm_cluster, tmp_path_factory.mktemp("node")
    stores.prepare(folder / "data", Layout())
    with ExitStack() as stack:
        node = Node(folder, slurm, fake_nvml, stack)
        until(lambda: newest(node.collector))
        jobs = tuple(slurm.submit(name, SLEEP) for name in JOBS)
        wait(lambda: all(map(slurm.processes, jobs)), "the jobs do not run")
        if slurm.job_map.joinpath("0").read_text() == f"{jobs[1]}\n":
            jobs = jobs[::-1]
        began = tuple((slurm.job_map / f"jobs/{job}").stat().st_mtime for job in jobs)
        until(lambda: all(node.live(job, gpu) for job, gpu in zip(jobs, GPUS, strict=True)))
        for gpu, job in enumerate(jobs):
            node.begin(gpu, job)
        enough = [node.live(job, GPUS[gpu]) + 3 * WORKING[gpu] for gpu, job in enumerate(jobs)]
        until(lambda: all(node.live(jobs[gpu], GPUS[gpu]) > enough[gpu] for gpu in range(2)))
        for gpu in range(2):
            node.end(gpu)
        ended = [cancelled(slurm, 0, jobs[0])]
        with slow_epilog(slurm):
            ended.append(cancelled(slurm, 1, jobs[1]))
        until(lambda: newest(node.collector) > ended[1] + 1)
    before = told(folder / "data")
    history = slurm.history()
    (folder / "history").write_text(history)
    ends = {job.id: (job.end_ms or 0) / 1000 for job in Reader(io.BytesIO(history.encode()))}
    command = ["wattshed_collector.cli", "import", "sacct", str(folder / "history")]
    subprocess.run(
        [sys.executable, "-m", *command, "--data", str(folder / "data")], check=True, timeout=60
    )
    after = told(folder / "data")
    return Ran(tuple(map(str, jobs)), node.driver, began, tuple(ended), ends, before, after)


def cancelled(slurm: Cluster, gpu: int, job: int) -> float:
    """Cancel a job; return when its epilog has struck it out."""
    slurm.cancel(job)
    wait(lambda: not (slurm.job_map / str(gpu)).exists(), "the epilog did not run")
    return time.time()


@contextmanager
def slow_epilog(slurm: Cluster) -> Iterator[None]:
    """Let epilogs take longer: the job is over, and the node does not know it yet."""
    script = slurm.folder / "epilog.sh"
    fast = script.read_text()
    script.write_text(fast.replace("#!/bin/sh\n", f"#!/bin/sh\nsleep {SLOW_EPILOG_SECONDS}\n"))
    yield
    script.write_text(fast)


def test_every_joule_is_somebodys_or_nobodys(ran: Ran) -> None:
    for each in (ran.before, ran.after):
        assert each.measured.keys() == set(GPUS)
        for device, measured in each.measured.items():
            given = math.fsum(j for (_, d, _), j in each.joules.items() if d == device)
            assert given == pytest.approx(measured, rel=1e-9)
    assert ran.before.measured == pytest.approx(ran.after.measured, rel=1e-9)


def test_a_job_pays_for_what_its_gpu_burned_while_it_held_it(ran: Ran) -> None:
    for gpu, name in enumerate(ran.jobs):
        held = ran.before.held[name, GPUS[gpu]]
        start, end = min(s for _, s, _ in held), max(e for _, _, e in held)
        assert ran.began[gpu] <= start < end
        burned = ran.driver.joules(gpu, end) - ran.driver.joules(gpu, start)
        # The counter is read four times a second, and between two readings power is taken as even.
        slack = ROUND_SECONDS * (WORKING[gpu] - RESTING[gpu])
        assert ran.before.of(name) == pytest.approx(burned, abs=slack)
        assert ran.before.of(name, "active") > WORKING[gpu]
        assert ran.before.of(name) == ran.before.of(name, "active", "idle_held")
        assert {d for w, d, _ in ran.before.joules if w == name} == {GPUS[gpu]}


def test_a_job_has_its_name_its_user_and_its_partition(ran: Ran) -> None:
    assert {ran.after.names[job] for job in ran.jobs} == {(name, "root", "p") for name in JOBS}


def test_what_no_job_held_was_idle(ran: Ran) -> None:
    for each in (ran.before, ran.after):
        assert {c for w, _, c in each.joules if not w} <= {"idle_unallocated", "unattributed"}
        # A GPU is busy for a moment before a round sees it held, and after one no longer does.
        assert each.of("", "unattributed") <= sum(4 * ROUND_SECONDS * watts for watts in WORKING)
        assert each.of("") > 0
        assert {w for w, _, _ in each.joules} == {"", *ran.jobs}


def test_slurm_knows_better_when_a_job_was_over(ran: Ran) -> None:
    """The second job was over before its epilog ran: what it idled from then on is nobody's."""
    late = ran.jobs[1]
    before, after = (told.held[late, GPUS[1]] for told in (ran.before, ran.after))
    known = max(end for _, _, end in before)
    assert known > ran.ends[late] + 1
    assert max(end for _, start, end in after if end > start) == ran.ends[late]
    assert max(revision for revision, _, _ in after) == 1
    assert ran.after.of(late) < ran.before.of(late)
    burned = [ran.driver.joules(1, end) - ran.driver.joules(1, start) for _, start, end in after]
    # A second that Slurm knows of and the node missed at the start counts as well.
    slack = ROUND_SECONDS * (WORKING[1] - RESTING[1])
    assert ran.after.of(late) == pytest.approx(math.fsum(burned), abs=slack)
