"""Computing a window again: what a dry run says, that it writes nothing, and what is written."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from wattshed_collector import recompute
from wattshed_collector.errors import InvalidInput, Permanent
from wattshed_collector.factor import Factor
from wattshed_collector.ledger import RUN
from wattshed_collector.preview import Scratch
from wattshed_collector.recompute import Answer, Request
from wattshed_collector.store import ledger_state
from wattshed_collector.store.factors import put
from wattshed_collector.store.policies import Override
from wattshed_exporter.model import (
    Allocation,
    Batch,
    Device,
    IdlePolicy,
    Kind,
    Method,
    Overlap,
    Tick,
    Workload,
)

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

HOUR = 3600
BASE = 1_768_471_200  # 2026-01-15T10:00:00Z
TABLES = ("measured_1m", "charge_1m", "charge_1h", "ledger_hour", "ledger_state", "dirty", "policy")


def facts(hours: int = 3) -> Batch:
    """A device that idles at 0.1, a tenth of a kilojoule per half hour, held by one workload."""
    ticks = tuple(
        Tick(
            "d",
            (BASE + n * HOUR // 2) * 1000,
            1000,
            Method.COUNTER,
            energy_uj=n * 10**8,
            utilization_ratio=0.1,
        )
        for n in range(2 * hours + 1)
    )
    end = (BASE + hours * HOUR) * 1000
    return Batch(
        devices=(Device("d", Kind.GPU, "n", "test"),),
        ticks=ticks,
        workloads=(Workload("w", "train", team="vision"),),
        allocations=(Allocation("d", "w", BASE * 1000, end),),
    )


def everything(bed: Bed) -> dict[str, list[tuple[Any, ...]]]:
    return {table: sorted(bed.client.rows(f"SELECT * FROM {table}"), key=str) for table in TABLES}


def ask(
    bed: Bed, override: Override | None = None, dry_run: bool = False, raw_days: int = 0
) -> Answer:
    request = Request(BASE, BASE + 3 * HOUR, override or Override(), dry_run)
    return recompute.answer(bed.ledger(raw_days=raw_days), request)


@pytest.fixture
def charged(bed: Bed) -> Bed:
    bed.write(facts())
    bed.ledger().run()
    return bed


IDLER = Override(idle_below_e4=2000)


def test_a_dry_run_says_what_changes_and_writes_nothing(charged: Bed) -> None:
    before = everything(charged)
    answer = ask(charged, IDLER, dry_run=True)
    assert everything(charged) == before
    assert (answer["hours"], answer["written"]) == (3, False)
    told = {c["charge_class"]: c for c in answer["changes"]}
    assert set(told) == {"active", "idle_held"}
    assert told["active"]["before_joules"] == pytest.approx(600)
    assert told["active"]["after_joules"] == 0
    assert told["idle_held"]["change_joules"] == pytest.approx(600)
    assert {(c["workload"], c["team"]) for c in answer["changes"]} == {("train", "vision")}
    left = charged.client.rows("SELECT name FROM system.tables WHERE name LIKE 'dry\\_%'")
    assert left == []


def test_what_a_dry_run_says_is_what_is_then_written(charged: Bed) -> None:
    told = ask(charged, IDLER, dry_run=True)["changes"]
    answer = ask(charged, IDLER)
    assert (answer["written"], answer["changes"]) == (True, [])
    sums: dict[str, float] = {}
    for (_, _, _, name), (joules, _) in charged.charged("charge_1h").items():
        sums[name] = sums.get(name, 0.0) + joules
    assert sums == {c["charge_class"]: c["after_joules"] for c in told if c["after_joules"]}
    assert ask(charged, IDLER, dry_run=True)["changes"][0]["change_joules"] == 0


def test_where_nothing_is_asked_to_change_nothing_does(charged: Bed) -> None:
    changes = ask(charged, dry_run=True)["changes"]
    assert [c["change_joules"] for c in changes] == [0]
    before = charged.charged(), charged.measured()
    ask(charged)
    assert (charged.charged(), charged.measured()) == before
    assert charged.client.rows("SELECT count() FROM policy") == [(0,)]


def test_an_allocation_that_came_late_is_a_change_of_its_workload(charged: Bed) -> None:
    other = Workload("o", "serve")
    hour = Allocation("d", "o", BASE * 1000, (BASE + HOUR) * 1000)
    charged.write(Batch(workloads=(other,), allocations=(hour,)))
    changes = {c["workload_key"]: c for c in ask(charged, dry_run=True)["changes"]}
    assert changes["o"]["change_joules"] == pytest.approx(100)
    assert changes["w"]["change_joules"] == pytest.approx(-100)


def test_a_window_is_cut_to_the_hours_that_have_data(charged: Bed) -> None:
    request = Request(BASE - 1000 * HOUR, BASE + 900 * HOUR)
    assert recompute.answer(charged.ledger(), request)["hours"] == 4
    empty = Request(BASE - 1000 * HOUR, BASE - 900 * HOUR, IDLER, dry_run=True)
    assert recompute.answer(charged.ledger(), empty)["changes"] == []


def test_an_empty_store_has_nothing_to_compute(bed: Bed) -> None:
    assert ask(bed)["hours"] == 0


@pytest.mark.parametrize("dry_run", [True, False])
def test_hours_whose_readings_may_be_gone_are_refused(charged: Bed, dry_run: bool) -> None:
    before = everything(charged)
    with pytest.raises(InvalidInput, match="the oldest hour that can be computed again is 20"):
        ask(charged, IDLER, dry_run, raw_days=3)
    assert everything(charged) == before


def test_progress_is_told_as_it_goes(charged: Bed) -> None:
    told: list[tuple[int, int]] = []
    request = Request(BASE, BASE + 3 * HOUR, dry_run=True)
    recompute.answer(charged.ledger(), request, lambda done, hours: told.append((done, hours)))
    assert told == [(3, 3)]


def test_an_override_that_was_not_finished_is_finished_by_the_next_run(charged: Bed) -> None:
    ledger = charged.ledger()
    charged.client.command("RENAME TABLE charge_1h TO away")
    try:
        ledger.override(IDLER, BASE, BASE + 3 * HOUR, range(BASE, BASE + 3 * HOUR, HOUR))
        with pytest.raises(Permanent, match="charge_1h"):
            ledger.recompute([BASE])
    finally:
        charged.client.command("RENAME TABLE away TO charge_1h")
    charged.ledger().run()
    assert {key[3] for key in charged.charged()} == {"idle_held"}


def test_every_table_that_is_written_has_a_twin(bed: Bed) -> None:
    scratch = Scratch(bed.client, RUN)
    for text in scratch.statements:
        assert "INSERT INTO dry_" in text
        for table in ("measured_1m", "charge_1m", "charge_1h"):
            assert f" {table}" not in text
    assert scratch.renamed("x FROM default.charge_1h FINAL, mycharge_1h, charge_1h_x") == (
        "x FROM dry_charge_1h FINAL, mycharge_1h, charge_1h_x"
    )


COMPARED = {
    "piece": "version, made",
    "measured_1m": "version",
    "charge_1m": "version",
    "charge_1h": "version",
    "workload_1m": "version",
    "workload_1h": "version",
    "reconcile_1h": "version",
}


def shared_facts() -> Batch:
    """A shared card with windows of activity in a machine behind a wall meter; a correction."""
    card = Device("d", Kind.GPU, "n", "nvml", site="oslo")
    wall = Device("wall", Kind.HOST, "n", "smartplug", site="oslo", overlap=Overlap.OUTER)
    ticks = tuple(
        Tick(key, (BASE + m * 60) * 1000, 60_000, Method.INTEGRAL, watts, utilization_ratio=0.1)
        for key, watts in (("d", 300.0), ("wall", 500.0))
        for m in range(121)
    )
    start = BASE * 1000
    windows = tuple(
        Allocation("d", who, start + n * 600_000, start + (n + 1) * 600_000, 0.5, "", n / 20)
        for who in "uv"
        for n in range(9)
    )
    long = Allocation("d", "w", start, start + 5_000_000, 0.25)
    back = Allocation("d", "u", start, start + 300_000, 0.5, "", 0.1, 1)
    return Batch(devices=(card, wall), ticks=ticks, allocations=(*windows, long, back))


def test_a_dry_run_fills_every_table_as_the_real_one_does(bed: Bed) -> None:
    bed.write(shared_facts())
    put(bed.client, [Factor("pue", "oslo", BASE - 3600, 1.5)], time.time())
    ledger = bed.ledger(idle="proportional", host_remainder="proportional")
    hours = range(BASE, BASE + 2 * HOUR, HOUR)
    scratch = Scratch(bed.client, RUN)
    scratch.create()
    try:
        for _, (lo, hi, rule) in ledger.portions(hours, IDLER):
            ledger.compute(scratch.statements, lo, hi, rule, version=1)
        dry = {table: written(bed, f"dry_{table}", table) for table in COMPARED}
    finally:
        scratch.drop()
    ledger.override(IDLER, BASE, BASE + 2 * HOUR, hours)
    ledger.recompute(hours)
    for table in COMPARED:
        assert dry[table], table
        assert written(bed, table, table) == dry[table], table


def written(bed: Bed, table: str, like: str) -> list[str]:
    rows = bed.client.rows(f"SELECT * EXCEPT ({COMPARED[like]}) FROM {table} FINAL")
    rounded = ([round(v, 6) if isinstance(v, float) else v for v in row] for row in rows)
    return sorted(map(str, rounded))


class TestAsked:
    def test_as_people_write_it(self) -> None:
        asked = {"from": "2h", "to": "2026-01-15T12:00Z", "policy": "platform", "idle_below": 0.1}
        request = recompute.parse({**asked, "dry_run": True}, time.time())
        override = Override(IdlePolicy.PLATFORM, 1000)
        assert request == Request(BASE, BASE + 2 * HOUR, override, True)

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"from": "yesterday"}, "'yesterday' is not a time"),
            ({"policy": "mine"}, "policy: 'mine' is none of holder, proportional, platform"),
            ({"idle_below": 5}, "idle_below: 5 is not between 0 and 1"),
            ({"idle_below": "x"}, "idle_below: 'x' is not between"),
            ({"idle_below": float("nan")}, "idle_below: nan is not between"),
            ({"dry_run": "no"}, "dry_run: 'no' is neither"),
            ({"dryrun": True}, "'dryrun' is unknown"),
            ({"from": ""}, "is not a time"),
            ({"idle_below": 10**400}, "is not between"),
            ({"idle_below": True}, "idle_below: True is not between"),
            ({"policy": []}, r"policy: \[\] is none of"),
            ({"from": "x", "policy": "y", "a": 1}, "'a' is unknown; 'x' is not .*; policy: 'y'"),
        ],
    )
    def test_what_is_wrong_is_said(self, wrong: dict[str, Any], said: str) -> None:
        with pytest.raises(InvalidInput, match=said):
            recompute.parse({"from": "2h", **wrong}, time.time())


def test_the_store_says_for_how_long_raw_rows_are_kept(bed: Bed) -> None:
    assert ledger_state.raw_days(bed.client) == 0
    bed.client.command("ALTER TABLE tick MODIFY TTL toDateTime(ts) + INTERVAL 12 DAY")
    try:
        assert ledger_state.raw_days(bed.client) == 12
    finally:
        bed.client.command("ALTER TABLE tick REMOVE TTL")
