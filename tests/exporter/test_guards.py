"""What cannot be: powers, clocks that are set, counters that hang or disagree, repeated values."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed_exporter.guards import (
    CEILING_WATTS,
    ClockWatch,
    CounterGuard,
    PowerGuard,
    jump_watts,
    most_watts,
)
from wattshed_exporter.integrate import Meter
from wattshed_exporter.model import MICRO, Device, Kind, Method, Reading, Tick
from wattshed_exporter.split import spans

GPU = Device("d", Kind.GPU, "n", "test")
UNDERFLOW_WATTS = 3.69e12
"""What xpumanager said of an Intel GPU whose counter had fallen by one step (its issue 130)."""


class TestCeilings:
    @pytest.mark.parametrize("kind", Kind)
    def test_every_kind_has_one_and_an_underflow_is_above_it(self, kind: Kind) -> None:
        meter = Meter(replace(GPU, kind=kind), 1000)
        tick = meter.feed(Reading("d", 0, UNDERFLOW_WATTS))
        assert tick is not None
        assert (tick.power_watts, tick.gap) == (None, "impossible_power")
        assert meter.rejected == {"impossible_power": 1}

    def test_a_limit_of_its_own_goes_before_the_kind(self) -> None:
        assert most_watts(replace(GPU, power_limit_watts=300.0)) == 360.0
        assert most_watts(GPU) == CEILING_WATTS[Kind.GPU]
        assert jump_watts(replace(GPU, power_limit_watts=300.0)) == 3000.0

    def test_a_counter_jumps_too_where_the_device_has_no_limit(self) -> None:
        meter = Meter(GPU, 1000)
        meter.feed(Reading("d", 0, None, 10**12))
        tick = meter.feed(Reading("d", 1000, 50.0, 10**15))
        assert tick is not None
        assert (tick.energy_uj, tick.power_watts) == (None, 50.0)
        assert meter.rejected == {"counter_jump": 1}

    @pytest.mark.parametrize("used", [-1, 2**47, 2**63 - 14])
    def test_a_sentinel_is_no_memory(self, used: int) -> None:
        meter = Meter(GPU, 1000)
        tick = meter.feed(Reading("d", 0, 5.0, memory_used_bytes=used))
        assert tick is not None
        assert tick.memory_used_bytes is None
        assert meter.rejected == {"impossible_memory": 1}

    def test_nor_is_one_a_temperature(self) -> None:
        meter = Meter(GPU, 1000)
        tick = meter.feed(Reading("d", 0, 5.0, temperature_celsius=4294967295.0))
        assert tick is not None
        assert tick.temperature_celsius is None
        assert meter.rejected == {"impossible_temperature": 1}


class TestClockWatch:
    def test_time_that_passes_is_no_step(self) -> None:
        watch = ClockWatch()
        assert [watch.step_ms(round(s * 1000), s) for s in (10.0, 11.0, 500.0)] == [0, 0, 0]

    @pytest.mark.parametrize("step_ms", [-3_600_000, -1100, 1100, 10**12])
    def test_a_step_is_told_once(self, step_ms: int) -> None:
        watch = ClockWatch()
        watch.step_ms(10_000, 10.0)
        assert watch.step_ms(11_000 + step_ms, 11.0) == step_ms
        assert watch.step_ms(12_000 + step_ms, 12.0) == 0

    def test_a_clock_that_is_slewed_was_not_set(self) -> None:
        watch = ClockWatch()
        watch.step_ms(0, 0.0)
        assert watch.step_ms(3_600_000 + 3_000, 3600.0) == 0
        assert watch.step_ms(3_600_000 + 3_000 + 3_000, 3601.0) == 2000


class TestCounterAgainstPower:
    def ratio(self, counted: float, seconds: int = 400) -> tuple[CounterGuard, list[str]]:
        guard = CounterGuard()
        said = [guard.feed(1000, int(counted * 100 * MICRO), 100.0 * MICRO) for _ in range(seconds)]
        return guard, [reason for reason in said if reason]

    @pytest.mark.parametrize("counted", [0.9, 1.0, 1.1])
    def test_they_agree(self, counted: float) -> None:
        guard, said = self.ratio(counted)
        assert guard.ratio == pytest.approx(counted)
        assert said == []

    @pytest.mark.parametrize("counted", [0.57, 1.3])
    def test_where_they_do_not_that_is_flagged_once_per_window(self, counted: float) -> None:
        guard, said = self.ratio(counted, 650)
        assert guard.ratio == pytest.approx(counted)
        assert said == ["counter_power_mismatch"] * 2

    def test_before_five_minutes_nothing_is_said(self) -> None:
        guard, said = self.ratio(0.5, 299)
        assert (guard.ratio, said) == (None, [])

    def test_a_coarse_counter_is_compared_once_its_steps_are_small_beside_the_whole(self) -> None:
        """A plug that counts watt-hours: one step is twelve minutes at 5 W."""
        guard, power_uj, told = CounterGuard(), 0, 0
        for _ in range(6 * 3600):
            power_uj += 5 * MICRO
            gained = power_uj // (3600 * MICRO) * 3600 * MICRO - told
            told += gained
            assert guard.feed(1000, gained, 5.0 * MICRO) == ""
        assert not guard.frozen
        assert guard.ratio == pytest.approx(1.0, abs=0.05)

    def test_a_meter_tells_the_ratio(self) -> None:
        meter = Meter(GPU, 1000)
        for s in range(400):
            meter.feed(Reading("d", s * 1000, 100.0, 10**9 + s * 57_000_000))
        assert meter.counter.ratio == pytest.approx(0.57)
        assert meter.rejected == {"counter_power_mismatch": 1}


class TestFrozenCounter:
    def run(self, meter: Meter, *readings: Reading) -> list[Tick]:
        ticks = []
        for reading in readings:
            tick = meter.feed(reading)
            assert tick is not None
            ticks.append(tick)
            ticks += meter.amended
            meter.amended.clear()
        return ticks

    def readings(self, seconds: range, step_uj: int, first_uj: int = 10**9) -> list[Reading]:
        start = seconds.start
        return [Reading("d", s * 1000, 200.0, first_uj + step_uj * (s - start)) for s in seconds]

    def test_it_is_no_consumption_of_zero_also_not_before_it_was_noticed(self) -> None:
        meter = Meter(GPU, 1000)
        moving = self.readings(range(10), 200 * MICRO)
        frozen = self.readings(range(10, 200), 0, moving[-1].energy_uj or 0)
        later = self.readings(range(200, 210), 200 * MICRO, 10**9 + 200 * 200 * MICRO)
        ticks = self.run(meter, *moving, *frozen, *later)
        assert meter.rejected == {"counter_frozen": 1}
        found = spans(ticks)
        assert sum(s.joules or 0 for s in found) == pytest.approx(209 * 200)
        assert {s.joules for s in found} == {200.0}
        assert {s.method for s in found if 10_000 <= s.start_ms < 199_000} == {Method.INTEGRAL}

    def test_an_idle_device_is_not_frozen_before_its_counter_should_have_moved(self) -> None:
        meter = Meter(GPU, 1000)
        readings = [Reading("d", s * 1000, 0.02, 10**9) for s in range(3600)]
        ticks = self.run(meter, *readings)
        assert {t.energy_uj for t in ticks} == {10**9}
        assert meter.rejected == {}

    def test_a_counter_that_never_moved_needs_more_to_be_called_frozen(self) -> None:
        meter = Meter(GPU, 1000)
        ticks = self.run(meter, *self.readings(range(40), 0))
        assert {t.energy_uj for t in ticks} == {10**9}
        self.run(meter, *self.readings(range(40, 62), 0))
        assert meter.rejected == {"counter_frozen": 1}

    def test_a_gap_begins_the_wait_anew(self) -> None:
        meter = Meter(GPU, 1000)
        self.run(meter, *self.readings(range(50), 0))
        self.run(meter, Reading("d", 50_500, gap="error"), *self.readings(range(51, 100), 0))
        assert meter.rejected == {}


class TestPower:
    def test_the_period_of_a_sensor_is_learned_and_repeats_are_counted_not_frozen(self) -> None:
        guard = PowerGuard()
        said = [guard.feed(t, 100.0 + t // 100, 0.5, 13) for t in range(0, 8000, 13)]
        assert guard.period_ms == pytest.approx(100, abs=13)
        assert set(said[400:]) == {"", "repeated_value"}
        assert said[260:].count("repeated_value") > 0.75 * len(said[260:])

    def test_a_steady_power_that_is_read_as_often_as_it_changes_is_no_repeat(self) -> None:
        guard = PowerGuard()
        said = [guard.feed(s * 1000, 55.0 + s % 3, 0.0, 1000) for s in range(200)]
        assert guard.period_ms == 1000
        assert set(said) == {""}

    def test_power_that_stays_while_the_load_moves_is_flagged_once(self) -> None:
        guard = PowerGuard()
        said = [guard.feed(s * 1000, 55.0, float(s // 60 % 2), 1000) for s in range(900)]
        assert [s for s in said if s] == ["frozen_power"]
        assert said.index("frozen_power") == 300

    @pytest.mark.parametrize("load", [None, 0.0, 0.3])
    def test_power_that_stays_with_the_load_is_not(self, load: float | None) -> None:
        guard = PowerGuard()
        assert {guard.feed(s * 1000, 55.0, load, 1000) for s in range(900)} == {""}


class TestClockOfAMeter:
    """What a step of the clock does to one device; see test_truth for every mixture."""

    def test_a_small_step_back_waits_and_the_counter_loses_nothing(self) -> None:
        meter = Meter(replace(GPU, power_limit_watts=300.0), 1000, 5)
        meter.feed(Reading("d", 100_000, None, 10**9))
        assert meter.clock_set(-30_000, 71_000) is None
        assert meter.feed(Reading("d", 72_000, None, 10**9 + 200 * MICRO)) is None
        assert (meter.refused, meter.rejected) == (1, {"out_of_order": 1})
        tick = meter.feed(Reading("d", 100_500, None, 10**9 + 6100 * MICRO))
        assert tick is not None
        assert (tick.energy_uj, meter.refused) == (10**9 + 6100 * MICRO, 0)

    def test_a_large_step_back_starts_anew_at_the_new_time(self) -> None:
        meter = Meter(GPU, 1000)
        for s in range(5):
            meter.feed(Reading("d", 4_000_000 + s * 1000, 100.0))
        gap = meter.clock_set(-3_600_000, 405_000)
        assert gap is not None
        assert (gap.ts_ms, gap.gap) == (405_000, "clock_step")
        ticks = [meter.feed(Reading("d", 406_000 + s * 1000, 100.0)) for s in range(3)]
        assert [(t.energy_uj, t.start_ms) for t in ticks if t] == [
            (0, 406_000), (100 * MICRO, 406_000), (200 * MICRO, 406_000),
        ]  # fmt: skip

    def test_a_raw_counter_counts_from_the_new_time_so_that_no_time_is_subtracted(self) -> None:
        meter = Meter(GPU, 1000, 5)
        meter.feed(Reading("d", 4_000_000, 100.0, 10**9))
        meter.clock_set(-3_600_000, 401_000)
        later = (Reading("d", 402_000 + s * 1000, 100.0, 10**9 + s * 10**8) for s in (0, 1))
        ticks = [meter.feed(reading) for reading in later]
        assert [(t.energy_uj, t.start_ms) for t in ticks if t] == [(0, 402_000), (10**8, 402_000)]

    def test_a_step_forward_is_a_gap_and_never_energy(self) -> None:
        meter = Meter(GPU, 1000)
        first = meter.feed(Reading("d", 1000, 100.0))
        gap = meter.clock_set(2_000, 4_000)
        later = [meter.feed(Reading("d", ts, 100.0)) for ts in (5_000, 6_000)]
        found = spans([t for t in (first, gap, *later) if t])
        assert [(s.start_ms, s.end_ms, s.joules, s.reason) for s in found] == [
            (1000, 5000, None, "clock_step"), (5000, 6000, 100.0, ""),
        ]  # fmt: skip
        assert meter.unknown_ms == {"clock_step": 4000}

    def test_a_meter_that_has_said_nothing_has_nothing_to_mend(self) -> None:
        meter = Meter(GPU, 1000)
        assert meter.clock_set(-(10**9), 5) is None
        assert not meter.follows(5)

    def test_a_recording_does_not_follow_the_clock(self) -> None:
        meter = Meter(GPU, 1000)
        meter.feed(Reading("d", 1000, 100.0))
        assert meter.follows(50_000)
        assert not meter.follows(10**12)


@settings(deadline=None)
@given(st.lists(st.floats(0, 300, width=32), min_size=2, max_size=50))
def test_the_guards_drop_nothing_of_a_counter_that_counts(watts: list[float]) -> None:
    meter, uj, ticks = Meter(replace(GPU, power_limit_watts=300.0), 1000, 5), 10**9, []
    for s, power in enumerate(watts):
        uj += int(power * MICRO)
        ticks.append(meter.feed(Reading("d", 1000 + s * 1000, power, uj)))
    assert ticks[-1] is not None
    assert ticks[-1].energy_uj == uj
    assert set(meter.rejected) <= {"repeated_value"}
