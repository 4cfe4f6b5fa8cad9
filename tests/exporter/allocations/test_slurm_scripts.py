"""Prolog and epilog as slurmd runs them: what they write, and that they never fail a job."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[3] / "exporter/slurm"


def script(name: str, job_map: Path, job: object = "", **variables: str) -> str:
    """Run a script with nothing but Slurm's environment, and return what it complained of."""
    environment = {"PATH": os.environ["PATH"], "WATTSHED_JOB_MAP": str(job_map), **variables}
    environment["SLURM_JOB_ID"] = str(job)
    done = subprocess.run(
        ["sh", str(SCRIPTS / f"{name}.sh")], env=environment, capture_output=True, timeout=30
    )
    assert (done.returncode, done.stdout) == (0, b"")
    return done.stderr.decode()


def told(job_map: Path) -> dict[str, str]:
    """Return the map's files, without the lock, by name."""
    files = [file for file in job_map.rglob("*") if file.is_file() and file.name != ".lock"]
    return {str(file.relative_to(job_map)): file.read_text() for file in files}


@pytest.fixture
def job_map(tmp_path: Path) -> Path:
    return tmp_path / "job mapping"


def test_a_job_comes_and_goes(job_map: Path) -> None:
    said = script(
        "prolog",
        job_map,
        17,
        SLURM_JOB_GPUS="0,3",
        CUDA_VISIBLE_DEVICES="0,3",
        SLURM_JOB_USER="ada",
        SLURM_JOB_ACCOUNT="physics",
        SLURM_JOB_PARTITION="gpu",
        SLURM_JOB_NAME="a 'name' = $HOME\nuser=eve",
        SLURM_SHARDS_ON_NODE="2",
    )
    assert said == ""
    facts = "user=ada\naccount=physics\npartition=gpu\nname=a 'name' = $HOMEuser=eve\nshards=2\n"
    assert told(job_map) == {"0": "17\n", "3": "17\n", "jobs/17": facts}
    assert script("epilog", job_map, 17, SLURM_JOB_GPUS="0,3") == ""
    assert told(job_map) == {}


def test_what_slurm_does_not_give_is_not_written(job_map: Path) -> None:
    script("prolog", job_map, 17, SLURM_JOB_GPUS="0", SLURM_JOB_UID="1000")
    assert told(job_map) == {"0": "17\n", "jobs/17": "user=1000\n"}


def test_jobs_that_share_a_gpu(job_map: Path) -> None:
    for job in (1, 17, 171):
        script("prolog", job_map, job, SLURM_JOB_GPUS="0")
    script("prolog", job_map, 17, SLURM_JOB_GPUS="0")  # requeued
    assert told(job_map)["0"] == "1\n17\n171\n"
    script("epilog", job_map, 17)
    assert told(job_map) == {"0": "1\n171\n", "jobs/1": "", "jobs/171": ""}


def test_lines_of_others_stay(job_map: Path) -> None:
    job_map.mkdir()
    (job_map / "0").write_text("17 1000\n18 1001\n")
    script("epilog", job_map, 17)
    assert told(job_map) == {"0": "18 1001\n"}


def test_mig_devices_by_uuid(job_map: Path) -> None:
    script("prolog", job_map, 17, SLURM_JOB_GPUS="0,1", CUDA_VISIBLE_DEVICES="MIG-ab-1,MIG-ab-2")
    assert set(told(job_map)) == {"MIG-ab-1", "MIG-ab-2", "jobs/17"}
    script("epilog", job_map, 17)
    assert told(job_map) == {}


def test_jobs_without_a_gpu(job_map: Path) -> None:
    script("prolog", job_map, 17, CUDA_VISIBLE_DEVICES="NoDevFiles", SLURM_JOB_USER="ada")
    assert told(job_map) == {"jobs/17": "user=ada\n"}


@pytest.mark.parametrize("gpus", ["../0", "0/../1", "*", "-1", "; touch x", "MIG-a/b"])
def test_what_is_no_gpu(job_map: Path, gpus: str) -> None:
    script("prolog", job_map, 17, SLURM_JOB_GPUS=gpus)
    assert set(told(job_map.parent)) == {"job mapping/jobs/17"}


@pytest.mark.parametrize("name", ["prolog", "epilog"])
@pytest.mark.parametrize("job", ["", "x", "../17", "-1", "1 2"])
def test_what_is_no_job(job_map: Path, name: str, job: str) -> None:
    assert f"SLURM_JOB_ID is '{job}'" in script(name, job_map, job, SLURM_JOB_GPUS="0")
    assert not job_map.exists()


@pytest.mark.parametrize("name", ["prolog", "epilog"])
def test_a_folder_that_cannot_be_made(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    script(name, tmp_path / "file/map", 17, SLURM_JOB_GPUS="0")
    script(name, tmp_path / "file", 17, SLURM_JOB_GPUS="0")


@pytest.mark.parametrize("name", ["prolog", "epilog"])
def test_a_lock_that_cannot_be_made(job_map: Path, name: str) -> None:
    (job_map / ".lock").mkdir(parents=True)
    assert script(name, job_map, 17, SLURM_JOB_GPUS="0")


def test_an_epilog_without_a_prolog(job_map: Path) -> None:
    assert script("epilog", job_map, 17) == ""
    assert not job_map.exists()


def test_many_at_once_lose_nothing(job_map: Path) -> None:
    def whole_life(job: int) -> None:
        script("prolog", job_map, job, SLURM_JOB_GPUS="0,1")
        if job % 2:
            script("epilog", job_map, job)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(whole_life, range(1, 25)))
    lines = sorted(int(line) for line in told(job_map)["0"].split())
    assert lines == list(range(2, 25, 2))
    assert sorted((job_map / "1").read_text()) == sorted((job_map / "0").read_text())
