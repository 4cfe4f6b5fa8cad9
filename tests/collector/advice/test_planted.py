"""Every kind of waste is planted twice: found with its size, and measured once one is mended.

Nobody mended the other, which is shown as not verified. Beside them run workloads that look like
waste and are none. All sizes are in closed form (``charged``).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from tests.collector.advice.charged import BARE, BASE, DAY, HOUR, IDLE, WATTS, Charged

from wattshed_collector import advice_book
from wattshed_collector.advice.model import MONTH_S, Kind, State
from wattshed_collector.cli.advice import lines
from wattshed_collector.grid.policies import Action, Decision, Policy
from wattshed_collector.grid.series import Step
from wattshed_collector.store import advice as store
from wattshed_collector.store import decisions
from wattshed_collector.store.advice import Saying, Wanted
from wattshed_collector.store.worth import Place
from wattshed_exporter.model import Kind as DeviceKind

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

WITHIN = 0.02
UNTIL = 50
PUE, PRICE, DIRTY, CLEAN = 1.25, 0.2, 500.0, 100.0
OTHER_PUE, OTHER = 1.1, 300.0
LOOKED_AT_S = (DAY - 1) * HOUR
"""The first hour is not looked at."""
CONTEXT, DEAR, CHEAP = 90.0, 8.0, 5.0
FATES = ("mended", "left")
Way = dict[str, Any]
SOCKET: Way = {"gpu": "socket", "device_kind": DeviceKind.CPU, "hardware": "Xeon"}
ONLY: Way = {"tokens": {"token_in": 90.0, "token_in_cached": 10.0}}
MORE: Way = {"tokens": {"token_in": 50.0, "token_in_cached": 50.0}}
SWAPS: dict[Kind, tuple[Way, Way]] = {
    Kind.PRECISION: ({"precision": "bf16"}, {"precision": "fp8"}),
    Kind.BATCH: ({"batch_class": "1"}, {"batch_class": "32"}),
    Kind.PLACEMENT: ({"tier": "edge", "hardware": "Orin"}, {"hardware": "L4"}),
    Kind.SMALLER_DEVICE: (
        {"hardware": "H200", "limit": 700.0},
        {"hardware": "L40S", "limit": 350.0},
    ),
    Kind.CACHE: (ONLY, MORE),
}
"""The dear way and the cheap one."""


class Plot:
    """What is planted, and how each of it goes on."""

    def __init__(self, bed: Bed) -> None:
        self.fleet = Charged(bed, {"dub": PUE, "reno": OTHER_PUE}, {"dub": PRICE, "reno": PRICE})
        self.bed = bed

    def plant(self) -> None:
        self._tell()
        for fate in FATES:
            self.fleet.score(f"precision-{fate}", bf16=0.82, fp8=0.815)
            for kind, (dear, cheap) in SWAPS.items():
                self._serve(f"{kind}-{fate}", DEAR, fate, kind, dear)
                self._serve(f"{kind}-{fate}-twin", CHEAP, fate, kind, cheap)
            self._idle(f"release_idle-{fate}", "notebook", "")
            self._idle(f"unload_model-{fate}", "inference", f"parked-{fate}")
            self._train(f"power_cap-{fate}", 400.0, DEAR)
            self._train(f"power_cap-{fate}", 250.0, 5.4)
            self._wait(f"other_hour-{fate}")
            self._move(f"other_zone-{fate}", 2, "dub")
            self._compute(f"other_hour-{fate}", f"other_hour-{fate}")
            self._compute(f"other_zone-{fate}/2", f"other_zone-{fate}")
            self.fleet.free(f"reno-{fate}", "A100", "reno", DAY)
        self._innocents()

    def go_on(self) -> None:
        """Run everything for another day: of each kind one is mended."""
        after: Way = {"start": DAY, "end": UNTIL}
        for fate in FATES:
            for kind, (dear, cheap) in SWAPS.items():
                if fate == "left":
                    self._serve(f"{kind}-{fate}", DEAR, fate, kind, {**dear, **after})
                more = WATTS * CHEAP / DEAR if fate == "mended" else 0.0  # what the other one made
                way = {**cheap, **after, "watts": WATTS + more}
                self._serve(f"{kind}-{fate}-twin", CHEAP, fate, kind, way)
        self._idle("release_idle-left", "notebook", "", **after)
        self._idle("unload_model-left", "inference", "parked-left", **after)
        for name in ("release_idle-mended", "unload_model-mended"):
            self.fleet.hold(f"{name}-gone", None, gpu=name, watts=BARE, class_=IDLE, **after)
        self._train("power_cap-left", 400.0, DEAR, **after)
        self._train("power_cap-left", 250.0, 5.4, **after)
        self._train("power_cap-mended", 250.0, 5.4, **after)
        self._train("power_cap-mended", 250.0, 5.4, card="b", **after)
        self._hold("other_hour-mended", DAY + 2, DAY + 10)
        self._hold("other_hour-left", DAY + 2, DAY + 3)
        self._move("other_zone-mended", DAY + 2, "reno")
        self._move("other_zone-left", DAY + 2, "dub")

    def _serve(self, key: str, each: float, fate: str, kind: Kind, way: Way) -> None:
        self.fleet.hold(key, each, **{"model": f"{kind}-{fate}", **way})

    def _idle(self, key: str, kind: str, model: str, **when: Any) -> None:
        self.fleet.hold(key, None, watts=CONTEXT, class_=IDLE, kind=kind, model=model, **when)

    def _train(self, name: str, limit: float, each: float, card: str = "a", **when: Any) -> None:
        way: Way = {"name": name, "kind": "training", "hardware": "A40", "model": ""}
        self.fleet.hold(f"{name}/{limit:.0f}{card}", each, watts=limit, limit=limit, **way, **when)

    def _wait(self, key: str) -> None:
        self.fleet.hold(key, None, kind="training", model="", start=2, end=6)

    def _move(self, name: str, start: int, site: str) -> None:
        """Run for four hours on a card that others hold before and after: it cannot wait."""
        key = f"{name}/{start}"
        of: Way = {"hardware": "A100", "site": site, "gpu": key}
        self.fleet.hold(
            key, None, name=name, kind="training", model="", start=start, end=start + 4, **of
        )
        self.fleet.hold(f"{key}-next", None, start=start + 4, end=start + 20, **of)

    def _compute(self, key: str, name: str) -> None:
        """Have a run use processors as well, which are everybody's."""
        way: Way = {"kind": "training", "model": "", "start": 2, "end": 6, **SOCKET}
        self.fleet.hold(key, None, name=name, **way)

    def _hold(self, name: str, asked: int, begun: int) -> None:
        """Have a job ask and be held, and run four hours later on."""
        key, at = f"{name}/held", BASE + asked * HOUR
        decision = Decision(Action.HOLD, "wait", ("it is dirty",), at + HOUR)
        policy = Policy(name="wait", match={})
        place = Place("dub", "IE", by_zone=False)
        decisions.put(self.bed.client, key, place, decision, policy, DIRTY, at)
        self.fleet.hold(key, None, name=name, kind="training", model="", start=begun, end=begun + 4)

    def _innocents(self) -> None:
        self.fleet.hold("system", None, kind="", model="", **SOCKET)
        self.fleet.hold("alone", DEAR, model="alone")
        self.fleet.hold("slow/400", DEAR, name="slow", kind="training", watts=400.0, limit=400.0)
        self.fleet.hold("slow/200", CHEAP, name="slow", kind="training", watts=200.0, limit=200.0)
        self.fleet.hold("unscored", 2.0, model="precision-left", precision="int4")
        self.fleet.hold("bare", None, watts=BARE + 0.5, class_=IDLE)
        self.fleet.hold("crowded", None, gpu="shared", kind="training", start=2, end=6)
        self.fleet.hold("holder", None, gpu="shared", start=6)

    def _tell(self) -> None:
        """Tell PUE and price, and a zone that is clean from the tenth to the fourteenth hour."""
        days = range(BASE - 8 * DAY * HOUR, BASE + 3 * DAY * HOUR, DAY * HOUR)
        steps = [
            Step(day + first * HOUR, day + last * HOUR, value)
            for day in days
            for first, last, value in ((0, 10, DIRTY), (10, 14, CLEAN), (14, DAY, DIRTY))
        ]
        other = [Step(days[0], days[-1], OTHER)]
        self.fleet.tell({"dub": ("IE", steps), "reno": ("US", other)})


