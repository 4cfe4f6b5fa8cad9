"""Two real jobs on a real Slurm, as the node sees them come and go."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fixtures.slurm import Cluster, cluster, wait, why_not

from wattshed_collector.receivers.sacct import Reader
from wattshed_exporter.allocations import Meters, Told, create
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


def holders(told: Told) -> dict[str, tuple[str, float | None]]:
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
