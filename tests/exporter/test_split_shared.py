"""Devices that several workloads share, and who pays for idling: by case, and as invariants."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_exporter.model import Allocation, Charge, IdlePolicy, Joules, Method, Span
from wattshed_exporter.split import Policy, charges, cut, standing

# A sixteenth is exact, as are the shares below: nobody is on both sides of it by rounding.
HOLDER, PROPORTIONAL, PLATFORM = (Policy(idle, idle_below=1 / 16) for idle in IdlePolicy)
POLICIES = (HOLDER, PROPORTIONAL, PLATFORM)
SECOND = Span("d", 0, 1000, Joules(100.0), Method.COUNTER, utilization_ratio=0.5)
IDLE = replace(SECOND, utilization_ratio=0.0)

Paid = dict[tuple[str, str], float]
"""Joules by workload and class."""


def held(
    workload: str,
    share: float,
    activity: float | None = None,
    *,
    start: int = 0,
    end: int = 1000,
    revision: int = 0,
) -> Allocation:
    return Allocation("d", workload, start, end, share, "", activity, revision)


def summed(found: Iterable[Charge]) -> Paid:
    total: Paid = defaultdict(float)
    for charge in found:
        total[charge.workload, str(charge.charge_class)] += charge.joules
    return dict(total)


def paid(
    of: Span, *who: Allocation, policy: Policy = HOLDER, idle_watts: float | None = None
) -> Paid:
    return summed(charges(of, who, policy, idle_watts))


def joules(found: Mapping[tuple[str, str], float]) -> object:
    return pytest.approx(found, rel=1e-12)


class TestActiveEnergy:
    def test_who_works_pays_whatever_it_holds(self) -> None:
        assert paid(SECOND, held("a", 0.5, 0.75), held("b", 0.5, 0.25)) == joules(
            {("a", "active"): 75.0, ("b", "active"): 25.0}
        )

    def test_what_nobody_holds_does_not_work(self) -> None:
        assert paid(SECOND, held("a", 0.25, 0.1)) == {("a", "active"): 100.0}

    def test_who_holds_nothing_may_work(self) -> None:
        assert paid(SECOND, held("a", 1.0, 0.0), held("b", 0.0, 0.5)) == {("b", "active"): 100.0}

    def test_one_whose_activity_is_unknown_counts_with_all_of_its_share(self) -> None:
        assert paid(SECOND, held("a", 0.6), held("b", 0.4, 0.2)) == joules(
            {("a", "active"): 75.0, ("b", "active"): 25.0}
        )

    def test_busy_although_nobody_was_seen_to_work(self) -> None:
        assert paid(SECOND, held("a", 1.0, 0.0)) == {("", "unattributed"): 100.0}

    def test_windows_follow_one_another(self) -> None:
        who = (
            held("a", 0.5, 1.0, end=500),
            held("a", 0.5, 0.0, start=500),
            held("b", 0.5, 0.0, end=500),
            held("b", 0.5, 0.5, start=500),
        )
        assert paid(SECOND, *who) == {("a", "active"): 50.0, ("b", "active"): 50.0}

    def test_the_allocations_of_one_workload_add_up(self) -> None:
        who = (held("a", 0.5), held("a", 0.0, 0.6, start=-1), held("b", 0.5, 0.2))
        assert paid(SECOND, *who) == joules({("a", "active"): 75.0, ("b", "active"): 25.0})


class TestWhoPaysForIdling:
    """A second of 100 J on a device that draws 40 W while it idles."""

    WHO = (held("a", 0.5, 0.5), held("b", 0.25, 0.0))

    def test_the_holder(self) -> None:
        assert paid(SECOND, *self.WHO, idle_watts=40.0) == joules(
            {("a", "active"): 80.0, ("b", "idle_held"): 10.0, ("", "idle_unallocated"): 10.0}
        )

    def test_who_works(self) -> None:
        found = paid(SECOND, *self.WHO, policy=PROPORTIONAL, idle_watts=40.0)
        assert found == {("a", "active"): 100.0}

    def test_the_platform(self) -> None:
        assert paid(SECOND, *self.WHO, policy=PLATFORM, idle_watts=40.0) == joules(
            {
                ("a", "active"): 60.0,
                ("", "overhead"): 20.0,
                ("", "idle_held"): 10.0,
                ("", "idle_unallocated"): 10.0,
            }
        )

    def test_by_share_where_nobody_works(self) -> None:
        who = (held("a", 0.5, 0.0), held("b", 0.5, 0.0))
        assert paid(SECOND, *who, policy=PROPORTIONAL, idle_watts=40.0) == joules(
            {("a", "idle_held"): 20.0, ("b", "idle_held"): 20.0, ("", "unattributed"): 60.0}
        )

    def test_a_device_that_does_nothing(self) -> None:
        who = (held("a", 0.5, 0.01), held("b", 0.25))
        assert paid(IDLE, *who) == joules(
            {("a", "idle_held"): 50.0, ("b", "idle_held"): 25.0, ("", "idle_unallocated"): 25.0}
        )
        assert paid(IDLE, *who, policy=PLATFORM) == joules(
            {("", "idle_held"): 75.0, ("", "idle_unallocated"): 25.0}
        )
        assert paid(IDLE, *who, policy=PROPORTIONAL) == joules(
            {("a", "idle_held"): 100 / 26, ("b", "idle_held"): 2500 / 26}
        )

    def test_without_an_activity_only_the_platform_sets_idling_apart(self) -> None:
        whole = held("a", 1.0)
        for policy in (HOLDER, PROPORTIONAL):
            assert paid(SECOND, whole, policy=policy, idle_watts=40.0) == {("a", "active"): 100.0}
        assert paid(SECOND, whole, policy=PLATFORM, idle_watts=40.0) == joules(
            {("a", "active"): 60.0, ("", "overhead"): 40.0}
        )

    def test_without_a_learned_baseline_all_of_it_is_active(self) -> None:
        for policy in POLICIES:
            assert paid(SECOND, *self.WHO, policy=policy) == {("a", "active"): 100.0}

    def test_idling_is_never_more_than_what_was_drawn(self) -> None:
        found = paid(SECOND, held("a", 1.0, 1.0), policy=PLATFORM, idle_watts=1e9)
        assert found == {("", "overhead"): 100.0}

    def test_nobodys_idling_where_those_who_work_hold_nothing(self) -> None:
        assert paid(SECOND, held("a", 0.0, 0.5), idle_watts=40.0) == {
            ("a", "active"): 60.0,
            ("", "idle_unallocated"): 40.0,
        }

    @pytest.mark.parametrize("policy", POLICIES)
    def test_a_device_that_nobody_has(self, policy: Policy) -> None:
        assert paid(IDLE, policy=policy, idle_watts=40.0) == {("", "idle_unallocated"): 100.0}
        assert paid(SECOND, policy=policy, idle_watts=40.0) == {("", "unattributed"): 100.0}


class TestWhatStands:
    def test_a_higher_revision_then_a_later_end_then_the_last_word(self) -> None:
        said = [
            held("a", 0.1, end=900, revision=1),
            held("a", 0.2, end=2000),
            held("a", 0.3, end=800, revision=1),
            held("a", 0.4, end=900, revision=1),
        ]
        assert standing(said) == [said[3]]

    def test_a_revision_takes_an_allocation_back(self) -> None:
        assert paid(SECOND, held("a", 1.0), held("a", 1.0, end=0, revision=1)) == {
            ("", "unattributed"): 100.0
        }


SHARES = st.integers(0, 64).map(lambda n: n / 64)
ACTIVITIES = st.none() | SHARES
IDLE_WATTS = st.none() | st.floats(0, 1e6)
SPANS = st.one_of(
    st.builds(
        lambda j, u: replace(SECOND, joules=Joules(j), utilization_ratio=u),
        st.floats(0, 1e9),
        st.none() | st.floats(0, 1),
    ),
    st.builds(
        lambda a, b: replace(SECOND, joules=Joules((a + b) / 2), power_watts=(a, b)),
        st.floats(0, 1e6),
        st.floats(0, 1e6),
    ),
)


@st.composite
def sharers(draw: st.DrawFn, activities: st.SearchStrategy[float | None] = ACTIVITIES) -> object:
    """Allocations of one device, no two with one workload and start."""
    found = {}
    for workload in draw(st.lists(st.sampled_from("abc"), max_size=8)):
        start, length = draw(st.integers(-500, 1500)), draw(st.integers(0, 2000))
        share, activity = draw(SHARES), draw(activities)
        found[workload, start] = held(workload, share, activity, start=start, end=start + length)
    return list(found.values())


def close(a: Paid, b: Paid, scale: float) -> bool:
    return all(
        math.isclose(a.get(k, 0.0), b.get(k, 0.0), rel_tol=1e-9, abs_tol=1e-12 + 1e-9 * scale)
        for k in a.keys() | b.keys()
    )


@given(SPANS, sharers(), st.sampled_from(POLICIES), IDLE_WATTS)
def test_charges_add_up_to_the_span_and_none_is_negative(
    of: Span, who: list[Allocation], policy: Policy, idle_watts: float | None
) -> None:
    found = charges(of, who, policy, idle_watts)
    assert of.joules is not None
    total = math.fsum(c.joules for c in found)
    assert math.isclose(total, of.joules, rel_tol=1e-9, abs_tol=1e-12)
    assert all(c.joules >= 0 for c in found)


@given(SPANS, sharers(), st.sampled_from(POLICIES), IDLE_WATTS, st.lists(st.integers(0, 1000)))
def test_refinement_conserves(
    of: Span,
    who: list[Allocation],
    policy: Policy,
    idle_watts: float | None,
    edges: list[int],
) -> None:
    whole = charges(of, who, policy, idle_watts)
    refined = [
        charge
        for start, end in pairwise(sorted({0, 1000, *edges}))
        for charge in charges(cut(of, start, end), who, policy, idle_watts)
    ]
    scale = of.joules or 0.0
    total = math.fsum(c.joules for c in refined)
    assert math.isclose(total, scale, rel_tol=1e-9, abs_tol=1e-12)
    if of.power_watts is None or idle_watts is None:
        # Of a slope, more lies above the idle power the finer it is cut.
        assert close(summed(whole), summed(refined), scale)


@given(SPANS, sharers(), st.sampled_from(POLICIES), IDLE_WATTS, st.randoms())
def test_order_and_repeats_change_nothing(
    of: Span, who: list[Allocation], policy: Policy, idle_watts: float | None, random: Random
) -> None:
    repeated = [*who, *who]
    random.shuffle(repeated)
    ours = paid(of, *repeated, policy=policy, idle_watts=idle_watts)
    theirs = paid(of, *who, policy=policy, idle_watts=idle_watts)
    assert close(ours, theirs, of.joules or 0.0)


@given(SPANS, sharers(SHARES), st.sampled_from(POLICIES), IDLE_WATTS, st.data())
def test_who_does_nothing_changes_nobodys_active_energy(
    of: Span,
    who: list[Allocation],
    policy: Policy,
    idle_watts: float | None,
    data: st.DataObject,
) -> None:
    """Where every activity is known, and shares still fit: who idles takes of what was free."""
    who = [*who, held("worker", 0.0, data.draw(SHARES))]
    busiest = max(sum(a.share for a in who if a.start_ms <= t < a.end_ms) for t in range(1000))
    free = max(0.0, 1 - busiest)
    idler = held("idler", data.draw(SHARES) * free, 0.0)
    before = paid(of, *who, policy=policy, idle_watts=idle_watts)
    after = paid(of, *who, idler, policy=policy, idle_watts=idle_watts)
    active, still = ({k: j for k, j in p.items() if k[1] == "active"} for p in (before, after))
    assert close(active, still, of.joules or 0.0)


@given(SPANS, sharers(), st.sampled_from(POLICIES), IDLE_WATTS, SHARES)
def test_a_workload_in_two_pays_as_much(
    of: Span, who: list[Allocation], policy: Policy, idle_watts: float | None, part: float
) -> None:
    part = min(max(part, 1 / 64), 63 / 64)

    def piece(a: Allocation, name: str, of_it: float) -> Allocation:
        activity = None if a.activity is None else a.activity * of_it
        return replace(a, workload=name, share=a.share * of_it, activity=activity)

    halves = [
        half
        for a in who
        for half in (
            (piece(a, "a1", part), piece(a, "a2", 1 - part)) if a.workload == "a" else (a,)
        )
    ]
    whole = paid(of, *who, policy=policy, idle_watts=idle_watts)
    split: Paid = defaultdict(float)
    for (workload, charge_class), of_it in paid(
        of, *halves, policy=policy, idle_watts=idle_watts
    ).items():
        split["a" if workload in ("a1", "a2") else workload, charge_class] += of_it
    assert close(whole, dict(split), of.joules or 0.0)


@given(st.lists(st.integers(0, 64), min_size=7, max_size=7), IDLE_WATTS)
def test_instances_do_not_multiply_their_board(
    activities: list[int], idle_watts: float | None
) -> None:
    """Seven holders of a seventh of a board each pay for one board, by activity times slices."""
    who = [held(f"w{i}", 1 / 7, n / 64 / 7) for i, n in enumerate(activities)]
    found = paid(SECOND, *who, idle_watts=idle_watts)
    assert math.isclose(math.fsum(found.values()), 100.0, rel_tol=1e-9)
    if idle_watts is None and any(activities):
        for i, n in enumerate(activities):
            assert math.isclose(
                found.get((f"w{i}", "active"), 0.0), 100 * n / sum(activities), rel_tol=1e-9
            )
