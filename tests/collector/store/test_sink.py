"""Straight into the store: marks of dirty hours go in less often than rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wattshed_collector.errors import StoreError
from wattshed_collector.ledger import OVERLAP_US
from wattshed_collector.store.frames import frame
from wattshed_collector.store.insert import Insert
from wattshed_collector.store.native import encode
from wattshed_collector.store.sink import MARK_SECONDS, Straight

if TYPE_CHECKING:
    from tests.collector.conftest import Bed


def mark(*hours: int) -> Insert:
    return encode(frame("dirty", {"hour": list(hours)}))


def test_the_same_hours_are_marked_once_in_a_while_and_others_at_once(bed: Bed) -> None:
    now = [100.0]
    sink = Straight(lambda: bed.client, now=lambda: now[0])
    for at, marks, expected in (
        (100.0, mark(3600), 1),
        (109.9, mark(3600), 1),
        (109.9, mark(7200), 2),
        (110.0, mark(3600), 3),
        (115.0, mark(3600), 3),
        (112.0, mark(3600), 3),
        (80.0, mark(3600), 4),  # the clock was set back
        (81.0, mark(3600), 4),
    ):
        now[0] = at
        sink.write([marks])
        assert bed.client.rows("SELECT count() FROM dirty") == [(expected,)]


@pytest.mark.parametrize(("took", "marks"), [(9.0, 1), (11.0, 2), (-3600.0, 2)])
def test_hours_are_marked_once_more_where_writing_took_long(
    bed: Bed, took: float, marks: int
) -> None:
    """A run of the ledger may be done with the first mark before it could see the rows."""
    at = iter([100.0, 100.0 + took])
    sink = Straight(lambda: bed.client, now=lambda: next(at))
    sink.write([mark(3600)])
    assert bed.client.rows("SELECT count() FROM dirty") == [(marks,)]


def test_a_mark_that_failed_is_tried_again(bed: Bed) -> None:
    sink = Straight(lambda: bed.client, now=lambda: 0.0)
    bed.client.command("RENAME TABLE dirty TO away")
    try:
        with pytest.raises(StoreError):
            sink.write([mark(3600)])
    finally:
        bed.client.command("RENAME TABLE away TO dirty")
    sink.write([mark(3600)])
    assert bed.client.rows("SELECT count() FROM dirty") == [(1,)]


def test_a_mark_covers_less_than_what_the_ledger_looks_back() -> None:
    assert MARK_SECONDS * 1e6 * 2 < OVERLAP_US
