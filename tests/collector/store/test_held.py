"""What an allocation changes: exactly those hours are dirty, whatever came before, in any order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.store.held import Held, Holdings, Key, held, latest, stored
from wattshed_collector.store.rows import Ids
from wattshed_exporter.model import Allocation, Batch, stable_id

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

HOUR = 3_600_000
BASE = 1_768_471_200_000


class Shelf:
    """The table of allocations as a mapping: the higher version stands, of two equal the later."""

    def __init__(self) -> None:
        self.rows: dict[Key, Held] = {}
        self.asked: list[Key] = []

    def __call__(self, keys: Sequence[Key]) -> dict[Key, Held]:
        self.asked += keys
        return {key: self.rows[key] for key in keys if key in self.rows}

    def put(self, allocations: Sequence[Allocation]) -> None:
        for allocation in allocations:
            key = stable_id(allocation.device), stable_id(allocation.workload), allocation.start_ms
            known, now = self.rows.get(key), held(allocation)
            if known is None or known.version <= now.version:
                self.rows[key] = now

    def hour(self, hour: int) -> set[tuple[Key, int, int, object]]:
        """Everything that decides how the joules of an hour are charged."""
        lo, hi = hour * 1000, hour * 1000 + HOUR
        return {
            (key, max(key[2], lo), min(row.end_ms, hi), row.weight)
            for key, row in self.rows.items()
            if max(key[2], lo) < min(row.end_ms, hi)
        }


def submit(holdings: Holdings, shelf: Shelf, *said: Allocation) -> frozenset[int]:
    changes = holdings.changes(latest(said), shelf)
    shelf.put(changes.allocations)
    holdings.remember(changes.allocations)
    return changes.hours


QUARTER = HOUR // 4
ALLOCATIONS = st.builds(
    lambda device, workload, start, length, share, activity, revision: Allocation(
        device,
        workload,
        BASE + start * QUARTER,
        BASE + (start + (min(length, 4) if activity is not None else length)) * QUARTER,
        share,
        "",
        activity,
        revision,
    ),
    st.sampled_from("de"),
    st.sampled_from("vw"),
    st.sampled_from([0, 1, 2, 9]),
    st.integers(0, 20),
    st.sampled_from([0.5, 1.0]),
    st.sampled_from([None, None, 0.25]),
    st.sampled_from([0, 0, 0, 1, 2]),
)
SEQUENCES = st.lists(st.lists(ALLOCATIONS, min_size=1, max_size=4), min_size=1, max_size=12)


@given(SEQUENCES, st.integers(0, 3))
def test_every_hour_that_changes_is_dirty(groups: list[list[Allocation]], limit: int) -> None:
    shelf, holdings = Shelf(), Holdings(Ids(), limit)
    everything = Shelf()
    for group in groups:
        before = {h: shelf.hour(h) for h in range(BASE // 1000, BASE // 1000 + 10 * 3600, 3600)}
        dirty = submit(holdings, shelf, *group)
        changed = {hour for hour, was in before.items() if shelf.hour(hour) != was}
        assert changed <= dirty
        if all(a.activity is None for a in group) and not any(
            row.activity is not None for row in shelf.rows.values()
        ):
            assert dirty == changed  # only of a window that is said twice nobody knows
        everything.put(group)
        assert shelf.rows == everything.rows
        assert len(holdings) <= limit


@given(SEQUENCES, st.integers(0, 3), st.lists(st.booleans(), min_size=12, max_size=12))
def test_nothing_that_changes_is_missed_while_the_store_is_away(
    groups: list[list[Allocation]], limit: int, away: list[bool]
) -> None:
    shelf, now_s = Shelf(), (BASE + 10 * HOUR) / 1000
    holdings = Holdings(Ids(), limit, lambda: now_s)
    for group, nobody_answers in zip(groups, away, strict=False):
        before = {h: shelf.hour(h) for h in range(BASE // 1000, BASE // 1000 + 10 * 3600, 3600)}
        changes = holdings.changes(latest(group), (lambda _: None) if nobody_answers else shelf)
        shelf.put(changes.allocations)
        holdings.remember(changes.allocations)
        assert {hour for hour, was in before.items() if shelf.hour(hour) != was} <= changes.hours


def test_a_running_allocation_is_asked_about_once() -> None:
    shelf, holdings = Shelf(), Holdings(Ids())
    for minutes in range(1, 200):
        submit(holdings, shelf, Allocation("d", "w", BASE, BASE + minutes * 60_000))
    assert len(shelf.asked) == 1


def test_windows_are_neither_asked_about_nor_remembered() -> None:
    shelf, holdings = Shelf(), Holdings(Ids())
    for minute in range(100):
        start = BASE + minute * 60_000
        submit(holdings, shelf, Allocation("d", "w", start, start + 60_000, activity=0.5))
    assert shelf.asked == []
    assert len(holdings) == 0


def test_what_was_taken_back_stays_taken_back() -> None:
    shelf, holdings = Shelf(), Holdings(Ids())
    said = Allocation("d", "w", BASE, BASE + 3 * HOUR)
    hours = {BASE // 1000 + h * 3600 for h in range(3)}
    assert submit(holdings, shelf, said) == hours
    assert submit(holdings, shelf, Allocation("d", "w", BASE, BASE, revision=1)) == hours
    assert submit(holdings, shelf, said) == frozenset()
    longer = Allocation("d", "w", BASE, BASE + 9 * HOUR)
    assert submit(holdings, shelf, longer) == frozenset()
    assert shelf.hour(BASE // 1000) == set()


def test_the_store_says_what_it_holds(bed: Bed) -> None:
    first = Allocation("d", "w", BASE, BASE + HOUR, 0.5, "static")
    window = Allocation("d", "v", BASE + HOUR, BASE + HOUR + 5, 0.0, "nvml", 0.25, 3)
    bed.write(Batch(allocations=(first,)), Batch(allocations=(window,)))
    keys = [
        (stable_id("d"), stable_id("w"), BASE),
        (stable_id("d"), stable_id("v"), BASE + HOUR),
        (stable_id("d"), stable_id("v"), BASE),
    ]
    found = stored(bed.client, [*keys, *((1, 2, n * HOUR) for n in range(2000))])
    assert found == {keys[0]: held(first), keys[1]: held(window)}
