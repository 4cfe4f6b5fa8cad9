"""Each signal on the engine: when it is above zero, when it is not, by numbers computed by hand.

All that is only read is said of one fleet, written and charged once; what changes comes last.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from wattshed_collector import alert_watch
from wattshed_collector.expected_idle import Expected
from wattshed_collector.factor import Factor
from wattshed_collector.store import expected_idle, factors, working
from wattshed_collector.store.alert_queries import OF_HELD, told, told_of_held
from wattshed_exporter.model import (
    Allocation,
    Batch,
    Detail,
    Device,
    Kind,
    Method,
    Outcome,
    Overlap,
    Tick,
    Workload,
    stable_id,
)

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

MINUTE_MS = 60_000
QUARTER_MS = 15 * MINUTE_MS
HOUR_MS = 60 * MINUTE_MS
BARE_WATTS = 60.0
LONG_AGO_S = 1_700_000_000
SIGNALS = {signal.name: signal for signal in alert_watch.signals()}
HELD = [signal for signal in SIGNALS.values() if signal.view in OF_HELD]
WORKED = ((QUARTER_MS, 0.5), (0, 0.0))
"""Readings (ms ago, utilisation) of a device that worked a quarter of an hour ago and not since."""
FACTS = ("devices", "ticks", "details", "workloads", "allocations", "outcomes")

Found = dict[str, dict[tuple[str, ...], float]]


class Fleet:
    """GPUs of one node and workloads that hold them, in readings that end a second ago."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.now_ms = int(time.time() * 1000) - 1000
        self._said: list[Batch] = []

    def gpu(
        self,
        key: str,
        watts: float | None,
        used: Sequence[tuple[int, float | None]] = WORKED,
        held: Mapping[str, float] | None = None,
        bare: float | None = BARE_WATTS,
        interval_ms: int = 1000,
        **more: Any,
    ) -> None:
        """Read a GPU at some times (ms ago) with a utilisation each; ``held`` has shares."""
        place = {"kind": Kind.GPU, "node": "n1", "site": "s1", "tier": "dc", "cluster": "c1"}
        ticks = tuple(
            Tick(key, self.now_ms - ago, interval_ms, Method.COUNTER, watts, None, None, ratio)
            for ago, ratio in used
        )
        since_ms, until_ms = self.now_ms - HOUR_MS, self.now_ms
        allocations = tuple(
            Allocation(key, who, since_ms, until_ms, part) for who, part in (held or {}).items()
        )
        device = Device(key, source="nvml", **{**place, **more})
        self.say(devices=(device,), ticks=ticks, allocations=allocations)
        if bare is not None:
            self.detail(key, "wattshed_idle_baseline_watts", bare, 0, "bare")

    def detail(self, key: str, metric: str, value: float, ago_ms: int, *own: str) -> None:
        self.say(details=(Detail(key, metric, self.now_ms - ago_ms, value, own),))

    def steps(self, workload: str, *readings: tuple[int, float]) -> None:
        """Say the step counter of a workload: ms ago and its total."""
        at = self.now_ms
        self.say(outcomes=tuple(Outcome(workload, "step", at - ago, n) for ago, n in readings))

    def factor(self, kind: str, site: str, value: float | None, unit: str, since: int = 0) -> None:
        told = Factor(kind, site, LONG_AGO_S + since, value, unit)
        factors.put(self.bed.client, [told], time.time())

    def say(self, **more: Any) -> None:
        self._said.append(Batch(**more))

    def write(self) -> None:
        """Write what was said, at once."""
        batch: dict[str, Any] = {
            n: tuple(fact for said in self._said for fact in getattr(said, n)) for n in FACTS
        }
        self._said.clear()
        self.bed.write(Batch(**batch))

    def signals(self) -> Found:
        """Return what all signals say, by the labels in their order."""
        client = self.bed.client
        found = {name: dict(t.values) for name, t in told_of_held(client, HELD, 1000).items()}
        for name in SIGNALS.keys() - found.keys():
            found[name] = dict(told(client, SIGNALS[name], 1000).values)
        return found

    def watts(self, workload: str) -> float:
        """Return what the workload burns idle now."""
        burn = told_of_held(self.bed.client, [SIGNALS["idle_burn"]], 1000)["idle_burn"]
        return {labels[-1]: value for labels, value in burn.values.items()}[workload]


def near(value: float) -> Any:
    return pytest.approx(value, rel=1e-9)


