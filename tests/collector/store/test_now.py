"""What the writer knows of now is what the store says, whatever was written in whatever order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wattshed_collector.store import live_power, now
from wattshed_collector.store.frames import frame
from wattshed_collector.store.rows import Ids, allocation_columns
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
def writing(bed: Bed) -> Iterator[Writer]:
    writer = bed.writer()
    try:
        yield writer
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
    with writing(bed) as writer:
        writer.submit(first).result(120)
        agrees(bed, writer.now)
        for batch in more:
            writer.submit(batch).result(120)
        agrees(bed, writer.now)


def test_a_name_that_changes_is_told_anew(bed: Bed) -> None:
    tick = Tick("a", START_MS, 10_000, Method.INTEGRAL, 100.0)
    with writing(bed) as writer:
        for node in ("n1", "n2"):
            device = Device("a", Kind.GPU, node, "nvml")
            writer.submit(Batch(devices=(device,), ticks=(tick,))).result(120)
            rows = writer.now.power(bed.client, "node", NOW_S)
            assert rows == [{"name": node, "watts": 100.0, "devices": 1}]


def test_nothing_is_asked_twice(bed: Bed) -> None:
    with writing(bed) as writer:
        tick = Tick("a", START_MS, 10_000, Method.INTEGRAL, 100.0)
        held = Allocation("a", "x", START_MS, START_MS + 300_000)
        who = Workload("x", "x", team="red")
        said = Batch(ticks=(tick,), allocations=(held,), workloads=(who,))
        writer.submit(said).result(120)
        first = writer.now.power(bed.client, "team", NOW_S)
    bed.clean()
    assert first == [{"name": "red", "watts": 100.0, "devices": 1}]
    assert writer.now.power(bed.client, "team", NOW_S) == first
    writer.now.forget()
    (row,) = writer.now.power(bed.client, "team", NOW_S)
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
