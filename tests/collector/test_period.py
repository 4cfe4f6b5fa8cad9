"""Months and weeks: each second of the calendar is in exactly one of each."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.errors import InvalidInput
from wattshed_collector.period import asked, month, week

seconds = st.integers(100_000_000, 4_000_000_000)


@given(seconds)
def test_every_second_is_in_its_month_and_week(at: int) -> None:
    time = datetime.fromtimestamp(at, UTC)
    for found in (month(f"{time:%Y-%m}"), week(f"{time:%G-W%V}")):
        assert found.start_s <= at < found.end_s
        before = (month if found.kind == "month" else week)(found.before)
        assert (before.start_s, before.end_s) == (found.before_s, found.start_s)


def test_lengths() -> None:
    days = {name: (month(name).end_s - month(name).start_s) // 86400 for name in ("2026-02",)}
    assert days == {"2026-02": 28}
    assert datetime.fromtimestamp(week("2026-W44").start_s, UTC).strftime("%F %a") == (
        "2026-10-26 Mon"
    )


@pytest.mark.parametrize("name", ["2026", "2026-13", "2026-1", "0001-01", "10000-01", "next"])
def test_what_is_no_month(name: str) -> None:
    with pytest.raises(InvalidInput):
        month(name)


@pytest.mark.parametrize("name", ["2026-44", "2026-W54", "2026-W00", "2026-W4"])
def test_what_is_no_week(name: str) -> None:
    with pytest.raises(InvalidInput):
        week(name)


def test_without_a_name_it_is_the_last_month_that_is_over() -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    assert asked("", "", now).name == "2026-02"
    assert asked("2026-02", "", now).name == "2026-02"
    for names in (("2026-02", "2026-W05"), ("2026-04", ""), ("", "2026-W20"), ("1970-01", "")):
        with pytest.raises(InvalidInput):
            asked(*names, now)
