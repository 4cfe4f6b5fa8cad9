"""Budgets burn exactly as computed by hand, clear again, and are the same however they came about.

One stream goes the whole way, from readings of a meter and a counter to the burn table. The rest
begins where outcomes are set against joules.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.collector.slo_reference import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    Follower,
    Minute,
    adopt,
    describe,
    expected,
    produce,
)

from wattshed_collector.slo import BURNS, Burn, Sli, Slo
from wattshed_collector.store import slo_queries
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Method, Outcome, Tick, Workload

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BASE = 1_768_471_200  # 2026-01-15T10:00:00Z
PAGE, TICKET = Burn(4.1, 3600, 300), Burn(2.1, 6 * 3600, 1800, "ticket")
SLO = Slo(
    name="tokens",
    outcome="token",
    target_joules_per_outcome=0.5,
    objective_ratio=0.9,
    owner="ml",
    match={"team": "blue"},
    window_days=1,
    least_outcomes=50,
    burn=(PAGE, TICKET),
)
BUDGET = Slo(
    name="joules",
    outcome="token",
    target_joules_per_outcome=0.5,
    objective_ratio=0.9,
    sli=Sli.JOULE_BUDGET,
    window_days=1,
    burn=(PAGE, TICKET),
)
KEPT = "t, slo, outcomes, bad_outcomes, unmeasured_outcomes, joules, idle_joules"


def rows(bed: Bed, table: str = "slo_1h") -> list[tuple[Any, ...]]:
    return bed.client.rows(
        f"SELECT {KEPT} FROM {table} FINAL "
        "WHERE outcomes != 0 OR joules != 0 OR unmeasured_outcomes != 0 ORDER BY slo, t"
    )


def at(bed: Bed, follower: Follower, minute: int, name: str = "tokens") -> list[dict[str, Any]]:
    """The burn table whose windows end with a minute after BASE."""
    follower.settle(BASE + minute * MINUTE_S + 120)
    return slo_queries.burn(bed.client, name)


def stream(joules: list[int], tokens: int = 100) -> Batch:
    """A GPU whose counter grows by so many joules a minute, and a server that counts its tokens."""
    total, ticks = 0, []
    for minute, more in enumerate([0, *joules]):
        total += more * 1_000_000
        ticks.append(
            Tick("g", (BASE + minute * 60) * 1000, 60_000, Method.COUNTER, None, total, BASE * 1000)
        )
    end_ms = (BASE + len(joules) * 60) * 1000
    return Batch(
        devices=(Device("g", Kind.GPU, "n", "s"),),
        ticks=tuple(ticks),
        workloads=(Workload("w", "llama", "inference", team="blue"),),
        allocations=(Allocation("g", "w", BASE * 1000, end_ms),),
        outcomes=tuple(
            Outcome("w", "token", (BASE + m * 60) * 1000, m * float(tokens), BASE * 1000)
            for m in range(len(joules) + 1)
        ),
    )


def test_a_breach_burns_the_computed_budget_and_clears(bed: Bed) -> None:
    """Sixty minutes at 0.4 J a token, thirty at 0.8 J, and at 0.4 J again; 0.5 J is promised."""
    adopt(bed.client, SLO, BUDGET)
    bed.write(stream([40] * 60 + [80] * 30 + [40] * 34))
    bed.ledger().run()
    follower = Follower(bed.client, BASE)
    burning = {
        minute: tuple(row["is_burning"] for row in at(bed, follower, minute))
        for minute in (60, 75, 76, 84, 85, 92, 93, 113, 114)
    }
    # 16 bad minutes of 76 burn at 2.105 over six hours; 25 of 60 at 4.17 over one. It clears by the
    # short windows: 2 bad minutes of 5 burn at 4, 6 of 30 at 2.
    assert burning == {
        60: (False, False),
        75: (False, False),
        76: (False, True),
        84: (False, True),
        85: (True, True),
        92: (True, True),
        93: (False, True),
        113: (False, True),
        114: (False, False),
    }
    page, ticket = at(bed, follower, 120)
    assert page["burn_long"] == pytest.approx(30 / 60 / 0.1, rel=1e-9)
    assert page["burn_short"] == 0
    assert ticket["burn_long"] == pytest.approx(30 / 120 / 0.1, rel=1e-9)
    for row in (page, ticket):
        assert row["outcomes"] == pytest.approx(12_000, rel=1e-9)
        assert row["budget_total"] == pytest.approx(1_200, rel=1e-9)
        assert row["budget_spent"] == pytest.approx(3_000, rel=1e-9)
        assert row["budget_left_ratio"] == pytest.approx(-1.5, rel=1e-9)
        assert (row["budget_unit"], row["budget_state"]) == ("token", "spent")
        assert row["joules"] == pytest.approx(90 * 40 + 30 * 80, rel=1e-9)
    # Of the joules: 3,600 in the worst hour, where 3,000 were at the target and 300 more allowed.
    page, _ = at(bed, follower, 90, "joules")
    assert page["burn_long"] == pytest.approx((3600 - 3000) / 3000 / 0.1, rel=1e-9)
    assert page["burn_short"] == pytest.approx((400 - 250) / 250 / 0.1, rel=1e-9)
    assert page["budget_spent"] == pytest.approx(60 * 40 + 30 * 80 - 90 * 50, rel=1e-9)
    assert page["budget_left_ratio"] == pytest.approx(1 - 300 / 450, rel=1e-9)


def test_a_restart_goes_on_where_it_was(bed: Bed) -> None:
    """A definition is computed back in portions, and says that it is not done meanwhile."""
    minutes = [Minute(BASE + n * 300, 100.0, 40.0) for n in range(120)]
    produce(bed.client, minutes)
    adopt(bed.client, SLO)
    end = BASE + 10 * HOUR_S
    follower = Follower(bed.client, BASE, portion_hours=4)
    follower.settle(end + 120)
    states = []
    while follower.follow(end):
        page, ticket = slo_queries.burn(bed.client)
        states.append((page["state"], ticket["state"], page["budget_state"], len(rows(bed))))
        follower = Follower(bed.client, BASE, portion_hours=4)
    assert states == [
        ("ok", "computing", "computing", 4),
        ("ok", "ok", "computing", 8),
        ("ok", "ok", "ok", 10),
    ]
    assert sum(row[2] for row in rows(bed)) == 12_000


def test_what_a_change_leaves_is_what_is_computed_from_scratch(bed: Bed) -> None:
    """Late minutes, another target, and a workload that changes hands."""
    blue, red = Workload("w", "w", team="blue"), Workload("x", "x", team="red")
    early = [Minute(BASE + n * 300, 100.0, 40.0 + n, "wx"[n % 2]) for n in range(48)]
    produce(bed.client, early, (blue, red))
    adopt(bed.client, SLO, BUDGET)
    follower, end = Follower(bed.client, BASE), BASE + 4 * HOUR_S
    follower.settle(end)
    follower.all(end)
    before = rows(bed)
    late = [Minute(BASE + 60, 500.0, 90.0), Minute(BASE + 120, 0.0, 70.0)]
    produce(bed.client, late, (blue,))
    follower.recompute(BASE, BASE + HOUR_S)
    describe(bed.client, [Workload("x", "x", team="blue")])
    follower.all(end)
    changed = adopt(bed.client, Slo(**{**_told(SLO), "target_joules_per_outcome": 0.6}), BUDGET)
    assert changed == ["tokens"]
    follower.all(end)
    found = rows(bed), rows(bed, "slo_1m")
    for table in ("slo_1m", "slo_1h", "slo_member", "slo_reach"):
        bed.client.command(f"TRUNCATE TABLE {table}")
    follower = Follower(bed.client, BASE)
    follower.all(end)
    assert (rows(bed), rows(bed, "slo_1m")) == found
    assert found[0] != before
    # And back: what is nobody's any more leaves zero rows, which no question sees.
    describe(bed.client, [Workload("x", "x", team="red"), Workload("w", "w", team="red")])
    follower.all(end)
    assert {row[1] for row in rows(bed)} == {"joules"}
    page, _ = slo_queries.burn(bed.client, "tokens")
    assert (page["state"], page["burn_long"], page["outcomes"]) == ("no_data", None, 0)


def _told(slo: Slo) -> dict[str, Any]:
    return {name: getattr(slo, name) for name in Slo.__dataclass_fields__}


def test_a_window_that_says_nothing_says_so(bed: Bed) -> None:
    """Too few outcomes, none at all, none with energy: no rate, no division, a state each."""
    workloads = [Workload(key, key, team=key) for key in ("few", "none", "blind", "part")]
    end = BASE + 2 * HOUR_S
    old = [Minute(BASE, 100.0, 10.0, key) for key in ("few", "none", "blind", "part")]
    produce(
        bed.client,
        [
            *old,
            Minute(end - 120, 40.0, 90.0, "few"),
            Minute(end - 120, 0.0, 90.0, "none"),
            Minute(end - 120, 40.0, None, "blind"),
            Minute(end - 240, 60.0, 90.0, "part"),
            Minute(end - 120, 40.0, None, "part"),
        ],
        workloads,
    )
    slos = [
        Slo(**{**_told(SLO), "name": w.key, "match": {"team": w.key}, "sli": Sli.JOULE_BUDGET})
        for w in workloads
    ]
    adopt(bed.client, *slos)
    follower = Follower(bed.client, BASE)
    follower.settle(end + 120)
    follower.all(end + HOUR_S)
    found = {row["slo"]: row for row in slo_queries.burn(bed.client) if row["factor"] == 4.1}
    states = {name: (row["state"], row["burn_long"]) for name, row in found.items()}
    assert states.pop("part") == ("burning", pytest.approx((90 - 30) / 30 / 0.1))
    assert states == {
        "few": ("low_traffic", None),
        "none": ("no_outcomes", None),
        "blind": ("no_energy", None),
    }
    # Over the day there are enough: what was drawn for nothing counts, and is told apart.
    none = found["none"]
    assert (none["idle_joules"], none["joules"], none["outcomes"]) == (90, 100, 100)
    assert none["budget_spent"] == pytest.approx(100 - 50)
    assert (found["blind"]["unmeasured_outcomes"], found["blind"]["outcomes"]) == (40, 100)


def test_hours_outlive_their_minutes(bed: Bed) -> None:
    """What is not to be computed any more stays as it was, and a new definition says from when."""
    days = 8
    end = BASE + days * DAY_S
    produce(bed.client, [Minute(BASE + n * DAY_S, 100.0, 60.0) for n in range(days)])
    slo = Slo(**{**_told(SLO), "window_days": 6, "burn": BURNS})
    adopt(bed.client, slo)
    follower = Follower(bed.client, BASE)
    follower.settle(end)
    follower.all(end)
    for table in ("outcome_1m", "slo_1m"):
        bed.client.command(f"TRUNCATE TABLE {table}")
    kept = Follower(bed.client, BASE, minute_days=3)
    kept.all(end)
    (row, *_) = slo_queries.burn(bed.client)
    assert (row["outcomes"], row["budget_state"]) == (600, "spent")
    adopt(bed.client, Slo(**{**_told(slo), "target_joules_per_outcome": 0.7}))
    kept.all(end)
    (row, *_) = slo_queries.burn(bed.client)
    assert (row["outcomes"], row["budget_state"]) == (0, "no_outcomes")
    assert row["budget_since"] == end - 2 * DAY_S


MINUTES = st.lists(
    st.tuples(
        st.integers(0, 2 * 1440 - 1),
        st.sampled_from([0.0, 1.0, 50.0, 333.3]),
        st.none() | st.floats(0.1, 300),
    ),
    min_size=1,
    max_size=200,
    unique_by=lambda row: row[0],
)
PAIRS = st.lists(
    st.builds(
        lambda factor, short, more: Burn(factor, short * 60 + more * 60, short * 60),
        st.sampled_from([0.5, 1.0, 3.0, 14.4]),
        st.integers(1, 720),
        st.integers(1, 720),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda pair: (pair.long_seconds, pair.short_seconds),
)


@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    minutes=MINUTES,
    pairs=PAIRS,
    target=st.sampled_from([0.5, 1.0, 20.0]),
    sli=st.sampled_from(Sli),
    objective=st.sampled_from([0.5, 0.9, 0.999]),
    least=st.sampled_from([1.0, 60.0]),
    ends=st.lists(st.integers(1, 2 * 1440), min_size=3, max_size=3),
)
def test_every_window_is_what_plain_python_says(
    bed: Bed,
    minutes: list[tuple[int, float, float | None]],
    pairs: list[Burn],
    target: float,
    sli: Sli,
    objective: float,
    least: float,
    ends: list[int],
) -> None:
    bed.clean()
    told = [Minute(BASE + n * 60, made, joules) for n, made, joules in minutes]
    slo = Slo(
        name="any",
        outcome="token",
        target_joules_per_outcome=target,
        objective_ratio=objective,
        sli=sli,
        window_days=1,
        least_outcomes=least,
        burn=pairs,
    )
    produce(bed.client, told)
    adopt(bed.client, slo)
    follower = Follower(bed.client, BASE)
    follower.settle(BASE + 2 * DAY_S)
    follower.recompute(BASE, BASE + 2 * DAY_S)
    follower.all(BASE + 2 * DAY_S)
    is_made = any(minute.outcomes for minute in told)
    for end in ends:
        found = at(bed, follower, end, "any")
        wanted = expected(slo, told if is_made else [], BASE + end * 60 + 120)
        assert len(found) == len(wanted)
        for row, one in zip(found, wanted, strict=True):
            assert _same({key: row[key] for key in one}, one), (end, row, one)


def _same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(
        found[key] is value
        if value is None or isinstance(value, bool)
        else found[key] is not None and math.isclose(found[key], value, rel_tol=1e-9, abs_tol=1e-9)
        for key, value in wanted.items()
    )
