"""MLPerf Inference: published folders give the published figures, broken ones a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wattshed_collector.receivers.mlperf import Kind, Result, ResultError, Run, read
from wattshed_exporter.model import Method, Tick

H200 = "mlperf-inference/h200x8_llama2-70b_server"
STARTED = 1_721_246_400
"""2024-07-17T20:00:00Z, when the small folder's log begins."""


def detail(**keys: Any) -> str:
    events = {
        "effective_scenario": "Offline",
        "generated_query_count": 1,
        "generated_samples_per_query": 500,
        "power_begin": "07-17-2024 20:00:02.500",
        "power_end": "07-17-2024 20:00:07.500",
        "result_query_count": 1,
        "result_max_latency_ns": 4_000_000_000,
        "result_validity": "VALID",
    } | keys
    return "".join(
        f":::MLLOG {json.dumps({'key': key, 'value': value, 'time_ms': 1.5})}\n"
        for key, value in events.items()
        if value is not None
    )


def sample(second: int, watts: float | str, *, hour: int = 20) -> str:
    return f"Time,07-17-2024 {hour}:00:{second:02}.000,Watts,{watts},Volts,-1,Mark,small_testing"


def small(directory: Path, **keys: Any) -> Path:
    """Ten seconds at 100 W + 10 W per second; the window is from 2.5 s to 7.5 s."""
    directory.mkdir(exist_ok=True)
    lines = [sample(second, 100 + 10 * second) for second in range(10)]
    (directory / "spl.txt").write_text("\n".join(lines) + "\n\n")
    (directory / "mlperf_log_detail.txt").write_text(detail(**keys))
    return directory


def test_h200_gives_the_published_watts(mlperf_data: Path) -> None:
    result = read(mlperf_data / H200)
    assert result.kind is Kind.INFERENCE
    assert result.official.value == pytest.approx(6280.214, rel=1e-4)
    assert result.official.unit == "W"
    assert result.official.rule == "MLPerf Inference power (power_check.py)"


def test_h200_tokens_are_what_loadgen_completed(
    mlperf_data: Path, window_joules: Callable[[Result, Run], float]
) -> None:
    result = read(mlperf_data / H200)
    (run,) = result.runs
    assert run.outcomes["sample"] == run.outcomes["request"] == 196_608
    assert run.outcomes["token_out"] == pytest.approx(23_113.14 * 196_607 / 79.3572)
    joules = window_joules(result, run)
    assert joules == pytest.approx(15_700_327, rel=1e-6)
    assert joules / run.outcomes["token_out"] == pytest.approx(0.27418, rel=1e-4)


def test_h200_facts(mlperf_data: Path) -> None:
    batch = read(mlperf_data / H200).batch
    (device,) = batch.devices
    assert device.name == "YOKOGAWA WT333E C2XL24034V"
    # What hangs on the meter, and not the meter.
    assert (device.model, device.serial) == ("8 x NVIDIA H200-SXM-141GB", "")
    assert (device.scope, device.method) == ("wall", Method.INTEGRAL)
    assert device.uncertainty_ratio == pytest.approx(0.003175)
    assert len(batch.ticks) == 3056
    assert {tick.interval_ms for tick in batch.ticks} == {1000}
    assert [w.kind for w in batch.workloads] == ["inference", "startup", "tail"]
    assert {w.model for w in batch.workloads} == {"llama2-70b"}


def test_h200_phases_hold_the_meter_from_first_to_last_tick(mlperf_data: Path) -> None:
    result = read(mlperf_data / H200)
    (run,) = result.runs
    held = [(a.start_ms, a.end_ms, a.workload) for a in result.batch.allocations]
    assert held == [
        (result.batch.ticks[0].ts_ms, run.window_start_ms, run.before_key),
        (run.window_start_ms, run.window_end_ms, run.workload_key),
        (run.window_end_ms, result.batch.ticks[-1].ts_ms, run.after_key),
    ]
    assert run.window_end_ms - run.window_start_ms == 2_500_052
    assert {o.ts_ms for o in result.batch.outcomes} == {run.window_end_ms}
    assert {o.start_ms for o in result.batch.outcomes} == {run.window_start_ms}


@pytest.mark.parametrize(
    ("folder", "watts", "samples", "meter"),
    [
        ("b200x8_whisper_offline", 7636.49, 429_479, "760203"),
        ("dgx-a100_bert-99_offline", 3457.68, 19_800_000, "WT333E"),
        ("h200x8_sdxl_server", 5487.74, 7724, "WT333E"),
        ("xavier-nx_resnet50_offline", 19.697, 764_280, "WT333E"),
    ],
)
def test_other_published_folders(
    mlperf_data: Path,
    window_joules: Callable[[Result, Run], float],
    folder: str,
    watts: float,
    samples: float,
    meter: str,
) -> None:
    result = read(mlperf_data / "mlperf-inference" / folder)
    (run,) = result.runs
    assert result.official.value == pytest.approx(watts, rel=1e-4)
    assert run.outcomes["sample"] == samples
    assert meter in result.batch.devices[0].name
    is_described = folder.startswith("h200x8")
    assert bool(result.batch.devices[0].model) == is_described
    assert any("systems/<system>.json" in note for note in result.notes) != is_described
    seconds = (run.window_end_ms - run.window_start_ms) / 1000
    assert window_joules(result, run) / seconds == pytest.approx(watts, rel=1e-3)


