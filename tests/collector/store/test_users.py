"""Roles: each table has its grants, and what the collector does is among them."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from tests.collector.conftest import Bed
from tests.fixtures.clickhouse import served

from wattshed_collector.ledger import Ledger, Policy
from wattshed_collector.store import server
from wattshed_collector.store.client import Store
from wattshed_collector.store.layout import SHARDED, WHOLE, Layout
from wattshed_collector.store.lease import candidate
from wattshed_collector.store.shards import Shards
from wattshed_collector.store.users import COMPUTES, FILLED, WRITES, members, statements, text
from wattshed_collector.store.write import Writer
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick

ALONE = Layout(database="energy")
HASHES = {"wattshed_collector": "ab" * 32}
FLEET = Layout(cluster="fleet", whole_cluster="all", database="wattshed")


def granted(layout: Layout, role: str, right: str) -> set[str]:
    """The tables on which a role has a right."""
    found = set()
    for statement in statements(layout):
        grant = re.fullmatch(r"GRANT(?: ON CLUSTER '\w+')? (.+) ON (.+) TO `(\w+)`", statement)
        if grant and grant[3].endswith(f"_{role}") and right in grant[1].split(", "):
            found.add(grant[2])
    return found


def test_every_table_has_somebody_who_fills_it() -> None:
    every = {*WRITES, *COMPUTES, *FILLED, "migration"}
    assert every == SHARDED.keys() | WHOLE
    assert not {*FILLED} & {*WRITES, *COMPUTES}


@pytest.mark.parametrize("layout", [ALONE, Layout(), FLEET])
def test_the_engine_understands_them(bed: Bed, layout: Layout) -> None:
    for statement in (*statements(layout), *members(layout), *members(layout, HASHES)):
        bed.client.rows("SELECT formatQuery({q:String})", {"q": statement})


def test_a_reader_writes_nothing_and_a_writer_reads_little() -> None:
    assert granted(ALONE, "reader", "INSERT") == set()
    assert granted(ALONE, "reader", "SELECT") == {"`energy`.*"}
    assert granted(ALONE, "writer", "INSERT") == {f"`energy`.{table}" for table in WRITES}
    assert "`energy`.charge_1h" not in granted(ALONE, "writer", "SELECT")
    assert granted(ALONE, "ledger", "INSERT") == {f"`energy`.{table}" for table in COMPUTES}
    assert granted(ALONE, "ledger", "SYSTEM SYNC REPLICA") == set()


def test_with_hashes_the_named_users_alone_are_made_or_given_the_new_password() -> None:
    word = f"wattshed_collector IDENTIFIED WITH sha256_hash BY '{'ab' * 32}'"
    assert members(ALONE, HASHES)[:2] == [
        f"CREATE USER IF NOT EXISTS {word}",
        f"ALTER USER {word}",
    ]
    assert len(members(ALONE, HASHES)) == 3
    assert "<sha256" not in text(ALONE, HASHES)
    assert text(ALONE).count("<sha256") == 3


def test_on_shards_both_databases_are_granted() -> None:
    tables = granted(FLEET, "writer", "INSERT")
    assert {"`wattshed`.tick", "`wattshed_shard`.tick"} <= tables
    assert granted(FLEET, "ledger", "SYSTEM MERGES") == set()
    assert "ON CLUSTER 'fleet'" in text(FLEET)


def test_what_a_collector_does_is_granted(bed: Bed) -> None:
    """The stand-in has no users, but it hears which tables are written and which are read."""
    folder = Path(bed.store.target) / "chdb"
    with served(folder, password="hush") as front:
        store = Store(front.url, told=server.parse(front.url))
        writer = Writer(store.client, window_seconds=0.0)
        ticks = tuple(
            Tick("g", (1_767_225_600 + m * 60) * 1000, 60_000, Method.INTEGRAL, 100.0)
            for m in range(3)
        )
        writer.submit(Batch((Device("g", Kind.GPU, "n", "nvml"),), ticks)).result(120)
        writer.close()
        wrote = {table for r in front.seen for table in inserted(r.text)}
        assert {"tick", "device"} <= wrote <= {*WRITES}
        front.seen.clear()
        client = store.client(session=True)
        ledger = Ledger(
            client, Policy(raw_days=0), lease=candidate(store, client, "x"), shards=Shards(client)
        )
        # On a busy machine a claim comes too late to count, and the next run repeats it.
        deadline = time.monotonic() + 120
        while not ledger.run():
            assert time.monotonic() < deadline
        computed = {table for r in front.seen for table in inserted(r.text)}
        assert {"charge_1h", "ledger_hour", "lease", "piece"} <= computed <= {*COMPUTES}
        told = {r.text.split()[0] for r in front.seen}
        assert told <= {"SELECT", "WITH", "INSERT", "SYSTEM", "DESCRIBE"}


def inserted(statement: str) -> list[str]:
    return re.findall(r"INSERT INTO `?(\w+)`?", statement)
