"""Teams are shown what they drew: their sums are the fleet's, and what is not known says so."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from wattshed_collector import showback
from wattshed_collector.api.showback import OPERATIONS
from wattshed_collector.factor import Factor
from wattshed_collector.grid.series import Step
from wattshed_collector.period import Period
from wattshed_collector.showback import Amounts
from wattshed_collector.store import factors, grid
from wattshed_collector.store.grid import Told
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Method, Tick, Workload

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

HOUR, DAY = 3600, 86400
BASE = int(time.time()) // DAY * DAY - 20 * DAY
PERIOD = Period("week", "2026-W02", BASE, BASE + 7 * DAY, "2026-W01", BASE - 7 * DAY)
"""A week that begins on any day."""
HELD = {
    "gpu-a": ("dub", "train", "research"),
    "gpu-b": ("dub", "chat", "assist"),
    "gpu-c": ("sgp", "chat", "assist"),
    "gpu-d": ("sgp", "old", ""),
    "gpu-e": ("nowhere", "", ""),
}
"""Site, workload and team by device."""
ANSWER = OPERATIONS[0].answers["application/json"]


def fill(bed: Bed, hours: float, since: int = BASE) -> None:
    """Every device draws 360 W, busy in the first half of each hour, and says so each minute."""
    lasts = round(hours * HOUR)
    for number, (key, (site, workload, team)) in enumerate(HELD.items()):
        device = Device(key, Kind.GPU, f"n{number}", "nvml", site=site)
        ticks = tuple(
            Tick(
                key,
                (since + at) * 1000,
                60_000,
                Method.COUNTER,
                energy_uj=at * 360_000_000 + number * at,
                start_ms=since * 1000,
                utilization_ratio=0.9 if at % HOUR in range(1, HOUR // 2 + 1) else 0.0,
            )
            for at in range(0, lasts + 1, 60)
        )
        held = Allocation(key, f"j/{workload}", since * 1000, (since + lasts) * 1000)
        bed.write(
            Batch(
                devices=(device,),
                ticks=ticks,
                workloads=(Workload(f"j/{workload}", name=workload, team=team),)
                if workload
                else (),
                allocations=(held,) if workload else (),
            )
        )


def price(bed: Bed) -> None:
    """dub has everything, sgp no price and a yearly intensity, nowhere has nothing."""
    said = [
        Factor("pue", "dub", BASE - 30 * DAY, 1.5),
        Factor("pue", "sgp", BASE - 30 * DAY, 1.25),
        Factor("price", "dub", BASE - 30 * DAY, 0.2, "EUR/kWh"),
        Factor("carbon_market_g_per_kwh", "dub", BASE - 30 * DAY, 10.0, "g/kWh"),
    ]
    factors.put(bed.client, said, float(BASE))
    grid.put_zones(
        bed.client, {"dub": ("IE", None, ""), "sgp": ("SG", 450.0, "a table")}, float(BASE)
    )
    steps = [Step(BASE, BASE + HOUR, 100.0, True), Step(BASE + HOUR, BASE + 2 * HOUR, 300.0, False)]
    grid.put(bed.client, [Told("carbon", "IE", "g/kWh", "a service", BASE, steps)], float(BASE))


def built(bed: Bed, team: str | None = None, period: Period = PERIOD) -> dict[str, Any]:
    document = showback.build(bed.client, period, team, BASE + 10 * DAY)
    Draft202012Validator(dict(ANSWER)).validate(json.loads(json.dumps(document)))
    return document


def of(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {team["team"]: team for team in document["teams"]}


def charged(bed: Bed, hours: int) -> None:
    bed.ledger(now=lambda: BASE + hours * HOUR + 600.0).run()


def add_up(bed: Bed, document: dict[str, Any]) -> None:
    """Sums over teams, and over days, are those of the fleet."""
    columns = ("joules", "facility_joules", "cost", "carbon_g", "carbon_market_g")
    sums = ", ".join(f"sum(s.{name})" for name in columns)
    span = {"since": BASE, "until": document["period"]["until"]}
    (fleet,) = bed.client.rows(
        f"SELECT {sums} FROM v_site_1h AS s WHERE t >= fromUnixTimestamp({{since:UInt32}}) "
        "AND t < fromUnixTimestamp({until:UInt32})",
        span,
    )
    shown = [team["totals"] for team in document["teams"]]
    for name, total in zip(columns, fleet, strict=True):
        parts = [t["costs"].get("EUR") if name == "cost" else t[name] for t in shown]
        assert total > 0
        assert sum(part or 0.0 for part in parts) == pytest.approx(total, rel=1e-9)
        assert sum(
            day[name.replace("carbon_m", "m")] or 0.0 for day in document["days"]
        ) == pytest.approx(total, rel=1e-9)
    assert sum(t["joules"] for t in shown) == pytest.approx(document["fleet"]["joules"], rel=1e-9)


def test_what_a_team_is_shown_and_what_all_come_to(bed: Bed) -> None:
    fill(bed, 3)
    price(bed)
    charged(bed, 3)
    document = built(bed)
    add_up(bed, document)
    # What joules cost and which PUE they have is told by whom, as of grams.
    told = {"method": "factor", "source": "", "said": BASE}
    assert document["rates"] == [
        {"kind": kind, "site": site, **told}
        for kind, site in (("price", "dub"), ("pue", "dub"), ("pue", "sgp"))
    ]
    teams = of(document)
    assert set(teams) == {"research", "assist", ""}
    research = teams["research"]["totals"]
    # 360 W for three hours; of the third the grid is not known.
    assert research["joules"] == pytest.approx(3 * 360 * HOUR, rel=1e-6)
    assert research["facility_joules"] == pytest.approx(1.5 * 3 * 360 * HOUR, rel=1e-6)
    assert research["costs"] == {"EUR": pytest.approx(3 * 0.36 * 0.2)}
    assert research["carbon_g"] == pytest.approx(0.36 * 1.5 * (100 + 300))
    assert research["carbon_g_by_method"] == {"hourly": pytest.approx(research["carbon_g"])}
    assert research["carbon_estimated_ratio"] == pytest.approx(0.25)
    assert research["carbon_sources"] == ["a service"]
    assert research["carbon_market_g"] == pytest.approx(0.36 * 1.5 * 10 * 3)
    assert research["carbon_marginal_g"] is None
    assert research["unknown_joules"]["carbon"] == pytest.approx(360 * HOUR, rel=1e-6)
    assist = teams["assist"]
    assert set(assist["totals"]["carbon_g_by_method"]) == {"hourly", "yearly"}
    assert assist["totals"]["unknown_joules"]["cost"] == pytest.approx(3 * 360 * HOUR, rel=1e-6)
    (waste,) = assist["waste"]
    assert waste["workload"] == "chat"
    assert waste["idle_held_joules"] == assist["classes"]["idle_held"]["joules"] > 0
    assert waste["idle_held_costs"] == assist["classes"]["idle_held"]["costs"]
    assert sum(one["joules"] for one in assist["classes"].values()) == pytest.approx(
        assist["totals"]["joules"]
    )
    nobody = teams[""]
    assert nobody["totals"]["facility_joules"] == pytest.approx(1.25 * 3 * 360 * HOUR, rel=1e-6)
    assert nobody["totals"]["unknown_joules"]["facility"] == pytest.approx(3 * 360 * HOUR, rel=1e-6)
    assert {w["workload"] for w in nobody["workloads"]} == {"old"}
    (one,) = built(bed, "research")["teams"]
    assert one == teams["research"]
    assert {day["team"] for day in built(bed, "research")["days"]} == {"research"}


def test_a_period_that_is_not_over_is_set_against_as_much_of_the_one_before(bed: Bed) -> None:
    fill(bed, 8, BASE - 5 * HOUR)
    charged(bed, 3)
    period = Period("week", "2026-W02", BASE, BASE + 7 * DAY, "2026-W01", BASE - 4 * HOUR)
    document = built(bed, "research", period)
    assert not document["period"]["is_whole"]
    length = document["period"]["until"] - BASE
    assert 2 * HOUR <= length <= 3 * HOUR
    assert document["before"]["end"] == BASE - 4 * HOUR + length
    assert document["before"]["is_whole"]
    (team,) = document["teams"]
    assert team["totals"]["joules"] == pytest.approx(length * 360, rel=1e-6)
    assert team["before"]["joules"] == pytest.approx(length * 360, rel=1e-6)
    assert team["totals"]["costs"] == {}


def test_time_of_which_nothing_is_known_is_said(bed: Bed) -> None:
    fill(bed, 2.5)
    fill(bed, 2, BASE + 4 * HOUR)
    charged(bed, 6)
    document = built(bed)
    assert document["period"]["until"] >= BASE + 5 * HOUR
    hours = (document["period"]["until"] - BASE - HOUR) / HOUR
    coverage = of(document)["research"]["coverage"]
    # Of the fourth hour nothing is known, and so not who held the device.
    assert coverage["known_seconds"] == pytest.approx((hours - 0.5) * HOUR)
    assert coverage["unknown_seconds"] == pytest.approx(HOUR / 2)
    assert coverage["known_ratio"] == pytest.approx((hours - 0.5) / hours)


def test_an_empty_store_shows_nothing(bed: Bed) -> None:
    document = built(bed)
    assert document["teams"] == document["days"] == []
    assert document["fleet_before"] is None
    (team,) = built(bed, "research")["teams"]
    assert team["totals"]["joules"] == 0
    assert team["totals"]["carbon_g"] is None
    assert team["coverage"]["known_ratio"] is None


amounts = st.none() | st.floats(0, 1e12)
row = st.fixed_dictionaries(
    {
        "joules": st.floats(0, 1e12),
        "device_seconds": st.floats(0, 1e9),
        "facility_joules": amounts,
        "cost": amounts,
        "currency": st.sampled_from(["EUR", "USD"]),
        "carbon_g": amounts,
        "market_g": amounts,
        "marginal_g": amounts,
        **{
            f"{name}_unknown_joules": st.floats(0, 1e9)
            for name in ("facility", "cost", "carbon", "market", "marginal")
        },
    }
)


@settings(max_examples=30)
@given(st.lists(row, max_size=5))
def test_unknown_stays_unknown_and_the_rest_is_summed(rows: list[dict[str, Any]]) -> None:
    found = Amounts()
    for one in rows:
        found.add(one)
    for name in ("facility_joules", "carbon_g"):
        known = [one[name] for one in rows if one[name] is not None]
        assert found.short[name] == (pytest.approx(sum(known)) if known else None)
    paid = {one["currency"] for one in rows if one["cost"] is not None}
    assert set(found.costs) == paid
