"""MLPerf Training: the published joules, several nodes and switches, and real dirt."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from wattshed_collector.receivers.mlperf import Kind, Result, ResultError, Run, read
from wattshed_exporter.model import Method

SMC = "mlperf-training/smc-ac-power/results/1xSMC-H100-SXM-80GB/llama2_70b_lora"
T0 = 1_715_000_000_000


def entry(key: str, second: float, value: Any = None, **metadata: Any) -> str:
    event = {"key": key, "value": value, "time_ms": T0 + second * 1000, "metadata": metadata}
    return f"0: :::MLLOG {json.dumps(event)}\n"


def performance(start: float, stop: float, status: str = "success") -> str:
    return (
        "a line of the trainer's own\n"
        + entry("submission_benchmark", 0, "bert")
        + entry("global_batch_size", 0, 8)
        + entry("run_start", start)
        + entry("run_stop", stop, 0.9, samples_count=96, status=status)
    )


def power(watts: Sequence[float], *, first: float = 2, stop: float = 0) -> str:
    readings = (entry("power_reading", first + 2 * n, value) for n, value in enumerate(watts))
    start, end = entry("power_measurement_start", 0), entry("power_measurement_stop", stop)
    return start + "".join(readings) + end


def add_run(folder: Path, name: str, stop: float = 14, status: str = "success") -> Path:
    """A window from 4 s at a steady 100 W; the log runs from 0 s to 20 s."""
    (folder / f"{name}.txt").write_text(performance(4, stop, status))
    logs = folder / "power" / name
    logs.mkdir(parents=True)
    (logs / "node_0.txt").write_text(power([100] * 10))
    return logs


def one_run(tmp_path: Path) -> tuple[Path, Path]:
    folder = tmp_path / "2xNode" / "bert"
    folder.mkdir(parents=True)
    return folder, add_run(folder, "result_0")


def test_smc_gives_the_published_joules(mlperf_data: Path) -> None:
    result = read(mlperf_data / SMC)
    assert result.kind is Kind.TRAINING
    assert result.official.value == pytest.approx(12_127_904, rel=1e-4)
    assert (result.official.unit, result.official.published) == ("J", None)
    assert len(result.runs) == len(result.batch.devices) == 10
    assert any(note.startswith("10 of 10 node logs have no") for note in result.notes)


def test_smc_true_windows_lie_beside_the_rule(
    mlperf_data: Path, window_joules: Callable[[Result, Run], float]
) -> None:
    result = read(mlperf_data / SMC)
    joules = [window_joules(result, run) for run in result.runs]
    assert min(joules) == pytest.approx(12_060_841, rel=1e-6)
    assert max(joules) == pytest.approx(12_114_664, rel=1e-6)
    # Without its scaling factor the rule reads lower: it spreads the idle ends over the window.
    assert result.official.value / 1.034722222 < min(joules)


def test_smc_outcomes_and_keys(mlperf_data: Path) -> None:
    result = read(mlperf_data / SMC)
    assert all(r.outcomes == {"job": 1, "sample": 3072, "step": 384} for r in result.runs)
    assert len({w.key for w in result.batch.workloads}) == 30
    assert {w.model for w in result.batch.workloads} == {"llama2_70b_lora"}
    assert {t.interval_ms for t in result.batch.ticks} <= set(range(1990, 2020))


def test_rule_rescales_the_logged_time_to_the_time_to_train(tmp_path: Path) -> None:
    folder, logs = one_run(tmp_path)
    (logs / "node_0.txt").write_text(power([100] * 5 + [300] * 5))
    result = read(folder)
    assert result.official.value == pytest.approx((100 * 10 + 300 * 10) * 10 / 20)
    assert "1 runs are too few to leave out the best and the worst" in result.notes


def test_a_logged_stop_ends_the_rules_time(tmp_path: Path) -> None:
    folder, logs = one_run(tmp_path)
    (logs / "node_0.txt").write_text(power([100] * 5 + [300] * 5, stop=12))
    assert read(folder).official.value == pytest.approx((100 * 10 + 300 * 2) * 10 / 12)


def test_nodes_conversion_and_switches_add_up(
    tmp_path: Path, window_joules: Callable[[Result, Run], float]
) -> None:
    folder, logs = one_run(tmp_path)
    (logs / "node_1.txt").write_text(entry("conversion_eff", 0, 0.9) + power([1000] * 10))
    # Stamped two years early, as published.
    switch = entry("interconnect_power_est", -63_000_000, 50)
    (logs / "sw_0.txt").write_text(switch)
    result = read(folder)
    assert result.official.value == pytest.approx((100 + 900 + 50) * 10)
    assert window_joules(result, result.runs[0]) == pytest.approx((100 + 900 + 50) * 10)
    methods = {d.name: d.method for d in result.batch.devices}
    assert methods == {
        "node_0": Method.INTEGRAL,
        "node_1": Method.INTEGRAL,
        "sw_0": Method.ESTIMATED,
    }
    assert {t.method for t in result.batch.ticks if t.device.endswith("sw_0")} == {Method.ESTIMATED}
    assert min(t.ts_ms for t in result.batch.ticks) == T0 + 2000
    assert "1 of 2 node logs state a conversion efficiency" in result.notes


def test_fastest_and_slowest_are_left_out_and_the_mean_is_scaled(tmp_path: Path) -> None:
    folder = tmp_path / "sys" / "bert"
    folder.mkdir(parents=True)
    for n, stop in enumerate((9, 14, 15, 19)):
        add_run(folder, f"result_{n}", stop)
    (folder / "scaling.json").write_text('{"scaling_factor": 2}')
    assert read(folder).official.value == pytest.approx(100 * (10 + 11) / 2 * 2)


def test_a_run_that_did_not_converge_counts_as_the_slowest(tmp_path: Path) -> None:
    folder = tmp_path / "sys" / "bert"
    folder.mkdir(parents=True)
    for n, stop in enumerate((9, 14, 15)):
        add_run(folder, f"result_{n}", stop)
    add_run(folder, "result_3", 10, status="aborted")
    result = read(folder)
    assert result.official.value == pytest.approx(100 * (10 + 11) / 2)
    assert "job" not in result.runs[3].outcomes
    add_run(folder, "result_4", 10, status="aborted")
    with pytest.raises(ResultError, match="2 of 5 runs did not converge"):
        read(folder)


def test_raw_duplicates_are_left_out(tmp_path: Path) -> None:
    folder, _ = one_run(tmp_path)
    add_run(folder, "result_raw_0")
    result = read(folder)
    assert [run.name for run in result.runs] == ["result_0"]
    assert "1 _raw_ duplicates of other runs are left out" in result.notes


def test_logging_that_starts_late_leaves_the_head_unknown(tmp_path: Path) -> None:
    folder, logs = one_run(tmp_path)
    (logs / "node_0.txt").write_text(power([100] * 3, first=6))
    result = read(folder)
    (run,) = result.runs
    assert (run.before_key, run.after_key) == ("", "")
    (held,) = result.batch.allocations
    assert (held.start_ms, held.end_ms) == (T0 + 4000, T0 + 14_000)
    assert any(note.endswith("readings begin 2 s after the window does") for note in result.notes)
    assert any(note.endswith("readings end 4 s before the window does") for note in result.notes)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("result_0.txt", "\n", r"result_0\.txt, line 1: the file holds no"),
        ("result_0.txt", entry("run_start", 1), r"line 1: the log ends without run_stop"),
        ("result_0.txt", entry("run_stop", 1), r"line 1: the log ends without run_start"),
        ("result_0.txt", performance(4, 4), r"line 5: run_stop is not after run_start"),
        ("result_0.txt", performance(90, 99), r"node_0\.txt: no reading between run_start and"),
        ("power/result_0/node_0.txt", power([])[:-9], r"line 2: not valid JSON"),
        ("power/result_0/node_0.txt", power([]), r"line 2: no power_reading after"),
        ("power/result_0/node_0.txt", power([1]) + "0: ::ML", r"line 4: expected a :::MLLOG"),
        ("power/result_0/node_0.txt", entry("power_reading", 5, 1), r"without power_measurement_s"),
        ("power/result_0/node_0.txt", power([1, float("nan")]), r"line 3: power_reading is nan"),
        ("scaling.json", "{", r"scaling\.json, line 1: not valid JSON"),
        ("scaling.json", "{}", r"scaling\.json, line 1: scaling_factor is not a positive"),
    ],
)
def test_wrong_file(tmp_path: Path, name: str, text: str, problem: str) -> None:
    folder, _ = one_run(tmp_path)
    (folder / name).write_text(text)
    with pytest.raises(ResultError, match=problem):
        read(folder)


def test_readings_that_are_no_numbers(tmp_path: Path) -> None:
    folder, logs = one_run(tmp_path)
    text = power([1]) + entry("power_reading", 9, "many")
    (logs / "node_0.txt").write_text(text)
    with pytest.raises(ResultError, match=r"line 4: power_reading is 'many', not a number"):
        read(folder)


def test_unpaired_logs(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of(SMC)
    first = sorted(folder.glob("result_*.txt"))[0]
    first.rename(folder / "kept.txt")
    with pytest.raises(ResultError, match=rf"{first.stem} has no performance log {first.name}"):
        read(folder)
    (folder / "kept.txt").rename(first)
    (folder / "power" / first.stem / "node_0.txt").unlink()
    with pytest.raises(ResultError, match=rf"{first.stem} holds no node_"):
        read(folder)
    (folder / "power" / first.stem).rmdir()
    with pytest.raises(ResultError, match=rf"{first.name} has no power logs"):
        read(folder)


def test_truncated_copy(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of(SMC)
    log = sorted(folder.glob("power/*/node_0.txt"))[0]
    log.write_bytes(log.read_bytes()[:5000])
    with pytest.raises(ResultError, match=r"node_0\.txt, line 36: not valid JSON after :::MLLOG"):
        read(folder)


def test_no_runs_at_all(tmp_path: Path) -> None:
    folder, _ = one_run(tmp_path)
    (folder / "result_0.txt").unlink()
    (folder / "power" / "result_0").rename(folder / "power" / "result_raw_0")
    with pytest.raises(ResultError, match=r"holds no result_\*\.txt"):
        read(folder)
