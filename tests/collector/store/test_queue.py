"""What waits to be written: whose turn it is, what it takes in memory, when its room is free."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.errors import Retryable
from wattshed_collector.store.budget import Budget
from wattshed_collector.store.insert import Column, Frame
from wattshed_collector.store.queue import BULKY_ROWS, Busy, Delivery, Queue
from wattshed_exporter.model import Allocation, Batch, Detail, Device, Kind, Method, Tick

HOUR = 3_600_000


def delivery(sender: str, ticks: int = 1, at: int = 0) -> Delivery:
    rows = tuple(Tick("d", at + n, 1000, Method.COUNTER, 1.0) for n in range(ticks))
    return Delivery(Batch(ticks=rows), sender=sender)


def senders(group: list[Delivery]) -> str:
    return "".join(member.sender for member in group)


class TestTurns:
    def test_each_sender_has_its_turn(self) -> None:
        queue = Queue(1000, 1000)
        for sender in "aaaaabbc":
            queue.put(delivery(sender))
        assert senders(queue.take(0.0)) == "abcabaaa"

    def test_what_needs_no_others_is_counted_until_it_is_given_out(self) -> None:
        queue = Queue(100_000, 1)
        for ticks in (BULKY_ROWS, 1, BULKY_ROWS):
            queue.put(delivery("a", ticks))
        told = [queue.bulky]
        for _ in range(3):
            queue.take(0.0)
            told.append(queue.bulky)
        assert told == [2, 1, 1, 0]

    def test_whoever_was_served_last_waits_for_the_others(self) -> None:
        queue = Queue(1000, 4)
        for sender in "aaaabbc":
            queue.put(delivery(sender))
        assert [senders(queue.take(0.0)) for _ in range(4)] == ["ab", "ca", "ba", "a"]

    @given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=40), st.integers(1, 9))
    def test_all_come_out_each_senders_own_in_order(self, order: list[str], rows: int) -> None:
        queue = Queue(1000, rows)
        for at, sender in enumerate(order):
            queue.put(delivery(sender, at=at))
        queue.close()
        out = list[Delivery]()
        while group := queue.take(0.0):
            out += group
        for sender in set(order):
            expected = [at for at, who in enumerate(order) if who == sender]
            assert [d.batch.ticks[0].ts_ms for d in out if d.sender == sender] == expected
        assert len(out) == len(order)

    def test_a_flood_of_one_keeps_nobody_out(self) -> None:
        queue = Queue(100, 1000)
        for _ in range(33):
            queue.put(delivery("flood"))
        with pytest.raises(Busy, match="are of this sender"):
            queue.put(delivery("flood"))
        queue.put(delivery("other"))
        assert [member.sender for member in queue.take(0.0)[:2]] == ["flood", "other"]


class TestRoom:
    def test_what_is_being_written_still_counts(self) -> None:
        budget = Budget(1 << 20)
        queue = Queue(100, 100, budget)
        queue.put(delivery("a", 5))
        (taken,) = queue.take(0.0)
        assert (queue.rows, budget.used_bytes) == (6, taken.size_bytes)
        taken.future.set_result(None)
        assert (queue.rows, budget.used_bytes) == (0, 0)

    def test_it_is_free_before_the_sender_hears_of_it(self) -> None:
        queue, seen = Queue(100, 100), list[int]()
        first, second = delivery("a"), delivery("a")
        for member in (first, second):
            member.future.add_done_callback(lambda _: seen.append(queue.rows))
            queue.put(member)
        queue.take(0.0)
        first.future.set_exception(Retryable("away"))
        second.future.set_result(None)
        assert seen == [2, 0]

    def test_one_that_nobody_waits_for_any_more_gives_its_room_back(self) -> None:
        queue = Queue(100, 100)
        left = delivery("a", 9)
        queue.put(left)
        assert left.future.cancel()
        assert queue.take(0.0) == [left]
        assert queue.rows == 0

    def test_a_refusal_by_rows_or_by_bytes_leaves_both_as_they_were(self) -> None:
        budget = Budget(10_000)
        queue = Queue(10, 100, budget)
        queue.put(delivery("a"))
        before = queue.rows, budget.used_bytes
        for sender, ticks in (("b", 20), ("b", 7), ("a", 7)):
            with pytest.raises(Busy, match="wait to be written"):
                queue.put(delivery(sender, ticks * 3))
            assert (queue.rows, budget.used_bytes) == before
        with pytest.raises(Busy, match="bytes wait"):
            Queue(1000, 100, budget).put(delivery("b", 20))


class TestEstimate:
    @pytest.mark.parametrize("kind", ["ticks", "details", "allocations", "devices"])
    def test_it_is_not_below_what_python_takes(self, kind: str) -> None:
        base = 1_768_471_200_000

        def make(n: int) -> Batch:
            at, key = base + n, f"GPU-0000-0000-{n:08d}"
            match kind:
                case "ticks":
                    tick = Tick(key, at, 10_000, Method.COUNTER, n + 0.5, n << 40, at - HOUR, 0.5)
                    return Batch(ticks=(tick,))
                case "details":
                    return Batch(details=(Detail(key, "wattshed_clock_hertz", at, 1.5, ("sm",)),))
                case "allocations":
                    held = Allocation(key, f"k8s/c/ns/pod-{n}", at, at + HOUR)
                    return Batch(allocations=(held,))
                case _:
                    return Batch(devices=(Device(key, Kind.GPU, f"node-{n}", "nvml", f"gpu {n}"),))

        tracemalloc.start()
        made = [make(n) for n in range(500)]
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        estimate = sum(Delivery(batch).size_bytes for batch in made)
        assert taken <= estimate

    def test_arrays_count_as_what_they_are(self) -> None:
        values, present = np.zeros(1000), np.ones(1000, np.bool_)
        frame = Frame("tick", {"a": Column(values), "b": Column(values, present)})
        empty = Delivery(Batch()).size_bytes
        assert Delivery(Batch(), (frame,)).size_bytes - empty == 17_000
