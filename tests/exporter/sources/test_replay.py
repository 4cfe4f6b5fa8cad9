"""Recordings sent again: times are kept, bad rows are counted, local times are refused."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_exporter.config import Config, Replay
from wattshed_exporter.errors import ConfigError, SourceError
from wattshed_exporter.model import Device, Kind, Method, Reading, Tick
from wattshed_exporter.sources import Sample
from wattshed_exporter.sources.replay import CHUNK, Place, ReplaySource, create

T = 1_760_000_000


def recording(folder: Path, *lines: str, name: str = "wall.csv") -> Path:
    file = folder / name
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


def drain(source: ReplaySource) -> list[Reading]:
    readings: list[Reading] = []
    for _ in range(10_000):
        sample = source.read()
        readings.extend(sample.readings)
        if sample.finished:
            return readings
    raise AssertionError("the replay never finishes")


def replayed(folder: Path, *lines: str) -> tuple[list[Reading], dict[str, int]]:
    source = ReplaySource(recording(folder, *lines))
    return drain(source), dict(source.skipped)


def problem(file: Path | None) -> SourceError:
    with pytest.raises(SourceError) as caught:
        ReplaySource(file).discover()
    return caught.value


def test_power_log_keeps_its_times(tmp_path: Path) -> None:
    readings, skipped = replayed(
        tmp_path, "ts,power_watts", f"{T},100", f"{T + 1}.25,101.5", f"{T + 2}, 99"
    )
    assert readings == [
        Reading("wall", T * 1000, 100.0),
        Reading("wall", T * 1000 + 1250, 101.5),
        Reading("wall", T * 1000 + 2000, 99.0),
    ]
    assert skipped == {}


def test_every_column_arrives(tmp_path: Path) -> None:
    header = (
        "ts,device,kind,model,power_watts,energy_joules,"
        "utilization_ratio,memory_used_bytes,temperature_celsius"
    )
    file = recording(
        tmp_path, header, f"{T},n1/gpu0,GPU,NVIDIA H100,350.5,12345678901.123456,0.75,1024,-4.5"
    )
    source = ReplaySource(file, place=Place("n1", "dublin", "datacenter", "train"))
    assert source.discover() == [
        Device(
            key="n1/gpu0",
            kind=Kind.GPU,
            node="n1",
            source="replay",
            name="n1/gpu0",
            model="NVIDIA H100",
            site="dublin",
            tier="datacenter",
            cluster="train",
            method=Method.COUNTER,
        )
    ]
    assert drain(source) == [
        Reading(
            device="n1/gpu0",
            ts_ms=T * 1000,
            power_watts=350.5,
            energy_uj=12_345_678_901_123_456,
            utilization_ratio=0.75,
            memory_used_bytes=1024,
            temperature_celsius=-4.5,
        )
    ]


def test_plain_power_log_is_a_wall_meter_that_is_integrated(tmp_path: Path) -> None:
    (device,) = ReplaySource(recording(tmp_path, "ts,power_watts", f"{T},1")).discover()
    assert (device.key, device.kind, device.method) == ("wall", Kind.HOST, Method.INTEGRAL)


@pytest.mark.parametrize(
    "text",
    [
        "2025-10-09T08:53:20Z",
        "2025-10-09 10:53:20+02:00",
        "2025-10-09T03:53:20.000-05:00",
        "2025/10/09 08:53:20.000+00:00",
        "1760000000",
        "1760000000.0",
        "1.76e9",
    ],
)
def test_times_with_a_zone_are_read(tmp_path: Path, text: str) -> None:
    readings, _ = replayed(tmp_path, "ts,power_watts", f"{text},1")
    assert [reading.ts_ms for reading in readings] == [T * 1000]


@pytest.mark.parametrize("text", ["2025-10-09 08:53:20", "2025-10-09T08:53:20.123", "2025-10-09"])
def test_local_time_is_refused_with_file_and_line(tmp_path: Path, text: str) -> None:
    error = problem(recording(tmp_path, "ts,power_watts", f"{T},1", f"{text},2"))
    assert str(error) == (
        f"{tmp_path}/wall.csv, line 3: {text!r} is a local time without a zone; "
        f"add its offset from UTC, such as '{text}+02:00'"
    )
    assert error.reason == "local_time"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f"{T},nan,", "not_finite"),
        (f"{T},inf,", "not_finite"),
        (f"{T},-1,", "negative"),
        (f"{T},,-0.5", "negative"),
        (f"{T},12 W,", "unparsable"),
        (f"{T},1e999999999,", "unparsable"),
        (f"{T},1e30,", "out_of_range"),
        (f"{T},,", "no_value"),
        (f"{T},N/A,", "no_value"),
        (f"{T},1", "malformed"),
        (f"{T},1,2,3", "malformed"),
        (",1,", "bad_time"),
        ("yesterday,1,", "bad_time"),
        ("nan,1,", "bad_time"),
        ("-5,1,", "bad_time"),
        (f"{T}000,1,", "bad_time"),
    ],
)
def test_bad_row_is_skipped_and_counted(tmp_path: Path, row: str, reason: str) -> None:
    readings, skipped = replayed(
        tmp_path, "ts,power_watts,energy_joules", f"{T},1,", row, "", f"{T + 1},2,"
    )
    assert [reading.power_watts for reading in readings] == [1.0, 2.0]
    assert skipped == {reason: 1}


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("utilization_ratio", "97", "out_of_range"),
        ("temperature_celsius", "-300", "out_of_range"),
        ("memory_used_bytes", "-1", "negative"),
        ("kind", "toaster", "bad_kind"),
    ],
)
def test_bad_side_column_spoils_its_row(
    tmp_path: Path, column: str, value: str, reason: str
) -> None:
    header = f"ts,power_watts,{column}"
    readings, skipped = replayed(tmp_path, header, f"{T},1,{value}", f"{T + 1},2,")
    assert [reading.power_watts for reading in readings] == [2.0]
    assert skipped == {reason: 1}


def test_one_warning_says_what_was_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = recording(tmp_path, "ts,power_watts", f"{T},1", f"{T},nan", f"{T},-1", f"{T},nan")
    source = ReplaySource(file)
    with caplog.at_level(logging.WARNING):
        source.discover()
        drain(source)
        source.read()
    assert caplog.messages == [f"{file}: skipped 3 of 4 rows: 1 negative, 2 not_finite"]


def test_clean_recording_warns_of_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    replayed(tmp_path, "ts,power_watts", f"{T},1")
    assert caplog.messages == []


def test_missing_file_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "gone.csv"
    assert str(problem(file)) == f"{file}: cannot be read: no such file or directory"
    assert str(problem(tmp_path)) == f"{tmp_path}: cannot be read: is a directory"
    assert str(problem(None)) == "replay.file is not set: name the recording to replay"


def test_missing_columns_are_named(tmp_path: Path) -> None:
    file = recording(tmp_path, "when,volts", "1,2")
    assert str(problem(file)) == (
        f"{file}, line 1: needs a column ts and a column power_watts or energy_joules; "
        "has 'when, volts'"
    )
    assert str(problem(recording(tmp_path, name="empty.csv"))).endswith("; has nothing")


def test_recording_without_a_usable_row_is_an_error(tmp_path: Path) -> None:
    file = recording(tmp_path, "ts,power_watts", f"{T},nan", "x,1")
    assert str(problem(file)) == f"{file}: no usable row (1 bad_time, 1 not_finite)"
    file = recording(tmp_path, "ts,power_watts")
    assert str(problem(file)) == f"{file}: no usable row (empty)"


def test_binary_file_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "meter.bin"
    file.write_bytes(b"\x00\xff" * 200_000)
    assert str(problem(file)).startswith(f"{file}, line 1: ")


def test_byte_order_mark_and_carriage_returns_are_read(tmp_path: Path) -> None:
    file = tmp_path / "excel.csv"
    file.write_bytes(f"\ufeffTS, Power_Watts\r\n{T}, 5\r\n".encode())
    assert drain(ReplaySource(file)) == [Reading("excel", T * 1000, 5.0)]


def test_rows_out_of_order_keep_their_place(tmp_path: Path) -> None:
    readings, skipped = replayed(tmp_path, "ts,power_watts", f"{T + 2},1", f"{T},2", f"{T + 1},3")
    assert [reading.ts_ms // 1000 - T for reading in readings] == [2, 0, 1]
    assert skipped == {}


def test_rows_that_will_not_be_used_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    late = [f"{T + s},1," for s in (2, 2, 1)]
    file = recording(tmp_path, "ts,power_watts,gap", *late, f"{T + 9},,hung", f"{T + 3},1,")
    ReplaySource(file).discover()
    assert caplog.messages == [f"{file}: 2 rows repeat or precede the one before; not used"]


def test_interval_is_learnt_from_the_recording(tmp_path: Path) -> None:
    rows = [f"{T + 30 * step},{device},1" for step in range(9) for device in ("a", "b")]
    source = ReplaySource(recording(tmp_path, "ts,device,power_watts", *rows))
    assert [device.key for device in source.discover()] == ["a", "b"]
    assert source.interval_seconds == 30.0


def test_interval_of_a_fast_log_has_a_floor(tmp_path: Path) -> None:
    rows = [f"{T + step / 100},1" for step in range(9)]
    source = ReplaySource(recording(tmp_path, "ts,power_watts", *rows))
    source.discover()
    assert source.interval_seconds == 0.1


def test_long_recording_comes_in_chunks(tmp_path: Path) -> None:
    rows = [f"{T + step},{step}" for step in range(2 * CHUNK + 1)]
    source = ReplaySource(recording(tmp_path, "ts,power_watts", *rows))
    samples = [source.read() for _ in range(4)]
    assert [len(sample.readings) for sample in samples] == [CHUNK, CHUNK, 1, 0]
    assert [sample.more for sample in samples] == [True, True, False, False]
    assert [sample.finished for sample in samples] == [False, False, True, True]
    watts = [reading.power_watts for sample in samples for reading in sample.readings]
    assert watts == [float(step) for step in range(2 * CHUNK + 1)]


def test_chunk_that_ends_the_recording_asks_for_no_more(tmp_path: Path) -> None:
    rows = [f"{T + step},{step}" for step in range(CHUNK)]
    sample = ReplaySource(recording(tmp_path, "ts,power_watts", *rows)).read()
    assert (len(sample.readings), sample.more, sample.finished) == (CHUNK, False, True)


def test_pace_follows_the_clock(tmp_path: Path) -> None:
    now = [50.0]
    rows = [f"{T + step},{step}" for step in (0, 10, 20, 30, 25, 40)]
    file = recording(tmp_path, "ts,power_watts", *rows)
    source = ReplaySource(file, speed=10.0, clock=lambda: now[0])
    source.discover()
    seen = []
    for now[0] in (50.0, 50.5, 51.0, 52.0, 52.9, 53.0, 54.0):
        sample = source.read()
        seen.append([reading.power_watts for reading in sample.readings])
        assert not sample.more
    assert seen == [[0.0], [], [10.0], [20.0], [], [30.0, 25.0], [40.0]]
    assert source.read() == Sample(finished=True)


def test_discovering_again_does_not_start_over(tmp_path: Path) -> None:
    rows = [f"{T + step},{step}" for step in range(CHUNK + 5)]
    source = ReplaySource(recording(tmp_path, "ts,power_watts", *rows))
    first = source.read()
    source.discover()
    assert len(first.readings) + len(drain(source)) == CHUNK + 5


def test_close_gives_the_file_back(tmp_path: Path) -> None:
    rows = [f"{T + step},{step}" for step in range(2 * CHUNK)]
    source = ReplaySource(recording(tmp_path, "ts,power_watts", *rows))
    source.read()
    source.close()
    source.close()
    assert source.read() == Sample(finished=True)


def test_stdout_of_the_exporter_is_read(tmp_path: Path) -> None:
    ticks = [
        Tick("n/gpu0", T * 1000, 1000, Method.COUNTER, 350.5, 123_456_789_012_345_678, 17, 0.5),
        Tick("n/cpu0", T * 1000, 1000, Method.ESTIMATED, 80.25, temperature_celsius=51.0),
        Tick("n/gpu1", T * 1000, 1000, Method.UNKNOWN, gap="timeout"),
    ]
    lines = [json.dumps(asdict(tick)) for tick in ticks]
    source = ReplaySource(recording(tmp_path, *lines, name="ticks.jsonl"))
    assert {device.key: device.method for device in source.discover()} == {
        "n/gpu0": Method.COUNTER,
        "n/cpu0": Method.ESTIMATED,
        "n/gpu1": Method.INTEGRAL,
    }
    assert drain(source) == [
        Reading("n/gpu0", T * 1000, 350.5, 123_456_789_012_345_678, 17, 0.5),
        Reading("n/cpu0", T * 1000, 80.25, temperature_celsius=51.0),
        Reading("n/gpu1", T * 1000, gap="timeout"),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"ts_ms": 1760000000000, "power_watts": NaN}', "not_finite"),
        ('{"ts_ms": 1760000000000, "power_watts": true}', "unparsable"),
        ('{"ts_ms": 1760000000000, "power_watts": [1]}', "unparsable"),
        ('{"ts_ms": 1760000000000, "device": "a"}', "no_value"),
        ('{"power_watts": 5}', "bad_time"),
        ('{"ts_ms": 1760000000000, "power_wa', "malformed"),
        ("[1, 2]", "malformed"),
        ('{"a":' + "[" * 100_000, "malformed"),
    ],
)
def test_bad_json_line_is_skipped_and_counted(tmp_path: Path, line: str, reason: str) -> None:
    good = json.dumps({"ts_ms": T * 1000, "device": "a", "power_watts": 1})
    readings, skipped = replayed(tmp_path, good, line, "", good)
    assert readings == [Reading("a", T * 1000, 1.0)] * 2
    assert skipped == {reason: 1}


def test_simulated_recording_stays_simulated(tmp_path: Path) -> None:
    line = json.dumps({"ts_ms": T * 1000, "energy_uj": 5, "method": "simulated"})
    (device,) = ReplaySource(recording(tmp_path, line, name="t.jsonl")).discover()
    assert device.method is Method.SIMULATED


def test_a_reason_is_a_word_and_beside_power_it_takes_the_energy_back(tmp_path: Path) -> None:
    rows = (f"{T},,,no route to host!", f"{T + 1},300,5,counter_frozen")
    readings, _ = replayed(tmp_path, "ts,power_watts,energy_uj,gap", *rows)
    assert readings == [
        Reading("wall", T * 1000, gap="recorded"),
        Reading("wall", T * 1000 + 1000, 300.0),
    ]


def test_gap_in_a_csv_is_a_reading_with_a_reason(tmp_path: Path) -> None:
    readings, skipped = replayed(tmp_path, "ts,power_watts,gap", f"{T},,meter_off", f"{T + 1},3,")
    assert readings == [
        Reading("wall", T * 1000, gap="meter_off"),
        Reading("wall", T * 1000 + 1000, 3),
    ]
    assert skipped == {}


def test_nvidia_smi_log_with_an_offset_is_read(tmp_path: Path) -> None:
    header = "timestamp, name, uuid, utilization.gpu [%], memory.used [MiB], power.draw [W]"
    row = "2023/07/08 19:28:27.236+01:00, NVIDIA A100, GPU-1, 55, 1024, 126.96"
    source = ReplaySource(recording(tmp_path, header, row, row.replace("126.96", "[N/A]")))
    (device,) = source.discover()
    assert (device.key, device.model) == ("GPU-1", "NVIDIA A100")
    assert drain(source) == [
        Reading("GPU-1", 1_688_840_907_236, 126.96, utilization_ratio=0.55, memory_used_bytes=2**30)
    ]
    assert source.skipped == {"no_value": 1}


@given(st.binary(max_size=300))
def test_no_file_can_raise_anything_but_a_source_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzz.csv"
    file.write_bytes(b"ts,power_watts,gap\n" + content)
    source = ReplaySource(file)
    try:
        source.discover()
    except SourceError:
        return
    assert drain(source)


@given(joules=st.integers(0, 2**63 - 1))
def test_counter_keeps_every_microjoule(
    tmp_path_factory: pytest.TempPathFactory, joules: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "exact.csv"
    whole, micro = divmod(joules, 1_000_000)
    file.write_text(f"ts,energy_joules\n{T},{whole}.{micro:06d}\n")
    assert [reading.energy_uj for reading in drain(ReplaySource(file))] == [joules]


def test_create_takes_file_speed_and_place_from_the_configuration(tmp_path: Path) -> None:
    file = recording(tmp_path, "ts,power_watts", f"{T},1", f"{T + 3600},2")
    source = create(Config(node="n7", site="reno", replay=Replay(file=file, speed=1.0)))
    (device,) = source.discover()
    assert (device.node, device.site, source.name) == ("n7", "reno", "replay")
    assert [reading.ts_ms for reading in source.read().readings] == [T * 1000]
    source.close()


@pytest.mark.parametrize("lines", [(), ("ts,power_watts",), ("ts,power_watts", "x,1")])
def test_a_useless_recording_is_a_problem_of_the_configuration(
    tmp_path: Path, lines: tuple[str, ...]
) -> None:
    for file in (tmp_path / "gone.csv", recording(tmp_path, *lines)):
        with pytest.raises(ConfigError) as caught:
            create(Config(replay=Replay(file=file)))
        assert caught.value.problems[0].startswith(f"replay.file: {file}")


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("5050_3090/gpudata.csv", "2023/07/08 19:28:27.236"),
        ("pwr_update_freq/V100_gpudata.csv", "2023/07/30 18:26:14.684"),
    ],
)
def test_real_nvidia_smi_log_needs_an_offset(data: Path, name: str, moment: str) -> None:
    file = data / "nvml-vs-meter" / name
    assert str(problem(file)) == (
        f"{file}, line 2: {moment!r} is a local time without a zone; "
        f"add its offset from UTC, such as '{moment}+02:00'"
    )


def test_real_nvidia_smi_log_is_replayed_once_it_has_an_offset(data: Path, tmp_path: Path) -> None:
    file = data / "nvml-vs-meter" / "5050_3090" / "gpudata.csv"
    header, *rows = file.read_text().splitlines()[:500]
    stamped = [row.replace(",", "+01:00,", 1) for row in rows]
    source = ReplaySource(recording(tmp_path, header, *stamped))
    source.discover()
    readings = drain(source)
    assert len(readings) == 499
    assert source.skipped == {}
    assert readings[0] == Reading(
        "wall", 1_688_840_907_236, 126.96, utilization_ratio=0.0, temperature_celsius=54.0
    )