@pytest.fixture(scope="module")
def plot(shared_bed: Bed) -> Plot:
    shared_bed.clean()
    plot = Plot(shared_bed)
    plot.plant()
    return plot


@pytest.fixture(scope="module")
def found(plot: Plot) -> dict[str, Any]:
    return plot.fleet.found()


@pytest.fixture(scope="module")
def done(plot: Plot, found: dict[str, Any]) -> dict[str, Any]:
    for row in found.values():
        store.say(plot.bed.client, row, Saying(State.DONE, "ada"), BASE + DAY * HOUR)
    plot.go_on()
    plot.fleet.write(UNTIL)
    rows = advice_book.listed(plot.bed.client, Wanted(("done",)))["advice"]
    return {row["subject"].partition("@")[0]: row["verification"] for row in rows}


def sizes() -> dict[Kind, float]:
    """Joules of the facility in a month."""
    monthly = PUE * MONTH_S
    return {
        **dict.fromkeys(SWAPS, WATTS * monthly * (1 - CHEAP / DEAR)),
        Kind.POWER_CAP: 400.0 * monthly * (1 - 5.4 / DEAR),
        Kind.RELEASE_IDLE: (CONTEXT - BARE) * monthly,
        Kind.UNLOAD_MODEL: (CONTEXT - BARE) * monthly,
    }


WAITED_G = 4 * WATTS / 1000 * PUE * (DIRTY - CLEAN)
"""Of one run of four hours."""
MOVED_G = 4 * WATTS / 1000 * (PUE * DIRTY - OTHER_PUE * OTHER)
GRAMS = {Kind.OTHER_HOUR: WAITED_G, Kind.OTHER_ZONE: MOVED_G}


