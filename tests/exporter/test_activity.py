"""What a device was doing: two signals and a baseline, and nothing lost or made in the sums."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed_exporter.activity import CLASSES, Activity, Holdings
from wattshed_exporter.baseline import BARE, CONTEXT, Baseline
from wattshed_exporter.config import Idle
from wattshed_exporter.guards import FROZEN
from wattshed_exporter.integrate import Meter
from wattshed_exporter.model import MICRO, Allocation, Device, Kind, Reading, Tick
from wattshed_exporter.split import spans

GPU = Device("d", Kind.GPU, "n", "test", power_limit_watts=400.0)
CPU = replace(GPU, kind=Kind.CPU)
LEARNED = {BARE: [(0, 50.0)] * 4, CONTEXT: [(0, 100.0)] * 4}
HOUR_MS = 3_600_000


def said(
    ts_ms: int,
    watts: float | None,
    uj: int | None,
    used: float | None = None,
    worked: float | None = None,
    contexts: int | None = None,
) -> Reading:
    return Reading("d", ts_ms, watts, uj, None, used, None, None, worked, contexts)


class Watched:
    """A meter and what is made of it."""

    def __init__(
        self,
        device: Device = GPU,
        learned: dict[str, list[tuple[int, float]]] | None = None,
        held: bool = False,
    ) -> None:
        self.holdings = Holdings()
        if held:
            self.holdings.take([Allocation("d", "w", 0, HOUR_MS)])
        self.baseline = Baseline(30_000, learned)
        self.activity = Activity(device, Idle(), self.baseline, self.holdings)
        self.meter = Meter(device, 1000)
        self.ticks: list[Tick] = []

    def feed(self, *readings: Reading) -> Watched:
        for reading in readings:
            tick = self.meter.feed(reading)
            if tick is not None:
                self.ticks.append(tick)
                self.activity.feed(tick, reading)
        return self

    @property
    def seconds(self) -> dict[str, float]:
        told = zip(CLASSES, self.activity.milliseconds, strict=True)
        return {name: ms / 1000 for name, ms in told if ms}

    @property
    def joules(self) -> dict[str, float]:
        told = zip(CLASSES, self.activity.microjoules, strict=True)
        return {name: uj / MICRO for name, uj in told if uj}


def readings(
    count: int,
    watts: float | None,
    used: float | None = None,
    worked: float | None = None,
    contexts: int | None = None,
) -> list[Reading]:
    return [said(s * 1000, watts, None, used, worked, contexts) for s in range(count)]


class TestClasses:
    @pytest.mark.parametrize(
        ("used", "worked"),
        [(0.99, 0.0), (0.0, 0.4), (0.05, None), (None, 0.9), (1.0, 1.0)],
    )
    def test_either_signal_of_work_is_believed(
        self, used: float | None, worked: float | None
    ) -> None:
        """dcgm-exporter 662: GR_ENGINE_ACTIVE 0 while GPU_UTIL says 99."""
        assert Watched().feed(*readings(11, 300.0, used, worked)).seconds == {"busy": 10.0}

    @pytest.mark.parametrize(
        ("contexts", "held", "watts", "expected"),
        [
            (0, False, 55.0, "unallocated"),
            (None, False, 55.0, "unallocated"),
            (0, True, 55.0, "allocated_no_context"),
            (None, True, 55.0, "allocated_no_context"),
            (2, True, 110.0, "parked"),
            (1, False, 110.0, "parked"),
            (1, True, 120.0, "execution_idle"),
            (0, False, 60.0, "execution_idle"),
            (1, True, 250.0, "execution_idle"),
        ],
    )
    def test_idle_needs_power_near_the_baseline_too(
        self, contexts: int | None, held: bool, watts: float, expected: str
    ) -> None:
        seen = Watched(learned=LEARNED, held=held)
        seen.feed(*readings(11, watts, 0.0, 0.0, contexts))
        assert seen.seconds == {expected: 10.0}
        assert seen.joules == {expected: pytest.approx(watts * 10)}

    def test_before_a_baseline_two_signals_are_enough_but_not_for_high_power(self) -> None:
        assert Watched().feed(*readings(11, 60.0, 0.0, 0.0)).seconds == {"unallocated": 10.0}
        assert Watched().feed(*readings(11, 250.0, 0.0, 0.0)).seconds == {"unknown": 10.0}

    def test_the_zero_of_a_gpu_in_mig_mode_is_not_believed_until_it_moved(self) -> None:
        seen = Watched().feed(*readings(200, 150.0, 0.0))
        assert seen.seconds == {"unknown": 199.0}
        assert seen.baseline.watts(BARE) is None
        seen.feed(Reading("d", 200_000, 150.0, utilization_ratio=0.5))
        seen.feed(Reading("d", 201_000, 60.0, utilization_ratio=0.0))
        assert seen.seconds == {"unknown": 199.0, "busy": 1.0, "unallocated": 1.0}

    def test_a_cpu_is_believed_at_once(self) -> None:
        assert Watched(CPU).feed(*readings(11, 20.0, 0.01)).seconds == {"unallocated": 10.0}

    def test_with_power_alone_only_the_baseline_can_tell(self) -> None:
        assert Watched().feed(*readings(11, 55.0)).seconds == {"unknown": 10.0}
        low = Watched(learned=LEARNED).feed(*readings(11, 55.0))
        high = Watched(learned=LEARNED).feed(*readings(11, 300.0))
        assert (low.seconds, high.seconds) == ({"unallocated": 10.0}, {"unknown": 10.0})

    def test_a_counter_without_power_has_a_power_too(self) -> None:
        seen = Watched(learned=LEARNED)
        for s in range(11):
            seen.feed(said(s * 1000, None, 10**9 + s * 55 * MICRO, 0.0, 0.0, 0))
        assert (seen.seconds, seen.joules) == ({"unallocated": 10.0}, {"unallocated": 550.0})

    def test_idleness_teaches_the_baseline(self) -> None:
        seen = Watched().feed(*readings(200, 70.0, 0.0, 0.0, 1))
        assert seen.baseline.watts(CONTEXT) == 70.0
        seen.feed(Reading("d", 200_000, 170.0, None, None, 0.01, None, None, 0.01, 1))
        assert seen.seconds == {"parked": 199.0, "execution_idle": 1.0}

    def test_a_frozen_counter_hides_no_work(self) -> None:
        seen = Watched(CPU)
        seen.feed(*(said(s * 1000, 200.0, 10**9, 0.9) for s in range(200)))
        assert seen.seconds == {"busy": 199.0}
        assert seen.ticks[-1].gap == FROZEN

    def test_nobody_saw_what_happened_in_a_gap_but_a_counter_knows_its_energy(self) -> None:
        seen = Watched(learned=LEARNED)
        for s in (0, 1, 2, 3, 9, 10):
            counter = said(s * 1000, 50.0, 10**9 + s * 50 * MICRO, 0.0, 0.0, 0)
            seen.feed(Reading("d", s * 1000, gap="error") if s == 2 else counter)
        assert seen.seconds == {"unallocated": 2.0, "unknown": 8.0}
        assert seen.joules == {"unallocated": 100.0, "unknown": 400.0}


class TestHoldings:
    def test_a_device_is_held_from_the_start_until_a_moment_after_the_last_word(self) -> None:
        holdings = Holdings()
        holdings.take([Allocation("d", "w", 1000, 60_000)])
        times = (999, 1000, 60_000, 90_000, 90_001)
        assert [holdings.holds("d", t) for t in times] == [False, True, True, True, False]
        assert not holdings.holds("other", 5000)

    def test_one_that_goes_on_is_told_again_and_a_share_of_nothing_holds_nothing(self) -> None:
        holdings = Holdings()
        holdings.take([Allocation("d", "w", 0, 100_000)])
        assert not holdings.holds("d", 200_000)
        holdings.take([Allocation("d", "w", 0, 200_000)])
        holdings.take([Allocation("e", "w", 0, 200_000, 0.0)])
        assert holdings.holds("d", 200_000)
        assert not holdings.holds("e", 100)

    def test_of_many_at_once_as_in_a_history_the_latest_are_remembered(self) -> None:
        holdings = Holdings()
        hours = range(100)
        holdings.take([Allocation("d", f"w{h}", h * HOUR_MS, h * HOUR_MS + 60_000) for h in hours])
        held = [h for h in hours if holdings.holds("d", h * HOUR_MS + 1000)]
        assert held == list(range(68, 100))
        assert not holdings.holds("d", 80 * HOUR_MS - 1000)


class TestDetails:
    def test_seconds_joules_and_baselines_are_told(self) -> None:
        seen = Watched(learned=LEARNED).feed(*readings(11, 55.0, 0.0, 0.0, 0))
        details = seen.activity.details()
        told = {(d.metric, d.attributes): (d.value, d.ts_ms, d.start_ms) for d in details}
        assert told == {
            ("wattshed_activity_seconds_total", ("unallocated",)): (10.0, 10_000, 0),
            ("wattshed_activity_joules_total", ("unallocated",)): (550.0, 10_000, 0),
            ("wattshed_idle_baseline_watts", ("bare",)): (50.0, 10_000, None),
            ("wattshed_idle_baseline_watts", ("context",)): (100.0, 10_000, None),
        }

    def test_before_the_first_reading_there_is_nothing_to_tell(self) -> None:
        assert list(Watched(learned=LEARNED).activity.details()) == []

    def test_a_clock_that_shows_a_time_again_starts_them_anew(self) -> None:
        seen = Watched().feed(*readings(11, 55.0, 0.9))
        gap = replace(seen.ticks[0], gap="clock_step", power_watts=None, energy_uj=None)
        seen.activity.clock_set(replace(gap, ts_ms=10_500))
        assert seen.seconds == {"busy": 10.0}
        seen.activity.clock_set(gap)
        assert (seen.seconds, list(seen.activity.details())) == ({}, [])


STEPS = st.lists(
    st.tuples(
        st.sampled_from([100, 500, 1000, 1000, 2999, 3001, 20_000]),
        st.none() | st.floats(0, 450, width=32),
        st.none() | st.floats(0, 1, width=32),
        st.none() | st.floats(0, 1, width=32),
        st.sampled_from([None, 0, 1]),
        st.sampled_from(["", "", "", "", "error"]),
    ),
    max_size=50,
)


@pytest.mark.parametrize("counted", [True, False])
@settings(deadline=None, max_examples=80)
@given(steps=STEPS, learned=st.booleans(), held=st.booleans())
def test_the_classes_add_up_to_the_time_observed_and_to_what_the_ledger_knows(
    counted: bool,
    steps: list[tuple[int, float | None, float | None, float | None, int | None, str]],
    learned: bool,
    held: bool,
) -> None:
    seen = Watched(learned=LEARNED if learned else None, held=held)
    ts_ms, uj = 1000, 10**9
    for dt_ms, watts, used, worked, contexts, gap in steps:
        ts_ms += dt_ms
        uj += int((watts or 0.0) * dt_ms * 1000)
        energy = uj if counted and not gap else None
        power = None if gap else watts
        seen.feed(Reading("d", ts_ms, power, energy, None, used, None, None, worked, contexts, gap))
    real = [t.ts_ms for t in seen.ticks if not t.gap]
    observed = real[-1] - real[0] if real else 0
    assert sum(seen.activity.milliseconds) == observed
    known = sum(s.joules for s in spans(seen.ticks) if s.joules is not None)
    assert sum(seen.joules.values()) == pytest.approx(known, rel=1e-9, abs=1e-4)


@settings(deadline=None, max_examples=50)
@given(
    loads=st.lists(st.tuples(st.floats(0, 400, width=32), st.booleans()), min_size=2, max_size=20),
    parts=st.sampled_from([1, 2, 5, 10]),
)
def test_reading_in_finer_steps_books_the_same(loads: list[tuple[float, bool]], parts: int) -> None:
    totals = []
    for n in (1, parts):
        seen, uj = Watched(learned=LEARNED), 10**9
        seen.feed(Reading("d", 0, None, uj, None, 0.0, None, None, 0.0))
        for i, (watts, busy) in enumerate(loads):
            for j in range(1, n + 1):
                uj += round(watts * 100_000) * 10 // n  # a whole number
                load = 0.9 if busy else 0.0
                seen.feed(said(i * 1000 + 1000 * j // n, None, uj, load, load))
        totals.append((seen.seconds, seen.joules))
    (coarse_s, coarse_j), (fine_s, fine_j) = totals
    assert fine_s == pytest.approx(coarse_s)
    assert fine_j == pytest.approx(coarse_j)
