"""What a run of the ledger leaves out, where there is nothing of it: nothing else comes of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from tests.collector.test_ledger import BASE, fleet

from wattshed_collector.ledger import OVERLAP_US
from wattshed_collector.store.ledger_sql import (
    CANCEL,
    CHARGE,
    CHARGE_NOBODY,
    MEASURE,
    TICK_HOURS,
    Without,
    needed,
)
from wattshed_collector.store.pieces_sql import BESIDE, PIECES, PLAIN, UNCUT, UNFLOORED
from wattshed_collector.store.policies import Rule
from wattshed_exporter.model import Batch, IdlePolicy, Method, Tick

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

FIRST, HOURS = BASE // 1000, 7
BASELINES = f"""
INSERT INTO idle_hour (hour, device_id, watts)
SELECT DISTINCT hour, device_id, 1 + device_id % 400 FROM tick_hour WHERE device_id % 3 != 0
  AND hour >= toDateTime({FIRST}, 'UTC')
"""
SUMS = {
    "piece": "t, device_id, from_ms, to_ms, is_idle, rule, method, gap, joules, seconds, "
    "floor_joules, floor_seconds",
    "charge_1m": "t, device_id, workload_id, class, joules, seconds",
}
Rows = list[tuple[object, ...]]


def about(rows: Rows) -> Rows:
    return [
        tuple(pytest.approx(v, rel=1e-12) if isinstance(v, float) else v for v in row)
        for row in rows
    ]


def computed(bed: Bed, pieces: str, charge: str, version: int) -> dict[str, Rows]:
    """What these statements write of the fleet."""
    rule = Rule(IdlePolicy.PLATFORM, 500)
    end = FIRST + HOURS * 3600
    bed.ledger().compute((BESIDE, pieces, MEASURE, charge), FIRST, end, rule, version)
    return {
        table: bed.client.rows(
            f"SELECT {columns} FROM {table} FINAL WHERE version = {{version:UInt64}} ORDER BY ALL",
            {"version": version},
        )
        for table, columns in SUMS.items()
    }


@pytest.mark.parametrize(
    ("is_held", "has_baseline", "pieces"),
    [(False, False, PLAIN), (False, True, UNCUT), (True, False, UNFLOORED)],
)
def test_a_statement_that_leaves_something_out_writes_the_same(
    bed: Bed, is_held: bool, has_baseline: bool, pieces: str
) -> None:
    ticks, held = fleet(range(6), 3)
    bed.write(Batch(ticks=tuple(ticks), allocations=tuple(held) if is_held else ()))
    hours = [FIRST + hour * 3600 for hour in range(HOURS)]
    bed.client.command(TICK_HOURS, {"hours": hours, "version": 1})
    if has_baseline:
        bed.client.command(BASELINES)
    whole = {table: about(rows) for table, rows in computed(bed, PIECES, CHARGE, 1).items()}
    charge = CHARGE if is_held else CHARGE_NOBODY
    assert len(whole["charge_1m"]) > 100
    assert computed(bed, pieces, charge, 2) == whole
    others = {PLAIN, UNCUT, UNFLOORED} - {pieces}
    assert all(
        statement not in needed(Without(holder=not is_held, baseline=not has_baseline))
        for statement in others
    )


def test_only_hours_that_were_computed_before_are_cancelled(bed: Bed) -> None:
    """Nothing is known of their holders either, until there are some."""
    ledger = bed.ledger(now=lambda: time.time() + OVERLAP_US / 1e6)
    hours = FIRST, FIRST + 3600
    ticks = (Tick("card", BASE + m * 60_000, 60_000, Method.COUNTER, 300.0) for m in range(9))
    bed.write(Batch(ticks=tuple(ticks)))
    first = ledger.statements(*hours)
    assert not CANCEL.intersection(first)
    assert PLAIN in first
    assert ledger.run() == [FIRST]
    assert CANCEL.issubset(ledger.statements(*hours))
    assert not CANCEL.intersection(ledger.statements(FIRST + 3600, FIRST + 7200))
    # Of what was charged before hours were opened it is known that they were finished.
    bed.client.command("TRUNCATE TABLE ledger_open")
    assert CANCEL.issubset(ledger.statements(*hours))
