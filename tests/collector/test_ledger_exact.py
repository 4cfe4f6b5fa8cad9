"""What the ledger says of a few readings, against numbers computed by hand."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from wattshed_collector.ledger import OVERLAP_US
from wattshed_collector.store.ledger_sql import CHARGE, MEASURE, TICK_HOURS
from wattshed_collector.store.pieces_sql import BESIDE, PIECES
from wattshed_collector.store.policies import Rule
from wattshed_exporter.model import Allocation, Batch, Method, Tick, stable_id

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

MINUTE, HOUR = 60_000, 3_600_000
BASE = 1_768_471_200_000  # 2026-01-15T10:00:00Z


def reading(
    minute: float, joules: float, start_minute: float | None = None, device: str = "card"
) -> Tick:
    return Tick(
        device,
        BASE + round(minute * MINUTE),
        600_000,
        Method.COUNTER,
        energy_uj=round(joules * 1e6),
        start_ms=None if start_minute is None else BASE + round(start_minute * MINUTE),
    )


def held(start_minute: float, end_minute: float) -> Allocation:
    return Allocation(
        "card", "train", BASE + round(start_minute * MINUTE), BASE + round(end_minute * MINUTE)
    )


def about(joules: float, seconds: float) -> Any:
    return pytest.approx((joules, seconds), rel=1e-12)


def hours(bed: Bed) -> dict[tuple[int, str], tuple[float, float]]:
    """Joules and seconds of each hour after BASE and class."""
    return {
        ((t - BASE // 1000) // 3600, name): found
        for (t, _, _, name), found in bed.charged("charge_1h").items()
    }


def measured(bed: Bed) -> dict[tuple[str, str], tuple[float | None, float]]:
    found: dict[tuple[str, str], tuple[float | None, float]] = {}
    for (_, _, method, reason), (joules, seconds) in bed.measured().items():
        before, lasted = found.get((method, reason), (None, 0.0))
        known = before if joules is None else (before or 0.0) + joules
        found[method, reason] = known, lasted + seconds
    return found


def test_an_allocation_that_comes_two_hours_late(bed: Bed) -> None:
    """A hundred watts all along; that it was held from 10:15:30 to 10:45 is told after twelve."""
    ledger = bed.ledger(now=lambda: time.time() + OVERLAP_US / 1e6)
    ticks = tuple(reading(minute, minute * 60 * 100) for minute in range(0, 151, 10))
    bed.write(Batch(ticks=ticks))
    ledger.run()
    before = hours(bed)
    assert before == {
        (0, "unattributed"): about(360_000, 3600),
        (1, "unattributed"): about(360_000, 3600),
        (2, "unattributed"): about(180_000, 1800),
    }
    bed.write(Batch(allocations=(held(15.5, 45),)))
    assert ledger.run() == [BASE // 1000]
    after = hours(bed)
    assert after[0, "active"] == about(177_000, 1770)
    assert after[0, "unattributed"] == about(183_000, 1830)
    assert {key: found for key, found in after.items() if key[0]} == {
        key: found for key, found in before.items() if key[0]
    }


@pytest.mark.parametrize("start", [20, None])
def test_a_card_that_is_plugged_in_again_counts_from_zero(bed: Bed, start: float | None) -> None:
    """600 J, then out of its slot; 300 J when it is read again, 900 J ten minutes later.

    Where the counter tells that it began at 10:20 those 300 J fell within ten minutes, else within
    the twenty since the reading before; held is the card for the last five of them and after.
    """
    ticks = (reading(0, 500), reading(10, 1100), reading(30, 300, start), reading(40, 900, start))
    bed.write(Batch(ticks=ticks, allocations=(held(25, 50),)))
    bed.ledger().run()
    if start:
        assert measured(bed) == {
            ("counter", ""): about(1500, 1800),
            ("unknown", "reset"): (None, 600),
        }
    else:
        assert measured(bed) == {
            ("counter", ""): about(1200, 1200),
            ("counter", "reset"): about(300, 1200),
        }
    first = 150 if start else 75
    free_seconds = 900 if start else 1500
    assert hours(bed) == {
        (0, "active"): about(first + 600, 900),
        (0, "unattributed"): about(900 - first, free_seconds),
    }


def test_what_was_reconciled_is_not_charged(bed: Bed) -> None:
    """Of two meters one was reconciled in the first of two hours; the statement leaves out that."""
    bed.write(
        Batch(
            ticks=tuple(
                reading(minute, minute * 60, device=device)
                for device in ("outer", "inner")
                for minute in range(0, 121, 10)
            )
        )
    )
    outer = stable_id("outer")
    bed.client.insert(
        "reconcile_1h",
        {
            "t": [BASE // 1000, BASE // 1000 + 3600],
            "device_id": [outer, outer],
            "outer_joules": [3600.0, 3600.0],
            "inner_joules": [3600.0, 3600.0],
            "uncovered_joules": [0.0, 0.0],
            "seconds": [3600.0, 3600.0],
            "status": ["ok", "ok"],
            "version": [7, 6],
        },
    )
    first, end = BASE // 1000, BASE // 1000 + 7200
    # A run of the ledger finds the edges of its hours first.
    bed.client.command(TICK_HOURS, {"hours": [first, first + 3600, end], "version": 1})
    statements = (BESIDE, PIECES, MEASURE, CHARGE)
    bed.ledger().compute(statements, first, end, Rule(), version=7)
    paid: dict[tuple[int, int], float] = {}
    for (t, device, _, _), (joules, _) in bed.charged().items():
        key = device, (t - first) // 3600
        paid[key] = paid.get(key, 0.0) + joules
    whole = pytest.approx(3600, rel=1e-12)
    assert paid == {
        (outer, 1): whole,
        (stable_id("inner"), 0): whole,
        (stable_id("inner"), 1): whole,
    }
