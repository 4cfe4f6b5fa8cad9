"""Both stores keep what was put until it is acknowledged, and say what they drop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed_exporter.spool import Memory, Record, Store
from wattshed_exporter.spool_disk import Disk

MIB = 1 << 20
Losses = list[tuple[str, int, int]]
Make = Callable[[Losses, int], Store]


@pytest.fixture(params=["memory", "disk"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    made: list[Store] = []

    def build(losses: Losses, limit: int) -> Store:
        def lost(reason: str, bodies: int, ticks: int) -> None:
            losses.append((reason, bodies, ticks))

        memory = Memory(limit, lost)
        if request.param == "memory":
            made.append(memory)
        else:
            made.append(Disk(tmp_path / f"s{len(made)}", limit, memory, lost))
        made[-1].open()
        return made[-1]

    yield build
    for store in made:
        store.close()


def drained(store: Store) -> list[Record]:
    found = []
    while record := store.peek():
        found.append(record)
        assert store.ack(record)
    return found


def test_oldest_first_and_each_once(make: Make) -> None:
    store = make([], MIB)
    for number in range(5):
        store.put(b"%d" % number, number, 1000 + number)
    assert store.level().bodies == 5
    assert store.level().ticks == 10
    assert store.level().oldest_ms == 1000
    first = store.peek()
    assert first is not None
    assert store.peek() == first
    found = drained(store)
    assert [(r.body, r.ticks, r.newest_ms) for r in found] == [
        (b"%d" % n, n, 1000 + n) for n in range(5)
    ]
    assert store.peek() is None
    assert (store.level().bodies, store.level().ticks, store.level().size_bytes) == (0, 0, 0)
    assert store.level().oldest_ms is None
    assert not store.ack(first)


def test_the_oldest_together_are_bounded_and_forgotten_one_by_one(make: Make) -> None:
    store = make([], 4 * MIB)
    assert store.oldest(5, MIB) == []
    for number in range(40):
        store.put(b"%d" % number + bytes(50_000), 1, number)

    def oldest(most: int, most_bytes: int) -> list[int]:
        return [record.newest_ms for record in store.oldest(most, most_bytes)]

    assert oldest(30, 4 * MIB) == list(range(30))  # in two files, where it is on disk
    assert oldest(99, 4 * MIB) == list(range(40))
    assert oldest(30, 160_000) == [0, 1, 2]
    assert oldest(0, 0) == [0]
    for record in store.oldest(6, MIB)[::2]:
        assert store.ack(record)
    assert oldest(4, MIB) == [1, 3, 5, 6]
    first, *_ = store.oldest(4, MIB)
    assert store.peek() == first
    for record in store.oldest(99, 4 * MIB):
        assert store.ack(record)
        assert not store.ack(record)
    assert (store.oldest(1, MIB), store.level().bodies, store.level().size_bytes) == ([], 0, 0)


def test_the_newest_is_what_was_put_last_and_still_waits(make: Make) -> None:
    store = make([], MIB)
    assert store.peek(newest=True) is None
    for number in range(3):
        store.put(b"%d" % number, 1, number)
    newest = store.peek(newest=True)
    assert newest is not None
    assert newest.body == b"2"
    assert store.ack(newest)
    assert store.peek(newest=True) is None
    assert [r.body for r in drained(store)] == [b"0", b"1"]


def test_the_oldest_give_way_and_are_counted(make: Make) -> None:
    losses: Losses = []
    store = make(losses, MIB)
    body = bytes(100_000)
    for number in range(40):
        store.put(body + b"%d" % number, 10, number)
        assert store.level().size_bytes <= MIB
    kept = [int(r.body[100_000:]) for r in drained(store)]
    assert kept == list(range(40 - len(kept), 40))
    assert len(kept) >= 9
    assert sum(bodies for _, bodies, _ in losses) == 40 - len(kept)
    assert sum(ticks for _, _, ticks in losses) == 10 * (40 - len(kept))
    assert {reason for reason, _, _ in losses} <= {"full", "memory_full"}


def test_what_is_larger_than_everything_is_dropped_alone(make: Make) -> None:
    losses: Losses = []
    store = make(losses, MIB)
    store.put(b"small", 1, 1)
    store.put(bytes(MIB + 1), 7, 2)
    assert sum(ticks for _, _, ticks in losses) in (7, 8)
    assert store.level().size_bytes <= MIB
    store.put(b"next", 1, 3)
    assert drained(store)[-1].body == b"next"


@given(st.lists(st.sampled_from(["put", "oldest", "newest", "again"]), max_size=60))
@settings(max_examples=40)
def test_any_order_of_things(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    losses: Losses = []

    def lost(reason: str, bodies: int, ticks: int) -> None:
        losses.append((reason, bodies, ticks))

    folder = tmp_path_factory.mktemp("spool")
    stores: list[Store] = [
        Memory(MIB, lost),
        Disk(folder, MIB, Memory(MIB, lost), lost),
    ]
    for store in stores:
        store.open()
        waiting: list[bytes] = []
        last = b""
        for number, step in enumerate(steps):
            if step == "put":
                last = b"body %d" % number
                store.put(last, 1, number)
                waiting.append(last)
            elif step == "again" and isinstance(store, Disk):
                store.close()
                store = Disk(folder, MIB, Memory(MIB, lost), lost)
                store.open()
                last = b""
            else:
                record = store.peek(newest=step == "newest")
                if step == "newest":
                    assert (record.body if record else b"") == (last if last in waiting else b"")
                else:
                    assert (record.body if record else None) == (waiting[0] if waiting else None)
                if record is not None:
                    assert store.ack(record)
                    waiting.remove(record.body)
            assert store.level().bodies == len(waiting)
        assert [r.body for r in drained(store)] == waiting
        store.close()
    assert losses == []
