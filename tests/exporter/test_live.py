"""Live counters: at every scrape they add up to what the meter said, whatever happens to it."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_exporter.config import Config
from wattshed_exporter.errors import DevicesChanged, NoData
from wattshed_exporter.guards import FROZEN
from wattshed_exporter.integrate import Meter
from wattshed_exporter.live import (
    GONE_SECONDS,
    MOST_BATCHES,
    MOST_DUE,
    MOST_SERIES,
    PAST_MS,
    ZERO_SCRAPES,
    Live,
)
from wattshed_exporter.model import (
    MICRO,
    Allocation,
    Batch,
    Device,
    IdlePolicy,
    Kind,
    Method,
    Reading,
    Tick,
    Workload,
)
from wattshed_exporter.outputs import Charged
from wattshed_exporter.sources import Sample
from wattshed_exporter.split import Policy, charges, spans
from wattshed_exporter.telemetry import Telemetry
from wattshed_exporter.worker import Clock, Worker

GPU = Device("d", Kind.GPU, "n", "test")
NOBODY = ""


def tick(second: float, joules: float | None, used: float | None = 1.0, gap: str = "") -> Tick:
    uj = None if joules is None else round(joules * MICRO)
    ms = round(second * 1000)
    return Tick("d", ms, 1000, Method.COUNTER, None, uj, None, used, gap=gap)


def held(
    workload: str, start: int, end: int, share: float = 1.0, activity: float | None = None
) -> Allocation:
    return Allocation("d", workload, start * 1000, end * 1000, share, "", activity)


class Watched:
    """Live counters at a clock that a test moves."""

    def __init__(self, policy: Policy | None = None, *, waits: bool = True) -> None:
        self.seconds, self.now_ms = 0.0, 0
        self.telemetry = Telemetry()
        self.idle_watts: float | None = None
        self.policy = policy or Policy()
        self.live = Live(
            self.policy,
            lambda key: self.idle_watts,
            self.telemetry,
            waits=waits,
            now_ms=lambda: self.now_ms,
            monotonic=lambda: self.seconds,
        )

    def ticks(self, *ticks: Tick) -> None:
        for each in ticks:
            self.live.put(Batch(ticks=(each,)))

    def told(self, *allocations: Allocation, workloads: Sequence[Workload] = ()) -> None:
        self.live.put(Batch(allocations=allocations, workloads=tuple(workloads)))

    def scrape(self) -> dict[tuple[str, str], float]:
        """Return joules by class and workload."""
        return {(own[0], own[1]): j for (_, own), j in rows(self.live.scrape())}

    def settled(self, second: float) -> dict[tuple[str, str], float]:
        """Settle, and return what is seen once nothing waits for its series to be known."""
        self.live.settle(round(second * 1000))
        self.rest()
        return self.scrape()

    def rest(self) -> None:
        for _ in range(ZERO_SCRAPES):
            self.live.scrape()

    def total(self) -> float:
        return math.fsum(joules for _, joules in rows(self.live.scrape()))


def rows(charged: Charged) -> Iterable[tuple[tuple[str, tuple[str, ...]], float]]:
    return zip(charged.keys, charged.joules, strict=True)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_holders_and_nobody_are_charged_up_to_what_is_known(watched: Watched) -> None:
    watched.ticks(*(tick(s, 100 * s) for s in range(31)))
    watched.told(held("a", 10, 20))
    assert watched.settled(20) == {("active", "a"): 1000.0, ("unattributed", NOBODY): 1000.0}
    assert watched.settled(20.9) == {("active", "a"): 1000.0, ("unattributed", NOBODY): 1000.0}
    assert watched.settled(25) == {("active", "a"): 1000.0, ("unattributed", NOBODY): 1500.0}


def test_classes_follow_the_rule_and_its_policy() -> None:
    watched = Watched(Policy(IdlePolicy.PLATFORM))
    watched.idle_watts = 40.0
    watched.ticks(tick(0, 0), tick(10, 1000), tick(20, 1400, used=0.0))
    watched.told(held("a", 0, 20))
    assert watched.settled(20) == {
        ("active", "a"): 600.0, ("overhead", NOBODY): 400.0, ("idle_held", NOBODY): 400.0,
    }  # fmt: skip


def test_a_counter_is_zero_in_two_scrapes_and_its_device_waits_with_it(watched: Watched) -> None:
    nobody, a = ("unattributed", NOBODY), ("active", "a")
    watched.ticks(tick(0, 0), tick(10, 1000))
    watched.live.settle(10_000)
    assert [watched.scrape() for _ in range(3)] == [{nobody: 0.0}, {nobody: 0.0}, {nobody: 1000.0}]
    watched.told(held("a", 20, 30))
    seen = []
    for second, joules in ((30, 2000), (40, 2200), (50, 2300), (60, 2400)):
        if second == 30:
            watched.ticks(tick(20, 1500))
        watched.ticks(tick(second, joules))
        watched.live.settle(second * 1000)
        seen.append(watched.scrape())
    assert seen == [
        {nobody: 1000.0, a: 0.0}, {nobody: 1000.0, a: 0.0},
        {nobody: 1800.0, a: 500.0}, {nobody: 1900.0, a: 500.0},
    ]  # fmt: skip


def test_labels_are_those_of_the_workload_and_a_set_that_comes_back_goes_on(
    watched: Watched,
) -> None:
    old, new = Workload("a", "train", team="x"), Workload("a", "train", team="y")
    for second, workload in enumerate((old, new, old)):
        watched.told(held("a", second, second + 1), workloads=[workload])
        watched.ticks(*([tick(0, 0)] if not second else []), tick(second + 1, 10 * (second + 1)))
        watched.settled(second + 1)
    found = {own[6]: joules for (_, own), joules in rows(watched.live.scrape())}
    assert found == {"x": 20.0, "y": 10.0}


def test_without_anybody_who_tells_everything_is_known_at_once() -> None:
    watched = Watched(waits=False)
    watched.ticks(tick(0, 0), tick(10, 1000), tick(20, 1100, used=0.01))
    watched.rest()
    assert watched.scrape() == {
        ("unattributed", NOBODY): 1000.0, ("idle_unallocated", NOBODY): 100.0,
    }  # fmt: skip


def test_a_trapezoid_is_charged_where_there_is_no_counter(watched: Watched) -> None:
    powers = [Tick("d", s * 1000, 1000, Method.INTEGRAL, 100.0 + s) for s in range(3)]
    watched.ticks(*powers)
    watched.told(held("a", 1, 2))
    assert watched.settled(2) == {("unattributed", NOBODY): 100.5, ("active", "a"): 101.5}


def test_what_is_said_again_with_a_later_end_counts_once(watched: Watched) -> None:
    watched.ticks(tick(0, 0), tick(10, 1000), tick(20, 2000))
    watched.told(held("a", 0, 10, 0.5))
    watched.told(held("a", 0, 20, 0.5))
    assert watched.settled(20)["active", "a"] == 1000.0


def test_a_gap_is_recovered_by_a_counter_and_unknown_by_power(watched: Watched) -> None:
    watched.ticks(tick(0, 0), tick(1, None, gap="deadline"), tick(100, 5000))
    assert watched.settled(50) == {}
    assert sum(watched.settled(100).values()) == 5000.0


def test_a_counter_that_starts_anew_counts_from_there(watched: Watched) -> None:
    watched.ticks(tick(0, 1000), tick(10, 2000), replace(tick(20, 300), start_ms=15_000))
    assert sum(watched.settled(20).values()) == 1300.0


def test_a_counter_that_stood_still_is_taken_back_and_power_counts(watched: Watched) -> None:
    meter, told = Meter(GPU, 1000), list[Tick]()
    for second in range(400):
        reading = Reading("d", second * 1000, 100.0, min(second, 60) * 100 * MICRO)
        fed = meter.feed(reading)
        amended, meter.amended = meter.amended, []
        told += [*amended, *([fed] if fed is not None else [])]
        watched.ticks(*amended, *([fed] if fed is not None else []))
        watched.live.settle(second * 1000)
    assert any(t.gap == FROZEN for t in told)
    known = math.fsum(s.joules for s in spans(told) if s.joules)
    assert known == pytest.approx(399 * 100)
    watched.rest()
    assert watched.total() == pytest.approx(known, rel=1e-9)


def test_a_clock_that_is_set_back_is_not_compared_across(watched: Watched) -> None:
    watched.ticks(tick(5000, 100), tick(5010, 1100))
    watched.ticks(tick(1000, None, gap="clock_step"))
    watched.ticks(*(replace(tick(s, s - 1000), start_ms=1_000_000) for s in range(1001, 1011)))
    assert sum(watched.settled(1010).values()) == 1000.0 + 9.0


def test_a_workload_that_ended_leaves_after_a_while_and_comes_back_from_zero(
    watched: Watched,
) -> None:
    watched.ticks(tick(0, 0), tick(10, 1000))
    watched.told(held("a", 0, 10))
    assert watched.settled(10) == {("active", "a"): 1000.0}
    watched.seconds = GONE_SECONDS
    watched.ticks(tick(20, 1500))
    assert watched.settled(20) == {("active", "a"): 1000.0, ("unattributed", NOBODY): 500.0}
    watched.seconds += 1
    assert watched.scrape() == {("unattributed", NOBODY): 500.0}
    watched.ticks(tick(30, 1700))
    watched.told(held("a", 20, 30))
    watched.live.settle(30_000)
    assert watched.scrape()["active", "a"] == 0.0
    assert watched.settled(30)["active", "a"] == 200.0


def test_nobody_never_leaves(watched: Watched) -> None:
    watched.ticks(tick(0, 0), tick(10, 1000))
    watched.settled(10)
    watched.seconds = 1e6
    assert watched.scrape() == {("unattributed", NOBODY): 1000.0}


def test_history_that_is_read_again_is_not_live(watched: Watched) -> None:
    watched.now_ms = 10_000 + PAST_MS
    watched.ticks(tick(0, 0), tick(9, 900), tick(10, 1000), tick(20, 1500))
    assert watched.settled(20) == {("unattributed", NOBODY): 500.0}


def test_what_waits_is_bounded(watched: Watched) -> None:
    watched.ticks(*(tick(s, s) for s in range(MOST_BATCHES + 2)))
    watched.rest()
    assert watched.total() == MOST_BATCHES


@pytest.mark.parametrize("has_reading", [False, True])
def test_a_gap_that_does_not_end_takes_no_memory(watched: Watched, has_reading: bool) -> None:
    if has_reading:
        watched.ticks(tick(0, 0))
    grown = []
    for second in range(0, 15_000, 20):
        watched.ticks(tick(second + 5, None, gap="gpu_lost"))
        watched.told(*(held(w, second, second + 20, 0.1, 0.1) for w in "ab"))
        watched.live.settle((second + 20) * 1000)
        if second in (5000, 14_980):
            grown.append(len(pickle.dumps(watched.live._accounts)))
    assert grown[1] <= 1.1 * grown[0]
    watched.ticks(tick(15_000, 15_000))
    assert sum(watched.settled(15_000).values()) == pytest.approx(15_000 if has_reading else 0)


def test_what_is_held_where_nothing_is_read_is_forgotten(watched: Watched) -> None:
    for second in range(0, 5000, 10):
        watched.told(held("a", second, second + 10, 1.0, 0.5))
        watched.live.settle((second + 10) * 1000)
    assert len(watched.live._accounts["d"].allocations) < 10


def test_where_nobody_pulls_those_that_ended_leave_and_the_rest_is_right(watched: Watched) -> None:
    end = 4 * MOST_DUE
    for second in range(0, end, 20):
        watched.seconds = 10.0 * second
        watched.ticks(*(tick(s, 100 * s) for s in range(second, second + 20)))
        watched.told(*(held(f"w{s}", s, s + 1) for s in range(second, second + 20)))
        watched.live.settle((second + 19) * 1000)
    account = watched.live._accounts["d"]
    assert len(account.due) + len(account.shown) + len(account.waiting) < 3 * MOST_DUE
    watched.told(held("b", end, end + 10))
    watched.ticks(tick(end, 100 * end), tick(end + 10, 100 * end + 7))
    assert watched.settled(end + 10)["active", "b"] == 7.0


def test_the_first_to_have_ended_make_room_where_there_are_too_many(watched: Watched) -> None:
    watched.ticks(tick(0, 0), tick(10, 10_000), tick(20, 20_000))
    watched.told(held("old", 0, 10))
    watched.settled(10)
    watched.seconds = 1.0
    watched.told(*(held(f"w{n}", 10, 20, 1 / MOST_SERIES) for n in range(MOST_SERIES)))
    found = watched.settled(20)
    assert len(found) == MOST_SERIES
    assert ("active", "old") not in found
    told = {"source": "live", "reason": "too_many"}
    assert watched.telemetry.value("wattshed_source_errors_total", **told) == 1


def test_what_was_held_before_a_clock_was_set_back_holds_nothing_after_it(
    watched: Watched,
) -> None:
    watched.ticks(tick(5000, 100), tick(5010, 1100))
    watched.told(held("a", 4990, 5010), held("b", 5000, 5010, 0.0, 1.0))
    watched.ticks(tick(5000, None, gap="clock_step"))
    watched.ticks(*(replace(tick(s, s - 5000), start_ms=5_000_000) for s in range(5001, 5011)))
    watched.told(held("c", 5000, 5010))
    found = watched.settled(5010)
    assert found == {("active", "a"): 500.0, ("active", "b"): 500.0, ("active", "c"): 9.0}


def test_keys_stay_the_same_object_while_no_series_comes_or_goes(watched: Watched) -> None:
    watched.ticks(tick(0, 0), tick(10, 1000))
    watched.live.settle(10_000)
    first = watched.live.scrape().keys
    watched.ticks(tick(20, 1500))
    watched.live.settle(20_000)
    assert watched.live.scrape().keys is first
    watched.told(held("a", 20, 30))
    watched.ticks(tick(30, 1600))
    watched.live.settle(30_000)
    assert len(watched.live.scrape().keys) == 2


moves = st.lists(
    st.tuples(
        st.sampled_from(["tick", "tick", "tick", "reset", "gap", "settle", "scrape", "silent"]),
        st.integers(1, 40),
        st.integers(0, 10**9),
        st.none() | st.floats(0, 1),
    ),
    max_size=40,
)
allocations = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.integers(0, 300), st.integers(1, 200), st.floats(0, 1),
        st.none() | st.floats(0, 1),
    ),
    max_size=8,
)  # fmt: skip


@given(moves, allocations, st.sampled_from(IdlePolicy), st.none() | st.floats(0, 500))
def test_at_every_scrape_the_sum_is_the_meters_up_to_what_is_settled(
    history: list[tuple[str, int, int, float | None]],
    told: list[tuple[str, int, int, float, float | None]],
    policy: IdlePolicy,
    idle_watts: float | None,
) -> None:
    watched = Watched(Policy(policy))
    watched.idle_watts = idle_watts
    placed = [held(w, s, s + n, share, a) for w, s, n, share, a in told]
    watched.told(*placed)
    second, uj, start, sent, settled = 0, 0, 0, list[Tick](), -1.0
    sums = [0.0]  # of the meter, at the latest settlements
    for what, seconds, gained, used in history:
        second += seconds
        uj, start = (gained, second) if what == "reset" else (uj + gained, start)
        made = Tick("d", second * 1000, 1000, Method.COUNTER, None, uj, start * 1000, used)
        if what in ("tick", "reset"):
            sent.append(made)
            watched.ticks(made)
        elif what == "gap":
            gap = Tick("d", second * 1000, 1000, Method.UNKNOWN, gap="deadline")
            sent.append(gap)
            watched.ticks(gap)
        elif what == "settle":
            settled = second * 1000
            watched.live.settle(settled)
            known = [s.joules for s in spans(t for t in sent if t.ts_ms <= settled)]
            sums.append(math.fsum(j for j in known if j is not None))
        elif what == "scrape":
            charged = watched.live.scrape()
            assert all(j >= 0 for j in charged.joules)
            total = math.fsum(charged.joules)
            assert any(total == pytest.approx(s, rel=1e-9, abs=1e-9) for s in sums)
    watched.rest()
    assert watched.total() == pytest.approx(sums[-1], rel=1e-9, abs=1e-9)
    direct: dict[tuple[str, str], float] = {}
    for span in spans(t for t in sent if t.ts_ms <= settled):
        for c in charges(span, placed, watched.policy, idle_watts):
            key = str(c.charge_class), c.workload
            direct[key] = direct.get(key, 0.0) + c.joules
    found = {key: joules for key, joules in watched.scrape().items() if joules}
    assert found == pytest.approx({k: j for k, j in direct.items() if j}, rel=1e-9, abs=1e-9)


class Plugged:
    """A source whose card can be taken out and put back, by a clock that a test moves."""

    name = "test"
    interval_seconds = 1.0

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.joules = 5000
        self.is_in = True

    def discover(self) -> Sequence[Device]:
        if not self.is_in:
            raise NoData("no card")
        return [GPU]

    def read(self) -> Sample:
        if not self.is_in:
            raise DevicesChanged("the card is gone")
        self.joules += 100
        return Sample([Reading("d", self._clock.now_ms(), 100.0, self.joules * MICRO)])

    def close(self) -> None:
        """Hold nothing."""


class Kept:
    """An output that keeps ticks."""

    name = "kept"

    def __init__(self) -> None:
        self.ticks: list[Tick] = []

    def put(self, batch: Batch) -> None:
        self.ticks += batch.ticks

    def ready(self) -> bool:
        return True

    def flush(self, seconds: float) -> bool:
        return True

    def close(self) -> None:
        """Keep everything."""


def test_a_card_that_is_taken_out_and_put_back_with_another_count_is_exact() -> None:
    seconds = 1_000_000.0
    clock = Clock(lambda: round(seconds * 1000), lambda: seconds)
    kept = Kept()
    live = Live(
        Policy(), lambda key: None, Telemetry(), waits=True, now_ms=clock.now_ms,
    )  # fmt: skip
    source = Plugged(clock)
    worker = Worker(source, Config(node="n"), [live, kept], Telemetry(), clock)
    whole = Allocation("d", "a", 1_000_000_000, 1_003_600_000)
    live.put(Batch(allocations=(whole,)))
    for second in range(300):
        if second == 100:
            source.is_in = False
        if second == 160:
            source.is_in, source.joules = True, 0
        worker.step()
        seconds += 1.0
        if second % 10 == 9:
            live.settle(clock.now_ms())
            live.scrape()
    seconds += 3600
    live.settle(clock.now_ms())
    for _ in range(ZERO_SCRAPES):
        live.scrape()
    known = math.fsum(s.joules for s in spans(kept.ticks) if s.joules)
    assert known > 20_000
    assert {t.gap for t in kept.ticks} == {"", "device_gone"}
    assert math.fsum(live.scrape().joules) == pytest.approx(known, rel=1e-9)
