"""What was said last: whatever the order, the repeats and the groups, as the ticks say it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wattshed_collector.errors import Retryable
from wattshed_collector.store.client import Client
from wattshed_collector.store.frames import frame
from wattshed_collector.store.held import Held, Key
from wattshed_collector.store.insert import Frame, Insert
from wattshed_collector.store.latest import Latest, find_again, merged, newest
from wattshed_collector.store.limits import Changes
from wattshed_collector.store.write import Writer
from wattshed_exporter.model import Batch

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BASE = 1_768_471_200_000
COLUMNS = (
    "ts", "device_id", "power_uw", "energy_uj", "util_e4", "temp_e1", "method", "gap", "withdrawn",
)  # fmt: skip
LATEST = "SELECT * FROM latest FINAL ORDER BY device_id"

whole = st.integers
ticks = st.tuples(
    whole(BASE, BASE + 5),
    whole(0, 2**64 - 1) | whole(1, 3),
    st.none() | whole(0, 2**64 - 1),
    st.none() | whole(0, 2**64 - 1),
    st.none() | whole(0, 2**16 - 1),
    st.none() | whole(-(2**15), 2**15 - 1),
    st.sampled_from(["counter", "integral", "estimated", "simulated", "unknown", "new"]),
    st.none() | st.sampled_from(["", "a reason", "counter_frozen"]),
    st.none() | st.just(1),
)
groups = st.lists(st.lists(ticks, min_size=1, max_size=8), min_size=1, max_size=4)


def rows(group: list[tuple[object, ...]]) -> Frame:
    columns = dict(zip(COLUMNS, map(list, zip(*group, strict=True)), strict=True))
    return frame("tick", {**columns, "interval_ms": [1] * len(group)})


def one(device: int, ts: int) -> Frame:
    return rows([(ts, device, 5, None, None, None, "counter", None, None)])


@pytest.fixture
def told(bed: Bed) -> Iterator[Bed]:
    yield bed
    bed.clean()


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(groups=groups, again=st.booleans(), seconds=st.sampled_from([0.0, 3600.0]))
def test_it_is_what_all_the_ticks_say(
    told: Bed, groups: list[list[tuple[object, ...]]], again: bool, seconds: float
) -> None:
    told.clean()
    writers = [told.writer(latest_seconds=seconds) for _ in range(2)]  # two collectors
    for number, group in enumerate([*groups, *groups[:1]] if again else groups):
        writers[number % 2].submit(Batch(), (rows(group),)).result(60)
    for writer in writers:
        writer.close()
    found = told.client.rows(LATEST)
    told.client.command("TRUNCATE TABLE latest")
    find_again(told.client, BASE / 1000)
    assert found == told.client.rows(LATEST) != []


@settings(max_examples=30, deadline=None)
@given(groups=groups)
def test_in_portions_it_is_the_same(groups: list[list[tuple[object, ...]]]) -> None:
    at_once = newest(rows([tick for group in groups for tick in group]))
    portions = merged([newest(rows(group)) for group in reversed(groups)])
    for name, column in at_once.columns.items():
        assert portions.columns[name].values.tolist() == column.values.tolist(), name


def test_rows_wait_until_they_are_due() -> None:
    now = [100.0]
    latest = Latest(5.0, lambda: now[0])
    early, late = (newest(one(7, BASE + n)) for n in (1, 2))
    assert latest.is_due
    assert latest.with_waiting(early) is early
    latest.written()
    assert not latest.is_due
    latest.gather(late)
    latest.gather(early)
    assert latest.waiting is not None
    assert latest.waiting.columns["ts"].values.tolist() == [BASE + 2]
    now[0] = 105.0
    assert latest.is_due
    latest.written()
    assert latest.waiting is None


class Failing:
    """A sink that is away when only what was said last is written, for as long as told."""

    def __init__(self) -> None:
        self.is_away = True
        self.written: list[dict[str, int]] = []

    def write(self, inserts: Sequence[Insert]) -> None:
        tables = {insert.table: insert.rows for insert in inserts if insert.table != "dirty"}
        if self.is_away and tables.keys() == {"latest"}:
            raise Retryable("away")
        self.written.append(tables)

    def stored(self, keys: Sequence[Key]) -> dict[Key, Held]:
        return {}

    def limits(self) -> Changes:
        return {}


def test_what_could_not_be_written_comes_with_the_next() -> None:
    def no_client() -> Client:
        raise AssertionError("nothing is to be asked of the store")

    sink = Failing()
    writer = Writer(no_client, sink=sink, window_seconds=0.0, latest_seconds=3600.0, share=1.0)
    for n in range(3):
        writer.submit(Batch(), (one(7, BASE + n),)).result(120)
    sink.is_away = False
    writer.submit(Batch(), (one(8, BASE),)).result(120)
    writer.close()
    assert sink.written[:3] == [{"tick": 1, "latest": 1}, {"tick": 1}, {"tick": 1}]
    assert sum(tables.get("latest", 0) for tables in sink.written[3:]) == 2
