"""Where rows go while the store is away, and how they come into it: in order, nothing lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wattshed_collector.errors import Permanent, Retryable
from wattshed_collector.store.client import Client
from wattshed_collector.store.insert import Insert
from wattshed_collector.store.spool import Kept, Spool
from wattshed_collector.store.spooling import Spooling, joined

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BASE = 1_768_471_200_000
MIB = 2**20


class Server:
    """The real store behind a line that may be cut."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.away = False
        self.tables: list[str] = []

    def open(self) -> Client:
        if self.away:
            raise Retryable("connection refused")
        return Line(self)


class Line(Client):
    """A connection of a ``Server``."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.bed.store.client()._connection)
        self._server = server

    def insert_native(self, insert: Insert) -> None:
        if self._server.away:
            raise Retryable("connection reset")
        super().insert_native(insert)
        self._server.tables.append(insert.table)

    def rows(self, sql: str, parameters: object = None) -> list[tuple[object, ...]]:
        if self._server.away:
            raise Retryable("connection reset")
        return super().rows(sql, parameters)  # type: ignore[arg-type]


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
    def __init__(self, bed: Bed, folder: Path, limit: int = MIB) -> None:
        self.server = Server(bed)
        self._folder = folder
        self._limit = limit
        self._open: list[Spooling] = []

    def sink(self) -> Spooling:
        spool = Spool(self._folder, self._limit)
        self._open.append(Spooling(self.server.open, spool, first_retry_seconds=0.01))
        return self._open[-1]

    def close(self) -> None:
        while self._open:
            self._open.pop().close()

    def powers(self) -> list[int]:
        rows = self.server.bed.client.rows("SELECT power_uw FROM tick FINAL ORDER BY ts")
        return [int(power) for (power,) in rows]


@pytest.fixture
def rig(bed: Bed, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(bed, tmp_path)
    yield made
    made.close()


def until_empty(sink: Spooling) -> None:
    end = time.monotonic() + 20
    while not sink.spool.empty:
        assert time.monotonic() < end, "the spool was not drained"
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
        end = time.monotonic() + 20
        while again.spool.level().aside:
            assert time.monotonic() < end
            time.sleep(0.005)
        assert client.rows("SELECT a FROM later") == [(1,)]
    finally:
        rig.close()
        client.command("DROP TABLE later")


def test_a_refusal_for_good_is_told_at_once_while_the_store_answers(rig: Rig) -> None:
    sink = rig.sink()
    with pytest.raises(Permanent, match="nowhere"):
        sink.write([native(rig.server.bed, "nowhere", "SELECT 1 AS a")])
    assert sink.spool.empty


def test_a_full_spool_says_come_again(bed: Bed, tmp_path: Path, tick: Make) -> None:
    rig = Rig(bed, tmp_path, limit=350)
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
