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
HOUR, DAY = 3600, 86_400


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
    found = grid.expected(bed.client, "carbon", "IE")
    assert found == Told(
        "carbon",
        "IE",
        "g/kWh",
        "a test",
        now,
        [Step(now + HOUR, now + 2 * HOUR, 1.0, is_estimated=True)],
    )
    assert grid.expected(bed.client, "carbon", "DE") is None


starts = st.integers(0, 2 * HOUR) | st.integers(0, 4).map(lambda n: n * 1800)
pieces = st.lists(
    st.builds(
        lambda at, length, value, estimated: Step(BASE + at, BASE + at + length, value, estimated),
        starts,
        st.integers(1, 3 * HOUR) | st.just(1800),
        st.none() | st.integers(0, 900).map(float),
        st.none() | st.booleans(),
    ),
    max_size=8,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(pieces, min_size=1, max_size=3))
def test_hours_of_sources_that_overlap_are_the_same_in_both_languages(
    bed: Bed, sources: list[list[Step]]
) -> None:
    bed.client.command("TRUNCATE TABLE grid")
    for said in sources:
        grid.put(bed.client, [told(*tidy(said))], BASE)
    rows = bed.client.rows(
        "SELECT toUnixTimestamp(t), value, estimated_ratio FROM v_grid_1h WHERE zone = 'IE'"
    )
    # What is said later of the same start stands in place of what was said before.
    kept = {step.start_s: step for said in sources for step in tidy(said)}
    assert grid.steps(bed.client, "carbon", "IE", BASE, BASE + DAY) == tidy(kept.values())
    exact = {
        at: (found.value, found.estimated_s / HOUR)
        for at in range(BASE, BASE + 6 * HOUR, HOUR)
        if (found := mean(tidy(kept.values()), at, at + HOUR)).value is not None
    }
    assert {at: pytest.approx(told, rel=1e-12, abs=1e-9) for at, *told in rows} == {
        at: list(told) for at, told in exact.items()
    }


def test_who_speaks_of_the_hour_counts_before_who_speaks_of_the_day(bed: Bed) -> None:
    day = Told("price", "IE", "EUR/kWh", "a file", BASE + 9, [Step(BASE, BASE + DAY, 0.2)])
    half = [Step(BASE + 1800, BASE + HOUR, 0.4)]
    other = Told("price", "IE", "EUR/kWh", "a service", BASE + 5, half)
    dollars = Told(
        "price", "IE", "USD/kWh", "x", BASE, [Step(BASE + 3 * HOUR, BASE + 4 * HOUR, 1.0)]
    )
    cents = Told(
        "price", "IE", "USD/kWh", "x", BASE, [Step(BASE + 5 * HOUR, BASE + 5 * HOUR + 9, 1)]
    )
    for said in (day, other, dollars, cents):
        grid.put(bed.client, [said], BASE)
    rows = bed.client.rows(
        "SELECT value, unit, source, toUnixTimestamp(said_ts) FROM v_grid_1h ORDER BY t LIMIT 5"
    )
    # The sixth hour is told in two currencies.
    assert [(round(value, 12), *rest) for value, *rest in rows] == [
        (0.3, "EUR/kWh", "several", BASE + 5),
        (0.2, "EUR/kWh", "a file", BASE + 9),
        (0.2, "EUR/kWh", "a file", BASE + 9),
        (1.0, "USD/kWh", "x", BASE),
        (0.2, "EUR/kWh", "a file", BASE + 9),
    ]
    assert bed.client.rows("SELECT count() FROM v_grid_1h") == [(23,)]


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
        {"own": BASE - DAY, "yearly": BASE - DAY},
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
    said: dict[str, int | None] = dict(
        bed.client.rows(
            "SELECT site, toUnixTimestamp(carbon_said) FROM v_site_1h "
            "WHERE t = fromUnixTimestamp({at:UInt32})",
            {"at": BASE},
        )
    )
    assert said == {"nowhere": None, "own": at, "yearly": BASE - DAY, "zoned": BASE}
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


def lies(bed: Bed) -> dict[str, str]:
    return {row["site"]: row["zone"] for row in grid.zones(bed.client)}


def test_sites_without_a_zone_of_their_own(bed: Bed) -> None:
    for site in ("a", "b"):
        device_at(bed, site)
    assert grid.zones(bed.client) == []
    grid.put_zones(bed.client, {"": ("DE", None, ""), "b": ("IE", 300.0, "t")}, BASE)
    assert lies(bed) == {"a": "DE", "b": "IE"}
    grid.put_zones(bed.client, {"b": ("", None, "")}, BASE)
    assert grid.zone_of(bed.client, "b") == "DE"
    assert grid.zone_of(bed.client, "elsewhere") == ""


def test_a_site_that_moves_keeps_the_zone_of_its_past(bed: Bed) -> None:
    for site in ("a", "b"):
        device_at(bed, site)
    grid.put_zones(bed.client, {"a": ("DE", 400.0, "old")}, BASE - DAY)
    grid.put_zones(bed.client, {"": ("IE", 300.0, "t")}, BASE - DAY)
    grid.put_zones(bed.client, {"a": ("FR", 50.0, "t"), "b": ("SG", 450.0, "t")}, BASE + HOUR + 1)
    # A newer table of the same zone is of its past as well, and nothing is written twice.
    for _ in range(2):
        grid.put_zones(bed.client, {"a": ("FR", 60.0, "t")}, BASE + 2 * HOUR)
    assert bed.client.rows("SELECT count() FROM site_zone") == [(5,)]
    assert lies(bed) == {"a": "FR", "b": "SG"}
    rows = bed.client.rows(
        "SELECT site, zone, g_per_kwh FROM v_carbon_1h "
        "WHERE t BETWEEN fromUnixTimestamp({since:UInt32}) AND fromUnixTimestamp({until:UInt32}) "
        "ORDER BY site, t",
        {"since": BASE, "until": BASE + 2 * HOUR},
    )
    assert rows == [
        *[("a", "DE", 400.0)] * 2,
        ("a", "FR", 60.0),
        *[("b", "IE", 300.0)] * 2,
        ("b", "SG", 450.0),
    ]
    # A clock that was set back does not make it lie where it lay before.
    grid.put_zones(bed.client, {"a": ("SG", None, "")}, BASE - 2 * DAY)
    assert lies(bed)["a"] == "SG"
