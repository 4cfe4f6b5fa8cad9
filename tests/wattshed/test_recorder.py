"""Whatever fails, and in whatever order: what arrives comes to what was counted."""

from __future__ import annotations

import itertools
import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.outcomes import Taken, document

from wattshed.counters import MOST_READINGS, QUIET_MS
from wattshed.recorder import Recorder, is_kind
from wattshed.sending import Answer

START_MS = 1_768_471_200_000


class Bench:
    """A recorder without a thread, a clock that can be set, and a receiver that can fail."""

    def __init__(self, taken: Taken | None = None) -> None:
        self.taken = taken or Taken()
        self.now_ms, self.steady = START_MS, 0.0
        self.fate = "taken"
        self.bodies: list[bytes] = []
        names = itertools.count()
        self.recorder = Recorder(
            self.post,
            lambda: f"n/{next(names)}",
            now_ms=lambda: self.now_ms,
            monotonic=lambda: self.steady,
            threaded=False,
        )
        self.account = self.recorder.account({"key": "w"})

    def post(self, body: bytes, seconds: float) -> Answer:
        self.bodies.append(body)
        if self.fate in ("taken", "unheard"):
            self.taken.take(body)
        if self.fate == "taken":
            return Answer(200, '{"accepted": 1, "rejected": {}, "problems": []}')
        if self.fate == "busy":
            return Answer(503, "later")
        raise ConnectionError(self.fate)

    def later(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)
        self.steady += seconds


KINDS = st.sampled_from(["step", "token_out", "sample"])
COUNTS = st.integers(0, 10**12) | st.floats(0, 1e6).map(lambda f: round(f * 4) / 4)
ACTIONS = st.one_of(
    st.tuples(st.just("count"), st.tuples(KINDS, COUNTS)),
    st.tuples(st.just("flush"), st.sampled_from(["taken", "unheard", "lost", "busy"])),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.004, 5.0, 90.0])),
    st.tuples(st.just("set clock"), st.integers(-7_200_000, 7_200_000)),
)


@given(st.lists(ACTIONS, max_size=40))
def test_whatever_fails_the_totals_are_exact(actions: list[tuple[str, Any]]) -> None:
    bench = Bench()
    counted: Counter[str] = Counter()
    for action, what in actions:
        match action:
            case "count":
                bench.account.outcome(*what)
                counted[what[0]] += what[1]
            case "flush":
                bench.fate = what
                assert bench.recorder.send() or what != "taken"
            case "wait":
                bench.later(what)
            case _:
                bench.now_ms += what
    bench.fate = "taken"
    bench.later(1)
    assert bench.recorder.send()
    found = bench.taken.totals()
    assert {kind: found.get(("w", kind), 0.0) for kind in counted} == counted


def test_an_outage_keeps_what_there_is_room_for() -> None:
    bench = Bench()
    bench.fate = "lost"
    for _ in range(30):
        for at in range(100):
            bench.account.outcome("step", 3, model=f"m{at}")
        bench.recorder.send()
        bench.later(5)
    bench.fate = "taken"
    assert bench.recorder.send()
    assert bench.taken.totals() == {("w", "step"): 9000.0}
    assert sum(map(len, bench.taken.rows.values())) <= MOST_READINGS + 200


def test_a_counter_says_when_it_began_and_that_it_stood_still() -> None:
    bench = Bench()
    bench.account.outcome("step", 0)
    bench.later(20)
    bench.recorder.send()
    bench.later(30)
    bench.recorder.send()
    bench.account.outcome("step", 7)
    bench.later(5)
    bench.recorder.send()
    (rows,) = bench.taken.rows.values()
    told = {at - START_MS: total for at, (start, total) in rows.items()}
    assert {start for start, _ in rows.values()} == {START_MS}
    assert told == {0: 0.0, 20_000: 0.0, 50_000: 0.0, 55_000: 7.0}
    bench.later(QUIET_MS / 1000)
    bench.recorder.send()
    assert rows[bench.now_ms] == (START_MS, 7.0)


