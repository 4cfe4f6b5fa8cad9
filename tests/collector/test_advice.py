"""Planted idleness is found with its size, nothing else is; a planted fix is measured."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from wattshed_collector import advice_book
from wattshed_collector.advice.model import MONTH_S, State
from wattshed_collector.api import pages
from wattshed_collector.api.advice import asked, following, spoken
from wattshed_collector.errors import InvalidInput
from wattshed_collector.expected_idle import Expected
from wattshed_collector.factor import Factor
from wattshed_collector.store import advice_measures as measures
from wattshed_collector.store import expected_idle, factors
from wattshed_collector.store.advice import Saying, Wanted
from wattshed_collector.store.advice_measures import Window
from wattshed_exporter.model import (
    Allocation,
    Batch,
    Detail,
    Device,
    Kind,
    Method,
    Tick,
    Workload,
    stable_id,
)

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

HOUR = 3600
BARE, CONTEXT, BUSY = 50.0, 90.0, 300.0
"""Watts: bare, with a context, at work."""
BASE = int(time.time()) // HOUR * HOUR - 60 * HOUR
"""Of these days, because what devices draw bare is believed for a week."""
Hour = tuple[float, float]
"""Watts and utilisation."""
IDLE, WORK = (CONTEXT, 0.0), (BUSY, 0.9)
DONE = Wanted(("done",))


class Plan:
    """GPUs that do the same for whole hours, each held by one workload."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed

    def hold(
        self,
        name: str,
        hours: Mapping[int, Hour],
        only: range = range(1000),
        *,
        learned: bool = True,
        **more: str,
    ) -> None:
        """Write those of ``hours`` (by number since BASE) that are in ``only``."""
        device = Device(f"gpu-{name}", Kind.GPU, "n", "nvml", model="X", site="dub")
        energy = 0.0
        ticks = [self._tick(device.key, 0, 0, BARE, 0.0)]
        for number, (watts, used) in sorted(hours.items()):
            for minute in range(1, 61):
                energy += watts * 60
                at = number * HOUR + minute * 60
                if number in only:
                    ticks.append(self._tick(device.key, at, round(energy * 1e6), watts, used))
        said = Detail(device.key, "wattshed_idle_baseline_watts", BASE * 1000, BARE, ("bare",))
        held = max(h for h in hours if h in only and hours[h][0] > BARE) + 1
        start, end = BASE * 1000, (BASE + held * HOUR) * 1000
        self.bed.write(
            Batch(
                devices=(device,),
                ticks=tuple(ticks),
                details=(said,) if learned else (),
                workloads=(Workload(f"j/{name}", name=name, **more),),
                allocations=(Allocation(device.key, f"j/{name}", start, end),),
            )
        )

    def _tick(self, key: str, at: int, energy: int, watts: float, used: float) -> Tick:
        return Tick(
            key, (BASE + at) * 1000, 60_000, Method.COUNTER, watts, energy, BASE * 1000, used
        )

    def charge(self) -> None:
        self.bed.ledger(now=lambda: BASE + 59.0 * HOUR).run()

    def found(self) -> dict[str, Any]:
        advice_book.look(self.bed.client, BASE + 59 * HOUR)
        rows = advice_book.listed(self.bed.client, Wanted())["advice"]
        return {row["workload"]: row for row in rows}


@pytest.fixture
def plan(bed: Bed) -> Plan:
    return Plan(bed)


def always(hour: Hour, count: int = 48) -> dict[int, Hour]:
    return dict.fromkeys(range(count), hour)


def test_planted_idleness_is_found_and_nothing_else(plan: Plan) -> None:
    plan.hold("notebook", {n: WORK if n % 8 == 0 else IDLE for n in range(48)}, team="vision")
    plan.hold("parked", always(IDLE), model="llama", kind="inference")
    plan.hold("stalled", {n: IDLE if n % 3 == 0 else WORK for n in range(48)}, kind="training")
    plan.hold("busy", always(WORK), kind="training")
    plan.hold("pauses", {n: IDLE if n % 8 == 0 else WORK for n in range(48)})
    plan.hold("standby", always(IDLE), model="llama")
    plan.hold("bare", always((BARE + 0.5, 0.0)))
    plan.charge()
    expected_idle.put(
        plan.bed.client,
        [Expected("e", BASE + 1000.0 * HOUR, BASE, "standby", "", "", "warm", "ada")],
        time.time(),
    )
    found = plan.found()
    # The first hour is not looked at.
    idle = {"notebook": 42, "parked": 47, "stalled": 15}
    assert {name: row["kind"] for name, row in found.items()} == {
        "notebook": "release_idle",
        "parked": "unload_model",
        "stalled": "release_idle",
    }
    for name, hours in idle.items():
        joules = hours * HOUR * (CONTEXT - BARE) * MONTH_S / (47 * HOUR)
        assert found[name]["joules_per_month"] == pytest.approx(joules, rel=1e-6)
        assert found[name]["numbers"]["idle_seconds"] == pytest.approx(hours * HOUR)
        assert found[name]["cost_per_month"] is None
        assert found[name]["g_per_month"] is None
        assert not found[name]["are_facility_joules"]
    assert found["notebook"]["team"] == "vision"
    assert "stands still" in found["stalled"]["title"]
    for name, hours in idle.items():
        shown = plan.bed.client.records(found[name]["evidence"])
        assert sum(row["above_bare_joules"] for row in shown) == pytest.approx(
            hours * HOUR * (CONTEXT - BARE)
        )


