"""Counters that wrap, fall and vanish; power that is integrated, and never over a gap."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_exporter.integrate import REASONS, Meter
from wattshed_exporter.model import Device, Kind, Method, Reading, Tick
from wattshed_exporter.split import spans

RANGE_UJ = 262_143_328_850
BOOT_MS = 500
DIVISORS = [n for n in range(1, 21) if 2520 % n == 0]


def device(**more: object) -> Device:
    return Device("d", Kind.CPU, "n", "test", **more)  # type: ignore[arg-type]


def wrapping(limit_watts: float | None = 250.0) -> Device:
    return device(counter_range_uj=RANGE_UJ, power_limit_watts=limit_watts)


def energy(ts_ms: int, uj: int | None, watts: float | None = None) -> Reading:
    return Reading("d", ts_ms, watts, uj)


def power(ts_ms: int, watts: float) -> Reading:
    return Reading("d", ts_ms, watts)


def gap(ts_ms: int, reason: str = "deadline") -> Reading:
    return Reading("d", ts_ms, gap=reason)


def feed(meter: Meter, *readings: Reading) -> list[Tick]:
    return [tick for reading in readings if (tick := meter.feed(reading)) is not None]


def published(ticks: list[Tick]) -> list[tuple[int | None, int | None]]:
    return [(tick.energy_uj, tick.start_ms) for tick in ticks]


class TestRawCounter:
    """NVML: does not wrap, survives the exporter, falls when the driver is loaded anew."""

    def test_it_is_published_as_it_is_since_boot(self) -> None:
        meter = Meter(device(), 1000, BOOT_MS)
        ticks = feed(meter, energy(1000, 7_000_000), energy(2000, 7_000_100))
        assert published(ticks) == [(7_000_000, BOOT_MS), (7_000_100, BOOT_MS)]
        assert {tick.method for tick in ticks} == {Method.COUNTER}

    def test_a_restarted_exporter_continues_where_the_last_one_stopped(self) -> None:
        before = feed(Meter(device(), 1000, BOOT_MS), energy(1000, 5_000_000))
        after = feed(Meter(device(), 1000, BOOT_MS), energy(90_000, 8_000_000))
        assert [s.joules for s in spans(before + after)] == [3.0]

    def test_a_fall_starts_anew_at_the_reading_before(self) -> None:
        meter = Meter(device(), 1000, BOOT_MS)
        ticks = feed(meter, energy(1000, 9_000), energy(2000, 40), energy(3000, 90))
        assert published(ticks) == [(9_000, BOOT_MS), (40, 1000), (90, 1000)]
        assert meter.rejected == {"counter_reset": 1}
        assert [s.joules for s in spans(ticks)] == [40e-6, 50e-6]

    def test_without_a_boot_time_the_start_is_not_known(self) -> None:
        assert published(feed(Meter(device(), 1000), energy(1000, 5))) == [(5, None)]

    def test_the_source_may_know_the_start(self) -> None:
        ticks = feed(Meter(device(), 1000, BOOT_MS), Reading("d", 2000, None, 5, start_ms=1500))
        assert published(ticks) == [(5, 1500)]

    def test_a_counter_that_says_zero_once_is_not_believed(self) -> None:
        meter = Meter(device(), 1000)
        ticks = feed(meter, energy(1000, 10**12), energy(2000, 0, 50.0), energy(3000, 10**12 + 9))
        assert published(ticks) == [(10**12, None), (None, None), (10**12 + 9, None)]
        assert ticks[1].method is Method.INTEGRAL
        assert meter.rejected == {"zero_counter": 1}

    def test_a_counter_that_jumps_is_not_believed_either_way(self) -> None:
        meter = Meter(device(power_limit_watts=300.0), 1000, BOOT_MS)
        ticks = feed(meter, energy(1000, 10**15), energy(2000, 10**15 - 1, 50.0),
                     energy(3000, 10**16, 50.0), energy(4000, 10**15 + 150_000_000))  # fmt: skip
        assert [tick.energy_uj for tick in ticks] == [10**15, None, None, 10**15 + 150_000_000]
        assert {tick.start_ms for tick in ticks} == {BOOT_MS, None}
        assert meter.rejected == {"counter_jump": 2}

    def test_a_long_absence_is_no_jump(self) -> None:
        meter = Meter(device(power_limit_watts=300.0), 1000, BOOT_MS)
        ticks = feed(meter, energy(1000, 0), energy(3_601_000, 300 * 3600 * 10**6))
        assert [s.joules for s in spans(ticks)] == [1_080_000.0]
        assert meter.rejected == {}

    def test_a_gap_does_not_restart_it(self) -> None:
        ticks = feed(Meter(device(), 1000), energy(0, 5), gap(9000), energy(20_000, 25_000_005))
        assert [s.joules for s in spans(ticks)] == [25.0]

    def test_a_counter_that_appears_late_never_counts_as_energy_just_used(self) -> None:
        meter = Meter(device(), 1000)
        ticks = feed(meter, power(0, 100.0), power(1000, 100.0), energy(2000, 10**15, 100.0),
                     energy(3000, 10**15 + 100_000_000, 100.0),
                     energy(4000, 10**15 + 200_000_000, 100.0))  # fmt: skip
        assert [tick.energy_uj for tick in ticks[:3]] == [0, 100_000_000, None]
        assert [s.joules for s in spans(ticks)] == [100.0] * 4


class TestWrappingCounter:
    """RAPL: wraps at a known range; counted from zero at the first reading."""

    def test_a_wrap_adds_the_range_once(self) -> None:
        meter = Meter(wrapping(), 1000)
        ticks = feed(meter, energy(1000, RANGE_UJ - 10), energy(2000, 15))
        assert published(ticks) == [(0, 1000), (25, 1000)]
        assert meter.rejected == {}

    def test_a_fall_too_big_for_a_wrap_is_a_counter_that_started_anew(self) -> None:
        meter = Meter(wrapping(), 1000)
        ticks = feed(meter, energy(1000, 100_000_000_000), energy(2000, 50_000_000))
        assert published(ticks) == [(0, 1000), (50_000_000, 1000)]
        assert meter.rejected == {"counter_reset": 1}

    def test_a_fall_that_is_neither_is_unknown(self) -> None:
        meter = Meter(wrapping(), 1000)
        ticks = feed(meter, energy(1000, 100_000_000_000), energy(2000, 50_000_000_000))
        assert published(ticks) == [(0, 1000), (0, 2000)]
        assert meter.unknown_ms == {"reset": 1000}

    def test_two_wraps_may_hide_in_a_long_gap_so_it_is_unknown(self) -> None:
        meter = Meter(wrapping(), 1000)
        ticks = feed(meter, energy(0, 5), gap(1000), energy(1_000_000, 80))
        assert published(ticks) == [(0, 0), (None, None), (0, 1_000_000)]
        assert meter.unknown_ms == {"deadline": 1_000_000}
        assert meter.rejected == {"wrap_ambiguous": 1}
        assert [s.joules for s in spans(ticks)] == [None]

    def test_without_a_limit_a_ceiling_decides(self) -> None:
        meter = Meter(wrapping(None), 1000)
        ticks = feed(meter, energy(0, RANGE_UJ - 1), energy(1000, 1_199_000_000))
        assert ticks[-1].energy_uj == 1_199_000_001

    @given(
        st.integers(0, RANGE_UJ - 1),
        st.lists(st.tuples(st.integers(1, 60_000), st.floats(0, 1)), min_size=1, max_size=30),
    )
    def test_unwrapped_it_equals_the_truth(
        self, first_uj: int, steps: list[tuple[int, float]]
    ) -> None:
        meter = Meter(wrapping(), 1000)
        truth = first_uj
        ts_ms = 0
        ticks = feed(meter, energy(0, first_uj))
        for dt_ms, load in steps:
            ts_ms += dt_ms
            truth += int(load * 250 * dt_ms * 1000)
            ticks += feed(meter, energy(ts_ms, truth % RANGE_UJ))
        assert ticks[-1].energy_uj == truth - first_uj
        assert {tick.start_ms for tick in ticks} == {0}


class TestIntegral:
    """Power only: a clipped trapezoid, from zero at the first reading and after every gap."""

    def test_power_becomes_a_counter(self) -> None:
        ticks = feed(Meter(device(), 1000), power(0, 100.0), power(1000, 200.0), power(3000, 0.0))
        assert published(ticks) == [(0, 0), (150_000_000, 0), (350_000_000, 0)]
        assert {tick.method for tick in ticks} == {Method.INTEGRAL}

    def test_after_a_gap_it_starts_anew_and_the_seconds_are_counted(self) -> None:
        meter = Meter(device(), 1000)
        ticks = feed(meter, power(0, 100.0), gap(1000), gap(2000, "other"), power(2500, 100.0))
        assert published(ticks) == [(0, 0), (None, None), (None, None), (0, 2500)]
        assert [tick.gap for tick in ticks] == ["", "deadline", "other", ""]
        assert meter.unknown_ms == {"deadline": 2000, "other": 500}
        assert [s.joules for s in spans(ticks)] == [None]

    def test_silence_of_more_than_three_intervals_is_a_gap(self) -> None:
        meter = Meter(device(), 1000)
        ticks = feed(meter, power(0, 100.0), power(3000, 100.0), power(6001, 100.0))
        assert published(ticks) == [(0, 0), (300_000_000, 0), (0, 6001)]
        assert meter.unknown_ms == {"no_data": 3001}

    def test_a_late_result_from_before_the_gap_was_noticed_is_used(self) -> None:
        meter = Meter(device(), 1000)
        ticks = feed(meter, power(0, 1.0), gap(6000), power(1000, 1.0), power(7000, 1.0))
        assert [tick.ts_ms for tick in ticks] == [0, 6000, 1000, 7000]
        assert meter.unknown_ms == {"deadline": 6000, "no_data": 1000}

    @pytest.mark.parametrize("method", [Method.ESTIMATED, Method.SIMULATED])
    def test_an_estimate_says_so(self, method: Method) -> None:
        (tick,) = feed(Meter(device(method=method), 1000), power(0, 1.0))
        assert tick.method is method

    @given(st.lists(st.floats(0, 5e3), min_size=2, max_size=40), st.sampled_from(DIVISORS))
    def test_more_readings_of_the_same_line_give_the_same_energy(
        self, watts: list[float], parts: int
    ) -> None:
        coarse, fine = Meter(device(), 1000), Meter(device(), 1000)
        last: list[Tick] = []
        for i, (a, b) in enumerate(pairwise(watts)):
            for j in range(parts):
                share = j / parts
                feed(fine, power(i * 2520 + 2520 * j // parts, a + (b - a) * share))
            feed(coarse, power(i * 2520, a))
        end = (len(watts) - 1) * 2520
        for meter in (coarse, fine):
            last += feed(meter, power(end, watts[-1]))
        one, many = (tick.energy_uj for tick in last)
        assert one is not None
        assert many is not None
        assert abs(one - many) <= 1 + 1e-9 * one


READINGS = st.lists(
    st.tuples(
        st.integers(-2000, 8000),
        st.one_of(
            st.builds(lambda w: (w, ""), st.floats(-5, 400) | st.just(math.nan)),
            st.just((None, "error")),
            st.just((None, "")),
        ),
    ),
    max_size=40,
)


@given(READINGS)
def test_the_published_counter_never_falls_and_a_gap_adds_nothing(
    steps: list[tuple[int, tuple[float | None, str]]],
) -> None:
    meter = Meter(device(power_limit_watts=300.0), 1000)
    ts_ms, ticks = 100_000, []
    for dt_ms, (watts, reason) in steps:
        ts_ms += dt_ms
        ticks += feed(meter, Reading("d", ts_ms, watts, gap=reason))
    counted = [(t.energy_uj, t.start_ms) for t in ticks if t.energy_uj is not None]
    for (before, since), (after, start) in pairwise(counted):
        assert after == 0 if start != since else after >= before
    assert all(t.energy_uj is None and t.gap for t in ticks if t.method is Method.UNKNOWN)
    for found in spans(ticks):
        if found.joules is not None:
            assert found.joules <= 360 * 3.0001  # at most three intervals at the limit
            assert found.end_ms - found.start_ms <= 3000


@pytest.mark.parametrize("watts", [math.nan, math.inf, -1.0, 361.0])
def test_impossible_power_is_a_gap_with_its_reason(watts: float) -> None:
    meter = Meter(device(power_limit_watts=300.0), 1000)
    (tick,) = feed(meter, Reading("d", 0, watts, utilization_ratio=0.5))
    assert (tick.gap, tick.power_watts, tick.energy_uj) == ("impossible_power", None, None)
    assert tick.utilization_ratio == 0.5
    assert meter.rejected == {"impossible_power": 1}


def test_impossible_power_does_not_take_the_energy_with_it() -> None:
    (tick,) = feed(Meter(device(), 1000), energy(0, 5, -3.0))
    assert (tick.power_watts, tick.energy_uj, tick.gap) == (None, 5, "")


@pytest.mark.parametrize("uj", [-5, 2**63, 10**400, math.nan, math.inf])
def test_impossible_energy_is_a_gap(uj: int) -> None:
    (tick,) = feed(Meter(device(), 1000), energy(0, uj))
    assert tick.gap == "impossible_energy"


def test_repeats_and_stragglers_are_dropped_and_counted() -> None:
    meter = Meter(device(), 1000)
    ticks = feed(meter, power(1000, 1.0), power(1000, 2.0), power(500, 3.0), power(2000, 1.0))
    assert [tick.ts_ms for tick in ticks] == [1000, 2000]
    assert meter.rejected == {"duplicate": 1, "out_of_order": 1}


def test_other_values_must_make_sense_too() -> None:
    meter = Meter(device(), 1000)
    (tick,) = feed(meter, Reading("d", 0, 1.0, None, None, 1.5, 10, math.nan))
    assert (tick.utilization_ratio, tick.memory_used_bytes, tick.temperature_celsius) == (
        None, 10, None,
    )  # fmt: skip
    assert meter.rejected == {"impossible_utilization": 1}


def test_a_reading_that_says_nothing_is_a_gap() -> None:
    (tick,) = feed(Meter(device(), 1000), Reading("d", 0, utilization_ratio=1.0))
    assert (tick.gap, tick.method) == ("no_data", Method.UNKNOWN)


def test_reasons_are_told_apart_up_to_a_number() -> None:
    meter = Meter(device(), 1000)
    for at in range(REASONS + 10):
        meter.feed(Reading("d", at * 1000, gap=f"reason_{at}"))
    assert len(meter.unknown_ms) == REASONS + 1
    assert meter.unknown_ms["other"] == (10 - 1) * 1000
