"""Lines of real Jetsons; the meters are those of a scrape of the same board."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import pytest

from wattshed_collector.errors import InvalidInput
from wattshed_collector.normalise.dialect import Scrape, Series
from wattshed_collector.normalise.jetson import JETSON, RAILS
from wattshed_collector.receivers.files import Place, Reading, Tally
from wattshed_collector.receivers.files.tegrastats import read
from wattshed_collector.receivers.files.times import Clock, beats

FOLDER = "recordings/tegrastats/datadog-agent"
START = 1_764_126_245_000
JET = Place("jet", "blue")
ORIN = (
    "RAM 1/2MB CPU [0%@1,off] GR3D_FREQ 0%@[305,305] gpu@47.8C VDD_IN 5299mW/6000mW VDD_SOC 1mW/1mW"
)

BOARDS = {
    "jetson-tx1": {"VDD_IN": 2532, "VDD_CPU": 76, "VDD_GPU": 19},
    "jetson-tx2": {
        "VDD_IN": 3056,
        "VDD_SYS_GPU": 152,
        "VDD_SYS_SOC": 687,
        "VDD_4V0_WIFI": 0,
        "VDD_SYS_CPU": 152,
        "VDD_SYS_DDR": 883,
    },
    "jetson-nano": {"POM_5V_IN": 1022, "POM_5V_GPU": 0, "POM_5V_CPU": 204},
    "xavier-nx": {"VDD_IN": 4067, "VDD_CPU_GPU_CV": 738, "VDD_SOC": 1353},
    "orin-nx_mW-suffix": {"VDD_IN": 5299, "VDD_CPU_GPU_CV": 773, "VDD_SOC": 1424},
    "agx-xavier": {"GPU": 0, "CPU": 311, "SOC": 932, "CV": 0, "VDDRQ": 621, "SYS5V": 1482},
    "agx-orin": {"VDD_GPU_SOC": 4940, "VDD_CPU_CV": 988, "VIN_SYS_5V0": 4442},
    "agx-orin_r36": {"VDD_GPU_SOC": 3205, "VDD_CPU_CV": 4405, "VIN_SYS_5V0": 4767},
}


def logged(*lines: str, beat: Iterator[int] | None = None) -> tuple[list[Reading], Tally]:
    tally = Tally()
    clock = Clock(UTC)
    numbered = list(enumerate(lines, 1))
    return list(read(numbered, JET, clock, beat or beats(START, 1000), tally)), tally


def scraped(rails: dict[str, int]) -> list[tuple[object, ...]]:
    scrape = Scrape(JET.node, JET.cluster, START, 1)
    for rail, milliwatts in rails.items():
        scrape.add(Series(RAILS, {"machine_part": rail, "statistic": "power"}), milliwatts)
    return [(dict(p.attributes), p.metric, p.unit, p.value) for p in JETSON.points(scrape)]


@pytest.mark.parametrize("board", BOARDS)
def test_a_board_is_the_same_meters_as_in_a_scrape(data: Path, board: str) -> None:
    text = (data / FOLDER / f"{board}.txt").read_text().strip("\n")
    found, tally = logged(text)
    assert [(dict(r.attributes), *r.values[0]) for r in found] == scraped(BOARDS[board])
    assert {reading.ts_ms for reading in found} == {START}
    assert not tally.counts


def test_the_whole_contains_its_rails() -> None:
    found, _ = logged(ORIN)
    told = {str(r.attributes["hw.name"]): r.attributes for r in found}
    assert "wattshed.overlap" not in told["VDD_IN"]
    assert told["VDD_SOC"]["wattshed.overlap"] == "inner"
    assert told["VDD_SOC"]["hw.parent"] == "jet/jetson_stats/VDD_IN"


@pytest.mark.parametrize(
    "prefix",
    [
        "11-26-2025 03:04:05 ",
        "2025-11-26T03:04:05Z ",
        "2025-11-26 04:04:05+01:00 ",
        "[2025/11/26 03:04:05]: ",
    ],
)
def test_times_in_front(prefix: str) -> None:
    found, tally = logged(prefix + ORIN, beat=beats(None, None))
    assert {reading.ts_ms for reading in found} == {START}
    assert not tally.counts


def test_lines_that_say_nothing_take_their_beat() -> None:
    found, tally = logged("tegrastats: starting", ORIN, "", "11-45-2025 03:04:05 " + ORIN, ORIN)
    assert sorted({r.ts_ms for r in found}) == [START + 1000, START + 2000]
    assert tally.document() == {
        "bad_time": {"count": 1, "file": "", "line": 4},
        "no_rail": {"count": 1, "file": "", "line": 1},
    }


def test_what_must_be_told() -> None:
    with pytest.raises(InvalidInput, match="--start"):
        logged(ORIN, beat=beats(None, 1000))
    with pytest.raises(InvalidInput, match="--node"):
        list(read([(1, ORIN)], Place(), Clock(UTC), beats(START, 1000), Tally()))
