"""What joules cost: by factors and by series of the zone, to the second, where all is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from wattshed_collector.factor import Factor
from wattshed_collector.grid import files
from wattshed_collector.grid.series import Step, mean
from wattshed_collector.store import factors, grid, queries, worth
from wattshed_collector.store.grid import Told
from wattshed_collector.store.pieces_sql import within
from wattshed_collector.store.rate_sql import EVEN_RATES, RATES, WITHOUT
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick

if TYPE_CHECKING:
    from pathlib import Path

    from tests.collector.conftest import Bed

HOUR = 3600
BASE = 1_768_435_200
"""2026-01-15T00:00:00Z"""
DAY = 24 * HOUR
Cost = tuple[float | None, str]


def kilowatts(bed: Bed, hours: int, *sites: str) -> None:
    """A kilowatt for some hours at each site."""
    devices = tuple(Device(f"d-{site}", Kind.GPU, "n", "nvml", site=site) for site in sites)
    ticks = tuple(
        Tick(
            device.key,
            (BASE + at * 600) * 1000,
            600_000,
            Method.COUNTER,
            energy_uj=at * 600 * 10**9,
            start_ms=BASE * 1000,
        )
        for device in devices
        for at in range(hours * 6 + 1)
    )
    bed.write(Batch(devices=devices, ticks=ticks))


def price(zone: str, *steps: Step, unit: str = "EUR/kWh") -> Told:
    return Told("price", zone, unit, "a tariff", BASE, steps)


def charge(bed: Bed) -> None:
    bed.ledger(now=lambda: BASE + 10.0 * DAY).run()


def costs(bed: Bed, site: str) -> list[Cost]:
    """Of each hour of a site, from BASE on; each is a kilowatt hour."""
    rows = bed.client.rows(
        "SELECT sum(joules), sumOrNull(w.cost), any(currency) FROM v_workload_1h AS w "
        "WHERE site = {site:String} GROUP BY t ORDER BY t",
        {"site": site},
    )
    assert all(joules == pytest.approx(3.6e6) for joules, _, _ in rows)
    return [(None if cost is None else round(cost, 12), str(money)) for _, cost, money in rows]


def rates(bed: Bed, rule: str, hours: int) -> dict[tuple[str, int], tuple[Any, ...]]:
    """PUE, money per kWh and its currency by site and hour."""
    asked = within(BASE, BASE + hours * HOUR)
    sql = (
        f"WITH {rule.rstrip().rstrip(',')} "
        "SELECT site, toUnixTimestamp(hour), pue, per_joule * 3.6e6, currency FROM rate"
    )
    return {(site, hour): tuple(rest) for site, hour, *rest in bed.client.rows(sql, asked)}


def test_days_and_nights_cost_the_same_told_as_a_file_and_as_factors(
    bed: Bed, tmp_path: Path
) -> None:
    kilowatts(bed, 24, "file", "told")
    grid.put_zones(bed.client, {"file": ("DE", None, "")}, BASE)
    switches = [
        (day * DAY + h * HOUR, v) for day in (-1, 0, 1, 2) for h, v in ((7, 0.34), (23, 0.21))
    ]
    rows = "".join(f"{BASE + at},DE,price,EUR/kWh,{value}\n" for at, value in switches)
    (tmp_path / "tariff.csv").write_text("start,zone,kind,unit,value\n" + rows)
    (series,) = files.load(tmp_path / "tariff.csv")
    grid.put(bed.client, [price("DE", *series.steps)], BASE)
    said = [Factor("price", "told", BASE + at, value, "EUR/kWh") for at, value in switches]
    factors.put(bed.client, said, float(BASE + 2 * DAY))
    charge(bed)
    # Seven hours of night, sixteen of day, one of night.
    assert costs(bed, "file") == [
        *[(0.21, "EUR")] * 7,
        *[(0.34, "EUR")] * 16,
        (0.21, "EUR"),
    ]
    assert costs(bed, "told") == costs(bed, "file")


def test_energy_costs_something_where_only_the_zone_has_prices(bed: Bed) -> None:
    kilowatts(bed, 3, "a")
    grid.put_zones(bed.client, {"a": ("DE", None, "")}, BASE)
    grid.put(bed.client, [price("DE", Step(BASE, BASE + DAY, 0.2))], BASE)
    charge(bed)
    for by in ("site", "team", "class"):
        for until in (BASE + 3 * HOUR, BASE + 2 * HOUR + 1800):
            (row,) = queries.energy(bed.client, by, BASE, until)
            cost = 0.2 * (until - BASE) / HOUR
            assert (row["cost"], row["currency"]) == (pytest.approx(cost), "EUR")


def test_half_hours_and_changes_within_an_hour(bed: Bed) -> None:
    kilowatts(bed, 5, "a")
    grid.put_zones(bed.client, {"": ("GB", None, "")}, BASE)
    halves = [Step(BASE + n * 1800, BASE + (n + 1) * 1800, (n + 1) / 10) for n in range(6)]
    grid.put(bed.client, [price("GB", *halves, unit="GBP/kWh")], BASE)
    # Half of the fourth hour is not known.
    late = Step(BASE + 3 * HOUR + 1800, BASE + 4 * HOUR, 9.0)
    grid.put(bed.client, [price("GB", late, unit="GBP/kWh")], BASE)
    said = [Factor("pue", "a", BASE, 1.2), Factor("pue", "", BASE + HOUR + 2700, 9.0)]
    said += [Factor("pue", "a", BASE + 2 * HOUR + 900, 1.6), Factor("pue", "a", BASE + 4 * HOUR, 2)]
    factors.put(bed.client, said, float(BASE + DAY))
    charge(bed)
    assert costs(bed, "a") == [(0.15, "GBP"), (0.35, "GBP"), (0.55, "GBP"), (None, ""), (None, "")]
    rows = bed.client.rows("SELECT facility_joules / joules FROM v_workload_1h ORDER BY t")
    assert [pue for (pue,) in rows] == pytest.approx([1.2, 1.2, 1.5, 1.6, 2.0])


def test_the_factor_of_the_site_then_of_every_site_then_the_zone(bed: Bed) -> None:
    kilowatts(bed, 4, "a", "b", "c")
    grid.put_zones(bed.client, {"": ("DE", None, ""), "c": ("US", None, "")}, BASE)
    grid.put(bed.client, [price("DE", Step(BASE, BASE + 4 * HOUR, 0.1))], BASE)
    dollars = price("US", Step(BASE, BASE + 4 * HOUR, 0.5), unit="USD/kWh")
    grid.put(bed.client, [dollars], BASE)
    said = [
        Factor("price", "a", BASE + HOUR + 900, 400.0, "EUR/MWh"),
        Factor("price", "a", BASE + 2 * HOUR, None, "EUR/MWh"),
        Factor("price", "", BASE + 3 * HOUR, 0.3, "EUR/kWh"),
    ]
    factors.put(bed.client, said, float(BASE + DAY))
    charge(bed)
    # The contract began at a quarter past one: 0.1 for a quarter and 0.4 for three.
    assert costs(bed, "a") == [(0.1, "EUR"), (0.325, "EUR"), (0.1, "EUR"), (0.3, "EUR")]
    assert costs(bed, "b") == [(0.1, "EUR")] * 3 + [(0.3, "EUR")]
    assert costs(bed, "c") == [(0.5, "USD")] * 3 + [(0.3, "EUR")]
    # From half past three on it is euros in place of dollars, and no mean is of both.
    factors.put(bed.client, [Factor("price", "", BASE + 3 * HOUR, None)], float(BASE + DAY))
    half = Factor("price", "", BASE + 3 * HOUR + 1800, 0.3, "EUR/kWh")
    factors.put(bed.client, [half], float(BASE + DAY))
    charge(bed)
    assert costs(bed, "c")[3] == (None, "")
    assert costs(bed, "b")[3] == (0.2, "EUR")


def test_a_site_that_moves_keeps_its_past(bed: Bed) -> None:
    kilowatts(bed, 4, "a")
    grid.put_zones(bed.client, {"a": ("DE", None, "")}, BASE)
    grid.put_zones(bed.client, {"a": ("FR", None, "")}, BASE + HOUR + 60)
    for zone, value in (("DE", 0.3), ("FR", 0.1)):
        grid.put(bed.client, [price(zone, Step(BASE, BASE + 4 * HOUR, value))], BASE)
    charge(bed)
    # The hour in which it moved began in the old one.
    assert costs(bed, "a") == [(0.3, "EUR")] * 2 + [(0.1, "EUR")] * 2


spans = st.lists(
    st.tuples(
        st.sampled_from(["DE", "FR"]),
        st.integers(-HOUR, 2 * HOUR),
        st.integers(1, 2 * HOUR),
        st.none() | st.integers(-5, 90).map(float),
        st.sampled_from(["EUR/kWh", "EUR/kWh", "EUR/kWh", "CHF/kWh"]),
    ),
    max_size=8,
)
told = st.lists(
    st.tuples(
        st.sampled_from(["a", ""]),
        st.integers(-HOUR, 2 * HOUR),
        st.none() | st.integers(-5, 90).map(float),
        st.sampled_from(["EUR/kWh", "EUR/MWh", "CHF/kWh", "EUR"]),
    ),
    max_size=4,
)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([("DE", 0, 2 * HOUR, 0.2, "EUR/kWh")], [("a", 60, 0.3, "EUR"), ("a", 9000, None, "")])
@example([("DE", 0, 2 * HOUR, 0.2, "EUR/kWh")], [("a", 0, 0.3, "CHF/kWh"), ("a", 900, None, "")])
@given(spans, told)
def test_what_is_charged_is_what_when_and_shifted_say(
    bed: Bed,
    said: list[tuple[str, int, int, float | None, str]],
    own: list[tuple[str, int, float | None, str]],
) -> None:
    for table in ("grid", "factor"):
        bed.client.command(f"TRUNCATE TABLE {table}")
    if not grid.told_zones(bed.client):
        bed.write(Batch(devices=(Device("d", Kind.GPU, "n", "nvml", site="a"),)))
    grid.put_zones(bed.client, {"a": ("DE", None, "")}, BASE)
    for zone, start, length, value, unit in said:
        step = Step(BASE + start, BASE + start + length, value)
        grid.put(bed.client, [price(zone, step, unit=unit)], BASE)
    prices = [Factor("price", site, BASE + at, value, unit) for site, at, value, unit in own]
    factors.put(bed.client, prices, float(BASE))
    where = worth.place(bed.client, "a", "")
    found = rates(bed, RATES, 3)
    for hour in range(BASE, BASE + 3 * HOUR, HOUR):
        seen = worth.actual(bed.client, "price", where, hour, hour + HOUR)
        value = mean(seen.steps, hour, hour + HOUR).value
        _, charged, money = found.get(("a", hour), (None, None, ""))
        assert charged == (None if value is None else pytest.approx(value, rel=1e-12, abs=1e-12))
        assert money == ("" if value is None else seen.unit.partition("/")[0])


def test_where_nothing_changes_within_an_hour_its_beginning_is_its_mean(bed: Bed) -> None:
    bed.write(Batch(devices=(Device("d", Kind.GPU, "n", "nvml", site="a"),)))
    said = [
        Factor("price", "", BASE - 7, 200.0, "EUR/MWh"),
        Factor("price", "a", BASE + HOUR, 0.3, "EUR/kWh"),
        Factor("price", "a", BASE + 2 * HOUR, None),
        Factor("price", "", BASE + 3 * HOUR, 0.5, "EUR"),
        Factor("pue", "a", BASE + HOUR, 1.3),
        Factor("pue", "", BASE + 2 * HOUR, 1.5),
    ]
    factors.put(bed.client, said, float(BASE))
    asked = within(BASE, BASE + 4 * HOUR)
    without = f"WITH {WITHOUT} SELECT has_no_factor, is_even"
    assert bed.client.rows(without, asked) == [(0, 1)]
    found = rates(bed, RATES, 4)
    assert found == {
        ("a", BASE): (None, pytest.approx(0.2), "EUR"),
        ("a", BASE + HOUR): (1.3, pytest.approx(0.3), "EUR"),
        ("a", BASE + 2 * HOUR): (1.3, pytest.approx(0.2), "EUR"),
        ("a", BASE + 3 * HOUR): (1.3, None, ""),
    }
    assert rates(bed, EVEN_RATES, 4) == {
        key: tuple(pytest.approx(x) if isinstance(x, float) else x for x in row)
        for key, row in found.items()
    }
    factors.put(bed.client, [Factor("pue", "", BASE + HOUR + 1, 1.5)], float(BASE))
    assert bed.client.rows(without, asked) == [(0, 0)]
    assert bed.client.rows(without, within(BASE, BASE + HOUR)) == [(0, 1)]


def marked(bed: Bed) -> set[int]:
    """Which hours from BASE were marked since it was asked last."""
    rows = bed.client.rows("SELECT DISTINCT toUnixTimestamp(hour) FROM dirty")
    bed.client.command("TRUNCATE TABLE dirty")
    return {(int(hour) - BASE) // HOUR for (hour,) in rows}


def test_only_the_hours_that_a_price_changes_are_charged_again(bed: Bed) -> None:
    kilowatts(bed, 6, "a")
    grid.put_zones(bed.client, {"a": ("DE", None, "")}, BASE)
    charge(bed)
    marked(bed)
    hours = [Step(BASE + h * HOUR, BASE + (h + 1) * HOUR, 0.1) for h in range(-5, 48)]
    grid.put(bed.client, [price("DE", *hours)], BASE)
    # The seventh hour has its first reading.
    assert marked(bed) == set(range(7))
    grid.put(bed.client, [price("DE", *hours)], BASE + 60)
    assert marked(bed) == set()
    grid.put(bed.client, [price("DE", Step(BASE + 5400, BASE + 7201, 0.2))], BASE + 120)
    assert marked(bed) == {1}
    grid.put(bed.client, [price("DE", Step(BASE + 5400, BASE + 7201, 0.2), unit="CHF/kWh")], BASE)
    assert marked(bed) == {1}
    grid.put(
        bed.client, [price("FR", *hours), Told("carbon", "DE", "g/kWh", "", BASE, hours)], BASE
    )
    assert marked(bed) == set()
    # A site that lay nowhere lies there since ever: what is known of the zone prices its past.
    grid.put_zones(bed.client, {"a": ("FR", None, "")}, BASE + 2 * DAY)
    assert marked(bed) == set()
    bed.client.command("TRUNCATE TABLE site_zone")
    grid.put_zones(bed.client, {"a": ("FR", None, "")}, BASE + 2 * DAY)
    assert marked(bed) == set(range(7))


def test_what_is_taken_back_marks_what_then_counts(bed: Bed) -> None:
    kilowatts(bed, 6, "a")
    grid.put_zones(bed.client, {"a": ("DE", None, "")}, BASE)
    day = Step(BASE, BASE + 6 * HOUR, 0.2)
    grid.put(bed.client, [price("DE", day, Step(BASE + 2 * HOUR, BASE + 5 * HOUR, 0.2))], BASE)
    charge(bed)
    marked(bed)
    # Neither another price below what is taken back changes anything alone, nor that it is.
    told = [price("DE", day, Step(BASE + 5400, BASE + 4 * HOUR, 0.5), day)]
    grid.put(bed.client, [*told, *grid.taken_back(bed.client, told)], BASE)
    assert marked(bed) == {1, 2, 3}
    assert grid.taken_back(bed.client, told) == []
    bed.client.insert("dirty", {"hour": [BASE + hour * HOUR for hour in (1, 2, 3)]})
    charge(bed)
    assert [cost for cost, _ in costs(bed, "a")[:6]] == [0.2, 0.35, 0.5, 0.5, 0.2, 0.2]
