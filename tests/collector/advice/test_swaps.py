"""Dearer ways are told from those that are alike, worse, too slow or on other hardware."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.collector.advice.charged import WATTS, Charged

from wattshed_collector.advice.model import MONTH_S

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

WITHIN = 1e-3


@pytest.fixture
def fleet(bed: Bed) -> Charged:
    return Charged(bed)


def monthly(each: float, other: float) -> float:
    return WATTS * MONTH_S * (1 - other / each)


def test_each_kind_is_found_with_its_size_and_its_twin_is_not(fleet: Charged) -> None:
    plan: dict[str, tuple[float, dict[str, Any]]] = {
        "wide": (8.0, {"precision": "bf16"}),
        "narrow": (5.0, {"precision": "fp8"}),
        "unscored": (2.0, {"precision": "int4"}),
        "exact": (8.0, {"precision": "bf16", "phase": "prefill"}),
        "worse": (2.0, {"precision": "int3", "phase": "prefill"}),
        "single": (9.0, {"precision": "fp16", "batch_class": "1", "phase": "decode"}),
        "grouped": (3.0, {"precision": "fp16", "batch_class": "32", "phase": "decode"}),
        "other-gpu": (1.0, {"precision": "fp8", "hardware": "B200", "phase": "x"}),
        "near": (20.0, {"precision": "int8", "tier": "edge", "hardware": "Orin"}),
        "far": (4.0, {"precision": "int8", "hardware": "L40S"}),
    }
    for name, (each, of) in plan.items():
        fleet.hold(name, each, **of)
    fleet.score("llama", bf16=0.82, fp8=0.815, int3=0.80)
    found = fleet.found()
    assert {name: (row["kind"], row["workload"]) for name, row in found.items()} == {
        "wide": ("precision", "wide\nnarrow"),
        "single": ("batch", "single\ngrouped"),
        "near": ("placement", "near\nfar"),
    }
    for name, row in found.items():
        other = row["workload"].splitlines()[1]
        size = monthly(plan[name][0], plan[other][0])
        assert row["joules_per_month"] == pytest.approx(size, rel=WITHIN)
        assert row["cost_per_month"] is None
        assert row["owner"] == "ada"
        assert len(fleet.bed.client.rows(row["evidence"])) == 2
    assert "0.815 in fp8" in found["wide"]["reason"]


def test_a_lower_limit_that_took_less_and_hardly_longer_is_advised(fleet: Charged) -> None:
    def ran(name: str, limit: int, each: float, watts: float) -> None:
        of: dict[str, Any] = {"name": name, "kind": "training", "hardware": "A40"}
        fleet.hold(f"{name}/{limit}", each, watts=watts, limit=limit, **of)

    # An outcome takes each / watts seconds: 20 ms at 400 W, 8 % more at 250 W, 25 % at 200 W.
    ran("tuned", 400, 8.0, 400.0)
    ran("tuned", 250, 5.4, 250.0)
    ran("tuned", 200, 5.0, 200.0)
    ran("crawls", 400, 8.0, 400.0)
    ran("crawls", 200, 5.0, 200.0)
    ran("alone", 400, 9.0, 400.0)
    found = fleet.found()
    assert {name: row["kind"] for name, row in found.items()} == {"tuned": "power_cap"}
    row = found["tuned"]
    # Runs at 250 W would be too slow at 200 W as well.
    assert row["joules_per_month"] == pytest.approx(monthly(8.0, 5.4), rel=WITHIN)
    assert row["numbers"]["other_limit_watts"] == 250
    assert "8.0% longer" in row["reason"]
    made = 400 / 8 + 250 / 5.4 + 200 / 5
    assert row["joules_per_unit"] == pytest.approx(850 / made, rel=WITHIN)
    assert len(fleet.bed.client.rows(row["evidence"])) == 3


def test_a_limit_counts_for_the_hours_in_which_it_was_in_force(fleet: Charged) -> None:
    def ran(each: float, watts: float, start: int, end: int) -> None:
        of: dict[str, Any] = {"name": "tuned", "kind": "training", "hardware": "A40"}
        fleet.hold("tuned/1", each, watts=watts, limit=watts, start=start, end=end, **of)

    # One run on one card, whose newest limit is the lowest.
    ran(8.0, 400.0, 0, 12)
    ran(5.4, 250.0, 12, 24)
    row = fleet.found()["tuned"]
    assert row["kind"] == "power_cap"
    assert (row["numbers"]["limit_watts"], row["numbers"]["other_limit_watts"]) == (400, 250)
    assert row["numbers"]["joules_per_outcome"] == pytest.approx(8.0, rel=WITHIN)
    size = monthly(8.0, 5.4) * 11 / 23  # the first hour is not looked at
    assert row["joules_per_month"] == pytest.approx(size, rel=WITHIN)
    shown = fleet.bed.client.records(row["evidence"])
    assert [one["limit_watts"] for one in shown] == [250, 400]
