"""Token buckets and seats, as pure functions of a clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.security.limits import BURST_SECONDS, MOST_SENDERS, Rates, Seats


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.floats(0, 3), min_size=1, max_size=60), st.sampled_from([0.5, 1.0, 7.0]))
def test_no_sender_gets_more_than_its_rate_and_burst(pauses: list[float], rate: float) -> None:
    clock = Clock()
    rates = Rates(clock)
    allowed, began = 0, clock.now
    for pause in pauses:
        clock.now += pause
        allowed += rates.wait_seconds("a", rate) == 0
        assert allowed <= max(1.0, rate * BURST_SECONDS) + (clock.now - began) * rate + 1e-6


def test_the_wait_that_is_told_is_enough_and_others_do_not_wait() -> None:
    clock = Clock()
    rates = Rates(clock)
    while (wait := rates.wait_seconds("a", 4.0)) == 0:
        pass
    assert rates.wait_seconds("b", 4.0) == 0
    clock.now += wait + 1e-9
    assert rates.wait_seconds("a", 4.0) == 0
    assert rates.wait_seconds("a", 0) == 0


def test_senders_that_come_and_go_do_not_fill_the_memory() -> None:
    rates = Rates(Clock())
    for n in range(MOST_SENDERS + 500):
        rates.wait_seconds(str(n), 1.0)
    assert len(rates._buckets) == MOST_SENDERS


def test_seats_are_given_back_whatever_happens() -> None:
    seats = Seats(3, 2, 100)
    with seats.seat("a", 60), seats.seat("a", 30):
        assert seats.refusal("a", 1) == "concurrent_per_sender"
        assert seats.refusal("b", 11) == "body_bytes"
        assert seats.refusal("b", 10) == ""
        with seats.seat("b", 10):
            assert seats.refusal("c", 0) == "concurrent"
    assert (seats.taken, seats.bytes, dict(seats._senders)) == (0, 0, {})
    # One that is larger than all room may come when there is nobody else.
    assert seats.refusal("a", 1000) == ""
    assert Seats(0, 0, 0).refusal("a", 10**12) == ""
