"""The embedded engine ends with its last connection, unless it is kept: what lies in its memory
alone tells."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from wattshed_collector.store.client import Row, Store


def asked(store: Store, sql: str) -> list[Row]:
    """Ask on a connection of its own."""
    client = store.client()
    try:
        return client.rows(sql)
    finally:
        client.close()


@pytest.mark.parametrize("is_kept", [True, False])
def test_it_runs_on_without_a_connection_where_it_is_kept(tmp_path: Path, is_kept: bool) -> None:
    store = Store(tmp_path)
    with store.kept_open() if is_kept else nullcontext():
        asked(store, "CREATE TABLE held (n Int8) ENGINE = Memory")
        asked(store, "INSERT INTO held VALUES (1)")
        assert asked(store, "SELECT count() FROM held") == [(int(is_kept),)]
    assert asked(store, "SELECT count() FROM held") == [(0,)]
    store.close()


def test_a_server_needs_no_keeping() -> None:
    with Store("http://127.0.0.1:1").kept_open():
        pass  # no connection was tried
