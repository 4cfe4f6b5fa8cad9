"""A small board that breaks no rule, for tests that break one, and the demo fleet in a store.

The engine takes one folder per process, so a module opens a copy of its own. What a board shows of
"now" is of the last quarter of an hour: a store that is older than some minutes is filled anew.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.fixtures.fleet_store import KEEP_ALL, Fleet, fill
from tests.fixtures.stores import Stores

from wattshed_collector.pictures.front_end import INSTALLED
from wattshed_collector.store.client import Store
from wattshed_dashboards import files
from wattshed_dashboards.model import Board, Color, Column, Kind, Link, Panel, Row, Step
from wattshed_dashboards.variables import where

FRESH_SECONDS = 480.0
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


@pytest.fixture(scope="session")
def fleet_folder(
    stores: Stores, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], float]:
    """Return what lays the filled store into a folder, and gives the time at which its past ends.

    It is filled once for all workers of a run.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "fleet"
    shared.mkdir(exist_ok=True)

    def lay(folder: Path) -> float:
        with (shared / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            end = max((float(made.name) for made in shared.glob("1*")), default=0.0)
            if time.time() - end > FRESH_SECONDS:
                end = time.time()
                stores.prepare(shared / f"{end:f}", KEEP_ALL)
                store = Store(shared / f"{end:f}")
                fill(store, end)
                store.close()
        shutil.copytree(shared / f"{end:f}" / "chdb", folder / "chdb", symlinks=True)
        return end

    return lay


@pytest.fixture(scope="module")
def fleet(
    fleet_folder: Callable[[Path], float], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """The demo fleet."""
    folder = tmp_path_factory.mktemp("fleet")
    end = fleet_folder(folder)
    store = Store(folder)
    client = store.client(only_reads=True)
    yield Fleet(client, store, folder, int(end) // 60 * 60)
    client.close()
    store.close()
