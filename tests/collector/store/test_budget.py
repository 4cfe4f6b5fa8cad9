"""Room for what waits: never above the limit, some left for whoever comes next, honest waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.errors import Retryable
from wattshed_collector.store.budget import LEAST_ENTRY_BYTES, MOST_WAIT_S, Budget, Busy, Shares

KIB = 1024


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


ASKED = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 40), st.booleans()), max_size=60)


class TestShares:
    @given(ASKED)
    def test_never_above_the_limit_but_for_one_that_is_larger(
        self, asked: list[tuple[str, int, bool]]
    ) -> None:
        shares, held = Shares(100, "rows"), list[tuple[str, int]]()
        for sender, size, gives_back in asked:
            if gives_back and held:
                shares.give(*held.pop(0))
            if not shares.refusal(sender, size):
                shares.take(sender, size)
                held.append((sender, size))
            assert shares.total == sum(size for _, size in held) <= 100

    @given(st.integers(1, 10), st.integers(1, 4))
    def test_a_greedy_sender_leaves_room_for_the_next(self, step: int, others: int) -> None:
        shares = Shares(1000, "rows")
        for number in range(others):
            while not shares.refusal(str(number), step):
                shares.take(str(number), step)
        assert shares.refusal("newcomer", 1) == ""

    def test_one_alone_may_have_two_thirds(self) -> None:
        shares = Shares(100, "rows")
        while not shares.refusal("a", 1):
            shares.take("a", 1)
        assert shares.total == 66
        assert shares.refusal("a", 1) == "66 of 66 rows are of this sender"
        assert shares.refusal("b", 35) == "66 rows"

    def test_what_is_larger_than_the_limit_is_let_in_alone(self) -> None:
        shares = Shares(10, "rows")
        assert shares.refusal("a", 50) == ""
        shares.take("a", 50)
        assert shares.refusal("b", 1) == "50 rows"
        shares.give("a", 50)
        assert shares.refusal("b", 1) == ""


class TestWaits:
    def test_who_is_turned_away_waits_longer_the_more_there_is_before(self) -> None:
        time = Time()
        budget = Budget(1000 * KIB, clock=time)
        for _ in range(5):  # 100 KiB a second go away
            budget.take("a", 100 * KIB)
            time.now += 1.0
            budget.give("a", 100 * KIB)
        budget.take("a", 790 * KIB)
        waits = []
        for _ in range(4):
            with pytest.raises(Busy) as told:
                budget.take("b", 300 * KIB)
            waits.append(told.value.retry_after_seconds)
        assert waits == pytest.approx([7.9, 10.9, 13.9, 16.9])
        assert budget.refused == 4

    def test_it_grows_while_nothing_goes_away(self) -> None:
        time = Time()
        budget = Budget(100, clock=time)
        budget.take("a", 100)
        waits = []
        for _ in range(4):
            with pytest.raises(Busy) as told:
                budget.take("b", 1)
            waits.append(told.value.retry_after_seconds)
            time.now += 29.0
        assert waits == [1.0, 29.0, 58.0, MOST_WAIT_S]


class TestEntries:
    def test_a_request_holds_room_from_before_it_is_read(self) -> None:
        budget = Budget(1000 * KIB)
        with budget.entered("a", 300 * KIB) as entry:
            assert budget.used_bytes == 300 * KIB
            entry.holds(500 * KIB)
            entry.holds(100 * KIB)
            assert budget.used_bytes == 500 * KIB
            with pytest.raises(Busy), budget.entered("b", 600 * KIB):
                pytest.fail("it was let in")
            with pytest.raises(Busy):
                entry.holds(900 * KIB)
            assert budget.used_bytes == 500 * KIB
        assert budget.used_bytes == 0

    def test_one_of_unknown_length_counts_as_well(self) -> None:
        budget = Budget(1000 * KIB)
        with budget.entered("a", None):
            assert budget.used_bytes == LEAST_ENTRY_BYTES

    def test_nobody_enters_while_it_is_closed(self) -> None:
        shut = Retryable("the disk is full", 30.0, "disk_full")
        budget = Budget(1000, closed=lambda: shut)
        with pytest.raises(Retryable, match="disk is full") as told, budget.entered("a", 1):
            pytest.fail("it was let in")
        assert (told.value.reason, told.value.retry_after_seconds) == ("disk_full", 30.0)
        assert (budget.used_bytes, budget.refused) == (0, 1)