def test_money_grams_and_the_pue(plan: Plan) -> None:
    plan.hold("notebook", always(IDLE))
    said = {"pue": (1.5, ""), "price": (0.2, "EUR/kWh"), "carbon_g_per_kwh": (300.0, "")}
    told = [Factor(kind, "dub", BASE, v, unit) for kind, (v, unit) in said.items()]
    factors.put(plan.bed.client, told, time.time())
    plan.charge()
    row = plan.found()["notebook"]
    kwh = (CONTEXT - BARE) * MONTH_S / 3.6e6
    assert row["are_facility_joules"]
    assert row["joules_per_month"] / 3.6e6 == pytest.approx(1.5 * kwh)
    assert (row["cost_per_month"], row["currency"]) == (pytest.approx(0.2 * kwh), "EUR")
    assert row["g_per_month"] == pytest.approx(300.0 * 1.5 * kwh)


def test_a_planted_fix_is_measured(plan: Plan) -> None:
    gone = dict.fromkeys(range(24, 52), (BARE, 0.0))
    all_of = {
        "released": {**always(IDLE, 24), **gone},
        "halved": {n: IDLE if n < 24 or n % 2 else (BARE + 0.1, 0.0) for n in range(52)},
        "same": always(IDLE, 52),
    }
    client = plan.bed.client
    for name, hours in all_of.items():
        plan.hold(name, hours, only=range(24))
    plan.charge()
    planted = plan.found()
    assert planted.keys() == all_of.keys()
    for row in planted.values():
        advice_book.say(client, row["id"], Saying(State.DONE, "ada"), BASE + 24 * HOUR - 60)
    for name, hours in all_of.items():
        plan.hold(name, hours)
    plan.charge()
    found = {row["workload"]: row for row in advice_book.listed(client, DONE)["advice"]}
    checks = {name: row["verification"] for name, row in found.items()}
    per_hour = found["same"]["joules_per_unit"]
    assert checks["released"]["verdict"] == "verified"
    assert checks["released"]["assumes"].endswith("would have ended anyway saved less")
    assert checks["same"]["verdict"] == "not_verified"
    hours = checks["same"]["seconds"] / HOUR
    assert hours == 28
    assert checks["released"]["saved_joules"] == pytest.approx(per_hour * hours, rel=1e-6)
    assert checks["same"]["saved_joules"] == pytest.approx(0.0, abs=per_hour * 1e-3)
    assert checks["halved"]["verdict"] in ("verified", "partly")
    assert checks["halved"]["ratio"] == pytest.approx(0.5, rel=0.02)


def test_a_device_that_is_not_measured_any_more_saves_nothing(plan: Plan) -> None:
    client = plan.bed.client
    for name in ("silent", "heard"):
        plan.hold(name, always(IDLE, 24))
    plan.charge()
    for row in plan.found().values():
        advice_book.say(client, row["id"], Saying(State.DONE, "ada"), BASE + 24 * HOUR - 60)
    plan.hold("heard", always(IDLE, 52))
    plan.charge()
    rows = advice_book.listed(client, DONE)["advice"]
    checks = {row["workload"]: row["verification"] for row in rows}
    assert checks["heard"]["seconds"] == 28 * HOUR
    assert (checks["silent"]["verdict"], checks["silent"]["saved_joules"]) == ("unknown", None)


