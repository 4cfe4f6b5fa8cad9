"""Which runs could have waited: chosen as ``when`` would have, measured by what came."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.advice.outlook import DAY_S, HOUR_S, Outlook
from wattshed_collector.advice.runs import Run
from wattshed_collector.advice.shifts import LEAST_RATIO, shifts
from wattshed_collector.grid.profile import same_hours
from wattshed_collector.grid.series import Step
from wattshed_collector.grid.windows import best

KWH = 3.6e6
DAYS = 8
BEFORE = range(-DAYS * DAY_S, 0, HOUR_S)
HOURS = range(0, 40 * HOUR_S, HOUR_S)
GRAMS = st.integers(1, 9).map(float)


def run(hours: int, others: frozenset[int] = frozenset(), name: str = "a", device: int = 1) -> Run:
    return drawn({n * HOUR_S: KWH for n in range(hours)}, others, name, device)


def drawn(
    joules: dict[int, float],
    others: frozenset[int] = frozenset(),
    name: str = "a",
    device: int = 1,
) -> Run:
    return Run(name, "", "", "dub", (device,), {}, joules, others)


def every_day(*grams: float) -> Outlook:
    """Return hours that are alike on all days: the first ones as told, the others 9."""
    day = {n * HOUR_S: g for n, g in enumerate((*grams, *[9.0] * (24 - len(grams))))}
    return Outlook({at: day[at % DAY_S] for at in (*BEFORE, *HOURS)})


def steps(known: dict[int, float]) -> list[Step]:
    return [Step(at, at + HOUR_S, value) for at, value in sorted(known.items())]


@given(
    st.lists(GRAMS, min_size=48, max_size=48),
    st.sets(st.integers(0, 47), max_size=30),
    st.integers(0, 23),
)
def test_what_is_expected_is_as_without_a_forecast(
    grams: list[float], unknown: set[int], now: int
) -> None:
    known = {(n - 48 + now) * HOUR_S: g for n, g in enumerate(grams) if n not in unknown}
    expected = Outlook(known).expected(now * HOUR_S)
    start = now * HOUR_S
    usual = same_hours(steps(known), start, start + DAY_S, start)
    assert len(usual) == 24
    for step in usual:
        found = expected[step.start_s // HOUR_S % 24]
        assert found == (None if step.value is None else pytest.approx(step.value))


@given(
    st.integers(1, 6),
    st.lists(GRAMS, min_size=24, max_size=24),
    st.lists(GRAMS, min_size=40, max_size=40),
    st.sets(st.sampled_from(HOURS)),
    st.sets(st.sampled_from(HOURS), max_size=4),
)
def test_the_wait_is_the_best_that_could_be_expected_and_counted_as_it_came(
    hours: int, usual: list[float], came: list[float], others: set[int], unknown: set[int]
) -> None:
    known = {at: usual[at // HOUR_S % 24] for at in BEFORE}
    known |= {h: g for h, g in zip(HOURS, came, strict=True) if h not in unknown}
    found = shifts([run(hours, frozenset(others))], Outlook(known))
    free = [h for h in HOURS if h not in others | unknown]
    hoped = [Step(h, h + HOUR_S, usual[h // HOUR_S % 24]) for h in free]
    plan = best(hoped, hours * HOUR_S, HOUR_S, (hours + 24) * HOUR_S, interruptible=False)
    now = sum(usual[n % 24] for n in range(hours)) / hours
    ran = range(0, hours * HOUR_S, HOUR_S)
    if plan is None or unknown.intersection(ran) or plan.mean > now * (1 - LEAST_RATIO) + 1e-9:
        assert found == []
        return
    if not found:
        assert plan.mean == pytest.approx(now * (1 - LEAST_RATIO))
        return
    (shift,) = found
    assert shift.hoped_g_per_kwh == pytest.approx(now - plan.mean)
    assert shift.grams == pytest.approx(sum(known[at] for at in ran))
    assert shift.grams_then == pytest.approx(sum(known[at + shift.wait_s] for at in ran))
    assert not others.intersection(shift.hours)


def test_a_choice_that_went_wrong_counts_against_it() -> None:
    known = dict(every_day(9, 9, 1).known)
    known[2 * HOUR_S] = 20.0
    (shift,) = shifts([run(1)], Outlook(known))
    assert (shift.wait_s, shift.saved_grams) == (2 * HOUR_S, 9.0 - 20.0)


def test_what_is_drawn_in_which_hour_counts() -> None:
    joules = {0: 3 * KWH, HOUR_S: KWH}
    (shift,) = shifts([drawn(joules)], every_day(9, 9, 9, 1, 2))
    assert (shift.wait_s, shift.saved_grams) == (3 * HOUR_S, 36 - 5)


def test_no_two_take_one_device_in_one_hour() -> None:
    outlook = every_day(*[9.0] * 10, 1.0, 9.0, 2.0)
    runs = [run(1, name=name) for name in "ab"]
    first, second = shifts(runs, outlook)
    assert (first.wait_s, second.wait_s) == (10 * HOUR_S, 12 * HOUR_S)
    assert first.saved_grams + second.saved_grams == 8 + 7
    beside = [run(1, name=name, device=n) for n, name in enumerate("ab")]
    assert [shift.wait_s for shift in shifts(beside, outlook)] == [10 * HOUR_S] * 2


def test_what_nobody_could_expect_is_not_moved() -> None:
    came = dict.fromkeys(HOURS, 300.0) | {5 * HOUR_S: 1.0}
    assert shifts([run(2)], Outlook(came)) == []
    assert shifts([run(2)], Outlook({})) == []
    assert shifts([run(2)], every_day()) == []
    assert shifts([], every_day(1.0)) == []
