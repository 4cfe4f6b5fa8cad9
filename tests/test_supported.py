"""The table of supported meters is held to the tests and recordings that it names."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from tests.exporter.sources.nvml.test_nvml_captures import printed
from tests.fixtures.supported import (
    COLUMNS,
    FOREIGN,
    OTHERS,
    QUALITIES,
    SUPPORTED,
    Supported,
    recordings,
)

from wattshed_collector.normalise.foreign import SOURCES as FOREIGN_SOURCES
from wattshed_exporter.sources import SOURCES

ROOT = Path(__file__).parent.parent
ROWS = pytest.mark.parametrize(
    "row", [*SUPPORTED, *FOREIGN], ids=lambda row: f"{row.source}-{row.meter}"
)
READERS = ("tests/exporter", "tests/collector/normalise")
MADE_UP = {"replay", "simulate"}
"""Sources that read no meter."""


@cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@ROWS
def test_a_row_names_a_test_that_there_is(row: Supported) -> None:
    file, _, name = row.test.partition("::")
    assert name.startswith("test_")
    assert name in functions(file)
    assert row.source in (FOREIGN_SOURCES if row in FOREIGN else SOURCES)
    assert row.quality in QUALITIES
    assert bool(row.recording) == (row.quality in "GLS")


@ROWS
def test_a_recording_names_the_meter(row: Supported, data: Path) -> None:
    if not row.recording:
        is_ours = row.quality == "R"
        assert bool(row.version) == is_ours, "what was not recorded has no version"
        return
    said = (data / "recordings" / row.recording).read_bytes().decode(errors="replace")
    assert (row.named or row.meter) in said
    assert row.version in said


@pytest.mark.parametrize("state", ["idle", "load"])
@pytest.mark.parametrize(
    "row", [row for row in SUPPORTED if row.folder.startswith("nvidia-smi")], ids=lambda r: r.meter
)
def test_what_is_read_of_a_gpu_is_what_its_recording_carries(
    row: Supported, state: str, data: Path
) -> None:
    text = (data / "recordings" / row.recording).read_text(encoding="utf-8", errors="replace")
    values = printed(text, state)
    carried = {what for what, column in COLUMNS.items() if column in values}
    if values.get("mig.mode.current") == "Enabled":
        carried.add("MIG instances")
    assert set(row.reads.split(", ")) == carried


def test_the_recording_of_one_controller_does_not_name_another(data: Path) -> None:
    rows = [row for row in SUPPORTED if row.source == "redfish" and row.recording]
    for row in rows:
        said = (data / "recordings" / row.recording).read_text(encoding="utf-8")
        others = {other.named for other in rows} - {row.named}
        assert not {name for name in others if name in said}, row.recording


@ROWS
def test_a_recording_has_the_quality_that_is_said(row: Supported, data: Path) -> None:
    lines = (data / "recordings/README.md").read_text(encoding="utf-8").splitlines()
    if not row.recording:
        return
    kind, _, folder = row.folder.partition("/")
    named = [line.split(" | ") for line in lines if line.startswith("| ")]
    told = [
        cells[3]
        for cells in named
        if kind in cells[0] and folder in re.split(r"[/, ]+", cells[0].strip("| "))
    ]
    assert len(told) == 1, row.folder
    letters = set(re.findall(r"\b[GLSM]\b", told[0]))
    assert row.quality in letters or "M" in letters


def test_every_recording_in_use_is_in_the_table(data: Path) -> None:
    files = [file for where in READERS for file in sorted((ROOT / where).rglob("*.py"))]
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    folders = [folder for folder in (data / "recordings").glob("*/*") if folder.is_dir()]
    used = {
        f"{folder.parent.name}/{folder.name}"
        for folder in folders
        if re.search(rf"\b{re.escape(folder.name)}\b", text) and folder.parent.name in text
    }
    assert used == set(recordings())


def test_every_source_of_a_meter_is_in_the_table() -> None:
    assert {row.source for row in SUPPORTED} == SOURCES.keys() - MADE_UP
    assert {row.source for row in FOREIGN} == FOREIGN_SOURCES
    assert all(OTHERS.values())
