"""A lease in a store without compare-and-swap: threads race, holders die, clocks are off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from wattshed_collector.store.client import Client
from wattshed_collector.store.lease import Lease, Timing, newest

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

QUICK = Timing(length_seconds=60, settle_seconds=0.4, drift_seconds=1)


class Clock:
    """A wall clock, ``off`` seconds off, and a monotonic one, that pass only when they are told."""

    def __init__(self, off: float = 0.0) -> None:
        self.passed = 0.0
        self.off = off

    def now(self) -> float:
        return 1.77e9 + self.passed + self.off

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds


def lease(bed: Bed, holder: str, clock: Clock, timing: Timing = QUICK) -> Lease:
    return Lease(bed.client, "job", holder, timing, clock.now, clock.monotonic, clock.sleep)


def test_one_takes_it_and_the_other_does_not(bed: Bed) -> None:
    clock = Clock()
    ours, theirs = lease(bed, "a", clock), lease(bed, "b", clock)
    assert newest(bed.client, "job") is None
    assert (ours.hold(), theirs.hold(), ours.hold()) == (True, False, True)
    held = newest(bed.client, "job")
    assert held is not None
    assert (held.holder, ours.term, theirs.term) == ("a", 1, 0)


def test_it_is_renewed_for_as_long_as_it_is_asked_for(bed: Bed) -> None:
    clock = Clock()
    ours, theirs = lease(bed, "a", clock), lease(bed, "b", clock)
    for _ in range(20):
        assert ours.hold()
        clock.passed += 30
        assert not theirs.hold()
    assert ours.term == 1


@pytest.mark.parametrize("off", [-1e6, -5.0, 0.0, 5.0, 1e6])
def test_a_clock_that_is_off_never_makes_two_holders(bed: Bed, off: float) -> None:
    ours_clock, theirs_clock = Clock(), Clock(off)
    ours, theirs = lease(bed, "a", ours_clock), lease(bed, "b", theirs_clock)
    assert ours.hold()
    while not theirs.hold():
        assert theirs_clock.passed < 2000
        theirs_clock.passed += 1
        ours_clock.passed += 1
    assert not ours.is_held
    assert not ours.hold()


def test_who_dies_is_followed_after_the_end_of_the_lease(bed: Bed) -> None:
    clock = Clock()
    assert lease(bed, "dead", clock).hold()
    heir = lease(bed, "heir", clock)
    waited = [clock.passed]
    while not heir.hold():
        clock.passed += 1
        waited.append(clock.passed)
    assert 60 < waited[-1] - waited[0] <= 60 + 1 + 2


def test_who_comes_late_still_waits_for_a_whole_lease(bed: Bed) -> None:
    clock = Clock()
    assert lease(bed, "dead", clock).hold()
    clock.passed += 1e6
    heir = lease(bed, "heir", clock)
    assert not heir.hold()
    clock.passed += 60
    assert not heir.hold()
    clock.passed += 2
    assert heir.hold()


def test_who_gives_it_back_is_followed_at_once(bed: Bed) -> None:
    clock = Clock()
    ours, theirs = lease(bed, "a", clock), lease(bed, "b", clock)
    assert ours.hold()
    ours.release()
    assert not ours.is_held
    assert theirs.hold()
    ours.release()  # it is not ours to give
    assert theirs.hold()


def test_who_overslept_and_was_not_missed_goes_on_in_the_same_term(bed: Bed) -> None:
    clock = Clock()
    ours = lease(bed, "a", clock)
    assert ours.hold()
    clock.passed += 1000
    assert not ours.is_held
    assert ours.hold()
    assert ours.term == 1


def test_who_was_followed_begins_a_new_term(bed: Bed) -> None:
    clock = Clock()
    ours, theirs = lease(bed, "a", clock), lease(bed, "b", clock)
    assert ours.hold()
    assert not theirs.hold()
    clock.passed += 1000
    assert theirs.hold()
    theirs.release()
    assert not ours.is_held
    assert ours.hold()
    assert ours.term == 2


def test_without_rivals_what_was_left_behind_is_taken_at_once(bed: Bed) -> None:
    clock = Clock()
    assert lease(bed, "dead", clock).hold()
    began = clock.passed
    assert lease(bed, "heir", clock, Timing(settle_seconds=0.0)).hold()
    assert clock.passed == began


class Slow(Client):
    """A client one of whose inserts takes long to arrive."""

    def __init__(self, client: Client, clock: Clock, slow_insert: int, seconds: float) -> None:
        self._client = client
        self._clock = clock
        self._left = slow_insert
        self._seconds = seconds

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        return self._client.rows(sql, parameters)

    def insert(self, table: str, columns: Mapping[str, Sequence[Any]]) -> None:
        self._left -= 1
        if not self._left:
            self._clock.passed += self._seconds
        self._client.insert(table, columns)


def test_a_confirmation_that_took_too_long_does_not_count(bed: Bed) -> None:
    clock = Clock()
    client = Slow(bed.client, clock, slow_insert=2, seconds=QUICK.settle_seconds)
    late = Lease(client, "job", "late", QUICK, clock.now, clock.monotonic, clock.sleep)
    assert not late.hold()
    assert not late.is_held


def test_a_renewal_that_took_too_long_is_settled_like_a_claim(bed: Bed) -> None:
    clock = Clock()
    client = Slow(bed.client, clock, slow_insert=3, seconds=100)
    ours = Lease(client, "job", "a", QUICK, clock.now, clock.monotonic, clock.sleep)
    assert ours.hold()
    clock.passed += 30
    began = clock.passed
    assert ours.hold()
    assert clock.passed - began == pytest.approx(100 + QUICK.settle_seconds)


def test_many_threads_race_for_it_again_and_again(bed: Bed) -> None:
    """Real clients on real threads: at no time do two of them hold it, and somebody always does."""
    timing = Timing(length_seconds=120, settle_seconds=1.0, drift_seconds=0)
    inside: list[str] = []
    most: list[int] = []
    won: list[str] = []
    gate = threading.Lock()
    until = time.monotonic() + 240

    def race(name: str, open_client: Callable[[], Client]) -> None:
        client = open_client()
        ours = Lease(client, "race", name, timing)
        while len(won) < 4 and time.monotonic() < until:
            if ours.hold():
                with gate:
                    inside.append(name)
                    most.append(len(inside))
                    won.append(name)
                time.sleep(0.02)
                with gate:
                    inside.remove(name)
                ours.release()
            time.sleep(0.01)
        client.close()

    threads = [
        threading.Thread(target=race, args=(f"r{i}", bed.store.client), daemon=True)
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert len(won) >= 4
    assert max(most) == 1