def saved_joules(seconds: float) -> dict[Kind, float]:
    """Joules of the facility that what is mended saves, against what it took before."""
    limits = (400.0 + 250.0) / (400.0 / DEAR + 250.0 / 5.4)
    return {
        **dict.fromkeys(SWAPS, PUE * WATTS * seconds * (1 - CHEAP / DEAR)),
        Kind.POWER_CAP: PUE * 2 * 250.0 * seconds * (limits / 5.4 - 1),
        Kind.RELEASE_IDLE: PUE * (CONTEXT - BARE) * seconds,
        Kind.UNLOAD_MODEL: PUE * (CONTEXT - BARE) * seconds,
    }


def test_every_kind_is_found_and_nothing_else(found: dict[str, Any]) -> None:
    kinds = (*sizes(), *GRAMS)
    assert {name: row["kind"] for name, row in found.items()} == {
        f"{kind}-{fate}": kind for kind in kinds for fate in FATES
    }


def test_each_has_its_size(plot: Plot, found: dict[str, Any]) -> None:
    for kind, joules in sizes().items():
        for fate in FATES:
            row = found[f"{kind}-{fate}"]
            assert row["joules_per_month"] == pytest.approx(joules, rel=WITHIN), row
            assert row["are_facility_joules"]
            money = joules / PUE / 3.6e6 * PRICE
            assert row["cost_per_month"] == pytest.approx(money, rel=WITHIN)
    for kind, grams in GRAMS.items():
        for fate in FATES:
            row = found[f"{kind}-{fate}"]
            assert (row["joules_per_month"], row["cost_per_month"]) == (0.0, None)
            monthly = grams * MONTH_S / LOOKED_AT_S
            assert row["g_per_month"] == pytest.approx(monthly, rel=WITHIN)
    assert "begun 8 to 8 h later" in found["other_hour-left"]["reason"]
    for kind in (*sizes(), *GRAMS):
        assert plot.bed.client.rows(found[f"{kind}-left"]["evidence"])


def test_each_says_by_which_factor(found: dict[str, Any]) -> None:
    for row in found.values():
        assert row["carbon_scope"] == "location-based"
        assert (row["carbon_method"], row["carbon_source"]) == ("hourly", "a test")
        assert row["carbon_said"] == BASE


def test_what_is_mended_is_verified_and_what_is_not_is_not(done: dict[str, Any]) -> None:
    measured = (UNTIL - DAY) * HOUR
    assert [check["seconds"] for check in done.values()] == [pytest.approx(measured)] * len(done)
    for kind, joules in saved_joules(measured).items():
        mended, left = done[f"{kind}-mended"], done[f"{kind}-left"]
        assert mended["saved_joules"] == pytest.approx(joules, rel=WITHIN), kind
        assert mended["verdict"] == "verified", kind
        assert left["saved_joules"] == pytest.approx(0.0, abs=1e-3 * joules), kind
        assert left["verdict"] == "not_verified", kind


def test_grams_of_another_hour_or_zone_are_verified_too(done: dict[str, Any]) -> None:
    for kind, grams in GRAMS.items():
        mended, left = done[f"{kind}-mended"], done[f"{kind}-left"]
        assert mended["saved_g"] == pytest.approx(grams, rel=WITHIN)
        assert mended["saved_joules"] is None
        assert mended["verdict"] == "verified"
        assert left["saved_g"] == pytest.approx(0.0, abs=1e-6 * grams)
        assert left["verdict"] == "not_verified"


def test_savings_of_parts_of_a_time_sum_to_those_of_the_whole(
    plot: Plot, done: dict[str, Any]
) -> None:
    cuts = [BASE + hour * HOUR for hour in (0, DAY + 11, 3 * DAY)]
    parts = [
        {row["subject"].partition("@")[0]: row["verification"] for row in rows}
        for since, until in pairwise(cuts)
        for rows in [advice_book.within(plot.bed.client, since, until)]
    ]
    for name, whole in done.items():
        for amount in ("seconds", "expected_joules", "saved_joules", "saved_g"):
            if whole[amount] is not None:
                total = sum(part[name][amount] or 0.0 for part in parts)
                assert total == pytest.approx(whole[amount], rel=1e-6, abs=1e-3), (name, amount)


def test_the_command_line_shows_factor_age_and_scope_and_who_said_what(
    found: dict[str, Any], done: dict[str, Any]
) -> None:
    said = {"state_at": BASE, "said_by": "ada", "claimed_by": "root", "note": "so"}
    for kind in (Kind.BATCH, Kind.OTHER_ZONE):
        name = f"{kind}-mended"
        shown = lines({**found[name], **said, "verification": done[name]})
        (carbon,) = (line for line in shown if line.startswith("carbon"))
        assert "location-based; hourly of a test, said 20" in carbon
        assert "said by     ada (claimed by root): so" in shown
        (since,) = (line for line in shown if line.startswith("since"))
        assert since.endswith("promised: verified")
        assert ("kg CO2e saved" in since) == (kind == Kind.OTHER_ZONE)
        assert any(line.startswith("money") for line in shown) == (kind == Kind.BATCH)
