"""Factors: what was said last counts, whatever the clock says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed_collector.factor import Factor
from wattshed_collector.store import factors

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BASE = 1_768_471_200


def test_a_clock_that_was_ahead_does_not_keep_an_older_factor(bed: Bed) -> None:
    for now, value in ((BASE + 10**8, 1.9), (BASE, 1.3), (BASE - 5, 1.4)):
        factors.put(bed.client, [Factor("pue", "", BASE, value)], now)
        assert [row["value"] for row in factors.listed(bed.client)] == [value]


def test_an_empty_store_has_no_hours_to_mark(bed: Bed) -> None:
    assert factors.put(bed.client, [Factor("pue", "", BASE, None)], BASE + 86_400.0) == 0
    assert bed.client.rows("SELECT count() FROM dirty") == [(0,)]