def of(found: Found, name: str, label: str) -> dict[str, float]:
    """Return the values of a signal by one of its labels, "" left out."""
    at = SIGNALS[name].labels.index(label)
    return {labels[at]: value for labels, value in found[name].items() if labels[at]}


@pytest.fixture(scope="module")
def fleet(shared_bed: Bed) -> Iterator[Fleet]:
    shared_bed.clean()
    made = Fleet(shared_bed)
    for say in (_idle, _unknown, _shared, _models, _training, _hardly_used, _sites, _telemetry):
        say(made)
    _drops(made)
    made.write()
    made.bed.ledger().run()
    made.factor("price", "", 0.5, "USD/kWh")
    made.factor("price", "s1", 0.25, "EUR/kWh")
    made.factor("power_budget_watts", "s2", 800.0, "W")
    made.factor("power_budget_watts", "s3", 500.0, "W")
    _reconciled(made)
    yield made
    shared_bed.clean()


@pytest.fixture(scope="module")
def found(fleet: Fleet) -> Found:
    return fleet.signals()


def _idle(fleet: Fleet) -> None:
    job = Workload("ns/job", "job", "inference", team="vision", owner="ada", model="llama")
    fleet.say(workloads=(job,))
    fleet.gpu("idle", 110.0, held={"ns/job": 1.0})
    fleet.gpu("also", 100.0, held={"ns/job": 1.0})
    fleet.gpu("dear", 1060.0, held={"ns/dear": 1.0})
    # One reading at 2 % within the quarter of an hour is work.
    fleet.gpu("works", 300.0, ((QUARTER_MS - MINUTE_MS, 0.02), (0, 0.0)), {"ns/works": 1.0})
    fleet.gpu("little", BARE_WATTS + 15.0, held={"ns/little": 1.0})
    for key in ("sm", "odd", "dram", "still"):
        fleet.gpu(key, 100.0, ((QUARTER_MS, None), (0, None)), {f"ns/{key}": 1.0})
        fleet.detail(key, "wattshed_sm_activity_ratio", 0.0199, 0)
    fleet.detail("sm", "wattshed_sm_activity_ratio", 0.02, MINUTE_MS)
    # More digits than the column of wide details has.
    fleet.detail("odd", "wattshed_sm_activity_ratio", 0.123456789, MINUTE_MS)
    fleet.detail("dram", "wattshed_memory_activity_ratio", 0.05, MINUTE_MS)


def _unknown(fleet: Fleet) -> None:
    fleet.gpu("says nothing", 200.0, ((QUARTER_MS, None), (0, None)), {"ns/mute": 1.0})
    fleet.gpu("never moved", 200.0, ((QUARTER_MS, 0.0), (0, 0.0)), {"ns/unmoved": 1.0})
    fleet.gpu("no power", None, held={"ns/unmetered": 1.0})
    fleet.gpu("never bare", 200.0, held={"ns/unlearned": 1.0}, bare=None)
    fleet.detail("never bare", "wattshed_idle_baseline_watts", 100.0, 0, "context")
    fleet.gpu("silent", 200.0, ((QUARTER_MS * 2, 0.5), (QUARTER_MS, 0.0)), {"ns/silent": 1.0})
    for key, bare in (("x", 50.0), ("y", 60.0), ("z", 90.0)):
        fleet.gpu(key, 50.0, bare=bare, model="H100", node="n2")
    fleet.gpu("new", 100.0, held={"ns/new": 1.0}, bare=None, model="H100")


def _shared(fleet: Fleet) -> None:
    for key, team in (("half", "t1"), ("quarter", "t1"), ("p", "t2"), ("q", "t2")):
        fleet.say(workloads=(Workload(f"ns/{key}", key, "inference", team=team),))
    fleet.gpu("mig", 160.0, held={"ns/half": 0.5, "ns/quarter": 0.25}, node="n3")
    fleet.gpu("crowded", 110.0, held={"ns/p": 1.0, "ns/q": 1.0}, node="n3")


def _models(fleet: Fleet) -> None:
    fleet.say(
        workloads=(
            Workload("ns/live", "live", "inference", model="gemma"),
            Workload("ns/learns", "learns", "training", model="gemma"),
        )
    )
    fleet.gpu("live", 110.0, ((MINUTE_MS, 0.4), (0, 0.0)), {"ns/live": 1.0})
    fleet.gpu("learns", 110.0, held={"ns/learns": 1.0})