def test_idleness_that_is_expected_from_then_on_is_not_saved(plan: Plan) -> None:
    client = plan.bed.client
    plan.hold("notebook", always(IDLE, 52), only=range(24))
    plan.charge()
    (row,) = plan.found().values()
    advice_book.say(client, row["id"], Saying(State.DONE, "ada"), BASE + 24 * HOUR - 60)
    plan.hold("notebook", always(IDLE, 52))
    plan.charge()
    expected = Expected("e", BASE + 1000.0 * HOUR, BASE, "notebook", "", "", "warm", "ada")
    expected_idle.put(client, [expected], time.time())
    check = advice_book.one(client, row["id"])["verification"]
    assert (check["verdict"], check["saved_joules"]) == ("unknown", None)
    # Said again, it is measured on from when it was said first.
    again = Saying(State.DONE, "ada", "", "really")
    said = advice_book.say(client, row["id"], again, BASE + 50 * HOUR)
    assert (said["state_at"], said["note"]) == (BASE + 24 * HOUR - 60, "really")


def test_what_waited_at_another_site_is_that_ones() -> None:
    job = {"job": "j/1", "asked": BASE, "unit": "g", "saved": 7.0}
    jobs = [{**job, "site": site} for site in ("dub", "reno", "")]
    advice = {"workload": "train", "site": "dub", "state_at": BASE}
    window = Window(advice, BASE, BASE + HOUR)
    assert advice_book._grams(window, jobs, {"j/1": "train"}) == 14.0
    assert advice_book._grams(window, jobs[1:2], {"j/1": "train"}) is None


def test_what_people_say(plan: Plan) -> None:
    plan.hold("notebook", always(IDLE))
    plan.charge()
    client, now = plan.bed.client, int(time.time())
    row = plan.found()["notebook"]
    said = advice_book.say(client, row["id"], Saying(State.DISMISSED, "ada", "", "wanted"), now)
    assert (said["state"], said["said_by"], said["note"]) == ("dismissed", "ada", "wanted")
    assert said["claimed_by"] == ""
    assert said["verification"] is None
    # Found again, it stays dismissed; taken back, it is open.
    assert plan.found()["notebook"]["state"] == "dismissed"
    assert advice_book.listed(client, Wanted(("open",)))["advice"] == []
    assert advice_book.listed(client, Wanted())["open_joules_per_month"] == 0
    advice_book.say(client, row["id"], Saying(State.OPEN, "ada"), now + 1)
    assert advice_book.one(client, row["id"])["state"] == "open"
    with pytest.raises(InvalidInput, match="no advice 'x'"):
        advice_book.say(client, "x", Saying(State.DONE), now)


def test_what_is_not_found_again_expires(plan: Plan) -> None:
    plan.hold("notebook", always(IDLE))
    plan.charge()
    advice_book.look(plan.bed.client, int(time.time()) - 4 * 86400)
    (row,) = advice_book.listed(plan.bed.client, Wanted())["advice"]
    assert row["state"] == "expired"
    # What somebody accepted a month ago and nobody did is open again, where it is found again.
    now, accepted = int(time.time()), Saying(State.ACCEPTED, "ada")
    said = advice_book.say(plan.bed.client, row["id"], accepted, now - 30 * 86400 - 60)
    assert (said["state"], said["said_by"]) == ("expired", "ada")
    assert plan.found()["notebook"]["state"] == "open"
    said = advice_book.say(plan.bed.client, row["id"], accepted, now - 29 * 86400)
    assert said["state"] == "accepted"


