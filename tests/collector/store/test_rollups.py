"""Roll-ups by workload: one sum from minutes, hours and days, and what sites add to joules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from wattshed_collector.store import queries
from wattshed_collector.store.ledger_sql import CHARGE, WHOLE
from wattshed_collector.store.pieces_sql import within
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Method, Tick, Workload

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

HOUR = 3_600_000
DAY_S = 86_400
BASE = 1_768_435_200_000  # 2026-01-15T00:00:00Z
SINCE = BASE // 1000
WHO = (
    Workload("a", "a", team="red", cost_center="7", queue="q", owner="me", namespace="ns"),
    Workload("b", "b", team="blue"),
)


def hourly(device: str, first: int, end: int) -> tuple[Tick, ...]:
    """A counter at 1 kW, read each half hour."""
    return tuple(
        Tick(device, BASE + h * HOUR // 2, HOUR, Method.COUNTER, energy_uj=h * 1_800_000 * 10**6)
        for h in range(2 * first, 2 * end + 1)
    )


def two_sites(bed: Bed, hours: int, first: int = 0) -> None:
    """The hours from ``first`` to ``hours`` of two devices at two sites, held in turn."""
    devices = tuple(
        Device(k, Kind.GPU, "n", "s", site=site) for k, site in (("d", "x"), ("e", "y"))
    )
    ticks = hourly("d", first, hours) + hourly("e", first, hours)
    bed.write(Batch(devices=devices, ticks=ticks, workloads=WHO))
    bed.say(
        Allocation("d", "a", BASE + (first + 1) * HOUR, BASE + min(hours, 40) * HOUR),
        Allocation("e", "b", BASE + max(first, min(hours, 10)) * HOUR, BASE + hours * HOUR, 0.5),
    )


@pytest.fixture(scope="module")
def months(shared_bed: Bed) -> Bed:
    """Two days and a half with factors, charged once for those who only read them."""
    shared_bed.clean()
    two_sites(shared_bed, 60)
    factor(shared_bed, "pue", "", 0, 1.5)
    factor(shared_bed, "pue", "x", 20, 1.1)
    factor(shared_bed, "price", "x", 0, 0.25, "EUR/kWh")
    factor(shared_bed, "price", "x", 30, 250.0, "EUR/MWh")
    factor(shared_bed, "price", "x", 50, None, "EUR/kWh")
    shared_bed.ledger().run()
    return shared_bed


def test_any_resolution_says_the_same(months: Bed) -> None:
    windows = [(0, 60), (1, 59), (24, 48), (3, 30), (5, 6)]
    for first, end in windows:
        since, until = SINCE + first * 3600, SINCE + end * 3600
        minutes: dict[str, float] = dict(
            months.client.rows(
                "SELECT workload_key, sum(joules) FROM v_energy_1m "
                f"WHERE t >= toDateTime({since}, 'UTC') AND t < toDateTime({until}, 'UTC') "
                "GROUP BY workload_key"
            )
        )
        assert sum(minutes.values()) == pytest.approx(2 * 3.6e6 * (end - first), rel=1e-9)
        found = {
            r["workload_key"]: r["joules"]
            for r in queries.workload_energy(months.client, since, until)
        }
        assert found == pytest.approx({k: j for k, j in minutes.items() if k}, rel=1e-9)
        for by in queries.GROUPS:
            records = queries.energy(months.client, by, since, until)
            assert sum(r["joules"] for r in records) == pytest.approx(
                sum(minutes.values()), rel=1e-9
            )


def factor(bed: Bed, kind: str, site: str, hour: int, value: float | None, unit: str = "") -> None:
    bed.client.insert(
        "factor",
        {
            "kind": [kind],
            "site": [site],
            "start_ts": [SINCE + hour * 3600],
            "value": [value],
            "unit": [unit],
            "source": ["contract"],
            "version": [1],
        },
    )


def test_pue_and_price_stand_beside_the_joules(months: Bed) -> None:
    rows = months.client.rows(
        "SELECT site, toUInt32(dateDiff('hour', toDateTime("
        f"{SINCE}, 'UTC'), t)), sum(joules), sum(facility_joules), sum(cost), any(currency) "
        "FROM v_energy_1h GROUP BY site, t ORDER BY site, t"
    )
    found = {(site, hour): rest for site, hour, *rest in rows}
    kwh = pytest.approx(3.6e6)
    assert found["x", 19] == [kwh, pytest.approx(5.4e6), pytest.approx(0.25), "EUR"]
    assert found["x", 35] == [kwh, pytest.approx(3.96e6), pytest.approx(0.25), "EUR"]
    assert found["x", 55] == [kwh, pytest.approx(3.96e6), None, ""]
    assert found["y", 55] == [kwh, pytest.approx(5.4e6), None, ""]
    rows_of = {
        until: {r["site"]: r for r in queries.energy(months.client, "site", SINCE, until)}
        for until in (SINCE + 72_000, SINCE + 72_000 - 1800, SINCE + 60 * 3600)
    }
    for until, by_site in rows_of.items():
        assert by_site["x"]["joules"] == pytest.approx((until - SINCE) * 1000)
        assert (by_site["y"]["cost"], by_site["y"]["currency"]) == (None, "")
    whole, cut, beyond = rows_of.values()
    assert (whole["x"]["cost"], whole["x"]["currency"]) == (pytest.approx(5.0), "EUR")
    assert whole["x"]["facility_joules"] == pytest.approx(20 * 5.4e6)
    assert (cut["x"]["cost"], cut["x"]["currency"]) == (pytest.approx(4.875), "EUR")
    assert cut["y"]["facility_joules"] == pytest.approx(19.5 * 5.4e6)
    assert (beyond["x"]["cost"], beyond["x"]["currency"]) == (None, "")
    assert beyond["x"]["facility_joules"] == pytest.approx(20 * 5.4e6 + 40 * 3.96e6)
    queues = queries.energy(months.client, "queue", SINCE + 18_000, SINCE + 36_000)
    assert {r["queue"]: r["cost"] for r in queues} == {"q": pytest.approx(1.25), "": None}


def test_what_is_taken_back_leaves_the_roll_ups(bed: Bed) -> None:
    two_sites(bed, 26, first=20)
    bed.ledger().run()
    bed.say(Allocation("d", "a", BASE + 21 * HOUR, BASE + 21 * HOUR, revision=1))
    bed.ledger().recompute(SINCE + h * 3600 for h in range(20, 27))
    until = SINCE + 26 * 3600
    keys = [r["workload_key"] for r in queries.workload_energy(bed.client, SINCE, until)]
    assert keys == ["b"]
    rows = queries.energy(bed.client, "class", SINCE, until)
    assert sum(r["joules"] for r in rows) == pytest.approx(2 * 3.6e6 * 6, rel=1e-9)


def test_without_a_price_nothing_is_said_of_cost(bed: Bed) -> None:
    two_sites(bed, 10)
    bed.ledger().run()
    for record in queries.energy(bed.client, "team", SINCE, SINCE + 36_000):
        assert (record["facility_joules"], record["cost"], record["currency"]) == (None, None, "")


def test_an_old_month_of_allocations_is_not_read(bed: Bed) -> None:
    """What lies behind an hour costs nothing unless it reaches into it."""
    for day in range(30):
        bed.client.command(
            "INSERT INTO allocation (start_ts, device_id, workload_id, end_ts, share, method) "
            f"SELECT fromUnixTimestamp64Milli(toInt64({BASE - (day + 1) * 24 * HOUR}"
            " + number * 800), 'UTC') AS s, number, 1,"
            " s + INTERVAL 1 HOUR, 1, 'old' FROM numbers(20000)"
        )
    plan = bed.client.rows(
        "EXPLAIN indexes = 1 " + CHARGE[CHARGE.index("SELECT") :],
        {
            **within(SINCE + 12 * 3600, SINCE + 13 * 3600),
            "version": 1,
            "idle_below_e4": 500,
            "idle_policy": "holder",
            "first_device": WHOLE[0],
            "last_device": WHOLE[1],
        },
    )
    text = "\n".join(str(line[0]) for line in plan)
    reads = text.split("ReadFromMergeTree (")
    (allocations,) = {part for part in reads if part.startswith("default.allocation)")}
    granules = [(int(a), int(b)) for a, b in re.findall(r"Granules: (\d+)/(\d+)", allocations)]
    assert max(total for _, total in granules) >= 60
    assert min(read for read, _ in granules) == 0
