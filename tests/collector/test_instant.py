"""Instants as people, files and services write them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.instant import LATEST_S, unix_seconds


@pytest.mark.parametrize(
    ("said", "at"),
    [
        ("2026-01-15", 1_768_435_200),
        ("2026-01-15T08:00", 1_768_464_000),
        ("2026-01-15T09:00+01:00", 1_768_464_000),
        (1_768_464_000, 1_768_464_000),
        (1_768_464_000.5, 1_768_464_000.5),
        (0, 0),
    ],
)
def test_no_zone_is_utc_and_a_number_is_seconds(said: Any, at: float) -> None:
    assert unix_seconds(said) == at


@given(st.integers(0, LATEST_S))
def test_what_is_written_is_read(at: int) -> None:
    assert unix_seconds(datetime.fromtimestamp(at, UTC).isoformat()) == at


@pytest.mark.parametrize("said", ["soon", "", "24h", True, None, [], {}, "9999-99-99"])
def test_what_is_no_time_is_refused(said: Any) -> None:
    with pytest.raises(ValueError, match="is not a time such as"):
        unix_seconds(said)


@pytest.mark.parametrize("said", [-1, LATEST_S + 1, float("nan"), float("inf"), "2106-02-08"])
def test_what_the_store_cannot_hold_is_refused(said: Any) -> None:
    with pytest.raises(ValueError, match="is not a time between 1970 and 2105"):
        unix_seconds(said)
