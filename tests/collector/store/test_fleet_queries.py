"""Power now and over time, and who works least, against what was said."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from wattshed_collector.store import fleet_queries, live_power
from wattshed_collector.store.queries import Record
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Method, Overlap, Tick, Workload

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

WATTS = {"a": 300.0, "b": 200.0, "c": 50.0}


def devices() -> tuple[Device, ...]:
    cards = [
        Device(key, Kind.GPU, f"node-{key}", "nvml", site="hall", cluster="c1") for key in WATTS
    ]
    return (*cards, Device("core", Kind.CPU, "node-a", "rapl", overlap=Overlap.INNER))


def said(minute: int, now: int) -> Batch:
    """Ten minutes of three cards and a core; b is shared by two teams, c is held by nobody."""
    ticks = [
        Tick(key, (minute + at) * 1000, 60_000, Method.INTEGRAL, watts, None, None, used)
        for key, watts, used in (
            ("a", 300.0, 0.9), ("b", 200.0, 0.5), ("c", 50.0, 0.0), ("core", 40.0, None))
        for at in range(0, 600, 60)
    ]  # fmt: skip
    start, end = minute * 1000, now * 1000
    return Batch(
        devices=devices(),
        ticks=tuple(ticks),
        workloads=(Workload("x", "train", team="red"), Workload("y", "serve", team="blue")),
        allocations=(
            Allocation("a", "x", start, end),
            Allocation("b", "x", start, end, 0.25),
            Allocation("b", "y", start, end, 0.5),
            Allocation("c", "y", start, start + 60_000),
        ),
    )


@pytest.fixture
def now() -> int:
    """Return when the test begins: what is held now was said within two minutes."""
    return int(time.time())


@pytest.fixture
def minute(now: int) -> int:
    """Return when the readings begin."""
    return now // 60 * 60 - 600


@pytest.fixture
def known(bed: Bed, minute: int, now: int) -> Bed:
    bed.write(said(minute, now))
    return bed


def by_name(rows: list[Record]) -> dict[str, float]:
    return {row["name"]: row["watts"] for row in rows}


def test_power_now_by_who_holds_the_devices(known: Bed, now: int) -> None:
    found = fleet_queries.power_now(known.client, "team", now)
    assert by_name(found) == pytest.approx({"red": 350.0, "blue": 100.0, "": 100.0})
    assert {row["name"]: row["devices"] for row in found} == {"red": 2, "blue": 1, "": 2}


@pytest.mark.parametrize(
    ("by", "watts"),
    [("site", {"hall": 550.0}), ("kind", {"gpu": 550.0}), ("cluster", {"c1": 550.0})],
)
def test_power_now_by_place_leaves_out_what_is_inside(
    known: Bed, now: int, by: str, watts: dict[str, float]
) -> None:
    assert by_name(fleet_queries.power_now(known.client, by, now)) == pytest.approx(watts)


def test_every_way_of_summing_gives_the_same_total(known: Bed, now: int) -> None:
    for by in fleet_queries.BY:
        total = sum(by_name(fleet_queries.power_now(known.client, by, now)).values())
        assert total == pytest.approx(550.0), by


def test_power_that_is_not_known_is_not_zero(known: Bed, now: int) -> None:
    silent = Tick("a", now * 1000, 1000, Method.UNKNOWN, None, None, gap="lost")
    known.write(Batch(ticks=(silent,)))
    rows = fleet_queries.power_now(known.client, "node", now)
    assert {row["name"]: (row["watts"], row["devices"]) for row in rows} == {
        "node-a": (None, 0), "node-b": (200.0, 1), "node-c": (50.0, 1)}  # fmt: skip


def test_power_now_is_of_what_is_heard_and_held_now(known: Bed, now: int) -> None:
    held_no_more = now + live_power.HELD_S + 10
    assert by_name(live_power.power_now(known.client, "team", held_no_more)) == {"": 550.0}
    assert live_power.power_now(known.client, "team", now + live_power.FRESH_S) == []


def test_a_device_that_is_promised_twice_is_divided(known: Bed, minute: int, now: int) -> None:
    also = Allocation("a", "y", minute * 1000, now * 1000, 0.5)
    known.write(Batch(allocations=(also,)))
    found = by_name(fleet_queries.power_now(known.client, "team", now))
    assert found == pytest.approx({"red": 250.0, "blue": 200.0, "": 100.0})


def test_power_over_time_sums_to_the_energy_of_the_window(known: Bed, minute: int) -> None:
    known.ledger().run()
    since, until = minute, minute + 540
    rows = fleet_queries.power(known.client, "team", since, until, 180)
    assert {row["t"] % 180 for row in rows} == {0}
    joules = sum(row["watts"] * 180 for row in rows)
    assert joules == pytest.approx(550.0 * 540, rel=1e-9)
    by_site = fleet_queries.power(known.client, "site", since, until, 60)
    assert [row["watts"] for row in by_site] == pytest.approx([550.0] * 9)


def test_the_least_used_come_first(known: Bed, minute: int, now: int) -> None:
    rows = fleet_queries.least_used(known.client, minute, now, 2)
    assert [(row["device"], row["utilization_ratio"]) for row in rows] == [("c", 0.0), ("b", 0.5)]
    assert [row["power_watts"] for row in rows] == [50.0, 200.0]


def test_whole_hours_are_as_the_ledger_found_them(bed: Bed, now: int) -> None:
    hour = now // 3600 * 3600 - 3 * 3600

    def reading(key: str, at: int, every: int, used: float, watts: float | None = None) -> Tick:
        return Tick(key, at * 1000, every * 1000, Method.INTEGRAL, watts, None, None, used)

    before = [reading("a", hour - 60, 60, 0.9, 90.0), reading("b", hour - 60, 60, 0.6)]
    within = [
        *(reading("a", hour + at, 600, 0.3, 30.0) for at in range(0, 1200, 600)),
        reading("a", hour + 1800, 1200, 0.6, 60.0),
        reading("b", hour + 600, 600, 0.5),
    ]
    bed.write(Batch(devices=devices(), ticks=(*before, *within)))
    bed.ledger().run()
    whole = fleet_queries.least_used(bed.client, hour, hour + 3600, 9)
    assert [(row["device"], row["power_watts"]) for row in whole] == [
        ("a", pytest.approx(45.0)), ("b", None)]  # fmt: skip
    assert [row["utilization_ratio"] for row in whole] == pytest.approx([0.45, 0.5])
    wider = fleet_queries.least_used(bed.client, hour - 120, hour + 3600, 9)
    assert wider[0]["utilization_ratio"] == pytest.approx((0.45 * 2400 + 0.9 * 60) / 2460)
    bed.client.command("TRUNCATE TABLE tick")
    assert fleet_queries.least_used(bed.client, hour, hour + 3600, 9) == whole
    corrected = reading("b", hour + 600, 600, 0.1)
    bed.write(Batch(ticks=(corrected,)), Batch(ticks=(corrected,)))
    bed.ledger().run()
    (first, *_) = fleet_queries.least_used(bed.client, hour, hour + 3600, 9)
    assert (first["device"], first["utilization_ratio"]) == ("b", 0.1)


def test_the_power_of_one_device(known: Bed, minute: int, now: int) -> None:
    rows = fleet_queries.device_power(known.client, "b", minute, minute + 300, 60)
    assert [row["t"] for row in rows] == list(range(minute, minute + 300, 60))
    assert {row["watts"] for row in rows} == {200.0}
    assert fleet_queries.device_power(known.client, "nobody", minute, now, 60) == []
