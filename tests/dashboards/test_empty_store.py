"""Every panel answers where nothing was ever measured: with no row, or with one that says so."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.dashboards.test_every_panel import ASKING, KNOWN, answered
from tests.fixtures.fleet_store import KEEP_ALL
from tests.fixtures.stores import Stores

from wattshed_collector.boards import Asked
from wattshed_collector.store.client import Client, Store
from wattshed_dashboards.macros import Window


@pytest.fixture(scope="module")
def empty(stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("empty")
    stores.prepare(folder, KEEP_ALL)
    store = Store(folder)
    client = store.client(only_reads=True)
    yield client
    client.close()
    store.close()


def test_no_panel_fails(empty: Client) -> None:
    end = int(time.time())
    for uid, panel in ASKING:
        columns = answered(empty, uid, panel, end)
        assert columns, (uid, panel["title"])


def test_no_variable_fails(empty: Client) -> None:
    window = Window.of(1_700_000_000_000, 1_700_003_600_000)
    for board in KNOWN.documents():
        for variable in KNOWN.variables(board["uid"]):
            name = variable["name"]
            assert KNOWN.choices(empty, board["uid"], name, Asked(window, {})) == []
