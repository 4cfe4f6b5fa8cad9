"""The arithmetic of the bench, and one small run of all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wattshed_collector.bench.measure import Ingest, Ledger, Stretch, sizes, summed
from wattshed_collector.bench.process import Cost


def test_stretches_with_the_ledger_are_left_out() -> None:
    stretches = [Stretch(n, n + 1, 1.0 + n, 1000) for n in range(4)]
    found = summed(stretches, [(0.0, 0.0), (1.5, 2.2), (9.0, 9.5)], 3)
    # Of 5,000 samples each: the first for 1 s of CPU and the last for 4 s.
    assert found == Ingest(4000, 2000, 1000.0, 5.0 / 10_000 * 1e6, 3)


def test_where_the_ledger_always_ran_all_count_and_it_is_said() -> None:
    found = summed([Stretch(0, 2, 1.0, 1000)], [(0.0, 5.0)], 0)
    assert found == Ingest(1000, 0, 500.0, 1.0 / 5000 * 1e6, 0)


def test_sizes() -> None:
    # 10 us for the five samples of a reading, and 30 times 1 us for the ledger: 40 us.
    ingest = Ingest(1, 1, 1.0, 2.0, 0)
    ledger = Ledger(1, 0.1, 0.1)
    assert sizes(ingest, ledger, 100_000) == {"1 s": 12_500, "10 s": 125_000}


def test_the_cost_of_a_process(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/status").write_text("Name:\ta\nVmHWM:\t    2048 kB\n")
    cost = Cost(7, tmp_path)
    assert cost.peak_bytes() == 2 * 2**20
    (tmp_path / "7/status").write_text("Name:\ta\n")
    assert cost.peak_bytes() is None
    before, own = time.process_time(), Cost(os.getpid()).cpu_seconds()
    assert before <= own <= time.process_time()
    gone = subprocess.Popen(["true"])
    gone.wait()
    with pytest.raises(OSError, match="Invalid"):
        Cost(gone.pid).cpu_seconds()


@pytest.mark.e2e
def test_a_run_leaves_figures_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wattshed_collector.cli", "bench", "--folder", str(tmp_path)]
    done = subprocess.run(
        [*command, "--gpus", "8", "--minutes", "2", "--repeats", "1", "--json"],
        capture_output=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    found = json.loads(done.stdout)
    assert found["ingest"]["readings"] == 96
    assert found["ingest"]["cpu_seconds_per_million_samples"] > 0
    assert found["ledger"]["cpu_seconds_per_hour"] > 0
    assert 0 < found["disk_bytes_per_sample"] < 100
    assert found["peak_memory_bytes"] > 50 * 2**20
    assert {asked["name"] for asked in found["queries"]} > {"energy by workload", "whole report"}
    assert found["gpus_per_core"]["10 s"] > found["gpus_per_core"]["1 s"] > 0
    assert found["machine"]["cores"] > 0
    assert list(tmp_path.iterdir()) == []


def test_wrong_usage() -> None:
    command = [sys.executable, "-m", "wattshed_collector.cli", "bench", "--gpus", "0"]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.returncode, b"'0' is no number of 1 or more" in done.stderr) == (2, True)
    assert b"--gpus" in done.stderr
