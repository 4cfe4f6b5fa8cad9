"""What the writer knows of now is what the store says, whatever was written in whatever order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wattshed_collector.errors import Retryable
from wattshed_collector.store import live_power, now
from wattshed_collector.store.client import Client, Row
from wattshed_collector.store.frames import frame
from wattshed_collector.store.insert import Insert
from wattshed_collector.store.rows import Ids, allocation_columns
from wattshed_collector.store.sink import Straight
from wattshed_collector.store.write import Writer
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Method, Overlap, Tick, Workload

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BY = ("team", "workload", "node")
START_MS = int(time.time()) // 60 * 60_000 - 600_000
NOW_S = START_MS / 1000 + 300

TIMES = st.integers(0, 40).map(lambda n: START_MS + n * 10_000)
KEYS = st.sampled_from(("a", "b", "c"))
TICKS = st.builds(
    lambda key, at, watts: Tick(key, at, 10_000, Method.INTEGRAL, watts),
    KEYS,
    TIMES | st.just(START_MS - 3_600_000),
    st.none() | st.integers(1, 500).map(float),
)
DEVICES = st.builds(
    lambda key, node, overlap: Device(key, Kind.GPU, node, "nvml", site="hall", overlap=overlap),
    KEYS,
    st.sampled_from(("n1", "n2")),
    st.sampled_from((Overlap.NONE, Overlap.NONE, Overlap.INNER)),
)
WORKLOADS = st.builds(
    lambda key, team: Workload(key, f"name of {key}", team=team),
    st.sampled_from(("x", "y")),
    st.sampled_from(("red", "blue")),
)
ALLOCATIONS = st.builds(
    lambda device, workload, start, lasts, share, revision: Allocation(
        device, workload, START_MS + start, START_MS + start + lasts, share, revision=revision
    ),
    KEYS,
    st.sampled_from(("x", "y")),
    st.sampled_from((0, 60_000)),
    st.integers(0, 30).map(lambda n: n * 10_000),
    st.sampled_from((0.0, 0.25, 1.0)),
    st.sampled_from((0, 0, 1)),
)


def _tuples(members: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(members, max_size=3).map(tuple)


BATCHES = st.builds(
    Batch,
    ticks=_tuples(TICKS),
    devices=_tuples(DEVICES),
    workloads=_tuples(WORKLOADS),
    allocations=_tuples(ALLOCATIONS),
)


@contextmanager
def writing(bed: Bed) -> Iterator[tuple[Writer, now.Now]]:
    known = now.Now()
    writer = Writer(bed.store.client, window_seconds=0.0, share=1.0, mark_seconds=0.0, now=known)
    try:
        yield writer, known
    finally:
        writer.close()


def agrees(bed: Bed, known: now.Now) -> None:
    for by in BY:
        asked = live_power.power_now(bed.client, by, NOW_S)
        assert known.power(bed.client, by, NOW_S) == asked, by


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(before=BATCHES, first=BATCHES, more=st.lists(BATCHES, min_size=1, max_size=3))
def test_it_says_what_the_store_says(
    bed: Bed, before: Batch, first: Batch, more: list[Batch]
) -> None:
    bed.clean()
    bed.write(before)
    with writing(bed) as (writer, known):
        writer.submit(first).result(120)
        agrees(bed, known)
        for batch in more:
            writer.submit(batch).result(120)
        agrees(bed, known)


def test_a_name_that_changes_is_told_anew(bed: Bed) -> None:
    tick = Tick("a", START_MS, 10_000, Method.INTEGRAL, 100.0)
    with writing(bed) as (writer, known):
        for node in ("n1", "n2"):
            device = Device("a", Kind.GPU, node, "nvml")
            writer.submit(Batch(devices=(device,), ticks=(tick,))).result(120)
            rows = known.power(bed.client, "node", NOW_S)
            assert rows == [{"name": node, "watts": 100.0, "devices": 1}]


def test_nothing_is_asked_twice(bed: Bed) -> None:
    with writing(bed) as (writer, known):
        tick = Tick("a", START_MS, 10_000, Method.INTEGRAL, 100.0)
        held = Allocation("a", "x", START_MS, START_MS + 300_000)
        who = Workload("x", "x", team="red")
        said = Batch(ticks=(tick,), allocations=(held,), workloads=(who,))
        writer.submit(said).result(120)
        first = known.power(bed.client, "team", NOW_S)
    bed.clean()
    assert first == [{"name": "red", "watts": 100.0, "devices": 1}]
    assert known.power(bed.client, "team", NOW_S) == first
    known.forget()
    (row,) = known.power(bed.client, "team", NOW_S)
    assert row["name"] == ""  # its name was asked for again


def test_what_ended_long_ago_is_let_go() -> None:
    known = now.Now(lambda: NOW_S)
    for at in range(3):
        ended = [Allocation("a", f"{at}-{n}", 0, 1 + n) for n in range(now.FEWEST)]
        running = [Allocation("a", "x", START_MS, START_MS + 290_000 + at)]
        columns = allocation_columns([*ended, *running], Ids())
        known.observe(None, [frame("allocation", columns)])
    (row,) = known.held()
    assert row["end"] == START_MS + 290_002


def test_windows_that_are_over_are_let_go() -> None:
    at = [NOW_S - 3 * 3600]
    known, ids = now.Now(lambda: at[0]), Ids()
    for _ in range(3 * 60):
        start_ms = round(at[0] * 1000) - 60_000
        windows = [
            Allocation("a", f"w{n}", start_ms, start_ms + 60_000, 0.1, activity=0.1)
            for n in range(10)
        ]
        known.observe(None, [frame("allocation", allocation_columns(windows, ids))])
        at[0] += 60
    assert 10 <= len(known.held()) <= 10 * 16  # of the last quarter of an hour


def test_a_correction_that_ended_long_ago_ends_what_it_corrects() -> None:
    known = now.Now(lambda: NOW_S)
    held = [Allocation("a", "x", 0, round(NOW_S * 1000)), Allocation("a", "x", 0, 0, revision=1)]
    for said in held:
        known.observe(None, [frame("allocation", allocation_columns([said], Ids()))])
    assert len(known.held()) == 0


class Beside(Client):
    """Asks another client; something happens once it has said who holds what."""

    def __init__(self, client: Client, happens: Callable[[], None]) -> None:
        super().__init__(None)
        self._client, self._happens = client, happens

    def array(
        self, sql: str, dtype: np.dtype[np.void], parameters: Mapping[str, Any] | None = None
    ) -> NDArray[np.void]:
        rows = self._client.array(sql, dtype, parameters)
        if dtype == live_power.HELD:
            self._happens()
        return rows

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        return self._client.rows(sql, parameters)


def test_what_fails_beside_the_first_question_is_asked_for_again(bed: Bed) -> None:
    known = now.Now()
    assert known.power(Beside(bed.client, known.forget), "node", NOW_S) == []
    bed.write(_held_by_red())  # the part of it that was written
    agrees(bed, known)


def test_a_share_that_changes_beside_the_first_question_is_known(bed: Bed) -> None:
    known, said = now.Now(), _held_by_red()
    less = tuple(replace(held, share=0.25) for held in said.allocations)

    def change() -> None:
        bed.write(replace(said, allocations=less))
        known.observe(None, [frame("allocation", allocation_columns(less, Ids()))])

    bed.write(said)
    known.power(Beside(bed.client, change), "team", NOW_S)
    agrees(bed, known)


def test_a_correction_of_which_nobody_told_is_found(bed: Bed) -> None:
    held = Allocation("a", "x", START_MS - 4 * 3_600_000, START_MS + 300_000)
    with writing(bed) as (writer, known):
        writer.submit(replace(_held_by_red(), allocations=(held,))).result(120)
        agrees(bed, known)
        bed.write(Batch(allocations=(replace(held, end_ms=held.start_ms, revision=1),)))
        known.forget()
        agrees(bed, known)


class Breaking(Straight):
    """Is away once, when all but the readings of a group is written."""

    def __init__(self, client: Client) -> None:
        super().__init__(lambda: client, mark_seconds=0.0)
        self.is_broken = False

    def write(self, inserts: Sequence[Insert]) -> None:
        if self.is_broken:
            super().write(inserts)
            return
        self.is_broken = True
        super().write([insert for insert in inserts if insert.table != "tick"])
        raise Retryable("away")


def test_what_a_group_wrote_before_it_was_halved_is_known(bed: Bed) -> None:
    client = bed.store.client()
    sink = Breaking(client)
    known = now.Now()
    writer = Writer(bed.store.client, sink=sink, window_seconds=0.3, share=1.0, now=known)
    assert known.power(bed.client, "node", NOW_S) == []
    other = Batch(ticks=(Tick("b", START_MS, 10_000, Method.INTEGRAL, 50.0),))
    for future in [writer.submit(_held_by_red()), writer.submit(other)]:
        assert future.exception(120) is None  # alone it would have failed
    writer.close()
    agrees(bed, known)
    client.close()


def test_who_held_long_ago_is_not_asked_for(bed: Bed) -> None:
    """A reader's answers are limited, and a window of a minute is a row."""
    first = START_MS - 3 * 3_600_000
    windows = [
        Allocation("a", "x", at, at + 60_000, 0.5, activity=0.5)
        for at in range(first, START_MS + 240_001, 60_000)
    ]
    bed.write(replace(_held_by_red(), allocations=tuple(windows)))
    client = bed.store.client()
    client.limit(60.0, len(windows) // 2)
    (nobody, red) = now.Now().power(client, "team", NOW_S)
    client.close()
    assert (nobody["name"], red["name"], nobody["watts"], red["watts"]) == ("", "red", 50.0, 50.0)


class Silent(Client):
    """Knows nobody, and counts who is asked for."""

    def __init__(self) -> None:
        super().__init__(None)
        self.asked: list[int] = []

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        self.asked += (parameters or {})["ids"]
        return []


def test_names_that_no_question_needs_any_more_are_let_go() -> None:
    known, client = now.Now(), Silent()
    gone, new = list(range(now.FEWEST)), [now.FEWEST]
    for ids in (gone, gone, [*gone[:10], *new], gone[:10]):
        assert known.named(client, "workload", ids).keys() == set(ids)
    assert client.asked == [*gone, *new]
    known.named(client, "workload", gone[:20])
    assert client.asked == [*gone, *new, *gone[10:20]]


def _held_by_red() -> Batch:
    return Batch(
        ticks=(Tick("a", START_MS, 10_000, Method.INTEGRAL, 100.0),),
        allocations=(Allocation("a", "x", START_MS, START_MS + 300_000),),
        workloads=(Workload("x", "x", team="red"),),
    )
