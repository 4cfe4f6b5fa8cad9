"""Pictures of boards, drawn by Grafana's packages in Chromium from a store with the demo fleet."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wattshed_collector.pictures import browser
from wattshed_collector.pictures.front_end import FrontEnd, page
from wattshed_dashboards import render
from wattshed_dashboards.model import Board

pytestmark = [pytest.mark.npm, pytest.mark.browser, pytest.mark.e2e]
DRAWN = ("wattshed-fleet", "wattshed-node")
"""Between them they have every type of panel but the rarest two."""


@pytest.fixture(autouse=True)
def _chromium() -> None:
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        pytest.skip("Chromium is not installed (Debian package chromium)")


def _size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_boards_are_drawn(
    front_end: Path, fleet_folder: Callable[[Path], float], tmp_path: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    fleet_folder(data)
    command = [sys.executable, "-m", "wattshed_collector.cli", "dashboards", "preview", *DRAWN]
    command += ["--data", str(data), "--out", str(out), "--width", "1200"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, f"wrote {len(DRAWN)} boards to {out}\n")
    for uid in DRAWN:
        width, height = _size((out / f"{uid}.png").read_bytes())
        assert width == 1200
        assert 1000 < height < 6000


def _content(board: Board, answers: dict[str, Any]) -> dict[str, Any]:
    return {
        "board": render.document(board),
        "answers": answers,
        "fromMs": 0,
        "toMs": 3_600_000,
        "chosen": {},
        "theme": "light",
        "width": 800,
    }


async def test_what_cannot_be_drawn_is_named(front_end: Path, board: Board, tmp_path: Path) -> None:
    """Of three panels one fails, one has no answer, one is there."""
    power = [
        {"name": "time", "kind": "time", "values": [0, 60]},
        {"name": "Value", "kind": "number", "values": [1.0, None]},
    ]
    answers = {"2": {"columns": [], "error": "no such view"}, "5": {"columns": power}}
    FrontEnd(front_end).put(tmp_path)
    file = tmp_path / "board.html"
    file.write_text(page("Trial", _content(board, answers)))
    async with browser.running(browser.program(), os.geteuid() != 0) as tab:
        _, problems = await tab.picture(file.as_uri(), 800)
    assert sorted(problems) == [
        "Nodes: Error: its answer is not there",
        "Power: Error: no such view",
    ]
