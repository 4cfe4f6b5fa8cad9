"""MLPerf Tiny: the published medians within 0.1 %, and traces that are not what they should be."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.receivers.mlperf import Kind, ResultError, read
from wattshed_collector.receivers.mlperf.tiny import BASE_MS, read_trace
from wattshed_exporter.model import Method

BOARDS = (
    ("Krai_NUCLEO-L4R5ZI_X-CUBE-AI-8.0_kws", 5481.633),
    ("STMicroelectronics_NUCLEO_H7A3ZI_Q_vww", 3699.351),
    ("STMicroelectronics_NUCLEO_U575ZI_Q_ad", 121.446),
)


def trace(samples: Sequence[float], rate: float = 1000, magic: int = 0xF1) -> bytes:
    return struct.pack(f"<Bf{len(samples)}f", magic, rate, *samples)


def report(windows: int = 2, inferences: object = 10) -> str:
    energy = "".join(
        f"1 ulp-ml: Energy data for window {2 * n} at time {n - 0.8:.2f} for 0.80 sec.:\n"
        for n in range(1, windows + 1)
    )
    counts = "".join(
        f"1 ulp-ml: Performance results for window {2 * n}:\n"
        f"1 ulp-ml:   # Inferences : {inferences}\n"
        for n in range(1, windows + 1)
    )
    return f"{energy}1 ulp-ml: Median energy cost is 120.000 uJ/inf.\n{counts}"


def board(directory: Path, windows: int = 2) -> Path:
    """Window 2n: 0.2 to 1 s of second n; second n draws n uJ each millisecond."""
    directory.mkdir(exist_ok=True)
    samples = [float(n) for n in range(1, windows + 1) for _ in range(1000)]
    edges = [0.0, *(edge for n in range(windows) for edge in (n + 0.2, n + 1.0))]
    (directory / "trace1-energy.bin").write_bytes(trace(samples))
    (directory / "trace1-timestamps.json").write_text(json.dumps(edges))
    (directory / "results.txt").write_text(report(windows))
    return directory


@pytest.mark.parametrize(("folder", "median"), BOARDS)
def test_published_medians(mlperf_data: Path, folder: str, median: float) -> None:
    result = read(mlperf_data / "mlperf-tiny" / folder)
    assert result.kind is Kind.TINY
    assert result.official.published == median
    assert result.official.value == pytest.approx(median, rel=1e-3)
    assert result.official.unit == "uJ/inference"
    counter = {tick.ts_ms: tick.energy_uj or 0 for tick in result.batch.ticks}
    each = sorted(
        (counter[run.window_end_ms] - counter[run.window_start_ms]) / run.outcomes["inference"]
        for run in result.runs
    )
    assert len(each) == 5
    assert each[2] == pytest.approx(median, rel=1e-3)


def test_the_counter_never_falls_and_meets_every_millisecond(mlperf_data: Path) -> None:
    ticks = read(mlperf_data / "mlperf-tiny" / BOARDS[0][0]).batch.ticks
    assert len(ticks) == 66_561
    assert (ticks[0].ts_ms, ticks[0].energy_uj) == (BASE_MS, 0)
    assert all(b.ts_ms - a.ts_ms == 1 for a, b in pairwise(ticks))
    assert all((b.energy_uj or 0) >= (a.energy_uj or 0) for a, b in pairwise(ticks))
    assert {tick.method for tick in ticks} == {Method.COUNTER}


def test_windows_and_the_time_between_them_hold_the_board(tmp_path: Path) -> None:
    result = read(board(tmp_path / "acme_board_kws"))
    held = [(a.start_ms - BASE_MS, a.end_ms - BASE_MS) for a in result.batch.allocations]
    assert held == [(0, 200), (200, 1000), (1000, 1200), (1200, 2000)]
    assert [run.outcomes for run in result.runs] == [{"inference": 10}] * 2
    assert result.batch.workloads[0].model == "kws"
    assert any("2020-01-01" in note for note in result.notes)


@pytest.mark.parametrize(("windows", "median"), [(1, 80), (2, 120), (3, 160), (4, 200)])
def test_median_of_any_number_of_windows(tmp_path: Path, windows: int, median: float) -> None:
    assert read(board(tmp_path / "x", windows)).official.value == pytest.approx(median)


@given(st.lists(st.floats(0, 100, width=32), min_size=1, max_size=300))
def test_the_trace_sums_to_its_samples(
    tmp_path_factory: pytest.TempPathFactory, samples: list[float]
) -> None:
    path = tmp_path_factory.getbasetemp() / "property.bin"
    path.write_bytes(trace(samples))
    total = read_trace(path).total_uj
    assert total[0] == 0
    assert total[-1] == pytest.approx(sum(samples))


def test_the_counter_rounds_the_sum_not_each_sample(tmp_path: Path) -> None:
    folder = board(tmp_path / "x", 1)
    (folder / "trace1-energy.bin").write_bytes(trace([0.4] * 1000))
    ticks = read(folder).batch.ticks
    assert [tick.energy_uj for tick in ticks[:6]] == [0, 0, 1, 1, 2, 2]
    assert ticks[-1].energy_uj == 400


@pytest.mark.parametrize(("rate", "times"), [(500, [0, 2, 4, 6]), (4000, [0, 1])])
def test_other_sample_rates(tmp_path: Path, rate: float, times: list[int]) -> None:
    path = tmp_path / "trace1-energy.bin"
    path.write_bytes(trace([1.0, 2.0, 3.0], rate))
    read_back = read_trace(path)
    assert read_back.times_ms.tolist() == times
    assert read_back.total_uj[-1] == 6


@pytest.mark.parametrize("name", ["trace1-energy.bin", "trace1-timestamps.json", "results.txt"])
def test_missing_file(tmp_path: Path, name: str) -> None:
    folder = board(tmp_path / "x")
    (folder / name).unlink()
    with pytest.raises(ResultError, match=rf"{name} is missing"):
        read(folder)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\xf1\x00", "ends inside its 5 byte header"),
        (trace([1.0], magic=0xF2), "byte 0 is 0xF2, not 0xF1"),
        (trace([1.0], rate=0), "give a sample rate of 0.0 Hz"),
        (trace([1.0], rate=float("nan")), "give a sample rate of nan Hz"),
        (trace([1.0]) + b"\x00", "1 odd bytes"),
        (trace([]), "ends inside a sample"),
        (trace([1.0, float("nan")]), "sample 2 is nan uJ"),
        (trace([1.0, 1.0, float("inf")]), "sample 3 is inf uJ"),
        (trace([-1.0]), r"sample 1 is -1\.0 uJ"),
        (trace([1.0] * 1500), r"ends at 1\.5 s, before window 4 does \(2\.0 s\)"),
    ],
)
def test_wrong_trace(tmp_path: Path, content: bytes, problem: str) -> None:
    folder = board(tmp_path / "x")
    (folder / "trace1-energy.bin").write_bytes(content)
    with pytest.raises(ResultError, match=rf"trace1-energy\.bin.*{problem}"):
        read(folder)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[0.0,\n 0.2,", r"timestamps\.json, line 2: not valid JSON"),
        ('{"edges": []}', r"timestamps\.json, line 1: expected a list of window edges"),
        ('[0, "a"]', r"timestamps\.json, line 1: expected a list of window edges"),
        ("[0, 0.2, 0.1, 1.2, 2]", r"timestamps\.json, line 1: the window edges do not increase"),
        ("[0, NaN, 1, 1.2, 2]", r"timestamps\.json, line 1: the window edges do not increase"),
        ("[0, 0.2, 1]", r"results\.txt, line 2: window 4 has no two edges"),
        ("[0, 0.3, 1, 1.2, 2]", r"results\.txt, line 1: window 2 begins at 0\.2 s but at 0\.3 s"),
    ],
)
def test_wrong_edges(tmp_path: Path, text: str, problem: str) -> None:
    folder = board(tmp_path / "x")
    (folder / "trace1-timestamps.json").write_text(text)
    with pytest.raises(ResultError, match=problem):
        read(folder)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nothing\n", "line 1: the file reports no energy window"),
        (report().partition("1 ulp-ml: Perf")[0], "line 1: window 2 has energy but no"),
        (report(inferences="ten"), "line 5: 'ten' is not a number"),
        (report(inferences=0), "line 5: 0 is not a positive number"),
    ],
)
def test_wrong_report(tmp_path: Path, text: str, problem: str) -> None:
    folder = board(tmp_path / "x")
    (folder / "results.txt").write_text(text)
    with pytest.raises(ResultError, match=rf"results\.txt, {problem}"):
        read(folder)


def test_truncated_copy(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of(f"mlperf-tiny/{BOARDS[2][0]}")
    binary = folder / "trace1-energy.bin"
    binary.write_bytes(binary.read_bytes()[:100_006])
    with pytest.raises(ResultError, match="1 odd bytes after the last whole one"):
        read(folder)
    binary.write_bytes(binary.read_bytes()[:100_005])
    with pytest.raises(ResultError, match=r"ends at 25\.0 s, before window 4 does \(41\.563 s\)"):
        read(folder)
