"""From minutes to a month: hours, days and any window say what the minutes add up to, to 1e-9.

The minutes are synthetic; what makes hours and days of them is what the ledger runs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from wattshed_collector.ledger_days import DAY_S, Days
from wattshed_collector.store.outcome_queries import Asked, per_outcome
from wattshed_collector.store.outcome_sql import HOURS
from wattshed_collector.store.pieces_sql import within
from wattshed_collector.store.shards import Shards

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

SINCE = 1_764_547_200  # 2025-12-01
DAYS, STEP_S = 31, 180
UNTIL = SINCE + DAYS * DAY_S
MANY = 4
FILL = (
    """
    INSERT INTO workload (workload_id, key, name, team)
    SELECT number + 1, concat('w', toString(number)), '', if(number % 2 = 0, 'even', 'odd')
    FROM numbers({many:UInt64})
    """,
    """
    INSERT INTO outcome_kind (workload_id, kind, model, is_made, version)
    SELECT number + 1, 'token_out', '', 1, 1 FROM numbers({many:UInt64})
    """,
    """
    INSERT INTO outcome_1m (t, workload_id, kind, count, active_joules, loaded_joules,
                            before_joules, uncertainty_joules, hardware, site, version)
    SELECT toDateTime({since:UInt32} + intDiv(number, {many:UInt64}) * {step:UInt32}, 'UTC'),
           number % {many:UInt64} + 1, kind,
           if(kind = '', 0, exp10(cityHash64(number, 1) % 900 / 100 - 3)) AS made,
           if(kind = '', joules * 0.7, NULL), if(kind = '', joules, NULL),
           if(kind = '', 0., NULL), if(kind = '', joules * 0.05, NULL), 'H100', 'x', 1
    FROM (
        SELECT number, exp10(cityHash64(number) % 800 / 100 - 2) AS joules
        FROM numbers(intDiv({until:UInt32} - {since:UInt32}, {step:UInt32}) * {many:UInt64})
    )
    ARRAY JOIN ['', 'token_out'] AS kind
    """,
)

Minutes = dict[tuple[int, str], tuple[float, float]]
"""Joules and outcomes by minute (Unix seconds) and workload."""


class Month:
    """No dataclass: hypothesis would write all of it where an example fails."""

    def __init__(self, bed: Bed, minutes: Minutes) -> None:
        self.bed, self.minutes = bed, minutes


@pytest.fixture(scope="module")
def month(shared_bed: Bed) -> Month:
    shared_bed.clean()
    client = shared_bed.client
    given = {"many": MANY, "since": SINCE, "until": UNTIL, "step": STEP_S}
    for statement in FILL:
        client.command(statement, given)
    client.command(HOURS, {**within(SINCE, UNTIL), "version": 1})
    Days(Shards(client)).sum_up([(SINCE + n * DAY_S, 1) for n in range(DAYS)], lambda: None)
    rows = client.rows(
        "SELECT toUnixTimestamp(t), workload_key, loaded_joules, count FROM v_outcome_1m"
    )
    return Month(shared_bed, {(int(t), str(w)): (joules, made) for t, w, joules, made in rows})


def sums(minutes: Minutes, since: int, until: int) -> dict[str, tuple[float, float]]:
    """Exact sums, rounded once."""
    mine: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for (t, workload), values in minutes.items():
        if since <= t < until:
            for of, value in zip(mine[workload], values, strict=True):
                of.append(value)
    return {w: (math.fsum(joules), math.fsum(made)) for w, (joules, made) in mine.items()}


@settings(max_examples=6, deadline=None, database=None, phases=(Phase.explicit, Phase.generate))
@given(
    st.lists(st.integers(0, (UNTIL - SINCE) // 60), min_size=2, max_size=2, unique=True).map(sorted)
)
def test_any_window_of_the_month_is_its_minutes(month: Month, window: list[int]) -> None:
    bed, minutes = month.bed, month.minutes
    since, until = (SINCE + minute * 60 for minute in window)
    wanted = sums(minutes, since, until)
    rows = per_outcome(bed.client, Asked(("workload_key",), since, until))
    found = {r["workload_key"]: (r["loaded_joules"], r["count"]) for r in rows}
    assert found.keys() == wanted.keys()
    for key, (joules, made) in wanted.items():
        assert found[key] == pytest.approx((joules, made), rel=1e-9)
    for row in rows:
        joules, made = wanted[row["workload_key"]]
        assert row["joules_per_outcome_loaded"] == pytest.approx(joules / made, rel=1e-9)
        assert row["uncertainty_joules"] == pytest.approx(joules * 0.05, rel=1e-9)


def test_the_month_by_minutes_hours_days_and_at_once(month: Month) -> None:
    bed, minutes = month.bed, month.minutes
    each = sums(minutes, SINCE, UNTIL)
    joules, made = (math.fsum(values) for values in zip(*each.values(), strict=True))
    for step in (0, 3600, DAY_S):
        rows = per_outcome(bed.client, Asked((), SINCE, UNTIL, step=step))
        assert len(rows) == ((UNTIL - SINCE) // step if step else 1)
        assert math.fsum(row["loaded_joules"] for row in rows) == pytest.approx(joules, rel=1e-9)
        assert math.fsum(row["count"] for row in rows) == pytest.approx(made, rel=1e-9)
    for table in ("v_outcome_1m", "v_outcome_1h", "v_outcome_1d"):
        ((energy, count),) = bed.client.rows(f"SELECT sum(loaded_joules), sum(count) FROM {table}")
        assert (energy, count) == pytest.approx((joules, made), rel=1e-9)
