"""Dearer ways are told from those that are alike, worse, too slow or on other hardware."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.collector.advice.charged import BASE, DAY, HOUR, IDLE, WATTS, Charged

from wattshed_collector import advice_book
from wattshed_collector.advice.model import MONTH_S, State
from wattshed_collector.grid.series import Step
from wattshed_collector.store import advice as store
from wattshed_collector.store import advice_measures as measures
from wattshed_collector.store.advice import Saying, Wanted
from wattshed_collector.store.advice_measures import Window

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


def test_work_that_went_away_or_grew_is_no_saving(fleet: Charged) -> None:
    single: dict[str, Any] = {"batch_class": "1"}
    grouped: dict[str, Any] = {"batch_class": "32"}
    fates = ("moved", "gone", "grew")
    for name in fates:
        fleet.hold(f"{name}-dear", 8.0, model=name, **single)
        fleet.hold(f"{name}-cheap", 5.0, model=name, **grouped)
    for row in fleet.found().values():
        store.say(fleet.bed.client, row, Saying(State.DONE, "ada"), BASE + DAY * HOUR)
    watts = {"moved": WATTS * (1 + 5 / 8), "gone": WATTS, "grew": 2 * WATTS}
    for name in fates:
        after: dict[str, Any] = {"model": name, "start": DAY, "end": 50}
        fleet.hold(f"{name}-cheap", 5.0, watts=watts[name], **grouped, **after)
    fleet.hold("grew-dear", 8.0, model="grew", start=DAY, end=50, **single)
    fleet.write(50)
    rows = advice_book.listed(fleet.bed.client, Wanted(("done",)))["advice"]
    checks = {row["subject"].partition("-")[0]: row["verification"] for row in rows}
    assert {name: check["verdict"] for name, check in checks.items()} == {
        "moved": "verified",
        "gone": "not_verified",
        "grew": "not_verified",
    }
    size = WATTS * (1 - 5 / 8) * (50 - DAY) * HOUR
    assert checks["moved"]["saved_joules"] == pytest.approx(size, rel=WITHIN)
    for name in ("gone", "grew"):
        assert checks[name]["saved_joules"] == pytest.approx(0.0, abs=WITHIN * size)


def test_mixed_hardware_and_imported_results_are_no_way_to_serve(fleet: Charged) -> None:
    mixed: dict[str, Any] = {"hardware": "several", "model": "mixed"}
    fleet.hold("single", 8.0, batch_class="1", **mixed)
    fleet.hold("grouped", 5.0, batch_class="32", **mixed)
    fleet.hold("own", 8.0, batch_class="1")
    fleet.hold("mlperf-inference/r/1", 5.0, batch_class="32")
    assert fleet.found() == {}


def test_what_several_teams_call_alike_is_no_one_teams(fleet: Charged) -> None:
    for team in "ab":
        idle = {"a": 80.0, "b": 240.0}[team]
        fleet.hold(f"{team}/shared", None, name="shared", team=team, watts=idle, class_=IDLE)
        for each, batch in ((8.0, "1"), (5.0, "32")):
            name = f"chat-{batch}"
            fleet.hold(f"{team}/{name}", each, name=name, team=team, batch_class=batch)
        for limit, each in ((400.0, 8.0), (250.0, 5.4)):
            way: dict[str, Any] = {"name": "tuned", "kind": "training", "hardware": "A40"}
            fleet.hold(f"{team}/{limit}", each, watts=limit, limit=limit, team=team, **way)
    found = fleet.found()
    assert {name: (row["kind"], row["team"], row["owner"]) for name, row in found.items()} == {
        "shared": ("unload_model", "", "ada"),
        "chat-1": ("batch", "", "ada"),
        "tuned": ("power_cap", "", "ada"),
    }
    # Each team has its part by the joules in question, and all parts are the whole.
    assert found["shared"]["teams"] == pytest.approx({"a": 0.25, "b": 0.75})
    for name in ("chat-1", "tuned"):
        assert found[name]["teams"] == pytest.approx({"a": 0.5, "b": 0.5})
    of_team = [advice_book.listed(fleet.bed.client, Wanted(team=team)) for team in "abc"]
    assert [len(page["advice"]) for page in of_team] == [3, 3, 0]
    whole = advice_book.listed(fleet.bed.client, Wanted())["open_joules_per_month"]
    parts = [page["open_joules_per_month"] for page in of_team]
    assert sum(parts) == pytest.approx(whole)
    assert parts[1] > parts[0] > parts[2] == 0.0


def test_a_run_with_a_card_whose_limit_nobody_knows_is_no_point(fleet: Charged) -> None:
    of: dict[str, Any] = {"name": "tuned", "kind": "training", "hardware": "A40"}
    fleet.hold("tuned/400", 8.0, watts=400.0, limit=400.0, **of)
    fleet.hold("tuned/250", 5.4, watts=250.0, limit=250.0, **of)
    fleet.hold("tuned/250", None, watts=250.0, gpu="unsaid", **of)
    assert fleet.found() == {}


def test_what_is_dismissed_holds_no_other_advice_up(fleet: Charged) -> None:
    fleet.hold("single", 8.0, batch_class="1")
    fleet.hold("single", None, watts=90.0, class_=IDLE, gpu="spare", batch_class="1")
    fleet.hold("grouped", 5.0, batch_class="32")
    (row,) = fleet.found().values()
    assert row["kind"] == "batch"
    client = fleet.bed.client
    store.say(client, row, Saying(State.DISMISSED, "ada"), BASE)
    fleet.found()
    rows = advice_book.listed(client, Wanted())["advice"]
    assert {row["kind"]: row["state"] for row in rows} == {
        "batch": "dismissed",
        "release_idle": "open",
    }


def test_what_ran_elsewhere_before_is_no_saving(bed: Bed) -> None:
    fleet = Charged(bed, {"dub": 1.2, "reno": 1.1})
    days = BASE - DAY * HOUR, BASE + 3 * DAY * HOUR
    fleet.tell(
        {"dub": ("IE", [Step(*days, 500.0)]), "reno": ("US", [Step(*days, 100.0)])},
    )
    fleet.hold("stays", None, end=2 * DAY)
    for key, start in (("both/1", 0), ("more/1", DAY)):
        of: dict[str, Any] = {"name": key.partition("/")[0], "kind": "training", "site": "reno"}
        fleet.hold(key, None, start=start, end=2 * DAY, **of)
    fleet.write(2 * DAY)
    at = BASE + DAY * HOUR
    asked = [
        Window(
            {"id": name, "workload": name, "measure": "grams_elsewhere", "site": "dub"}
            | {"outcome": "", "are_facility_joules": True, "state_at": at}
            | {"units_per_hour": None, "other_units_per_hour": None},
            at,
            at + DAY * HOUR,
        )
        for name in ("both", "more")
    ]
    found = measures.after(bed.client, asked)
    assert found["both"].saved_g == pytest.approx(0.0, abs=1e-6)
    grams = WATTS * DAY / 1000 * (1.2 * 500.0 - 1.1 * 100.0)
    assert found["more"].saved_g == pytest.approx(grams)
