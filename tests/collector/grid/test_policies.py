"""What a job is told to do, and why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.grid.policies import Action, Decision, Now, Policy, decide

AT = 1_000_000
POLICY = Policy(
    name="batch",
    match={"team": "research", "workload": "train-*"},
    prefer_below=150.0,
    hold_above=350.0,
    hold_at_most_s=3600,
    cap_above=500.0,
    cap_ratio=0.7,
)
JOB = {"team": "research", "workload": "train-7b"}


def told(value: float | None, held_s: int = 0, **known: Any) -> Decision:
    return decide([POLICY], JOB, {"carbon": Now(AT, value, **known)}, held_s)


@pytest.mark.parametrize(
    ("value", "held_s", "known", "action", "until_s"),
    [
        (100.0, 0, {}, Action.RUN, None),
        (150.0, 0, {"best_start_s": AT + 60}, Action.RUN, None),
        (300.0, 0, {}, Action.RUN, None),
        (351.0, 0, {}, Action.HOLD, AT + 3600),
        (351.0, 600, {}, Action.HOLD, AT + 3000),
        (351.0, 0, {"best_start_s": AT + 1200}, Action.HOLD, AT + 1200),
        (351.0, 0, {"best_start_s": AT + 9000}, Action.HOLD, AT + 3600),
        (351.0, 0, {"best_start_s": AT}, Action.RUN, None),
        (351.0, 0, {"latest_start_s": AT + 600}, Action.HOLD, AT + 600),
        (351.0, 0, {"latest_start_s": AT + 9000}, Action.HOLD, AT + 3600),
        (351.0, 0, {"latest_start_s": AT}, Action.RUN, None),
        (501.0, 0, {"latest_start_s": AT - 60}, Action.CAP, None),
        (351.0, 3600, {}, Action.RUN, None),
        (501.0, 3600, {}, Action.CAP, None),
        (None, 0, {}, Action.RUN, None),
    ],
)
def test_decided(
    value: float | None, held_s: int, known: dict[str, int], action: Action, until_s: int | None
) -> None:
    decision = told(value, held_s, **known)
    assert (decision.action, decision.until_s) == (action, until_s)
    assert decision.policy == "batch"
    assert decision.cap_ratio == (0.7 if action is Action.CAP else None)


def test_why_it_is_held() -> None:
    decision = told(400.0, best_start_s=AT + 1200, best_mean=90.0)
    assert decision.reasons == (
        "carbon is 400, above 350",
        "90 is expected from 1970-01-12 14:06 UTC",
    )


def test_why_it_is_capped_after_all() -> None:
    assert told(600.0, 4000).reasons == (
        "carbon is 600, above 350",
        "held for 4000 s, at most 3600 s",
        "carbon is 600, above 500: capped",
    )


@pytest.mark.parametrize("job", [{}, {"team": "research"}, {"team": "web", "workload": "train-7b"}])
def test_a_job_that_no_policy_matches_runs(job: dict[str, str]) -> None:
    decision = decide([POLICY], job, {"carbon": Now(AT, 999.0)})
    assert decision == Decision(Action.RUN, "", ("no policy matches",))


def test_the_first_that_matches_decides() -> None:
    first = Policy(name="all", hold_above=1.0, hold_at_most_s=60)
    assert decide([first, POLICY], JOB, {"carbon": Now(AT, 100.0)}).policy == "all"


def test_another_signal() -> None:
    policy = Policy(name="p", signal="price", hold_above=0.3, hold_at_most_s=60)
    now = {"carbon": Now(AT, 999.0), "price": Now(AT, 0.2)}
    assert decide([policy], JOB, now).action is Action.RUN


@given(st.floats(0, 1000), st.integers(0, 10_000), st.none() | st.integers(AT - 60, AT + 10_000))
def test_nobody_is_held_longer_than_allowed(value: float, held_s: int, best: int | None) -> None:
    decision = told(value, held_s, best_start_s=best)
    if decision.action is Action.HOLD:
        assert decision.until_s is not None
        assert AT < decision.until_s <= AT + 3600 - held_s
    assert decision.reasons