def _training(fleet: Fleet) -> None:
    for key in ("stalled", "pauses", "steps"):
        fleet.gpu(key, 400.0, ((0, 1.0),), {f"ns/{key}": 1.0})
    fleet.gpu("dark", 70.0, ((0, 0.0),), {"ns/dark": 1.0})
    stood = 20 * MINUTE_MS
    fleet.steps("ns/stalled", (stood + 60_000, 7.0), (stood, 8.0), (MINUTE_MS, 8.0), (0, 8.0))
    # The counter begins anew with the checkpoint that it was started again from.
    fleet.steps("ns/pauses", (9 * MINUTE_MS, 50.0), (4 * MINUTE_MS, 3.0), (0, 3.0))
    fleet.steps("ns/steps", (MINUTE_MS, 1.0), (0, 2.0))
    fleet.steps("ns/dark", (stood, 7.0), (0, 7.0))


def _hardly_used(fleet: Fleet) -> None:
    for key, limit, used, watts in (
        ("low", 700.0, 0.14, 360.0),
        ("used", 700.0, 0.16, 360.0),
        ("cheap", 700.0, 0.14, 340.0),
        ("unlimited", None, 0.14, 360.0),
    ):
        readings = [(ago * 15 * MINUTE_MS, used) for ago in (3, 2, 1, 0)]
        held = {f"ns/{key}": 1.0}
        more: dict[str, Any] = {"power_limit_watts": limit, "interval_ms": QUARTER_MS}
        fleet.gpu(key, watts, readings, held, **more)


def _sites(fleet: Fleet) -> None:
    fleet.gpu("a", 600.0, site="s2")
    fleet.gpu("b", 300.0, site="s2")
    fleet.gpu("inside", 500.0, site="s2", overlap=Overlap.INNER)
    fleet.gpu("old", 500.0, ((3 * MINUTE_MS, 0.5),), site="s2")
    fleet.gpu("gpu in plug", 300.0, site="s3", parent="plug", node="n4")
    plug: dict[str, Any] = {"kind": Kind.HOST, "overlap": Overlap.OUTER, "site": "s3", "node": "n4"}
    fleet.gpu("plug", 450.0, ((0, None),), bare=None, **plug)


def _telemetry(fleet: Fleet) -> None:
    fleet.gpu("s-a", 100.0, ((400_000, 0.5),), node="n5")
    fleet.gpu("s-b", 100.0, ((200_000, 0.5),), node="n5")
    fleet.gpu("s-gone", 100.0, ((25 * HOUR_MS, 0.5),), node="n6")
    used = [(MINUTE_MS - n * 1000, 0.9) for n in range(61)]
    fleet.gpu("held", 300.0, used, {"ns/held": 1.0}, site="s7", node="n7")
    fleet.gpu("stray", 100.0, used, site="s7", node="n7")


def _drops(fleet: Fleet) -> None:
    dropped, ticks = "wattshed_spool_dropped_total", "wattshed_output_ticks_total"
    readings = ((9, 100.0), (6, 400.0), (3, 200.0), (0, 300.0))
    for metric, labels in ((dropped, ("otlp", "full")), (ticks, ("otlp", "sent"))):
        fleet.say(
            devices=(Device("n2/exporter", Kind.HOST, "", "exporter"),),
            details=tuple(
                Detail("n2/exporter", metric, fleet.now_ms - ago * MINUTE_MS, value, labels, 1)
                for ago, value in readings
            ),
        )


