"""One engine, one folder: its lock, its errors in our types, parameters that stay values."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from wattshed_collector.errors import CollectorError, Permanent, Retryable, StoreError, StoreLocked
from wattshed_collector.store.client import Client, Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(tmp_path_factory.mktemp("store"))
    yield store
    store.close()


@pytest.fixture(scope="module")
def client(store: Store) -> Iterator[Client]:
    client = store.client()
    yield client
    client.close()


OPEN = """
import sys
from wattshed_collector.errors import StoreLocked
from wattshed_collector.store.client import Store
try:
    Store(sys.argv[1])
except StoreLocked as error:
    print(error)
"""


class TestLock:
    def test_a_second_process_is_told_who_holds_the_folder(self, store: Store) -> None:
        command = [sys.executable, "-c", textwrap.dedent(OPEN), store.target]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert told == (
            f"the data folder {store.target} is in use by another wattshed (process "
            f"{os.getpid()}); stop it, or choose another folder\n"
        )

    def test_nor_does_the_same_process_get_it_twice(self, store: Store) -> None:
        with pytest.raises(StoreLocked, match="is in use"):
            Store(store.target)

    def test_closing_sets_it_free(self, tmp_path: Path) -> None:
        folder = tmp_path / "new" / "folder"
        first = Store(folder)
        with pytest.raises(StoreLocked):
            Store(folder)
        first.close()
        again = Store(folder)
        assert again.target == str(folder)
        again.close()

    def test_a_folder_that_cannot_be_is_an_error_with_its_name(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match=r"cannot use .*file/data as data folder: Not a dir"):
            Store(tmp_path / "file" / "data")


class TestErrors:
    @pytest.mark.parametrize(
        ("sql", "kind", "code"),
        [
            ("SELEC 1", Permanent, 62),
            ("SELECT * FROM nothing", Permanent, 60),
            ("SELECT nothing", Permanent, 47),
            ("SELECT nonsense(1)", Permanent, 46),
            ("SELECT {a:UInt8}", Permanent, 456),
            ("SELECT toUInt8('x')", Permanent, 6),
            ("SELECT sleepEachRow(0.2) FROM numbers(2) "
             "SETTINGS max_execution_time = 0.1, max_block_size = 1", Retryable, 159),
            ("SELECT groupArray(number) FROM numbers(10000000) "
             "SETTINGS max_memory_usage = 1000000", Retryable, 241),
        ],
    )  # fmt: skip
    def test_what_may_pass_is_told_from_what_never_will(
        self, client: Client, sql: str, kind: type[CollectorError], code: int
    ) -> None:
        with pytest.raises(StoreError, match=f"Code: {code}") as caught:
            client.rows(sql)
        assert type(caught.value) is kind

    def test_a_value_that_no_column_can_hold_is_permanent(self, client: Client) -> None:
        client.command("CREATE TABLE IF NOT EXISTS small (n Int8) ENGINE = Memory")
        with pytest.raises(Permanent, match="`n`"):
            client.insert("small", {"n": [1000]})
        assert client.rows("SELECT count() FROM small") == [(0,)]

    def test_a_closed_client_is_no_reason_to_give_up(self, store: Store) -> None:
        client = store.client()
        client.close()
        with pytest.raises(Retryable, match="closed"):
            client.rows("SELECT 1")

    def test_a_server_that_is_away_is_retryable(self) -> None:
        with pytest.raises(Retryable):
            Store("http://127.0.0.1:1").client()

    def test_the_client_outlives_its_errors(self, client: Client) -> None:
        with pytest.raises(Permanent):
            client.command("DROP TABLE nothing")
        assert client.rows("SELECT 1") == [(1,)]


class TestParameters:
    @pytest.mark.parametrize(
        "text",
        ["", "o'clock", "a\\b", "tab\tline\n", "{b:String}", "'; DROP TABLE x; --", "µJ ⚡", "%s"],
    )
    def test_text_stays_text(self, client: Client, text: str) -> None:
        assert client.rows("SELECT {t:String}", {"t": text}) == [(text,)]

    def test_numbers_and_lists(self, client: Client) -> None:
        parameters = {"a": 2**63 - 1, "b": [1, 2**32 - 1], "c": 0.1}
        sql = "SELECT {a:Int64}, {b:Array(UInt32)}, {c:Float64}"
        assert client.rows(sql, parameters) == [(2**63 - 1, [1, 2**32 - 1], 0.1)]

    def test_records_are_named(self, client: Client) -> None:
        assert client.records("SELECT 1 AS one, NULL AS none") == [{"one": 1, "none": None}]


def test_a_second_folder_in_one_process_is_refused(store: Store, client: Client) -> None:
    other = Store(Path(store.target) / "other")
    with pytest.raises(StoreError, match="already initialized"):
        other.client()
    other.close()


@pytest.mark.parametrize(
    ("target", "server"),
    [("data", False), ("/var/lib/http", False), ("http://h:8123", True), ("clickhouses://h", True)],
)
def test_a_url_is_a_server(target: str, server: bool, tmp_path: Path) -> None:
    store = Store(target if server else tmp_path / target.lstrip("/"))
    assert store.is_server is server
    store.close()


def test_rows_of_a_query_that_failed_are_not_those_of_the_next(store: Store) -> None:
    """They would be, on the same connection: the first rows had gone out when it failed."""
    breaks_off = (
        "SELECT 'of another' UNION ALL SELECT toString(intDiv(1, count() - 2000000)) FROM "
        "numbers(2000) AS a, numbers(1000) AS b"
    )
    client = store.client(only_reads=True)
    client.limit(30.0, 10)
    with pytest.raises(StoreError, match="Division by zero"):
        client.rows(breaks_off)
    assert client.rows("SELECT 'mine'") == [("mine",)]
    with pytest.raises(StoreError, match="readonly"):
        client.command("CREATE TABLE refused (x UInt8) ENGINE = Memory")
    with pytest.raises(StoreError, match=r"max_result_rows|Limit for result"):
        client.rows("SELECT number FROM numbers(100000)")
    client.close()
