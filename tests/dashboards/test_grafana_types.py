"""Boards held against Grafana's published types, and its own units, colours and properties."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from wattshed_dashboards import files, render
from wattshed_dashboards.boards import BOARDS
from wattshed_dashboards.model import Board

pytestmark = pytest.mark.npm
Json = dict[str, Any]


def _checked(front_end: Path, *boards: Path) -> tuple[int, str, str]:
    command = ["node", str(front_end / "check.mjs"), *map(str, boards)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout, done.stderr


def _broken(board: Board) -> Json:
    """Return a board with one mistake of each kind in the panels 2 (series) and 3 (table)."""
    document = render.document(board)
    document["graphTooltip"] = 7
    series, table = document["panels"][1:3]
    series["fieldConfig"]["defaults"] |= {
        "unit": "wat",
        "thresholds": {
            "mode": "absolute",
            "steps": [{"value": 3, "color": "blurple"}, {"value": 3, "color": "red"},
                      {"value": 1, "color": "red"}],
        },
    }  # fmt: skip
    series["options"]["legend"]["displayMode"] = "lines"
    table["options"]["showHeaders"] = True
    table["fieldConfig"]["overrides"] = [
        {
            "matcher": {"id": "byNumber", "options": "power"},
            "properties": [
                {"id": "custom.widht", "value": 100},
                {"id": "custom.width", "value": "wide"},
                {"id": "color", "value": {"mode": "traffic-light"}},
            ],
        }
    ]
    return document


SAID = (
    "Type '7' is not assignable to type 'DashboardCursorSync",
    "Type '\"lines\"' is not assignable to type",
    "'\"showHeaders\"' does not exist",
    "custom.widht",
    "Type 'string' is not assignable to type 'number'",
    "panel 2 (Power): Grafana has no unit wat",
    "panel 2 (Power): Grafana has no colour blurple",
    "panel 2 (Power): the first threshold is not from below all",
    "panel 2 (Power): thresholds do not rise",
    "panel 3 (Nodes): Grafana has no matcher byNumber",
    "panel 3 (Nodes): a table has no field property custom.widht",
    "panel 3 (Nodes): Grafana has no way to colour traffic-light",
)


def test_every_board_is_as_grafana_has_it(front_end: Path) -> None:
    boards = [files.root() / "grafana" / f"{board.uid}.json" for board in BOARDS]
    assert boards
    said = _checked(front_end, *boards)
    assert said == (0, f"{len(boards)} boards, 0 problems\n", "")


def test_each_mistake_is_named(front_end: Path, board: Board, tmp_path: Path) -> None:
    file = tmp_path / "broken.json"
    file.write_text(json.dumps(_broken(board), indent=2))
    status, _, errors = _checked(front_end, file)
    assert status == 1
    assert [said for said in SAID if said not in errors] == []


def test_the_front_ends_own_tests_pass(front_end: Path) -> None:
    command = ["node", "--test", "test/"]
    done = subprocess.run(
        command, cwd=front_end, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "\n# fail 0\n" in done.stdout
    assert "\n# pass 0\n" not in done.stdout