def _reconciled(fleet: Fleet) -> None:
    """Say how outer meters did against what lies inside of them, past the ledger."""
    client = fleet.bed.client
    ids: dict[str, int] = dict(client.rows("SELECT key, device_id FROM device FINAL"))
    rows = [("x", 75.0, "less"), ("y", 130.0, "ok"), ("z", 75.0, "uncovered")]
    client.insert(
        "reconcile_1h",
        {
            "t": [fleet.now_ms // HOUR_MS * 3600] * 3,
            "device_id": [ids[key] for key, *_ in rows],
            "outer_joules": [outer for _, outer, _ in rows],
            "inner_joules": [100.0] * 3,
            "uncovered_joules": [0.0] * 3,
            "seconds": [60.0] * 3,
            "status": [status for *_, status in rows],
            "version": [2**60] * 3,
        },
    )


class TestIdleBurn:
    def test_is_what_idle_devices_draw_above_bare(self, found: Found) -> None:
        burn = found["idle_burn"]
        labels = ("c1", "s1", "dc", "n1", "vision", "ada", "job", "ns/job")
        assert burn[labels] == near(50.0 + 40.0)
        watts = of(found, "idle_burn", "workload_key")
        assert watts["ns/works"] == watts["ns/little"] == 0.0

    def test_the_activity_of_multiprocessors_and_memory_counts(self, found: Found) -> None:
        watts = of(found, "idle_burn", "workload_key")
        assert watts["ns/sm"] == watts["ns/odd"] == watts["ns/dram"] == 0.0
        assert watts["ns/still"] == near(40.0)

    def test_what_is_not_known_is_neither_idle_nor_zero(self, found: Found) -> None:
        watts = of(found, "idle_burn", "workload_key")
        unknown = {"ns/mute", "ns/unmoved", "ns/unmetered", "ns/unlearned", "ns/silent"}
        assert not unknown & watts.keys()

    def test_another_of_its_model_stands_in_for_what_was_never_learned(self, found: Found) -> None:
        assert of(found, "idle_burn", "workload_key")["ns/new"] == near(100.0 - 60.0)

    def test_is_divided_by_share(self, found: Found) -> None:
        watts = of(found, "idle_burn", "workload_key")
        assert (watts["ns/half"], watts["ns/quarter"]) == (near(50.0), near(25.0))
        assert watts["ns/p"] == watts["ns/q"] == near(25.0)
        teams = of(found, "idle_burn_team", "team")
        assert teams == {"vision": near(90.0), "t1": near(75.0), "t2": near(50.0)}

    def test_what_nobody_holds_is_the_platforms(self, found: Found) -> None:
        watts = of(found, "idle_unallocated", "node")
        assert watts["n3"] == near(25.0)
        assert watts["n4"] == near(300.0 - BARE_WATTS)
        assert watts["n7"] == 0.0

    def test_costs_what_the_sites_energy_costs(self, found: Found) -> None:
        cost = {
            (labels[-2], labels[-1]): value for labels, value in found["idle_burn_cost"].items()
        }
        assert cost["ns/dear", "EUR"] == near(0.25)
        assert {currency for _, currency in cost} == {"EUR", "USD"}


def test_a_model_is_parked_while_it_answers_nobody(found: Found) -> None:
    parked = {(labels[-2], labels[-1]): value for labels, value in found["parked_model"].items()}
    assert parked == {("job", "llama"): near(90.0), ("live", "gemma"): 0.0}


def test_training_stalls_where_steps_end_while_it_draws_power(found: Found) -> None:
    seconds = of(found, "training_stalled", "workload")
    assert seconds == {
        "ns/stalled": pytest.approx(1200, abs=90),
        # A pause for a checkpoint is shorter than any alert; who draws no power is not stalled.
        "ns/pauses": pytest.approx(240, abs=90),
        "ns/steps": pytest.approx(0, abs=90),
        "ns/dark": 0.0,
    }


def test_low_utilization_is_of_the_ledgers_means(found: Found) -> None:
    watts = of(found, "low_utilization", "workload")
    assert watts == {"ns/low": near(360.0), "ns/used": 0.0, "ns/cheap": 0.0}


def test_a_site_is_set_against_its_own_budget(found: Found) -> None:
    assert of(found, "power_budget", "site") == {
        "s2": near(900 / 800),
        # An outer meter counts instead of what is inside of it.
        "s3": near(450 / 500),
    }


def test_a_node_is_as_silent_as_the_last_of_its_devices(found: Found) -> None:
    silence = of(found, "node_silence", "node")
    assert silence["n5"] == pytest.approx(200, abs=90)
    assert silence["n1"] == pytest.approx(0, abs=90)
    assert "n6" not in silence


def test_energy_that_nobody_held_but_used_is_unattributed(found: Found) -> None:
    assert of(found, "unattributed", "site")["s7"] == near(0.25)


def test_meters_disagree_where_the_outer_one_says_less(found: Found) -> None:
    assert of(found, "meter_disagreement", "device") == {"x": near(0.25), "y": 0.0}


def test_drops_are_a_rate_and_a_new_counter_counts_from_zero(found: Found) -> None:
    rate = near((300 + 200 + 100) / 600)
    assert found["dropped"] == {("c1", "s1", "dc", "n2", "spool_full"): rate}


def test_a_view_has_the_labels_of_its_signal_and_a_value(fleet: Fleet) -> None:
    for signal in SIGNALS.values():
        described = fleet.bed.client.rows(f"DESCRIBE TABLE {signal.view}")
        types = {str(name): str(kind) for name, kind, *_ in described}
        assert types == {**dict.fromkeys(signal.labels, "String"), "value": "Float64"}, signal.name


def test_when_devices_worked_is_found_again_in_the_readings(fleet: Fleet, found: Found) -> None:
    """But for values that no column holds: those of the device \"odd\"."""
    asked = (
        "SELECT device_id, max(worked), max(activity) FROM device_work "
        "WHERE device_id != {odd:UInt64} GROUP BY device_id HAVING max(worked) > 0 "
        "ORDER BY device_id"
    )
    told = {"odd": stable_id("odd")}
    client = fleet.bed.client
    written = client.rows(asked, told)
    client.command("TRUNCATE TABLE device_work")
    for ago_s in (0, 7200, 25 * 3600):
        working.find_again(client, fleet.now_ms / 1000 - ago_s)
    assert client.rows(asked, told) == written != []
    odd = Detail("odd", "wattshed_sm_activity_ratio", fleet.now_ms - MINUTE_MS, 0.123456789)
    fleet.say(details=(odd,))
    fleet.write()
    assert fleet.watts("ns/odd") == 0.0


def test_parts_of_one_question_are_the_rows_of_their_views(fleet: Fleet, found: Found) -> None:
    assert len(HELD) == len(OF_HELD) == 7
    for name in ("idle_burn", "parked_model"):
        assert told(fleet.bed.client, SIGNALS[name], 1000).values == found[name] != {}


def test_a_signal_is_bounded_and_says_how_many_it_leaves_out(fleet: Fleet, found: Found) -> None:
    bounded = told_of_held(fleet.bed.client, [SIGNALS["idle_burn"]], 2)["idle_burn"]
    assert list(bounded.values.values()) == sorted(found["idle_burn"].values())[:-3:-1]
    assert bounded.left_out == len(found["idle_burn"]) - 2


def test_it_clears_with_work_and_begins_above_15_watts(fleet: Fleet, found: Found) -> None:
    """From here on the fleet changes."""
    fleet.gpu("idle", 110.0, ((-1, 0.3),))
    fleet.gpu("little", BARE_WATTS + 16.0, ((-1, 0.0),))
    fleet.write()
    assert fleet.watts("ns/job") == near(40.0)
    assert fleet.watts("ns/little") == near(16.0)


def test_expected_idle_pages_nobody_until_it_ends_and_is_counted(
    fleet: Fleet, found: Found
) -> None:
    client, now = fleet.bed.client, time.time()
    later = Expected("later", now + 120, now + 60, workload="ns/still")
    over = Expected("over", now - 1, now - 60, workload="ns/still")
    elsewhere = Expected("elsewhere", now + 60, now - 60, workload="ns/still", node="n2")
    team = Expected("e1", now + 60, now - 60, team="t1", reason="warm", said_by="ada")
    expected_idle.put(client, [later, over, elsewhere, team], now)
    after = fleet.signals()
    watts = of(after, "idle_burn", "workload_key")
    assert (watts["ns/half"], watts["ns/p"], watts["ns/still"]) == (0.0, near(25.0), near(40.0))
    assert of(after, "idle_burn_team", "team")["t1"] == 0.0
    entries = {entry["id"]: entry for entry in expected_idle.listed(client)}
    assert {name: entry["state"] for name, entry in entries.items()} == {
        "e1": "active",
        "elsewhere": "active",
        "later": "to_come",
    }
    assert (entries["e1"]["devices"], entries["e1"]["idle_watts"]) == (1, near(75.0))
    expected_idle.put(client, [Expected("e1", None)], now)
    assert fleet.watts("ns/half") == near(50.0)
    ended = [e for e in expected_idle.listed(client, every=True) if e["state"] == "ended"]
    assert [(e["id"], e["said_by"], e["reason"]) for e in ended] == [
        ("over", "", ""),
        ("e1", "ada", "warm"),
    ]


def test_a_budget_that_ends_is_told_of_no_more(fleet: Fleet, found: Found) -> None:
    fleet.factor("power_budget_watts", "s2", None, "W", since=1)
    fleet.factor("power_budget_watts", "", 10_000.0, "W")
    budgets = told(fleet.bed.client, SIGNALS["power_budget"], 10).values
    sites = {labels[1] for labels in budgets}
    assert "s2" not in sites
    assert {"s1", "s3"} <= sites