def test_whisper_tokens_offline(mlperf_data: Path) -> None:
    (run,) = read(mlperf_data / "mlperf-inference/b200x8_whisper_offline").runs
    assert run.outcomes["token_out"] == pytest.approx(43_698.6 * 623.678, rel=1e-6)


def test_local_time_becomes_utc(mlperf_data: Path) -> None:
    result = read(mlperf_data / "mlperf-inference/dgx-a100_bert-99_offline")
    assert result.batch.ticks[0].ts_ms == 1_616_010_973_954  # 12:56:13.954 at UTC-7
    assert "time stamps are local: +7 h makes them UTC" in result.notes


def test_small_folder(tmp_path: Path, window_joules: Callable[[Result, Run], float]) -> None:
    result = read(small(tmp_path / "x1_resnet50_offline"))
    (run,) = result.runs
    assert result.official.value == 150  # of 130 to 170 W, at 3 to 7 s
    assert window_joules(result, run) == pytest.approx(750)
    assert run.outcomes == {"request": 1, "sample": 500}
    assert run.workload_key == "mlperf-inference/x1_resnet50_offline/small_testing"
    assert result.batch.devices[0].uncertainty_ratio == 0.01
    assert any("no server.json" in note for note in result.notes)


def test_stream_scenarios_are_stated_per_completed_query(tmp_path: Path) -> None:
    keys = {"generated_query_count": 200, "generated_samples_per_query": 8}
    folder = small(tmp_path / "x", effective_scenario="MultiStream", result_query_count=100, **keys)
    result = read(folder)
    assert result.official.unit == "mJ/query"
    assert result.official.value == pytest.approx(150 * 5 * 1000 / 100)
    assert result.runs[0].outcomes == {"request": 100, "sample": 800}


def test_stream_scenario_without_result_query_count(tmp_path: Path) -> None:
    folder = small(tmp_path / "x", effective_scenario="SingleStream", result_query_count=None)
    with pytest.raises(ResultError, match=r"detail\.txt, line 7: .* without result_query_count"):
        read(folder)


def test_older_loadgen_and_invalid_result_are_noted(tmp_path: Path) -> None:
    result = read(small(tmp_path / "x", result_query_count=None, result_validity="INVALID"))
    assert result.runs[0].outcomes["sample"] == 500
    assert "LoadGen calls the result INVALID" in result.notes
    assert any("older LoadGen" in note for note in result.notes)


def test_submission_layout(tmp_path: Path) -> None:
    place = tmp_path / "H200x8" / "bert-99" / "Offline" / "performance" / "run_1"
    place.mkdir(parents=True)
    small(place)
    power = place.parent / "power"
    power.mkdir()
    (power / "server.json").write_text(json.dumps({"phases": {"testing": [[0], [STARTED]]}}))
    result = read(place)
    assert result.runs[0].name == "H200x8/bert-99/Offline"
    assert result.batch.workloads[0].model == "bert-99"


@pytest.mark.parametrize("hours", [-7, 9])
def test_clocks_of_client_and_server_in_two_zones(tmp_path: Path, hours: int) -> None:
    """Local stamps: the director one hour ahead of the system under test."""
    folder = small(tmp_path / "x", power_begin="07-17-2024 19:00:02.500",
                   power_end="07-17-2024 19:00:07.500")  # fmt: skip
    started = STARTED - hours * 3600
    server = {"timezone": -3600 * hours, "phases": {"testing": [[0], [started - 0.3]]}}
    (folder / "server.json").write_text(json.dumps(server))
    (folder / "client.json").write_text(json.dumps({"timezone": -3600 * (hours - 1)}))
    result = read(folder)
    assert result.official.value == 150
    assert result.batch.ticks[0].ts_ms == started * 1000


def test_a_cut_beginning_is_no_time_zone(tmp_path: Path) -> None:
    folder = small(tmp_path / "x")
    server = {"phases": {"testing": [[0], [STARTED - 600]]}}
    (folder / "server.json").write_text(json.dumps(server))
    result = read(folder)
    assert result.batch.ticks[0].ts_ms == STARTED * 1000
    assert any("no time zone" in note for note in result.notes)


def test_another_sessions_server_json(tmp_path: Path) -> None:
    folder = small(tmp_path / "x")
    server = {"phases": {"testing": [[0], [STARTED - 86_400]]}}
    (folder / "server.json").write_text(json.dumps(server))
    with pytest.raises(ResultError, match=r"server\.json: .* -24\.0 h apart"):
        read(folder)


