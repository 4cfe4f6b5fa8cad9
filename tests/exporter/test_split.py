"""Spans and charges: the rule, case by case, and conservation under everything."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_exporter.model import Allocation, Class, Joules, Method, Span, Tick
from wattshed_exporter.split import charges, cut, spans


def tick(
    ts_ms: int,
    power: float | None = None,
    energy: int | None = None,
    *,
    start: int | None = None,
    method: Method = Method.COUNTER,
    gap: str = "",
    device: str = "d",
    utilization: float | None = None,
) -> Tick:
    return Tick(device, ts_ms, 1000, method, power, energy, start, utilization, gap=gap)


def span(joules: float | None = 10.0, **more: object) -> Span:
    plain = Span("d", 0, 1000, None if joules is None else Joules(joules), Method.COUNTER)
    return replace(plain, **more)  # type: ignore[arg-type]


def held(workload: str, share: float = 1.0, start: int = 0, end: int = 1000) -> Allocation:
    return Allocation("d", workload, start, end, share)


def paid(of: Span, *allocations: Allocation) -> dict[tuple[str, str], float]:
    """Joules by workload and class."""
    total: dict[tuple[str, str], float] = {}
    for charge in charges(of, allocations):
        key = (charge.workload, str(charge.charge_class))
        total[key] = total.get(key, 0.0) + charge.joules
    return total


class TestSpans:
    def test_a_counter_gives_its_difference(self) -> None:
        a, b = tick(0, energy=5_000_000), tick(60_000, energy=9_000_001, utilization=0.5)
        expected = Span("d", 0, 60_000, Joules(4.000001), Method.COUNTER, utilization_ratio=0.5)
        assert spans([a, b]) == [expected]

    def test_a_counter_recovers_what_a_gap_hid(self) -> None:
        ticks = [tick(0, energy=0), tick(1000, gap="deadline"), tick(9000, energy=7_000_000)]
        assert [(s.start_ms, s.end_ms, s.joules) for s in spans(ticks)] == [(0, 9000, 7.0)]

    def test_a_reason_beside_power_takes_the_energy_back(self) -> None:
        ticks = [
            tick(0, 10.0, 0),
            tick(1000, 20.0, 0, gap="counter_frozen"),
            tick(2000, 20.0, 0),
            tick(3000, None, 7_000_000, gap="odd"),
        ]
        found = spans(ticks)
        assert [s.joules for s in found] == [15.0, 20.0, 7.0]
        assert [s.method for s in found] == [Method.INTEGRAL, Method.INTEGRAL, Method.COUNTER]
        assert {s.reason for s in found} == {""}

    def test_a_later_start_leaves_the_time_before_it_unknown(self) -> None:
        found = spans([tick(0, energy=9_000_000), tick(5000, energy=2_000_000, start=3000)])
        assert [(s.start_ms, s.end_ms, s.joules, s.reason) for s in found] == [
            (0, 3000, None, "reset"),
            (3000, 5000, 2.0, ""),
        ]
        assert found[0].method is Method.UNKNOWN

    def test_a_start_at_the_reading_gives_no_empty_span(self) -> None:
        found = spans([tick(0, energy=9), tick(5000, energy=0, start=5000)])
        assert [(s.start_ms, s.end_ms, s.joules) for s in found] == [(0, 5000, None)]

    def test_the_time_before_a_later_start_has_the_reason_of_the_gap_in_it(self) -> None:
        ticks = [tick(0, energy=9), tick(1000, gap="deadline"), tick(5000, energy=0, start=5000)]
        assert [(s.joules, s.reason) for s in spans(ticks)] == [(None, "deadline")]

    @pytest.mark.parametrize("start", [None, 0])
    def test_a_fall_without_a_later_start_counts_from_zero(self, start: int | None) -> None:
        (found,) = spans([tick(0, energy=9_000_000), tick(1000, energy=2_000_000, start=start)])
        assert (found.joules, found.reason) == (2.0, "reset")

    def test_two_counters_are_never_subtracted_from_each_other(self) -> None:
        integral = tick(200_000, energy=5, start=150_000)
        raw = tick(201_000, energy=9_000, start=10_000)
        assert [(s.joules, s.reason) for s in spans([integral, raw])] == [(None, "counter_changed")]

    def test_a_boot_time_that_moves_with_the_clock_is_the_same_counter(self) -> None:
        (found,) = spans(
            [tick(99_000, energy=5, start=9_000), tick(100_000, energy=9, start=9_500)]
        )
        assert found.joules == 4e-6

    def test_a_counter_that_falls_although_it_did_not_start_anew_is_not_believed(self) -> None:
        (found,) = spans([tick(2000, energy=9, start=1000), tick(3000, energy=2, start=1000)])
        assert (found.joules, found.method, found.reason) == (None, Method.UNKNOWN, "counter_fell")

    def test_power_gives_a_trapezoid(self) -> None:
        (found,) = spans([tick(0, 100.0), tick(3000, 200.0)])
        assert (found.joules, found.power_watts) == (450.0, (100.0, 200.0))
        assert found.method is Method.INTEGRAL

    @pytest.mark.parametrize("method", [Method.ESTIMATED, Method.SIMULATED])
    def test_an_estimate_stays_one(self, method: Method) -> None:
        (found,) = spans([tick(0, 1.0, method=method), tick(1000, 1.0, method=method)])
        assert found.method is method

    def test_power_is_not_integrated_over_more_than_three_intervals(self) -> None:
        (found,) = spans([tick(0, 100.0), tick(3001, 100.0)])
        assert (found.joules, found.reason, found.method) == (None, "no_data", Method.UNKNOWN)

    def test_power_is_not_integrated_over_a_gap_and_the_first_reason_stands(self) -> None:
        ticks = [tick(0, 1.0), tick(500, gap="deadline"), tick(600, gap="x"), tick(1000, 1.0)]
        assert [(s.joules, s.reason) for s in spans(ticks)] == [(None, "deadline")]

    def test_power_on_one_side_and_energy_on_the_other_is_unknown(self) -> None:
        assert [s.joules for s in spans([tick(0, 5.0), tick(1000, energy=5)])] == [None]

    def test_order_and_repeats_change_nothing_and_devices_stay_apart(self) -> None:
        ticks = [tick(ts, 100.0, device=d) for d in "ab" for ts in (0, 1000, 2000)]
        assert spans([*reversed(ticks), *ticks]) == spans(ticks)
        assert [(s.device, s.start_ms) for s in spans(ticks)] == [
            ("a", 0), ("a", 1000), ("b", 0), ("b", 1000),
        ]  # fmt: skip

    def test_of_two_ticks_of_one_instant_the_last_counts(self) -> None:
        (found,) = spans([tick(0, 0.0), tick(1000, 9.0), tick(1000, 2.0)])
        assert found.joules == 1.0


class TestCut:
    def test_a_trapezoid_is_cut_along_its_slope(self) -> None:
        part = cut(span(150.0, power_watts=(100.0, 200.0)), 500, 1000)
        assert (part.joules, part.power_watts) == (87.5, (150.0, 200.0))

    def test_a_counter_difference_is_cut_by_time(self) -> None:
        part = cut(span(10.0), 100, 350)
        assert (part.start_ms, part.end_ms, part.joules) == (100, 350, 2.5)

    def test_a_part_is_clipped_to_the_span(self) -> None:
        assert cut(span(), -5, 2000) == span()
        assert cut(span(), 2000, 3000).joules == 0.0

    def test_unknown_stays_unknown(self) -> None:
        assert cut(span(None), 0, 10).joules is None


class TestCharges:
    def test_one_holder_pays_all(self) -> None:
        assert paid(span(utilization_ratio=0.9), held("w")) == {("w", "active"): 10.0}

    def test_a_part_share_leaves_the_rest_to_nobody(self) -> None:
        assert paid(span(), held("w", 0.25)) == {
            ("w", "active"): 2.5,
            ("", "unattributed"): 7.5,
        }

    def test_idle_is_told_apart_by_who_holds_it(self) -> None:
        assert paid(span(utilization_ratio=0.0), held("w", 0.5)) == {
            ("w", "idle_held"): 5.0,
            ("", "idle_unallocated"): 5.0,
        }

    def test_nobody_held_it(self) -> None:
        assert paid(span(utilization_ratio=0.049)) == {("", "idle_unallocated"): 10.0}
        assert paid(span(utilization_ratio=0.05)) == {("", "unattributed"): 10.0}
        assert paid(span(utilization_ratio=None)) == {("", "unattributed"): 10.0}

    def test_shares_above_one_are_scaled_down(self) -> None:
        assert paid(span(), held("a", 1.0), held("b", 3.0)) == {
            ("a", "active"): 2.5,
            ("b", "active"): 7.5,
        }

    def test_the_shares_of_one_workload_add_up(self) -> None:
        twice = (held("a", 0.25), held("a", 0.5, start=-1), held("b", 0.25))
        assert paid(span(), *twice) == {("a", "active"): 7.5, ("b", "active"): 2.5}

    def test_who_comes_late_pays_from_then_on(self) -> None:
        slope = span(150.0, power_watts=(100.0, 200.0))
        assert paid(slope, held("a", end=500), held("b", start=500)) == {
            ("a", "active"): 62.5,
            ("b", "active"): 87.5,
        }

    def test_other_devices_and_other_times_do_not_matter(self) -> None:
        elsewhere = replace(held("x"), device="e")
        assert paid(span(), held("w"), elsewhere, held("x", start=1000, end=2000)) == {
            ("w", "active"): 10.0
        }

    def test_what_is_unknown_is_charged_to_nobody(self) -> None:
        assert charges(span(None), [held("w")]) == []

    def test_sevenths_leave_no_crumb(self) -> None:
        slices = [held(f"w{i}", 1 / 7) for i in range(7)]
        assert {c.charge_class for c in charges(span(), slices)} == {Class.ACTIVE}


ALLOCATIONS = st.lists(
    st.builds(
        lambda w, share, start, length: held(w, share, start, start + length),
        st.sampled_from("abc"),
        st.floats(0, 3),
        st.integers(-500, 1500),
        st.integers(0, 2000),
    ),
    max_size=8,
)
SPANS = st.one_of(
    st.builds(
        lambda j, u: span(j, utilization_ratio=u), st.floats(0, 1e9), st.none() | st.floats(0, 1)
    ),
    st.builds(
        lambda a, b: span((a + b) / 2, power_watts=(a, b)), st.floats(0, 1e6), st.floats(0, 1e6)
    ),
)


@given(SPANS, ALLOCATIONS, st.lists(st.integers(0, 1000), max_size=5))
def test_refinement_changes_nobodys_share(
    of: Span, who: list[Allocation], edges: list[int]
) -> None:
    whole = paid(of, *who)
    refined: dict[tuple[str, str], float] = {}
    inner = sorted({0, 1000, *edges})
    for start, end in pairwise(inner):
        for key, joules in paid(cut(of, start, end), *who).items():
            refined[key] = refined.get(key, 0.0) + joules
    for key in whole.keys() | refined.keys():
        assert math.isclose(
            whole.get(key, 0.0),
            refined.get(key, 0.0),
            rel_tol=1e-9,
            abs_tol=1e-12 + 1e-9 * (of.joules or 0),
        )


@given(SPANS, ALLOCATIONS, st.integers(0, 1000))
def test_a_share_of_zero_changes_nobody(of: Span, who: list[Allocation], start: int) -> None:
    assert charges(of, [*who, held("new", 0.0, start)]) == charges(of, who)
