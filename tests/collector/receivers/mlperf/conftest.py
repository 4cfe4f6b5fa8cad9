"""Where the published result folders are, and the integral that the facts are checked against."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from wattshed_collector.receivers.mlperf import Result, Run

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="session")
def mlperf_data() -> Path:
    folder = Path(os.environ.get("WATTSHED_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "mlperf-inference").is_dir():
        pytest.skip(f"no published results at {folder}: set WATTSHED_DATA")
    return folder


@pytest.fixture
def copy_of(mlperf_data: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copy a published folder, to be broken."""

    def copy(folder: str) -> Path:
        source = mlperf_data / folder
        return Path(shutil.copytree(source, tmp_path / source.name))

    return copy


@pytest.fixture(scope="session")
def window_joules() -> Callable[[Result, Run], float]:
    """The clipped trapezoid over a run's ticks, written down once more."""

    def measure(result: Result, run: Run) -> float:
        start, end = run.window_start_ms, run.window_end_ms
        meters = {a.device for a in result.batch.allocations if a.workload == run.workload_key}
        total = 0.0
        for meter in meters:
            points = [
                (tick.ts_ms, tick.power_watts)
                for tick in result.batch.ticks
                if tick.device == meter and tick.power_watts is not None
            ]
            for (t0, w0), (t1, w1) in pairwise(points):
                left, right = max(t0, start), min(t1, end)
                if left < right:
                    slope = (w1 - w0) / (t1 - t0)
                    middle = w0 + slope * ((left + right) / 2 - t0)
                    total += middle * (right - left) / 1000
        return total

    return measure
