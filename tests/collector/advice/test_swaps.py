"""Dearer ways that are planted in a store are found with their size, and measured once they go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.collector.advice.served import BASE, DAY, HOUR, WATTS, Served

from wattshed_collector import advice_book
from wattshed_collector.advice.model import MONTH_S, State

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

UNTIL = 50
WITHIN = 1e-3


@pytest.fixture
def served(bed: Bed) -> Served:
    return Served(bed)


def monthly(each: float, other: float) -> float:
    return WATTS * MONTH_S * (1 - other / each)


def test_each_kind_is_found_with_its_size_and_its_twin_is_not(served: Served) -> None:
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
        served.serve(name, each, **of)
    served.score(bf16=0.82, fp8=0.815, int3=0.80)
    found = served.found()
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
        assert len(served.bed.client.rows(row["evidence"])) == 2
    assert "0.815 in fp8" in found["wide"]["reason"]


def test_a_lower_limit_that_took_less_and_hardly_longer_is_advised(served: Served) -> None:
    def ran(name: str, limit: int, each: float, watts: float) -> None:
        of: dict[str, Any] = {"name": name, "kind": "training", "hardware": "A40"}
        served.serve(f"{name}/{limit}", each, watts=watts, limit=limit, **of)

    # An outcome takes each / watts seconds: 20 ms at 400 W, 8 % more at 250 W, 25 % at 200 W.
    ran("tuned", 400, 8.0, 400.0)
    ran("tuned", 250, 5.4, 250.0)
    ran("tuned", 200, 5.0, 200.0)
    ran("crawls", 400, 8.0, 400.0)
    ran("crawls", 200, 5.0, 200.0)
    ran("alone", 400, 9.0, 400.0)
    found = served.found()
    assert {name: row["kind"] for name, row in found.items()} == {"tuned": "power_cap"}
    row = found["tuned"]
    # Runs at 250 W would be too slow at 200 W as well.
    assert row["joules_per_month"] == pytest.approx(monthly(8.0, 5.4), rel=WITHIN)
    assert row["numbers"]["other_limit_watts"] == 250
    assert "8.0% longer" in row["reason"]
    made = 400 / 8 + 250 / 5.4 + 200 / 5
    assert row["joules_per_unit"] == pytest.approx(850 / made, rel=WITHIN)
    assert len(served.bed.client.rows(row["evidence"])) == 3


def test_work_that_could_have_waited_is_advised_in_grams(served: Served) -> None:
    kinds: dict[str, Any] = {"kind": "training", "model": ""}
    served.serve("nightly", 8.0, start=2, end=6, **kinds)
    served.serve("crowded", 8.0, start=2, end=6, gpu="shared", **kinds)
    served.serve("holder", 8.0, start=6, gpu="shared")
    served.serve("service", 8.0, end=6)
    served.factors(
        ("pue", 0, (1.5, "")),
        ("carbon_g_per_kwh", 0, (500.0, "")),
        ("carbon_g_per_kwh", 10, (100.0, "")),
        ("carbon_g_per_kwh", 14, (500.0, "")),
    )
    found = served.found()
    assert {name: row["kind"] for name, row in found.items()} == {"nightly": "other_hour"}
    row = found["nightly"]
    kwh = 4 * WATTS / 1000 * 1.5
    hours = DAY - 1
    assert row["g_per_month"] == pytest.approx(kwh * 400 * MONTH_S / hours / HOUR, rel=WITHIN)
    assert row["joules_per_month"] == 0
    assert "begun 8 to 8 h later" in row["reason"]
    assert len(served.bed.client.rows(row["evidence"])) == 4
    client = served.bed.client
    advice_book.say(client, row["id"], State.DONE, "ada", "", BASE)
    assert advice_book.one(client, row["id"])["verification"]["verdict"] == "unknown"


def test_what_is_done_is_measured_wherever_the_work_went(served: Served) -> None:
    served.serve("moved", 8.0, precision="bf16", phase="a")
    served.serve("to", 5.0, precision="fp8", phase="a")
    served.serve("stays", 8.0, precision="bf16", phase="b")
    served.serve("beside", 5.0, precision="fp8", phase="b")
    served.score(bf16=0.82, fp8=0.815)
    for row in served.found().values():
        advice_book.say(served.bed.client, row["id"], State.DONE, "ada", "", BASE + DAY * HOUR)
    for name, each, precision, phase in (
        ("to", 5.0, "fp8", "a"),
        ("stays", 8.0, "bf16", "b"),
        ("beside", 5.0, "fp8", "b"),
    ):
        served.serve(name, each, start=DAY, end=UNTIL, precision=precision, phase=phase)
    served.bed.ledger(now=lambda: BASE + (UNTIL + 0.2) * HOUR).run()
    done = advice_book.listed(served.bed.client, ["done"])["advice"]
    checks = {row["subject"].partition("@")[0]: row["verification"] for row in done}
    seconds = checks["moved"]["seconds"]
    assert seconds >= 24 * HOUR
    # Before, both together took 2 x 400 W for 400 / 8 + 400 / 5 outcomes a second.
    before = 2 * WATTS / (WATTS / 8 + WATTS / 5)
    saved = WATTS * seconds * (before / 5 - 1)
    assert checks["moved"]["saved_joules"] == pytest.approx(saved, rel=0.02)
    assert checks["moved"]["verdict"] == "verified"
    assert checks["stays"]["saved_joules"] == pytest.approx(0.0, abs=1e-3 * saved)
    assert checks["stays"]["verdict"] == "not_verified"
