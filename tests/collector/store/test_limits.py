"""Power limits are kept as they change: in the order of their times, once each, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.store.frames import frame
from wattshed_collector.store.insert import Frame
from wattshed_collector.store.limits import MINUTE_MS, Changes, Limits, stored
from wattshed_exporter.model import Batch, Detail, Device, Kind, Method, Tick

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BASE = 1_768_471_200_000
BOUND = "wattshed_power_limit_bound_watts"
HELD = "SELECT toUnixTimestamp64Milli(t), limit_watts FROM v_power_limit ORDER BY t"


def said(*limits: tuple[int, int]) -> list[Frame]:
    """Return rows of one device that was asked at these minutes what is requested."""
    times, uws = zip(*limits, strict=True)
    columns = {"ts": [BASE + at * MINUTE_MS for at in times], "device_id": [1] * len(times)}
    return [frame("detail", {**columns, "requested_limit_uw": list(uws)})]


def rows(found: Frame | None) -> list[tuple[int, int]]:
    if found is None:
        return []
    times, uws = (found.columns[name].values.tolist() for name in ("since_ts", "limit_uw"))
    return [((at - BASE) // MINUTE_MS, uw) for at, uw in zip(times, uws, strict=True)]


def nothing() -> Changes:
    return {}


def take(limits: Limits, *told: tuple[int, int]) -> list[tuple[int, int]]:
    found = limits.changes(said(*told), nothing)
    if found is not None:
        limits.remember(found)
    return rows(found)


def test_only_changes_are_written() -> None:
    limits = Limits()
    assert take(limits, (0, 400), (1, 400), (2, 250), (3, 250)) == [(0, 400), (2, 250)]
    assert take(limits, (4, 250)) == []
    assert take(limits, (5, 400)) == [(5, 400)]
    # A backlog says what held before, and what held then is no news.
    assert take(limits, (1, 400), (2, 250), (3, 300)) == [(3, 300)]
    assert limits.changes([], nothing) is None


def test_what_the_store_holds_is_not_written_again_and_is_asked_once() -> None:
    asked = []

    def held() -> Changes | None:
        asked.append(1)
        return None if len(asked) == 1 else {(1, "requested"): [(BASE, 400)]}

    limits = Limits()
    assert rows(limits.changes(said((1, 400)), held)) == [(1, 400)]  # it could not tell
    assert limits.changes(said((1, 400)), held) is None
    assert rows(limits.changes(said((2, 250)), held)) == [(2, 250)]
    assert len(asked) == 2


@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from((1, 2, 3))), min_size=1, max_size=12),
    st.integers(1, 4),
)
def test_what_was_said_last_of_each_minute_holds(told: list[tuple[int, int]], many: int) -> None:
    told.sort(key=lambda one: one[0])
    limits = Limits()
    kept: dict[int, int] = {}
    for at in range(0, len(told), many):
        kept.update(take(limits, *told[at : at + many]))
    assert len(kept) <= len({at for at, _ in told})
    for at, uw in dict(told).items():
        assert kept[max(when for when in kept if when <= at)] == uw


def device(watts: float | None, key: str = "gpu") -> Device:
    return Device(key, Kind.GPU, "n", "nvml", model="X", power_limit_watts=watts)


def test_a_description_holds_from_its_first_reading_on(bed: Bed) -> None:
    for minutes, watts in ((0, 400.0), (10, 250.0), (20, None), (30, 250.0)):
        at = BASE + minutes * MINUTE_MS
        ticks = tuple(Tick("gpu", at + n * 60_000, 60_000, Method.INTEGRAL, 99.0) for n in (1, 2))
        bed.write(Batch(devices=(device(watts),), ticks=ticks))
    first, second = BASE + MINUTE_MS, BASE + 11 * MINUTE_MS
    assert bed.client.rows(HELD) == [(first, 400.0), (second, 250.0)]
    (known,) = stored(bed.client).values()
    assert known == [(first, 400_000_000), (second, 250_000_000)]


def test_what_was_requested_counts_where_it_is_said(bed: Bed) -> None:
    bed.write(Batch(devices=(device(400.0),)))
    for minute, watts in ((0, 400.0), (5, 250.0)):
        detail = Detail("gpu", BOUND, BASE + minute * MINUTE_MS, watts, ("requested",))
        bed.write(Batch(details=(detail,)))
    assert bed.client.rows(HELD) == [(BASE, 400.0), (BASE + 5 * MINUTE_MS, 250.0)]
    assert bed.client.rows("SELECT DISTINCT bound FROM v_power_limit") == [("requested",)]


@pytest.mark.parametrize("watts", [0.0, -1.0, float("nan"), 1e12])
def test_what_is_no_limit_is_none(bed: Bed, watts: float) -> None:
    bed.write(Batch(devices=(device(watts),)))
    assert bed.client.rows("SELECT count() FROM device_limit") == [(0,)]
