"""SCI of what was produced: each part by hand, and what is missing said in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from wattshed_collector import sci
from wattshed_collector.factor import Factor
from wattshed_collector.grid.series import Step
from wattshed_collector.lifecycle.embodied import amortised_g, table
from wattshed_collector.lifecycle.told import Told
from wattshed_collector.store import factors, grid, lifecycle
from wattshed_collector.store.grid import Told as Grid
from wattshed_exporter.model import (
    Allocation,
    Batch,
    Device,
    Kind,
    Method,
    Outcome,
    Tick,
    Workload,
)

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BASE = 1_768_471_200
HOUR = 3600
NOW = BASE + 4 * HOUR
HOURS = 2
A100, NOVEL = "NVIDIA A100-SXM4-80GB", "Novel X1"


def serve(workload: str, device: str, model: str, share: float, rate: float) -> Batch:
    """A workload holds a share of a GPU of 1 kW for two hours and makes ``rate`` tokens/s."""
    begin, end = BASE * 1000, (BASE + HOURS * HOUR) * 1000
    return Batch(
        devices=(Device(device, Kind.GPU, "n", "nvml", model=model, site="dub"),),
        workloads=(Workload(workload, workload, model=f"m-{workload}", team="t"),),
        ticks=tuple(
            Tick(device, (BASE + at) * 1000, 60_000, Method.INTEGRAL, 1000.0, utilization_ratio=0.9)
            for at in range(0, HOURS * HOUR + 1, 60)
        ),
        allocations=(Allocation(device, workload, begin, end, share),),
        outcomes=tuple(
            Outcome(workload, "token_out", (BASE + at) * 1000, at * rate, begin)
            for at in range(0, HOURS * HOUR + 1, 60)
        ),
    )


def tell(bed: Bed, *said: tuple[str, float]) -> None:
    factors.put(bed.client, [Factor(kind, "", BASE, value) for kind, value in said], float(NOW))


def charge(bed: Bed) -> None:
    lifecycle.put_table(bed.client, table(), float(NOW))
    lifecycle.tell_all(bed.client, 5.0, float(NOW))
    bed.ledger(now=lambda: NOW).run()


def rows(bed: Bed, by: str = "workload") -> dict[str, dict[str, Any]]:
    found = sci.answer(bed.client, "token_out", by, BASE - HOUR, NOW, NOW)
    assert found["window"]["end"] <= BASE + HOURS * HOUR
    return {row["name"]: row for row in found["rows"]}


def test_each_part_is_what_it_is_by_hand(bed: Bed) -> None:
    bed.write(serve("w", "g", A100, 1.0, 10.0))
    tell(bed, ("pue", 1.5), ("carbon_g_per_kwh", 200.0))
    charge(bed)
    (row,) = rows(bed).values()
    kwh, grams = 2 * 1.5, amortised_g(318, 5, HOURS * HOUR)
    assert row["outcomes"] == pytest.approx(10 * HOURS * HOUR)
    assert row["operational"]["g"] == pytest.approx(kwh * 200)
    assert row["operational"]["facility_joules"] == pytest.approx(kwh * 3.6e6)
    assert row["operational"]["g_per_kwh"] == pytest.approx(200)
    assert row["operational"]["methods"] == ["factor"]
    assert row["embodied"]["g"] == pytest.approx(grams)
    assert row["embodied"]["methods"] == ["table"]
    assert row["g_per_outcome"] == pytest.approx((kwh * 200 + grams) / (10 * HOURS * HOUR))
    assert row["low_g_per_outcome"] == pytest.approx((kwh * 200 + grams / 2) / (10 * HOURS * HOUR))
    assert row["reasons"] == []


def test_two_on_one_device_have_their_shares_of_making_it(bed: Bed) -> None:
    bed.write(serve("w", "g", A100, 0.75, 1.0), serve("v", "g", A100, 0.25, 1.0))
    tell(bed, ("pue", 1.0), ("carbon_g_per_kwh", 100.0))
    charge(bed)
    found = rows(bed, "ai_model")
    whole = amortised_g(318, 5, HOURS * HOUR)
    assert found["m-w"]["embodied"]["g"] == pytest.approx(0.75 * whole)
    assert found["m-v"]["embodied"]["g"] == pytest.approx(0.25 * whole)
    assert rows(bed, "team")["t"]["embodied"]["g"] == pytest.approx(whole)


def test_what_is_missing_is_said_and_there_is_no_score(bed: Bed) -> None:
    bed.write(serve("w", "g", NOVEL, 1.0, 1.0))
    charge(bed)
    (row,) = rows(bed).values()
    assert row["g_per_outcome"] is row["operational"]["g"] is row["embodied"]["g"] is None
    assert any("PUE" in reason for reason in row["reasons"])
    assert f"embodied carbon is not known: nobody told it of {NOVEL}" in row["reasons"]
    tell(bed, ("pue", 1.2))
    lifecycle.tell(bed.client, [Told("", NOVEL, {"embodied_kg": 10.0})], float(NOW))
    charge(bed)
    (row,) = rows(bed).values()
    assert (row["g_per_outcome"], row["embodied"]["methods"]) == (None, ["told_of_model"])
    assert row["reasons"] == ["nobody knows what a kilowatt hour of the site's grid emits"]
    # The figure has no bounds, and so has the score.
    tell(bed, ("carbon_g_per_kwh", 50.0))
    (row,) = rows(bed).values()
    assert row["g_per_outcome"] == pytest.approx(
        (2 * 1.2 * 50 + amortised_g(10, 5, HOURS * HOUR)) / (HOURS * HOUR)
    )
    assert (row["low_g_per_outcome"], row["reasons"]) == (None, [])


def test_one_unknown_device_of_several_leaves_the_sum_unknown(bed: Bed) -> None:
    bed.write(serve("w", "g", A100, 1.0, 1.0), serve("v", "x", NOVEL, 1.0, 1.0))
    tell(bed, ("pue", 1.0), ("carbon_g_per_kwh", 100.0))
    charge(bed)
    (row,) = rows(bed, "team").values()
    assert row["embodied"]["g"] is None
    assert row["embodied"]["unknown_device_seconds"] == pytest.approx(HOURS * HOUR)
    assert row["operational"]["g"] == pytest.approx(4 * 100)


def test_hourly_intensities_say_their_age(bed: Bed) -> None:
    bed.write(serve("w", "g", A100, 1.0, 1.0))
    tell(bed, ("pue", 1.0))
    charge(bed)
    grid.put_zones(bed.client, {"": ("IE", None, "")}, float(NOW))
    steps = (Step(BASE, BASE + HOUR, 100.0, True), Step(BASE + HOUR, BASE + 2 * HOUR, 300.0, False))
    grid.put(bed.client, [Grid("carbon", "IE", "g/kWh", "a service", NOW - 60, steps)], float(NOW))
    operational = rows(bed)["w"]["operational"]
    assert operational["g"] == pytest.approx(100 + 300)
    assert (operational["methods"], operational["sources"]) == (["hourly"], ["a service"])
    assert (operational["age_seconds"], operational["estimated_ratio"]) == (60, 0.5)


def test_of_nothing_there_are_no_rows(bed: Bed) -> None:
    assert rows(bed) == {}