def test_of_hardly_anything_nothing_is_said(plan: Plan) -> None:
    assert advice_book.look(plan.bed.client, int(time.time())) == 0
    plan.hold("notebook", always(IDLE, 5))
    plan.bed.ledger(now=lambda: BASE + 5.0 * HOUR).run()
    assert advice_book.look(plan.bed.client, int(time.time())) == 0


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({}, "write an object with id"),
        ({"id": "a", "state": 1}, "all texts"),
        ({"id": "a", "state": "gone"}, "state must be one of open, accepted"),
        ({"id": "a", "state": "done", "x": ""}, "x is not known"),
    ],
)
def test_what_is_said_wrongly(said: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        spoken(said, "")


def test_who_is_authenticated_says_it_whatever_the_caller_writes() -> None:
    id, saying = spoken({"id": "a", "state": "done", "by": "root", "note": "so"}, "ada")
    assert (id, saying) == ("a", Saying(State.DONE, "ada", "root", "so"))


def test_pages_go_on_where_they_ended(plan: Plan) -> None:
    for name in "abc":
        plan.hold(name, always(IDLE))
    plan.charge()
    plan.found()
    client = plan.bed.client
    seen: list[dict[str, Any]] = []
    query = {"limit": "2", "state": "open"}
    totals: set[float] = set()
    for rows, is_last in ((2, False), (1, True)):
        wanted = asked(query)
        page = advice_book.listed(client, wanted)
        token = following(wanted, page)
        assert (len(page["advice"]), token is None) == (rows, is_last)
        seen += page["advice"]
        totals.add(page["open_joules_per_month"])
        query["after"] = token or query["after"]
    assert sorted(row["workload"] for row in seen) == ["a", "b", "c"]
    assert list(totals) == [pytest.approx(sum(row["joules_per_month"] for row in seen))]
    with pytest.raises(InvalidInput, match="another question"):
        asked({**query, "team": "x"})
    digest = pages.digest(asked({}).where)
    for wrong in ("x", *(pages.token(digest, key) for key in (["a", 1], [10**400, "a"]))):
        with pytest.raises(InvalidInput, match="after="):
            asked({"after": wrong})
    with pytest.raises(InvalidInput, match="limit="):
        asked({"limit": "0"})


def test_what_is_asked_wrongly() -> None:
    with pytest.raises(InvalidInput, match="choose of open"):
        asked({"state": "open,new"})
    with pytest.raises(InvalidInput, match="choose one of release_idle"):
        asked({"kind": "sleep"})


def test_what_is_bare_of_a_device_that_nobody_learned_is_not_known(plan: Plan) -> None:
    plan.hold("notebook", always(IDLE), learned=False)
    plan.charge()
    rows = plan.bed.client.rows(
        "SELECT bare_watts, above_bare_joules FROM v_idle_1h WHERE class = 'idle_held'"
    )
    assert set(rows) == {(None, None)}
    assert plan.found() == {}
    # What it was learned to draw weeks ago is known of it: it idled above that as well.
    row = {
        "hour": BASE - 20 * 86400,
        "device_id": stable_id("gpu-notebook"),
        "watts": BARE,
        "bare_watts": BARE,
    }
    plan.bed.client.insert("idle_hour", {name: [value] for name, value in row.items()})
    rows = plan.bed.client.rows(
        "SELECT bare_watts, above_bare_joules > 0 FROM v_idle_1h WHERE class = 'idle_held'"
    )
    assert set(rows) == {(BARE, 1)}


def test_what_is_done_stays_as_it_was_promised(plan: Plan) -> None:
    plan.hold("notebook", always(IDLE))
    plan.charge()
    client = plan.bed.client
    row = plan.found()["notebook"]
    advice_book.say(client, row["id"], Saying(State.DONE, "ada"), BASE + 58 * HOUR)
    factors.put(client, [Factor("pue", "dub", BASE, 1.5)], time.time())
    plan.charge()
    # What is left is found again with the PUE; what was promised was of devices.
    again = plan.found()["notebook"]
    for name in ("are_facility_joules", "joules_per_month", "joules_per_unit", "numbers"):
        assert again[name] == row[name]


def test_outcomes_whose_facility_joules_nobody_knows_save_nothing(plan: Plan) -> None:
    plan.hold("chat", always(WORK))
    plan.charge()
    client = plan.bed.client
    ((workload,),) = client.rows("SELECT workload_id FROM v_workload WHERE workload = 'chat'")
    energy: list[tuple[float, float | None]] = [(10.0, 15.0), (10.0, None)]
    rows = [
        (BASE + n * HOUR, workload, kind, made, loaded, facility)
        for n, (joules, whole) in enumerate(energy)
        for kind, made, loaded, facility in (("", 0.0, joules, whole), ("step", 5.0, None, None))
    ]
    names = ("t", "workload_id", "kind", "count", "loaded_joules", "facility_joules")
    columns: dict[str, list[Any]] = dict(
        zip(names, map(list, zip(*rows, strict=True)), strict=True)
    )
    columns["site"] = ["dub"] * len(rows)
    columns["version"] = [2**62] * len(rows)
    client.insert("outcome_1h", columns)
    client.insert(
        "outcome_kind",
        {"workload_id": [workload], "kind": ["step"], "is_made": [True], "version": [1]},
    )
    told: dict[str, Any] = {
        "measure": "joules_per_outcome",
        "workload": "chat",
        "outcome": "step",
        "site": "dub",
    }
    for is_facility, units, joules in ((True, 5.0, 15.0), (False, 10.0, 20.0)):
        row = {**told, "id": "a", "state_at": BASE, "are_facility_joules": is_facility}
        row |= {"units_per_hour": None, "other_units_per_hour": None}
        after = measures.after(client, [Window(row, BASE, BASE + 9 * HOUR)])["a"]
        assert (after.units, after.joules) == (units, joules)
