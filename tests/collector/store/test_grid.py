"""Steps of the grid in the store: what was said last counts, hours are means over time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wattshed_collector.factor import Factor
from wattshed_collector.grid.series import Step, mean, tidy
from wattshed_collector.store import factors, grid
from wattshed_collector.store.grid import Newest, Told
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BASE = 1_768_471_200
"""A full hour, 2026-01-15T10:00Z."""
HOUR = 3600


def told(*steps: Step, kind: str = "carbon", zone: str = "IE", said_s: int = BASE) -> Told:
    return Told(kind, zone, "g/kWh", "a test", said_s, steps)


def test_what_was_said_last_of_the_same_start_counts(bed: Bed) -> None:
    first = [Step(BASE, BASE + 300, 100.0, True), Step(BASE + 300, BASE + 600, 200.0)]
    assert grid.put(bed.client, [told(*first)], BASE) == 2
    assert grid.put(bed.client, [told(Step(BASE, BASE + 300, 90.0, False))], BASE - 10**6) == 1
    assert grid.steps(bed.client, "carbon", "IE", BASE, BASE + HOUR) == [
        Step(BASE, BASE + 300, 90.0, False),
        Step(BASE + 300, BASE + 600, 200.0),
    ]
    assert grid.steps(bed.client, "carbon", "IE", BASE + 600, BASE + HOUR) == []
    assert grid.steps(bed.client, "carbon", "DE", BASE, BASE + HOUR) == []
    assert grid.newest(bed.client, "carbon", "IE") == Newest(
        "a test", "g/kWh", BASE + 300, BASE + 600, BASE
    )
    assert grid.newest(bed.client, "price", "IE") is None


def test_nothing_is_written_of_nothing(bed: Bed) -> None:
    assert grid.put(bed.client, [told()], BASE) == 0
    assert bed.client.rows("SELECT count() FROM grid") == [(0,)]


def test_the_newest_forecast_counts_as_a_whole(bed: Bed) -> None:
    now = int(time.time())  # what was expected months ago is not kept
    long = [Step(now + n * HOUR, now + (n + 1) * HOUR, float(n)) for n in range(5)]
    grid.put_forecast(bed.client, [told(*long, said_s=now - 60)], now)
    grid.put_forecast(bed.client, [told(long[1], said_s=now)], now)
    assert grid.expected(bed.client, "carbon", "IE") == [
        Step(now + HOUR, now + 2 * HOUR, 1.0, is_estimated=True)
    ]


pieces = st.lists(
    st.tuples(
        st.integers(0, 2 * HOUR), st.integers(0, HOUR), st.none() | st.integers(0, 900).map(float)
    ),
    max_size=8,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces)
def test_an_hour_is_the_mean_over_time(bed: Bed, said: list[tuple[int, int, float | None]]) -> None:
    bed.client.command("TRUNCATE TABLE grid")
    steps = tidy(Step(BASE + at, BASE + at + length, value) for at, length, value in said)
    grid.put(bed.client, [told(*steps)], BASE)
    rows = bed.client.rows("SELECT toUnixTimestamp(t), value FROM v_grid_1h WHERE zone = 'IE'")
    hours = range(BASE, BASE + 3 * HOUR, HOUR)
    exact = {
        at: found.value for at in hours if (found := mean(steps, at, at + HOUR)).value is not None
    }
    assert dict(rows) == pytest.approx(exact, rel=1e-12, abs=1e-9)


def device_at(bed: Bed, site: str) -> None:
    device = Device(f"gpu-{site}", Kind.GPU, f"n-{site}", "nvml", site=site)
    ticks = tuple(
        Tick(
            device.key,
            (BASE + at) * 1000,
            60_000,
            Method.COUNTER,
            energy_uj=at * 1_000_000_000,
            start_ms=BASE * 1000,
        )
        for at in range(0, 2 * HOUR + 1, 60)
    )
    bed.write(Batch(devices=(device,), ticks=ticks))


def first_hour(bed: Bed) -> list[dict[str, Any]]:
    return bed.client.records(
        "SELECT * FROM v_site_1h WHERE t = fromUnixTimestamp({at:UInt32}) ORDER BY site",
        {"at": BASE},
    )


def test_grams_of_a_site_and_where_they_come_from(bed: Bed) -> None:
    for site in ("own", "zoned", "yearly", "nowhere"):
        device_at(bed, site)
    bed.ledger(now=lambda: BASE + 3 * HOUR).run()
    at = float(BASE + 2 * HOUR)
    grid.put_zones(
        bed.client,
        {
            "own": ("IE", 300.0, "a table"),
            "zoned": ("IE", 300.0, "a table"),
            "yearly": ("DE", 400.0, "another"),
        },
        at,
    )
    factors.put(bed.client, [Factor("carbon_g_per_kwh", "own", BASE, 50.0, "g/kWh", "said")], at)
    steps = [Step(BASE, BASE + 900, 100.0, True), Step(BASE + 900, BASE + 2 * HOUR, 200.0, False)]
    grid.put(bed.client, [told(*steps), told(*steps, kind="carbon_marginal")], at)
    rows = first_hour(bed)
    found = {
        row["site"]: (row["carbon_method"], row["carbon_source"], row["carbon_g_per_kwh"])
        for row in rows
    }
    assert found == {
        "nowhere": ("", "", None),
        "own": ("factor", "said", 50.0),
        "yearly": ("yearly", "another", 400.0),
        "zoned": ("hourly", "a test", 175.0),
    }
    ratios = {row["site"]: row["carbon_estimated_ratio"] for row in rows}
    assert ratios == {"nowhere": None, "own": None, "yearly": None, "zoned": 0.25}
    # Without a PUE nobody knows what the site drew, and so not what it emitted.
    assert [row["carbon_g"] for row in rows] == [None] * 4
    factors.put(bed.client, [Factor("pue", "", BASE, 1.5)], at)
    bed.ledger(now=lambda: BASE + 3 * HOUR).run()
    rows = first_hour(bed)
    # 1 kW for an hour.
    grams = {row["site"]: (row["carbon_g"], row["carbon_marginal_g"]) for row in rows}
    assert grams == {
        "nowhere": (None, None),
        "own": (pytest.approx(75.0), pytest.approx(262.5)),
        "yearly": (pytest.approx(600.0), None),
        "zoned": (pytest.approx(262.5), pytest.approx(262.5)),
    }
    assert {row["carbon_market_g"] for row in rows} == {None}


def test_sites_without_a_zone_of_their_own(bed: Bed) -> None:
    for site in ("a", "b"):
        device_at(bed, site)
    assert grid.zones(bed.client) == []
    grid.put_zones(bed.client, {"": ("DE", None, ""), "b": ("IE", 300.0, "t")}, BASE)
    assert {row["site"]: row["zone"] for row in grid.zones(bed.client)} == {"a": "DE", "b": "IE"}
    grid.put_zones(bed.client, {"b": ("", None, "")}, BASE)
    assert grid.zone_of(bed.client, "b") == "DE"
    assert grid.zone_of(bed.client, "elsewhere") == ""
