"""Logs of nvidia-smi as it writes them: real recordings, units everywhere and nowhere, dirt."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.errors import InvalidInput
from wattshed_collector.normalise.dialect import LIMIT, MEMORY, POWER, TEMPERATURE, UTILISATION
from wattshed_collector.receivers.files import Place, Reading, Tally
from wattshed_collector.receivers.files.lines import Lines
from wattshed_collector.receivers.files.nvidia_smi import AS_LOGGED, Gpus, Log
from wattshed_collector.receivers.files.times import Clock, beats

START = 1_764_126_245_678
HEAD = "timestamp, uuid, index, name, power.draw [W], utilization.gpu [%], memory.used [MiB]"
ROW = "2025/11/26 03:04:05.678, GPU-1a2b, 0, NVIDIA H200, 126.96 W, 38 %, 575 MiB"
CAPTURES = "recordings/nvidia-smi/captures_nvidia_gpu_exporter"


def read(
    *lines: str,
    gpus: Gpus = AS_LOGGED,
    columns: Sequence[str] = (),
    node: str = "n1",
    beat: Iterator[int] | None = None,
) -> tuple[list[Reading], Tally]:
    tally = Tally()
    log = Log(Place(node), Clock(UTC), beat or beats(None, None), tally, gpus, columns)
    return list(log.read(enumerate(lines, 1))), tally


def values(reading: Reading) -> dict[str, tuple[str, float]]:
    return {metric: (unit, value) for metric, unit, value in reading.values}


def test_units_in_values_in_the_header_and_nowhere() -> None:
    bare = ROW.replace(" W,", ",").replace(" %", "").replace(" MiB", "")
    no_units = HEAD.replace(" [W]", "").replace(" [%]", "").replace(" [MiB]", "")
    names = no_units.replace(" ", "").split(",")
    found = [read(HEAD, ROW)[0], read(HEAD, bare)[0], read(no_units, bare)[0]]
    found += [read(ROW, columns=names)[0], read(bare, columns=names)[0]]
    for (reading,) in found:
        assert reading.ts_ms == START
        assert values(reading) == {
            POWER: ("W", 126.96),
            UTILISATION: ("%", 38.0),
            MEMORY: ("MiBy", 575.0),
        }
        assert reading.attributes == {
            "hw.id": "GPU-1a2b",
            "hw.type": "gpu",
            "hw.name": "gpu0",
            "hw.vendor": "NVIDIA",
            "hw.model": "NVIDIA H200",
            "wattshed.node": "n1",
            "wattshed.source": "nvidia-smi",
            "wattshed.scope": "gpu",
            "wattshed.method": "integral",
        }


@pytest.mark.parametrize(
    "said",
    ["[N/A]", "N/A", "[Not Supported]", "Not Supported", "[Unknown Error]", "ERR!", "", "-",
     "[GPU requires reset]", "[Insufficient Permissions]"],
)  # fmt: skip
def test_what_is_not_said_is_absent(said: str) -> None:
    (reading,), tally = read(HEAD, ROW.replace("126.96 W", said))
    assert POWER not in values(reading)
    assert UTILISATION in values(reading)
    assert not tally.counts


def test_of_several_powers_the_first_that_is_there() -> None:
    head = "timestamp, uuid, power.draw.instant [W], power.draw.average [W], power.limit [W]"
    row = "2025/11/26 03:04:05.678, GPU-1, 130.00 W, {}, 350.00 W"
    (mean,), _ = read(head, row.format("120.00 W"))
    (instant,), _ = read(head, row.format("[N/A]"))
    assert (values(mean)[POWER], values(instant)[POWER]) == (("W", 120.0), ("W", 130.0))
    assert values(mean)[LIMIT] == ("W", 350.0)


def test_dirt_costs_its_row_alone() -> None:
    rows = [
        HEAD,
        ROW,
        "2025/11/26 03:04",
        HEAD,
        ROW.replace("2025/11/26 03:04:05.678", "yesterday"),
        ROW.replace("126.96 W", "much"),
        ROW.replace("126.96 W", "[N/A]").replace("38 %", "[N/A]").replace("575 MiB", "[N/A]"),
        "",
        ROW.replace("05.678", "06.678"),
    ]
    found, tally = read(*rows)
    assert [reading.ts_ms for reading in found] == [START, START + 1000]
    assert tally.document() == {
        "bad_time": {"count": 1, "file": "", "line": 5},
        "malformed": {"count": 1, "file": "", "line": 3},
        "no_value": {"count": 1, "file": "", "line": 7},
        "not_a_number": {"count": 1, "file": "", "line": 6},
    }


def test_whose_gpu_it_is() -> None:
    head, row = "timestamp, index, power.draw [W]", "2025/11/26 03:04:05.678, 3, 100 W"
    assert read(head, row)[0][0].attributes["hw.id"] == "n1/nvidia-smi/3"
    named = Gpus(names={"3": "GPU-77"})
    assert read(head, row, gpus=named)[0][0].attributes["hw.id"] == "GPU-77"
    bare = "timestamp, power.draw [W]", "2025/11/26 03:04:05.678, 100 W"
    assert read(*bare, gpus=Gpus("desk"))[0][0].attributes["hw.id"] == "n1/nvidia-smi/desk"
    with pytest.raises(InvalidInput, match="--device"):
        read(*bare)
    with pytest.raises(InvalidInput, match="--node"):
        read(HEAD, ROW, node="")
    with pytest.raises(InvalidInput, match="--columns"):
        read(ROW)
    with_host = read(f"{HEAD}, hostname", f"{ROW}, gpu7", node="")[0][0]
    assert with_host.attributes["wattshed.node"] == "gpu7"


def test_a_real_log_of_a_minute(data: Path) -> None:
    file = data / "nvml-vs-meter/pwr_update_freq/V100_gpudata.csv"
    tally = Tally()
    with file.open("rb") as stream:
        log = Log(Place("n1"), Clock(UTC), beats(None, None), tally, Gpus("v100"))
        found = list(log.read(Lines(stream, tally)))
    rows = file.read_text().strip().split("\n")[1:]
    assert len(found) == len(rows) > 20_000
    assert not tally.counts
    watts = [values(reading)[POWER][1] for reading in found]
    assert watts == [float(row.split(", ")[5]) for row in rows]
    assert values(found[0])[TEMPERATURE] == ("Cel", 57.0)


def _sections(file: Path, title: str) -> Iterator[list[str]]:
    """Yield the lines of each section of a capture with such a title."""
    parts = file.read_text().split("#" * 80 + "\n")
    for head, body in zip(parts[1::2], parts[2::2], strict=False):
        if title in head:
            yield [line for line in body.split("\n") if line.strip()]


@pytest.mark.parametrize("name", ["nvidia-h200", "nvidia-l40s", "nvidia-h100-mig"])
def test_captures_with_every_field(data: Path, name: str) -> None:
    (file,) = (data / CAPTURES).glob(f"linux-x86_64__{name}__*.txt")
    sections = list(_sections(file, "query-gpu (csv"))
    assert len(sections) == 2
    for lines in sections:
        found, tally = read(*lines)
        assert len(found) == len(lines) - 1 > 0
        assert not tally.counts
        for reading in found:
            told = values(reading)
            assert 5 < told[POWER][1] < told[LIMIT][1] * 1.1
            assert str(reading.attributes["hw.id"]).startswith("GPU-")


def test_dmon_of_a_capture(data: Path) -> None:
    (file,) = (data / CAPTURES).glob("linux-x86_64__nvidia-h200__*.txt")
    idle, load = _sections(file, "dmon (per-device")
    found, tally = read(*idle, beat=beats(START, 1000))
    first = values(found[0])
    assert first == {POWER: ("W", 77.0), UTILISATION: ("%", 0.0), TEMPERATURE: ("Cel", 28.0)}
    assert [reading.ts_ms for reading in found] == [START + n * 1000 for n in range(5)]
    assert found[0].attributes["hw.id"] == "n1/nvidia-smi/0"
    assert min(values(r)[POWER][1] for r in read(*load, beat=beats(START, 1000))[0]) > 600
    assert not tally.counts


def test_dmon_with_dates_and_two_gpus() -> None:
    rows = [
        "#Date       Time        gpu    pwr  gtemp",
        "#YYYYMMDD   HH:MM:SS    Idx      W      C",
        " 20251126   03:04:05      0     77     28",
        " 20251126   03:04:05      1      -     30",
    ]
    found, _ = read(*rows)
    assert [(r.ts_ms, str(r.attributes["hw.name"])) for r in found] == [
        (START - 678, "gpu0"),
        (START - 678, "gpu1"),
    ]
    assert values(found[1]) == {TEMPERATURE: ("Cel", 30.0)}
    without = [row[24:] for row in rows[2:]] * 2
    found, _ = read("# gpu pwr gtemp", *without, beat=beats(START, 1000))
    assert [r.ts_ms - START for r in found] == [0, 0, 1000, 1000]
    with pytest.raises(InvalidInput, match="--start"):
        read("# gpu pwr gtemp", *without)


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=40), max_size=5))
def test_any_rows_are_readings_or_counted(rows: list[str]) -> None:
    raw = "\n".join([HEAD, *rows]).encode()
    tally = Tally()
    log = Log(Place("n1"), Clock(UTC), beats(0, 1000), tally, Gpus("x"))
    lines = [(n, text) for n, text in Lines(io.BytesIO(raw), tally) if text.strip()]
    found = list(log.read(iter(lines)))
    headers = 1 + sum(text.startswith("#") for _, text in lines)
    assert len(found) + tally.counts.total() == len(lines) - headers