def test_sentinels_duplicates_and_disorder(tmp_path: Path) -> None:
    folder = small(tmp_path / "x")
    lines = [sample(3, -1), sample(2, 120), sample(2, 999), sample(4, 140), sample(5, 150)]
    (folder / "spl.txt").write_text("\r\n".join(lines) + "\r\n")
    result = read(folder)
    device = result.batch.devices[0].key
    assert result.batch.ticks[:2] == (
        Tick(device, (STARTED + 2) * 1000, 1000, Method.INTEGRAL, 120.0),
        Tick(device, (STARTED + 3) * 1000, 1000, Method.INTEGRAL, gap="sentinel"),
    )
    assert result.official.value == 145
    assert "1 readings repeat a time stamp; the first of each is kept" in result.notes
    assert any(note.endswith("end 2.5 s before the window does") for note in result.notes)
    assert result.runs[0].after_key == ""


@pytest.mark.parametrize("name", ["spl.txt", "mlperf_log_detail.txt"])
def test_missing_file(tmp_path: Path, name: str) -> None:
    folder = small(tmp_path / "x")
    (folder / name).unlink()
    with pytest.raises(ResultError, match=rf"{name} is missing"):
        read(folder)


@pytest.mark.parametrize("key", ["power_begin", "power_end", "effective_scenario"])
def test_missing_event(tmp_path: Path, key: str) -> None:
    with pytest.raises(ResultError, match=rf"line 7: the log ends without {key}"):
        read(small(tmp_path / "x", **{key: None}))


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"power_end": "07-17-2024 20:00:02.500"}, "line 5: power_end is not after power_begin"),
        ({"power_begin": "2024-07-17"}, "line 4: '2024-07-17' is not a time"),
        ({"effective_scenario": "Batch"}, "line 1: unknown scenario 'Batch'"),
        ({"result_query_count": "many"}, "line 6: result_query_count is 'many', not a number"),
        ({"result_query_count": 0}, "line 6: result_query_count is 0"),
        ({"result_query_count": float("nan")}, "line 6: result_query_count is nan, not a finite"),
        (
            {"power_begin": "07-17-2025 20:00:02.500", "power_end": "07-17-2025 20:00:07.500"},
            "no reading between power_begin and power_end",
        ),
    ],
)
def test_wrong_event(tmp_path: Path, keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(ResultError, match=problem):
        read(small(tmp_path / "x", **keys))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("Time,07-17-2024 20:00:03.000,Watts,13", "expected 8 fields"),
        ("Tim", "expected 8 fields"),
        (sample(3, "abc"), "Watts is 'abc', not a number"),
        (sample(3, "nan"), "Watts is nan, not a finite number"),
        (sample(3, "inf"), "Watts is inf, not a finite number"),
        (sample(3, 1).replace("07-17", "17-07"), "is not a time MM-DD-YYYY"),
    ],
)
def test_wrong_power_line(tmp_path: Path, line: str, problem: str) -> None:
    folder = small(tmp_path / "x")
    lines = (folder / "spl.txt").read_text().splitlines()
    lines[3] = line
    (folder / "spl.txt").write_text("\n".join(lines))
    with pytest.raises(ResultError, match=rf"spl\.txt, line 4: .*{problem}"):
        read(folder)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("spl.txt", "\n\n", r"spl\.txt, line 1: the power log is empty"),
        ("mlperf_log_detail.txt", "text\n", r"line 1: the file holds no :::MLLOG entry"),
        ("mlperf_log_detail.txt", 'x\n:::MLLOG {"key": "po', r"line 2: not valid JSON after"),
        ("mlperf_log_detail.txt", ":::MLLOG []", r"line 1: a :::MLLOG entry without a key"),
        ("server.json", '{\n"timezone": 0,\n', r"server\.json, line 3: not valid JSON"),
        ("server.json", "[]", r"server\.json, line 1: expected a JSON object"),
    ],
)
def test_wrong_file(tmp_path: Path, name: str, text: str, problem: str) -> None:
    folder = small(tmp_path / "x")
    (folder / name).write_text(text)
    with pytest.raises(ResultError, match=problem):
        read(folder)


def test_truncated_copies(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of(H200)
    power = folder / "spl.txt"
    power.write_bytes(power.read_bytes()[:200_000])
    with pytest.raises(ResultError, match=r"spl\.txt, line 634: expected 39 fields"):
        read(folder)
    power.unlink()
    with pytest.raises(ResultError, match=r"spl\.txt is missing"):
        read(folder)


def test_truncated_detail(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("mlperf-inference/xavier-nx_resnet50_offline")
    log = folder / "mlperf_log_detail.txt"
    lines = log.read_text().splitlines()
    log.write_text("\n".join(lines[:66]))
    with pytest.raises(ResultError, match=r"detail\.txt, line 66: .* without power_begin"):
        read(folder)
