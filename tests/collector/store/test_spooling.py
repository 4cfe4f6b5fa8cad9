"""Where rows go while the store is away, and how they come into it: in order, nothing lost."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.fixtures.clickhouse import Front, served

from wattshed_collector.errors import Permanent, Retryable
from wattshed_collector.store.client import Client, Store
from wattshed_collector.store.insert import Insert
from wattshed_collector.store.spool import Kept, Spool
from wattshed_collector.store.spooling import Spooling, joined

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BASE = 1_768_471_200_000
MIB = 2**20


class Server:
    """The stand-in for a server over the real store, which may be switched off."""

    def __init__(self, bed: Bed, front: Front) -> None:
        self.bed = bed
        self._front = front
        self._store = Store(front.url)
        self._away = False

    def open(self) -> Client:
        return self._store.client()

    @property
    def away(self) -> bool:
        return self._away

    @away.setter
    def away(self, away: bool) -> None:
        (self._front.stop if away else self._front.start)()
        self._away = away


def native(bed: Bed, table: str, sql: str) -> Insert:
    """Have the engine write rows as FORMAT Native."""
    columns = tuple(str(name) for name, *_ in bed.client.rows(f"DESCRIBE ({sql})"))
    ((rows,),) = bed.client.rows(f"SELECT count() FROM ({sql})")
    body = bed.client._connection.raw_query(sql, fmt="Native")
    return Insert(table, columns, int(rows), bytes(body))


@pytest.fixture
def tick(bed: Bed) -> Callable[[int], list[Insert]]:
    """Make a group: one tick at a number of milliseconds, and its mark."""
    at = f"fromUnixTimestamp64Milli({BASE} + %d, 'UTC')"

    def make(n: int) -> list[Insert]:
        ts = at % n
        return [
            native(bed, "dirty", f"SELECT toStartOfHour({ts}) AS hour"),
            native(
                bed, "tick", f"SELECT {ts} AS ts, 7::UInt64 AS device_id, {n}::UInt64 AS power_uw"
            ),
        ]

    return make


class Rig:
    def __init__(self, bed: Bed, front: Front, folder: Path, limit: int = MIB) -> None:
        self.server = Server(bed, front)
        self._folder = folder
        self._limit = limit
        self._open: list[Spooling] = []

    def sink(self, patience_seconds: float = 0.0) -> Spooling:
        spool = Spool(self._folder, self._limit)
        sink = Spooling(
            self.server.open,
            spool,
            first_retry_seconds=0.01,
            patience_seconds=patience_seconds,
        )
        self._open.append(sink)
        return sink

    def close(self) -> None:
        while self._open:
            self._open.pop().close()

    def powers(self) -> list[int]:
        rows = self.server.bed.client.rows("SELECT power_uw FROM tick FINAL ORDER BY ts")
        return [int(power) for (power,) in rows]


@pytest.fixture
def front(bed: Bed) -> Iterator[Front]:
    with served(str(Path(bed.store.target) / "chdb")) as front:
        yield front


@pytest.fixture
def rig(bed: Bed, front: Front, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(bed, front, tmp_path)
    yield made
    made.close()


def until_empty(sink: Spooling) -> None:
    end = time.monotonic() + 120
    while not sink.spool.empty:
        assert time.monotonic() < end, "the spool was not drained"
        time.sleep(0.005)


def until_nothing_is_aside(sink: Spooling) -> None:
    end = time.monotonic() + 120
    while sink.spool.level().aside:
        assert time.monotonic() < end, "what was set aside was not taken"
        time.sleep(0.005)


Make = Callable[[int], Sequence[Insert]]


def test_while_the_store_answers_nothing_is_spooled(rig: Rig, tick: Make) -> None:
    sink = rig.sink()
    sink.write(tick(1))
    assert rig.powers() == [1]
    assert (sink.spool.level().groups, sink.counters.spooled_rows) == (0, 0)


def test_what_came_while_it_was_away_is_there_when_it_is_back(rig: Rig, tick: Make) -> None:
    sink = rig.sink()
    sink.write(tick(1))
    rig.server.away = True
    for n in (2, 3, 4):
        sink.write(tick(n))
    assert (rig.powers(), sink.spool.level().groups) == ([1], 3)
    rig.server.away = False
    until_empty(sink)
    sink.write(tick(5))
    rig.close()
    assert rig.powers() == [1, 2, 3, 4, 5]
    assert (sink.counters.spooled_rows, sink.counters.drained_rows) == (6, 6)
    ((marked,),) = rig.server.bed.client.rows("SELECT count() FROM dirty")
    assert marked >= 5


def test_what_comes_while_it_is_drained_goes_behind_it(rig: Rig, tick: Make) -> None:
    """Of two descriptions of one device the later one must be the later row."""
    rig.server.away = True
    sink = rig.sink()
    site = "SELECT 7::UInt64 AS device_id, 'd' AS key, '{}' AS site"
    for name in ("first", "second"):
        sink.write([native(rig.server.bed, "device", site.format(name))])
    rig.server.away = False
    sink.write([native(rig.server.bed, "device", site.format("last"))])
    until_empty(sink)
    rig.close()
    assert rig.server.bed.client.rows("SELECT site FROM device FINAL") == [("last",)]


def test_it_outlives_the_process(rig: Rig, tick: Make) -> None:
    rig.server.away = True
    sink = rig.sink()
    sink.write(tick(1))
    rig.close()
    rig.server.away = False
    again = rig.sink()
    until_empty(again)
    rig.close()
    assert rig.powers() == [1]


def test_poison_is_set_aside_and_holds_up_nobody(rig: Rig, tick: Make) -> None:
    rig.server.away = True
    sink = rig.sink()
    bad = Insert("tick", ("ts",), 1, b"this is not Native")
    gone = native(rig.server.bed, "nowhere", "SELECT 1 AS a")
    for inserts in (tick(1), [bad], [*tick(2), gone], tick(3)):
        sink.write(inserts)
    rig.server.away = False
    until_empty(sink)
    rig.close()
    assert rig.powers() == [1, 2, 3]
    assert sink.counters.aside_rows == 2
    again = rig.sink()
    kept = {aside.insert.table: aside.reason for aside in again.spool.aside()}
    assert "nowhere" in kept["nowhere"]
    assert "tick" in kept


def test_what_was_set_aside_is_tried_again_at_the_next_start(rig: Rig) -> None:
    rig.server.away = True
    sink = rig.sink()
    sink.write([native(rig.server.bed, "later", "SELECT 1::UInt8 AS a")])
    rig.server.away = False
    until_empty(sink)
    rig.close()
    client = rig.server.bed.client
    client.command("CREATE TABLE later (a UInt8) ENGINE = MergeTree ORDER BY a")
    try:
        again = rig.sink()
        until_nothing_is_aside(again)
        assert client.rows("SELECT a FROM later") == [(1,)]
    finally:
        rig.close()
        client.command("DROP TABLE later")


def test_a_table_that_is_on_its_way_is_waited_for(rig: Rig, tick: Make) -> None:
    sink = rig.sink(patience_seconds=600.0)
    sink.write([native(rig.server.bed, "later", "SELECT 1::UInt8 AS a")])
    sink.write(tick(1))
    assert sink.spool.level().groups == 2
    client = rig.server.bed.client
    client.command("CREATE TABLE later (a UInt8) ENGINE = MergeTree ORDER BY a")
    try:
        until_empty(sink)
        assert client.rows("SELECT a FROM later") == [(1,)]
    finally:
        rig.close()
        client.command("DROP TABLE later")
    assert (rig.powers(), sink.counters.aside_rows) == ([1], 0)


def test_marks_of_rows_that_took_long_come_once_more(
    bed: Bed, front: Front, tmp_path: Path, tick: Make
) -> None:
    rig, ticking = Rig(bed, front, tmp_path), itertools.count(0, 60)
    for clock, marks in ((lambda: 0.0, 1), (lambda: next(ticking), 2)):
        bed.client.command("TRUNCATE TABLE dirty")
        rig.server.away = True
        spool = Spool(tmp_path, MIB)
        sink = Spooling(rig.server.open, spool, first_retry_seconds=0.01, clock=clock)
        sink.write([native(bed, "dirty", "SELECT toDateTime(3600, 'UTC') AS hour")])
        rig.server.away = False
        until_empty(sink)
        sink.close()
        assert bed.client.rows("SELECT count() FROM dirty") == [(marks,)]


def test_nor_is_a_slow_insert_missed_that_went_by_no_spool(
    bed: Bed, front: Front, tmp_path: Path, tick: Make
) -> None:
    ticking = itertools.count(0, 60)
    server = Server(bed, front)
    sink = Spooling(server.open, Spool(tmp_path, MIB), clock=lambda: next(ticking))
    sink.write(tick(1))
    sink.close()
    assert bed.client.rows("SELECT count() FROM dirty") == [(2,)]


def test_rows_that_are_taken_after_all_mark_their_hours(rig: Rig, tick: Make) -> None:
    client = rig.server.bed.client
    rig.server.away = True
    sink = rig.sink()
    sink.write(tick(1))
    client.command("RENAME TABLE tick TO elsewhere")
    try:
        rig.server.away = False
        until_empty(sink)
        rig.close()
    finally:
        client.command("RENAME TABLE elsewhere TO tick")
    assert (sink.spool.level().aside, rig.powers()) == (1, [])
    client.command("TRUNCATE TABLE dirty")  # the ledger was done with the first mark long ago
    again = rig.sink()
    until_nothing_is_aside(again)
    rig.close()
    assert rig.powers() == [1]
    assert client.rows("SELECT toUnixTimestamp(hour) FROM dirty") == [(BASE // 3_600_000 * 3600,)]


def test_a_refusal_for_good_is_told_at_once_while_the_store_answers(rig: Rig) -> None:
    sink = rig.sink()
    with pytest.raises(Permanent, match="CANNOT_READ_ALL_DATA"):
        sink.write([Insert("tick", ("ts",), 1, b"this is not Native")])
    assert sink.spool.empty


def test_a_full_spool_says_come_again(bed: Bed, front: Front, tmp_path: Path, tick: Make) -> None:
    rig = Rig(bed, front, tmp_path, limit=350)
    rig.server.away = True
    sink = rig.sink()
    sink.write(tick(1))
    with pytest.raises(Retryable, match="spool is full"):
        sink.write(tick(2))
    rig.server.away = False
    until_empty(sink)
    sink.write(tick(2))
    rig.close()
    assert rig.powers() == [1, 2]


def test_nobody_can_say_what_is_held_while_it_is_away_or_behind(rig: Rig, tick: Make) -> None:
    sink = rig.sink()
    keys = [(7, 8, BASE)]
    assert sink.stored(keys) == {}
    rig.server.away = True
    assert sink.stored(keys) is None
    sink.write(tick(1))
    assert sink.stored(keys) is None
    rig.server.away = False
    until_empty(sink)
    assert sink.stored(keys) == {}


def test_marks_come_first_and_the_rest_in_order() -> None:
    def kept(*tables: str) -> Kept:
        return Kept((1, 0), 1, tuple(Insert(t, ("c",), 2, t[:1].encode()) for t in tables))

    groups = [kept("device", "tick"), kept("dirty", "allocation", "tick")]
    assert [(i.table, i.rows, i.body) for i in joined(groups)] == [
        ("dirty", 2, b"d"),
        ("device", 2, b"d"),
        ("tick", 4, b"tt"),
        ("allocation", 2, b"a"),
    ]
