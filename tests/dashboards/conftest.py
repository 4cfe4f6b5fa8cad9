"""A small board that breaks no rule, for tests that break one, and the demo fleet in a store."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from tests.fixtures.fleets import fleet, fleet_folder

from wattshed_collector.pictures.front_end import INSTALLED
from wattshed_dashboards import files
from wattshed_dashboards.model import Board, Color, Column, Kind, Link, Panel, Row, Step
from wattshed_dashboards.variables import where

__all__ = ["board", "fleet", "fleet_folder", "front_end"]
INSTALL_SECONDS = 300.0


def _panels() -> tuple[Panel, ...]:
    return (
        Panel(
            "Power",
            "Joules of each minute by its seconds, from v_power_1m.",
            Kind.TIME_SERIES,
            "watt",
            "SELECT $__timeInterval(t) AS time, site, sum(joules) / 60 AS Value\n"
            f"FROM v_power_1m WHERE $__timeFilter(t) AND {where('site')}\n"
            "GROUP BY time, site ORDER BY time",
            is_stacked=True,
        ),
        Panel(
            "Nodes",
            "What each node draws, from v_node_now.",
            Kind.TABLE,
            sql=f"SELECT node, power FROM v_node_now WHERE {where('node')}\n"
            "ORDER BY power DESC LIMIT 100",
            columns={
                "node": Column("Node", link=Link("This node", "wattshed-trial", {"node": "node"})),
                "power": Column(unit="watt", steps=(Step(None, Color.GOOD), Step(9, Color.BAD))),
            },
            sorted_by="power",
            runbook="Trial",
        ),
    )


@pytest.fixture
def board() -> Board:
    rows = (Row("Answer", _panels()), Row("Detail", _panels()[:1], is_collapsed=True))
    return Board("wattshed-trial", "Trial", "Is it so?", rows, ("site", "tier", "cluster", "node"))


@pytest.fixture(scope="session")
def front_end() -> Path:
    """dashboards/preview with its packages; where PREVIEW_ON_ITS_WAY is set npm is at it."""
    folder = files.root() / "preview"
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed")
    if not os.environ.get("PREVIEW_ON_ITS_WAY") and not (folder / INSTALLED).is_file():
        pytest.skip(f"npm ci --prefix {folder} has not been run")
    last = time.monotonic() + INSTALL_SECONDS
    while not (folder / INSTALLED).is_file():
        assert time.monotonic() < last, f"npm does not install {folder}"
        time.sleep(1.0)
    return folder
