"""What the joules of a window emitted, by any group, to the minute, with who says so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from wattshed_collector.factor import Factor
from wattshed_collector.grid.series import Step
from wattshed_collector.store import energy_carbon, factors, grid, queries
from wattshed_collector.store.energy_carbon import NO_INTENSITY, NO_PUE, in_all
from wattshed_collector.store.grid import Told
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Method, Tick, Workload

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

HOUR, DAY = 3600, 86400
BASE = int(time.time()) // DAY * DAY - 5 * DAY
HOURS = 30
HELD = {
    "a": ("dub", "w1", "t"),
    "b": ("dub", "", ""),
    "c": ("sgp", "w1", "t"),
    "x": ("far", "", ""),
}
"""Site, workload and team by device; each draws 360 W, a tenth of a kilowatt hour in 1000 s."""
PUE, SAID = 1.5, BASE + 7200
Record = dict[str, Any]


def intensity(hour: int) -> float:
    return 100.0 + 10 * hour


def run(key: str, site: str, workload: str, team: str) -> Batch:
    span = BASE * 1000, (BASE + HOURS * HOUR) * 1000
    return Batch(
        devices=(Device(key, Kind.GPU, f"n-{site}", "nvml", site=site),),
        ticks=tuple(
            Tick(key, (BASE + at) * 1000, 60_000, Method.INTEGRAL, 360.0, utilization_ratio=0.9)
            for at in range(0, HOURS * HOUR + 1, 60)
        ),
        workloads=(Workload(workload, workload, team=team),) if workload else (),
        allocations=(Allocation(key, workload, *span),) if workload else (),
    )


def fill(bed: Bed) -> None:
    """dub has an intensity of each hour, sgp one of a year and a PUE of its own, far no PUE."""
    said = [Factor("pue", site, BASE - DAY, PUE) for site in ("dub", "sgp")]
    factors.put(bed.client, said, float(BASE))
    grid.put_zones(bed.client, {"dub": ("IE", None, ""), "sgp": ("SG", 450.0, "a table")}, BASE)
    steps = [
        Step(BASE + n * HOUR, BASE + (n + 1) * HOUR, intensity(n), False) for n in range(HOURS)
    ]
    grid.put(bed.client, [Told("carbon", "IE", "g/kWh", "a service", SAID, steps)], float(SAID))
    bed.write(*(run(key, *of) for key, of in HELD.items()))
    ledger = bed.ledger(now=lambda: BASE + HOURS * HOUR + 600.0)
    ledger.run()
    ledger.sum_up()


@pytest.fixture(scope="module")
def filled(shared_bed: Bed) -> Bed:
    """Filled once: what a test adds changes nothing that those before it ask for."""
    shared_bed.clean()
    fill(shared_bed)
    return shared_bed


def asked(bed: Bed, by: str, since: int, until: int) -> list[Record]:
    found = queries.energy(bed.client, by, BASE + since, BASE + until)
    return energy_carbon.with_carbon(bed.client, by, BASE + since, BASE + until, found)


def dub(since: int, until: int) -> float:
    """Grams of a device at dub in the window, seconds after BASE."""
    minutes = range(since // 60, until // 60)
    return sum(0.36 / 60 * PUE * intensity(minute // 60) for minute in minutes)


def sgp(since: int, until: int) -> float:
    return (until - since) / HOUR * 0.36 * PUE * 450


SPANS = ((0, 2 * HOUR), (30 * 60, 90 * 60), (20 * 60, 29 * HOUR + 40 * 60))


def test_grams_by_any_group_to_the_minute(filled: Bed) -> None:
    for span in SPANS:
        by_device = {row["device"]: row for row in asked(filled, "device", *span)}
        assert by_device["a"]["carbon_g"] == pytest.approx(dub(*span), rel=1e-9)
        assert by_device["c"]["carbon_g"] == pytest.approx(sgp(*span), rel=1e-9)
        assert (by_device["x"]["carbon_g"], by_device["x"]["carbon_reason"]) == (None, NO_PUE)
        (held,) = (row for row in asked(filled, "workload", *span) if row["workload"] == "w1")
        assert held["carbon_g"] == pytest.approx(dub(*span) + sgp(*span), rel=1e-9)
        assert held["carbon_methods"] == ["hourly", "yearly"]
        assert held["carbon_sources"] == ["a service", "a table"]
        assert held["carbon_said"] is not None
        at = {row["site"]: row for row in asked(filled, "site", *span)}
        assert at["dub"]["carbon_g"] == pytest.approx(2 * dub(*span), rel=1e-9)
        nodes = {row["node"]: row["carbon_g"] for row in asked(filled, "node", *span)}
        assert nodes.pop("n-far") is None
        assert nodes == pytest.approx({f"n-{s}": at[s]["carbon_g"] for s in ("dub", "sgp")})
        (active,) = (row for row in asked(filled, "class", *span) if row["class"] == "active")
        assert active["carbon_g"] == pytest.approx(dub(*span) + sgp(*span), rel=1e-9)


def test_what_is_missing_is_said_and_never_zero(filled: Bed) -> None:
    rows = asked(filled, "team", 0, 2 * HOUR)
    team = {row["team"]: row for row in rows}
    # Of the one at dub it is known, and of the one at far, which is small beside the fleet, not.
    assert team[""]["carbon_g"] == pytest.approx(dub(0, 2 * HOUR), rel=1e-9)
    assert team[""]["carbon_unknown_joules"] == pytest.approx(360 * 2 * HOUR)
    assert (team[""]["carbon_reason"], team["t"]["carbon_reason"]) == (NO_PUE, "")
    fleet = in_all(rows)
    known = 2 * dub(0, 2 * HOUR) + sgp(0, 2 * HOUR)
    assert fleet["carbon_g"] == pytest.approx(known, rel=1e-9)
    assert fleet["carbon_unknown_joules"] == team[""]["carbon_unknown_joules"]
    assert fleet["carbon_reason"] == NO_PUE
    assert in_all([])["carbon_reason"] == "nothing was charged"


def test_grams_of_whole_hours_are_those_of_a_showback(filled: Bed) -> None:
    (shown,) = filled.client.rows(
        "SELECT sum(carbon_g), max(toUnixTimestamp(carbon_said)) FROM v_showback_1h "
        "WHERE team = 't' AND t >= fromUnixTimestamp({since:UInt32}) "
        "AND t < fromUnixTimestamp({until:UInt32})",
        {"since": BASE + HOUR, "until": BASE + 28 * HOUR},
    )
    (row,) = (r for r in asked(filled, "team", HOUR, 28 * HOUR) if r["team"] == "t")
    assert (row["carbon_g"], row["carbon_said"]) == (pytest.approx(shown[0], rel=1e-9), shown[1])


def test_a_site_whose_pue_is_told_later_still_lacks_an_intensity(filled: Bed) -> None:
    factors.put(filled.client, [Factor("pue", "far", BASE - DAY, 2.0)], float(BASE + DAY))
    filled.ledger(now=lambda: BASE + HOURS * HOUR + 600.0).run()
    (far,) = (row for row in asked(filled, "site", 0, 2 * HOUR) if row["site"] == "far")
    assert (far["carbon_g"], far["carbon_reason"]) == (None, NO_INTENSITY)
    assert (far["carbon_sources"], far["carbon_said"]) == ([], None)
    assert far["carbon_unknown_joules"] == pytest.approx(360 * 2 * HOUR)
    assert in_all([far])["carbon_g"] is None


def test_each_reason_of_all_is_said_once() -> None:
    def of(reason: str) -> dict[str, Any]:
        return {
            "carbon_g": None,
            "carbon_unknown_joules": 1.0,
            "carbon_methods": [],
            "carbon_sources": [],
            "carbon_said": None,
            "carbon_reason": reason,
        }

    both = f"{NO_PUE}; {NO_INTENSITY}"
    assert in_all([of(NO_PUE), of(both), of("")])["carbon_reason"] == both