def test_what_is_known_of_a_workload_goes_along_until_it_has_arrived() -> None:
    bench = Bench()
    account = bench.recorder.account({"key": "w", "team": "nlp", "batch_class": "512"})
    for bench.fate in ("lost", "taken", "taken"):
        account.outcome("step")
        bench.later(1)
        bench.recorder.send()
    said = [document(body)[-1]["workload"] for body in bench.bodies]
    whole = {"key": "w", "name": "w", "team": "nlp", "batch_class": "512"}
    assert said == [whole, whole, "w"]
    assert bench.taken.workloads["w"].team == "nlp"


def test_a_body_that_will_never_be_taken_does_not_hold_up_the_next() -> None:
    bench = Bench()
    bench.recorder.post = lambda body, seconds: Answer(400, "no")
    bench.account.outcome("step", 2)
    assert bench.recorder.send()
    bench.recorder.post = bench.post
    bench.account.outcome("step", 3)
    bench.later(5)
    assert bench.recorder.send()
    ((_, total),) = next(iter(bench.taken.rows.values())).values()
    assert total == 5.0


@pytest.mark.parametrize("kind", ["", "Step", "7up", "a b", "_x", "ä", "x" * 65, "a-b"])
def test_what_is_no_kind_is_said_once_and_never_sent(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    assert not is_kind(kind)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            bench.account.outcome(kind)
    assert len(caplog.records) == 1
    bench.recorder.send()
    assert bench.bodies == []


class Odd:
    """A number of some library."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    def __float__(self) -> float:
        if self._error is not None:
            raise self._error
        return 2.0


@pytest.mark.parametrize(
    "count", [-1, -0.5, float("nan"), float("inf"), "3", None, [], 10**19, Odd(RuntimeError("gpu"))]
)
def test_what_cannot_be_counted_is_said_and_breaks_nothing(
    count: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    with caplog.at_level(logging.WARNING):
        bench.account.outcome("step", count)
    assert "cannot be counted" in caplog.text
    bench.account.outcome("step", Odd(None))  # type: ignore[arg-type]
    bench.account.outcome("step", True)
    bench.later(1)
    bench.recorder.send()
    assert bench.taken.totals() == {("w", "step"): 3.0}


def test_many_threads_lose_nothing() -> None:
    bench = Bench()
    go = threading.Barrier(9)

    def work() -> None:
        go.wait()
        for _ in range(2000):
            bench.account.outcome("step")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    go.wait()
    while any(thread.is_alive() for thread in threads):
        bench.later(0.1)
        bench.recorder.send()
    bench.later(1)
    bench.recorder.send()
    assert bench.taken.totals() == {("w", "step"): 16_000.0}


def test_the_thread_backs_off_and_the_end_is_bounded() -> None:
    tried: list[float] = []
    failing = threading.Event()

    def post(body: bytes, seconds: float) -> Answer:
        tried.append(seconds)
        failing.wait(30)  # an endpoint that hangs
        raise TimeoutError("no answer came in time")

    recorder = Recorder(post, lambda: "n/1", interval_seconds=0.001)
    recorder.account({"key": "w"}).outcome("step")
    while not tried:
        failing.wait(0.001)
    recorder.close(0.05)
    assert len(tried) == 1
    failing.set()


def test_pauses_grow_with_failures_and_end_with_them() -> None:
    picked: list[tuple[float, float]] = []

    def longest(low: float, high: float) -> float:
        picked.append((low, high))
        return high

    answers: list[Callable[[], Answer]] = [lambda: Answer(503)] * 9 + [lambda: Answer(200)]
    recorder = Recorder(
        lambda body, seconds: answers.pop(0)(), lambda: "n", jitter=longest, threaded=False
    )
    recorder.account({"key": "w"}).outcome("step")
    pauses = []
    while answers:
        recorder.send()
        pauses.append(recorder._pause())
    assert pauses == [10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0, 300.0, 5.0]
