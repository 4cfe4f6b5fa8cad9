"""A server in place of the embedded engine: one contract for both, and what may go wrong.

The server is the stand-in of ``tests/fixtures/clickhouse.py`` over the same engine, and a real one
where WATTSHED_TEST_CLICKHOUSE names its URL (of a user that may make a database and drop it).
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
from tests.collector.conftest import Bed
from tests.fixtures.clickhouse import Fault, Front, Request, served

from wattshed_collector.errors import Denied, Permanent, Retryable, StoreError
from wattshed_collector.store import server
from wattshed_collector.store.client import Client, Store
from wattshed_collector.store.faults import (
    DENIED_CODES,
    ELSEWHERE_CODES,
    PERMANENT_CODES,
)
from wattshed_collector.store.insert import Insert
from wattshed_collector.store.lease import Lease, Timing
from wattshed_collector.store.migrate import Layout, migrate
from wattshed_collector.store.server import Node, Nodes
from wattshed_collector.store.write import Writer
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick

REAL = os.environ.get("WATTSHED_TEST_CLICKHOUSE", "")
T0_MS = 1_700_000_000_000


def folder(bed: Bed) -> Path:
    return Path(bed.store.target) / "chdb"


@pytest.fixture
def front(bed: Bed) -> Iterator[Front]:
    with served(folder(bed), user="wattshed", password="hush hush") as front:
        yield front


def store_of(front: Front, **how: object) -> Store:
    told = replace(server.parse(front.url), **how)  # type: ignore[arg-type]
    return Store(front.url, told=told)


@pytest.fixture(params=["embedded", "stand-in", *(["real"] if REAL else [])])
def client(request: pytest.FixtureRequest, bed: Bed) -> Iterator[Client]:
    if request.param == "embedded":
        yield bed.client
        return
    if request.param == "real":
        yield from real_client()
        return
    client = store_of(request.getfixturevalue("front")).client()
    yield client
    client.close()


def real_client() -> Iterator[Client]:
    """Give a client of a database that is made and dropped again."""
    store, name = Store(REAL), f"wattshed_test_{os.getpid()}"
    outside = store.client()
    outside.command(f"CREATE DATABASE IF NOT EXISTS {name}")
    client = store.client(database=name)
    migrate(client, Layout(raw_days=0, minute_days=0))
    yield client
    client.close()
    outside.command(f"DROP DATABASE {name}")


class TestContract:
    """What the collector asks of a store, whichever it is."""

    def test_parameters_stay_values(self, client: Client) -> None:
        text = "o'clock\t\\ {b:String}; µJ"
        assert client.rows("SELECT {t:String}, {n:Array(UInt32)}", {"t": text, "n": [1, 2]}) == [
            (text, [1, 2])
        ]

    def test_what_is_missing_is_null(self, client: Client) -> None:
        assert client.records("SELECT CAST(NULL, 'Nullable(Float64)') AS x, 1.5 AS y") == [
            {"x": None, "y": 1.5}
        ]

    def test_rows_as_columns_and_rows_as_bytes_are_the_same(self, client: Client) -> None:
        client.insert("ledger_open", {"t": [3600, 7200], "version": [1, 2]})
        said = client.native("SELECT t + 7200 AS t, version FROM ledger_open ORDER BY t")
        client.insert_native(Insert("ledger_open", ("t", "version"), 2, said * 1))
        assert client.rows("SELECT toUnixTimestamp(t), version FROM ledger_open ORDER BY 1") == [
            (3600, 1), (7200, 2), (10800, 1), (14400, 2),
        ]  # fmt: skip

    def test_a_large_body_of_several_blocks(self, client: Client) -> None:
        block = client.native(
            "SELECT toDateTime(number * 3600, 'UTC') AS t, number AS version FROM numbers(2000)"
        )
        client.insert_native(Insert("ledger_open", ("t", "version"), 4000, block + block))
        assert client.rows("SELECT count() FROM ledger_open FINAL") == [(2000,)]

    @pytest.mark.parametrize(
        ("sql", "kind", "code"),
        [
            ("SELEC 1", Permanent, 62),
            ("SELECT nothing", Permanent, 47),
            ("SELECT {a:UInt8}", Permanent, 456),
            ("SELECT groupArray(number) FROM numbers(10000000) "
             "SETTINGS max_memory_usage = 1000000", Retryable, 241),
        ],
    )  # fmt: skip
    def test_an_error_says_whether_it_may_pass(
        self, client: Client, sql: str, kind: type[StoreError], code: int
    ) -> None:
        with pytest.raises(StoreError, match=rf"(?i)code: {code}") as caught:
            client.rows(sql)
        assert type(caught.value) is kind
        assert client.rows("SELECT 1") == [(1,)]

    def test_bytes_that_are_no_rows_are_permanent(self, client: Client) -> None:
        with pytest.raises(Permanent):
            client.insert_native(
                Insert("ledger_open", ("t", "version"), 1, b"\x02\x01\x01tnonsense")
            )
        assert client.rows("SELECT count() FROM ledger_open") == [(0,)]

    def test_a_lease_is_taken_kept_and_given_back(self, client: Client) -> None:
        patient = Timing(settle_seconds=60)
        first, second = (
            Lease(client, "contract", name, patient, sleep=lambda _: None) for name in "ab"
        )
        assert first.hold()
        assert not second.hold()
        assert first.hold()
        first.release()
        assert second.hold()


def batch(*, at: int = 0) -> Batch:
    device = Device("gpu-1", Kind.GPU, "n1", "nvml")
    tick = Tick("gpu-1", T0_MS + at * 1000, 1000, Method.INTEGRAL, power_watts=1.0)
    return Batch(devices=(device,), ticks=(tick,))


def ticks(bed: Bed) -> int:
    ((count,),) = bed.client.rows("SELECT count() FROM tick FINAL")
    return int(count)


def is_insert(request: Request) -> bool:
    return request.text.startswith("INSERT INTO")


def submit(store: Store, *batches: Batch) -> list[BaseException | None]:
    writer = Writer(store.client, window_seconds=0.0)
    told: list[Future[None]] = [writer.submit(batch) for batch in batches]
    found = [future.exception(20) for future in told]
    writer.close()
    return found


class TestFaults:
    def test_a_restart_in_mid_batch_costs_nothing(self, bed: Bed, front: Front) -> None:
        """The node goes after the marks and before the ticks; what was taken is sent again."""
        store = store_of(front)
        writer = Writer(store.client, window_seconds=0.0)
        writer.submit(batch()).result(120)
        front.faults.append(Fault(lambda r: "tick" in r.text[:24], hang_up=True, times=9))
        with pytest.raises(Retryable):
            writer.submit(batch(at=1)).result(120)
        assert front.faults[0].times < 9
        front.faults.clear()
        front.stop()
        with pytest.raises(Retryable):
            writer.submit(batch(at=1)).result(120)
        front.start()
        writer.submit(batch(at=1)).result(120)
        writer.close()
        assert ticks(bed) == 2

    def test_an_answer_that_is_lost_doubles_nothing(self, bed: Bed, front: Front) -> None:
        front.faults.append(Fault(is_insert, hang_up=True, after=True, times=1))
        assert submit(store_of(front), batch(), batch(at=1)) == [None, None]
        assert ticks(bed) == 2

    @pytest.mark.parametrize("status", [429, 502, 503, 504])
    def test_a_proxy_that_knows_no_server_is_asked_again(self, front: Front, status: int) -> None:
        client = store_of(front).client()
        front.faults.append(Fault(status=status))
        assert client.rows("SELECT 1") == [(1,)]
        front.faults.append(Fault(status=status, times=2))
        with pytest.raises(Retryable):
            client.rows("SELECT 1")

    def test_a_node_that_is_too_slow_is_not_waited_for(self, front: Front) -> None:
        client = store_of(front, query_seconds=1.0, grace_seconds=0.0).client()
        front.faults.append(Fault(delay_seconds=1.5))
        with pytest.raises(Retryable, match=r"imed out|imeout"):
            client.rows("SELECT 1")
        assert client.rows("SELECT 2") == [(2,)]

    def test_a_wrong_password_is_told_and_may_be_mended(self, front: Front, tmp_path: Path) -> None:
        word = tmp_path / "password"
        word.write_text("wrong secret\n")
        store = store_of(front, password_file=word)
        with pytest.raises(Denied, match=r"user 'wattshed'.*store\.password_file") as caught:
            store.client()
        assert "wrong secret" not in str(caught.value)
        word.write_text("hush hush\n")
        assert store.client().rows("SELECT 1") == [(1,)]

    def test_a_password_that_cannot_be_read_now_may_be_later(
        self, front: Front, tmp_path: Path
    ) -> None:
        word = tmp_path / "password"
        store = store_of(front, password_file=word)
        with pytest.raises(Denied, match=r"cannot read the password .*No such file"):
            store.client()
        word.write_text("hush hush\n")
        assert store.client().rows("SELECT 1") == [(1,)]

    def test_limits_hold_on_a_new_connection(self, front: Front) -> None:
        client = store_of(front).client()
        client.limit(20.0, 5)
        for _ in range(2):
            with pytest.raises(Retryable, match=r"(?i)code: 396"):
                client.rows("SELECT number FROM numbers(100)")
            front.stop()
            front.start()
        assert {r.parameters["max_execution_time"] for r in front.seen[-1:]} == {"20.0"}

    def test_a_table_that_is_not_there_yet_is_waited_for(self, front: Front) -> None:
        with pytest.raises(Retryable, match=r"(?i)code: 60") as caught:
            store_of(front).client().rows("SELECT * FROM not_yet")
        assert not isinstance(caught.value, Denied)

    def test_who_only_reads_cannot_write(self, bed: Bed, front: Front) -> None:
        client = store_of(front).client(only_reads=True)
        assert client.rows("SELECT count() FROM tick") == [(0,)]
        with pytest.raises(Denied, match=r"(?i)code: 164"):
            client.insert("ledger_open", {"t": [3600], "version": [1]})
        with pytest.raises(Denied, match=r"(?i)code: 164"):
            client.command("TRUNCATE TABLE tick")

    def test_an_unencrypted_port_is_no_reason_to_end(self, front: Front) -> None:
        with pytest.raises(Retryable):
            store_of(front, is_tls=True).client()


class TestNodes:
    def test_the_next_node_answers_and_is_kept_to(self, bed: Bed, front: Front) -> None:
        with served(folder(bed), user="wattshed", password="hush hush") as other:
            nodes = Node("127.0.0.1", front.port), Node("127.0.0.1", other.port)
            client = store_of(front, nodes=nodes).client()
            assert client.rows("SELECT 1") == [(1,)]
            asked = len(other.seen)
            assert not asked
            front.stop()
            for _ in range(3):
                assert client.rows("SELECT 1") == [(1,)]
            assert other.seen
            front.start()
            said = len(front.seen)
            assert client.rows("SELECT 1") == [(1,)]
            assert len(front.seen) == said

    def test_one_that_lost_its_keeper_is_passed_over(self, bed: Bed, front: Front) -> None:
        with served(folder(bed), user="wattshed", password="hush hush") as other:
            nodes = Node("127.0.0.1", front.port), Node("127.0.0.1", other.port)
            store = store_of(front, nodes=nodes)
            front.faults.append(Fault(is_insert, status=500, code=242, times=9))
            assert submit(store, batch()) == [None]
            assert any(is_insert(request) for request in other.seen)
        assert ticks(bed) == 1

    def test_the_first_is_tried_again_after_a_while(self) -> None:
        now = [100.0]
        first, second = Node("a", 1), Node("b", 1)
        nodes = Nodes((first, second), rest_seconds=30.0, monotonic=lambda: now[0])
        assert nodes.best() == first
        nodes.failed(first)
        assert nodes.best() == second
        nodes.failed(second)
        assert nodes.best() == first
        now[0] += 31
        assert nodes.best() == first

    def test_a_server_is_asked_by_many_threads(self, bed: Bed, front: Front) -> None:
        store = store_of(front)
        found: list[object] = []

        def ask(n: int) -> None:
            client = store.client()
            found.append(client.rows("SELECT {n:UInt32}", {"n": n})[0][0])
            client.close()

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert sorted(map(int, map(str, found))) == list(range(6))


class TestTls:
    @pytest.fixture
    def secure(self, bed: Bed, certificates: Path) -> Iterator[Front]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        context.load_verify_locations(certificates / "ca.pem")
        context.verify_mode = ssl.CERT_OPTIONAL
        with served(folder(bed), password="hush", context=context) as front:
            yield front

    def test_its_authority_is_named(self, secure: Front, certificates: Path) -> None:
        with pytest.raises(Retryable, match=r"(?i)certificate"):
            store_of(secure).client()
        client = store_of(secure, ca_file=certificates / "ca.pem").client()
        assert client.rows("SELECT 1") == [(1,)]

    def test_a_certificate_of_our_own_beside_the_password(
        self, secure: Front, certificates: Path
    ) -> None:
        assert secure.context is not None
        secure.context.verify_mode = ssl.CERT_REQUIRED
        mine = {"cert_file": certificates / "client.pem", "key_file": certificates / "client.key"}
        ca = certificates / "ca.pem"
        assert store_of(secure, ca_file=ca, **mine).client().rows("SELECT 1") == [(1,)]
        with pytest.raises(Retryable):
            store_of(secure, ca_file=ca).client()


class TestSecrets:
    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("http://u:p%40ss@h:1/db", "http://u:***@h:1/db"),
            ("clickhouses://u:a@b@h", "clickhouses://u:***@h"),
            ("http://u@h", "http://u@h"),
            ("http://h/db?max_threads=2", "http://h/db?max_threads=2"),
            ("folder@home", "folder@home"),
        ],
    )
    def test_a_url_is_shown_without_its_password(self, url: str, shown: str) -> None:
        assert server.hidden(url) == shown

    def test_nor_is_it_in_what_is_printed_of_a_server(self) -> None:
        assert "hush" not in repr(server.parse("http://u:hush@h"))

    def test_no_error_repeats_it(self, front: Front) -> None:
        store = store_of(front)
        assert "hush" not in store.name
        with pytest.raises(StoreError) as caught:
            store.client().rows("SELECT 'hush hush', nothing")
        assert "hush" not in str(caught.value)
        front.stop()
        with pytest.raises(Retryable) as away:
            store.client()
        assert "hush" not in str(away.value)

    def test_a_url_without_a_host(self) -> None:
        with pytest.raises(StoreError, match=r"'http://u:\*\*\*@' names no host"):
            Store("http://u:hush@")


def test_the_codes_are_what_they_are_called(bed: Bed) -> None:
    said = {**PERMANENT_CODES, **DENIED_CODES, **ELSEWHERE_CODES}
    rows = bed.client.rows(
        "SELECT code, errorCodeToName(code) FROM (SELECT arrayJoin({codes:Array(UInt32)}) AS code)",
        {"codes": list(said)},
    )
    assert {int(code): str(name) for code, name in rows} == said
    assert not PERMANENT_CODES.keys() & (DENIED_CODES.keys() | ELSEWHERE_CODES.keys())


def test_what_a_url_says() -> None:
    told = server.parse("clickhouses://u%20x:p%2Fw@[::1]/energy?max_threads=2")
    assert (told.nodes, told.is_tls, told.database) == ((Node("::1", 8443),), True, "energy")
    assert (told.user, told.secret(), told.settings) == ("u x", "p/w", {"max_threads": "2"})
    assert str(told.nodes[0]) == "[::1]:8443"
