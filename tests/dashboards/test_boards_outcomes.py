"""Boards about outcomes, models, places and hardware, asked of a store with a known truth.

Four hours of a fleet go through the writer and the ledger: what panels say of them is computed here
by hand. That every panel answers, whatever is chosen, is seen on the demo fleet.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from tests.fixtures.stores import Stores

from wattshed_collector.factor import Factor
from wattshed_collector.grid.series import Step
from wattshed_collector.ledger import Ledger, Policy
from wattshed_collector.quality import Score
from wattshed_collector.slo import Sli, Slo
from wattshed_collector.store import factors, grid, quality, slo_definitions
from wattshed_collector.store.client import Client, Store
from wattshed_collector.store.grid import Told
from wattshed_collector.store.layout import Layout
from wattshed_collector.store.write import Writer
from wattshed_dashboards.boards import lifecycle, models, outcomes, placement
from wattshed_dashboards.macros import ALL, Chosen, Window, expand
from wattshed_dashboards.model import Board, Panel
from wattshed_dashboards.variables import VARIABLES
from wattshed_exporter.model import (
    Allocation,
    Batch,
    Detail,
    Device,
    Method,
    Outcome,
    Tick,
    Workload,
)
from wattshed_exporter.model import Kind as DeviceKind

HOUR_MS = 3_600_000
HOURS = 4
NOW_S = int(time.time())
BASE_MS = (NOW_S // 3600 - HOURS - 1) * HOUR_MS
END_MS = BASE_MS + HOURS * HOUR_MS
RANGE = Window.of(BASE_MS - 24 * HOUR_MS, END_MS)
EVERYTHING: Mapping[str, Chosen] = dict.fromkeys(VARIABLES, ALL)
TEAM = "O'Brien \\ sons"
PRICE, PUE, GRAMS = 0.25, 1.2, 300.0
WATTS = {"g0": 400.0, "g1": 100.0, "edge": 10.0}
COUNTED = (
    ("wattshed_xid_errors_total", 0.05, ("79",)),
    ("wattshed_ecc_errors_total", 0.5, ("corrected",)),
    ("wattshed_throttled_seconds_total", 3.0, ("sw_power_cap",)),
)
"""Counters of g0: what each grows by in a minute, and its label."""
IDLE = Detail("g0", "wattshed_idle_baseline_watts", BASE_MS + 60_000, 60.0, ("bare",))
KWH = sum(WATTS.values()) * HOURS / 1000


def _device(name: str, model: str, tier: str, driver: str) -> Device:
    return Device(
        name, DeviceKind.GPU, f"node-{name}", "nvml", model=model, site="dublin", tier=tier,
        cluster="c", driver=driver, firmware="96.00", uncertainty_ratio=0.02,
    )  # fmt: skip


def _ticks(name: str, busy: float) -> tuple[Tick, ...]:
    return tuple(
        Tick(
            name, BASE_MS + minute * 60_000, 60_000, Method.COUNTER, WATTS[name],
            round(WATTS[name] * minute * 60e6), BASE_MS, utilization_ratio=busy,
            temperature_celsius=60.0,
        )
        for minute in range(HOURS * 60 + 1)
    )  # fmt: skip


def _made(workload: str, outcome: str, per_minute: float) -> tuple[Outcome, ...]:
    return tuple(
        Outcome(workload, outcome, BASE_MS + minute * 60_000, per_minute * minute, BASE_MS)
        for minute in range(0, HOURS * 60 + 1, 5)
    )


def fleet() -> Batch:
    """Return a busy GPU, one that is held and idle, and a board at the edge."""
    chat = Workload("chat", "chat", "inference", team=TEAM, model="llama", precision="fp8")
    tuned = Workload("tune", "tune", "training", team="lab", model="vit", precision="bf16")
    seen = Workload("seen", "seen", "inference", team="edge", model="yolo", precision="int8")
    return Batch(
        devices=(
            _device("g0", "H100", "datacenter", "550"),
            _device("g1", "H100", "datacenter", "560"),
            _device("edge", "Orin", "edge", "36"),
        ),
        ticks=(*_ticks("g0", 0.9), *_ticks("g1", 0.0), *_ticks("edge", 0.5)),
        workloads=(chat, tuned, seen),
        allocations=tuple(
            Allocation(device, workload.key, BASE_MS, END_MS)
            for device, workload in (("g0", chat), ("g1", tuned), ("edge", seen))
        ),
        outcomes=(
            *_made("chat", "token_out", 6000.0),
            *_made("chat", "token_in", 3000.0),
            *_made("chat", "token_in_cached", 1000.0),
            *_made("chat", "request", 60.0),
            *_made("seen", "inference", 600.0),
            *_made("tune", "step", 2.0),
        ),
        details=(
            IDLE,
            *(
                Detail("g0", name, BASE_MS + minute * 60_000, by * minute, labels, BASE_MS)
                for minute in range(0, HOURS * 60 + 1, 10)
                for name, by, labels in COUNTED
            ),
        ),
    )


@pytest.fixture(scope="module")
def store(stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("store")
    stores.prepare(folder, Layout(raw_days=0, minute_days=0))
    store = Store(folder)
    yield store
    store.close()


@pytest.fixture(scope="module")
def client(store: Store) -> Iterator[Client]:
    client = store.client()
    writer = Writer(store.client, window_seconds=0.0, share=1.0, mark_seconds=0.0)
    writer.submit(fleet()).result(120)
    writer.close()
    _say(client)
    ledger = Ledger(client, Policy(raw_days=0))
    ledger.run()
    ledger.sum_up()
    yield client
    client.close()


def _say(client: Client) -> None:
    """What operators say: factors, objectives, scores."""
    start = BASE_MS // 1000
    told = [
        Factor("pue", "", start, PUE),
        Factor("price", "dublin", start, PRICE, "EUR/kWh"),
        Factor("price", "dublin", END_MS // 1000, None),
        Factor("price", "", start, 0.9, "EUR/kWh"),
        Factor("carbon_g_per_kwh", "dublin", start, GRAMS, "g/kWh"),
        Factor("carbon_g_per_kwh", "dublin", END_MS // 1000 - 3600, None),
    ]
    factors.put(client, told, NOW_S)
    promised = [
        Slo(
            name=name,
            outcome="token_out",
            target_joules_per_outcome=joules,
            objective_ratio=0.99,
            match={"workload": "chat"},
            sli=sli,
        )
        for name, joules, sli in (
            ("tokens", 5.0, Sli.JOULE_BUDGET),
            ("tight", 2.0, Sli.GOOD_OUTCOMES),
        )
    ]
    slo_definitions.adopt(client, promised, NOW_S)
    score = ("llama", "fp8", "accuracy")
    quality.put(
        client,
        [
            Score(*score, 0.80, "higher", BASE_MS, "calibration"),
            Score(*score, 0.76, "higher", BASE_MS + HOUR_MS),
        ],
        NOW_S,
    )


def ask(
    client: Client, panel: Panel, chosen: Mapping[str, Chosen], window: Window = RANGE
) -> list[dict[str, Any]]:
    return client.records(expand(panel.sql, window, {**EVERYTHING, **chosen}))


def panel(board: Board, title: str) -> Panel:
    (found,) = (p for row in board.rows for p in row.panels if p.title == title)
    return found


def one(client: Client, board: Board, title: str, **chosen: Chosen) -> float:
    """What a panel of one number says."""
    ((value, *_),) = (row.values() for row in ask(client, panel(board, title), chosen))
    return float(value)


def test_energy_per_outcome_is_joules_over_outcomes(client: Client) -> None:
    each = WATTS["g0"] * 60 / 6000
    assert one(client, outcomes.BOARD, "Energy per token") == pytest.approx(each)
    assert one(client, outcomes.BOARD, "Energy per token", team=[TEAM]) == pytest.approx(each)
    (tokens,) = ask(client, panel(outcomes.BOARD, "Energy per token"), {"team": ["lab"]})
    assert tokens == {"joules_per_token": None}
    table = ask(client, panel(outcomes.BOARD, "Workloads"), {"workload": ["seen"]})
    (row,) = table
    assert row["outcomes"] == pytest.approx(600 * HOURS * 60)
    assert row["per_outcome"] == pytest.approx(1.0)
    assert row["cost_of_1000"] == pytest.approx(1000 / 3.6e6 * PRICE)
    idle = ask(client, panel(outcomes.BOARD, "Workloads"), {"workload": ["tune"]})[0]
    assert (idle["at_work"], idle["per_outcome"]) == (0, pytest.approx(100 * 60 / 2))
    power = ask(client, panel(outcomes.BOARD, "Where the joules of producing workloads go"), {})
    assert len(power) == HOURS
    assert power[-1]["at_work"] == pytest.approx(410.0)
    assert power[-1]["held_idle"] == pytest.approx(100.0)


def test_a_month_by_the_day_says_what_its_hours_say(client: Client) -> None:
    table = panel(outcomes.BOARD, "Workloads")
    month = Window.of(END_MS - 30 * 24 * HOUR_MS, END_MS)
    by_hour, by_day = (
        {tuple(row[name] for name in ("workload", "hardware", "outcome")): row for row in rows}
        for rows in (ask(client, table, {}), ask(client, table, {}, month))
    )
    assert by_hour
    assert by_day.keys() == by_hour.keys()
    for key, row in by_hour.items():
        for name in ("outcomes", "per_outcome", "at_work", "joules", "before", "cost_of_1000"):
            assert by_day[key][name] == pytest.approx(row[name]), (key, name)


def test_budgets_are_what_the_burn_table_says(client: Client) -> None:
    """Tokens take 4 J; the joules of one objective may be 5 J each, of which no more than all is
    left; the other promises 2 J: all of its tokens are bad."""
    rows = ask(client, panel(outcomes.BOARD, "Objectives"), {})
    assert [row["slo"] for row in rows] == ["tight", "tokens"]
    assert rows[0]["budget_left"] == pytest.approx(1 - 1 / 0.01)
    assert rows[1]["budget_left"] == 1
    assert one(client, outcomes.BOARD, "Budget left") == rows[0]["budget_left"]
    assert one(client, outcomes.BOARD, "Least compliance") == 0
    over = ask(client, panel(outcomes.BOARD, "Energy over target by objective"), {})
    assert {row["slo"]: row["Value"] for row in over} == {
        "tight": pytest.approx(2.0),
        "tokens": pytest.approx(0.8),
    }
    burn = ask(client, panel(outcomes.BOARD, "Burn rate by objective"), {})
    assert {row["slo"]: row["Value"] for row in burn} == {"tight": pytest.approx(100), "tokens": 0}
    left = ask(client, panel(outcomes.BOARD, "Budget left in the range"), {})
    assert left[-1]["Value"] == 1
    falling = [row["Value"] for row in left if row["slo"] == "tight"]
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == pytest.approx(1 - 1 / 0.01)


def test_models_are_set_beside_their_quality(client: Client) -> None:
    (way,) = ask(client, panel(models.BOARD, "Model, precision and hardware"), {})
    assert way["joules_per_token"] * way["tokens_per_joule"] == pytest.approx(1.0)
    assert (way["over_best"], way["metric"], way["score"]) == (0, "accuracy", 0.76)
    assert way["cost_per_million"] == pytest.approx(4 / 3.6e6 * PRICE * 1e6)
    assert one(client, models.BOARD, "Numerics drifted") == 1
    drift = ask(client, panel(models.BOARD, "Drift since calibration"), {})
    assert [row["Value"] for row in drift] == [0, pytest.approx((0.80 - 0.76) / 0.80)]
    assert one(client, models.BOARD, "From cache") == pytest.approx(1000 / 4000)


def test_places_add_what_their_factors_say(client: Client) -> None:
    assert one(client, placement.BOARD, "Device energy") == pytest.approx(KWH * 1000)
    assert one(client, placement.BOARD, "PUE, by energy") == pytest.approx(PUE)
    ((currency, paid),) = (
        tuple(r.values()) for r in ask(client, panel(placement.BOARD, "Cost"), {})
    )
    assert (currency, paid) == ("EUR", pytest.approx(KWH * PRICE))
    known = KWH * (HOURS - 1) / HOURS
    carbon = one(client, placement.BOARD, "Operating carbon")
    assert carbon == pytest.approx(known * PUE * GRAMS)
    assert one(client, placement.BOARD, "Carbon intensity") == pytest.approx(GRAMS)
    assert one(client, placement.BOARD, "Edge request") == pytest.approx(1.0)
    assert one(client, placement.BOARD, "Central request") == pytest.approx(400.0)
    rows = ask(client, panel(placement.BOARD, "Outcomes by tier and site"), {"tier": ["edge"]})
    assert [row["hardware"] for row in rows] == ["Orin"]
    assert rows[0]["carbon_each"] == pytest.approx(1 / 3.6e6 * PUE * GRAMS)


def test_the_next_two_days_are_shown_as_they_were_said_last(client: Client) -> None:
    """Of the zones where the chosen sites lie; what was said before is not shown."""
    expected = panel(placement.BOARD, "Expected intensity")
    assert ask(client, expected, {}) == []
    now = int(time.time()) // 3600 * 3600
    grid.put_zones(client, {"dublin": ("IE", None, ""), "": ("DE", None, "")}, now)
    steps = [Step(now + h * 3600, now + (h + 1) * 3600, 100.0 + h) for h in range(-2, 60)]
    old = [Step(now, now + 3600, 1.0)]
    for zone, said, told in (("IE", now, steps), ("IE", now - 60, old), ("SE", now, steps)):
        grid.put_forecast(client, [Told("carbon", zone, "g/kWh", "a service", said, told)], now)
    rows = ask(client, expected, {"site": ["dublin"]})
    assert {(row["site"], row["known_by"]) for row in rows} == {("dublin", "forecast")}
    assert [row["intensity"] for row in rows][:3] == [100.0, 101.0, 102.0]
    assert len(rows) in (48, 49)


def test_what_is_known_of_coming_hours_goes_before_a_forecast(client: Client) -> None:
    now = int(time.time()) // 3600 * 3600
    grid.put_zones(client, {"dublin": ("IE", None, "")}, now)
    steps = [Step(now + h * 3600, now + (h + 1) * 3600, 100.0 + h) for h in range(60)]
    known = [Step(now, now + 7200, 7.0)]
    grid.put(client, [Told("carbon", "IE", "g/kWh", "a file", now, known)], now)
    grid.put_forecast(client, [Told("carbon", "IE", "g/kWh", "a service", now, steps)], now)
    rows = ask(client, panel(placement.BOARD, "Expected intensity"), {"site": ["dublin"]})
    said = [(row["intensity"], row["known_by"], row["source"]) for row in rows[:3]]
    assert said == [
        (7.0, "hourly", "a file"), (7.0, "hourly", "a file"), (102.0, "forecast", "a service"),
    ]  # fmt: skip


def test_without_an_intensity_there_is_no_carbon(client: Client) -> None:
    """Of the last hour nobody said one: NULL, never 0."""
    rows = client.rows("SELECT t, min(carbon_g) FROM v_site_1h GROUP BY t ORDER BY t")
    assert [grams is None for _, grams in rows] == [False, False, False, True]
    held = client.rows(
        "SELECT kind, value, since < until FROM v_factor WHERE site = 'dublin' ORDER BY kind, since"
    )
    # Its own price ends after all hours, from when on that of every site holds.
    assert held == [
        ("carbon_g_per_kwh", GRAMS, 1),
        ("carbon_g_per_kwh", None, 1),
        ("price", PRICE, 1),
        ("price", 0.9, 1),
        ("pue", PUE, 1),
    ]


def test_money_of_two_currencies_is_never_summed(client: Client) -> None:
    """A site that pays in both in one hour, and whose other hours pay in one of them."""
    client.command(
        "INSERT INTO workload_1h (t, workload_id, class, site, currency, joules, seconds, "
        "facility_joules, cost, version) SELECT t, 0, 'unattributed', 'mixed', "
        "arrayJoin(['EUR', 'USD']), 3.6e6, 1, 3.6e6, 5.0, version "
        "FROM (SELECT * FROM ledger_hour ORDER BY t LIMIT 1)"
    )
    try:
        sites = {row["site"]: row for row in ask(client, panel(placement.BOARD, "Sites"), {})}
        hours = ask(client, panel(placement.BOARD, "Hour of the day"), {"site": ["mixed"]})
    finally:
        client.command(
            "ALTER TABLE workload_1h DELETE WHERE site = 'mixed' SETTINGS mutations_sync = 1"
        )
    assert (sites["mixed"]["paid"], sites["mixed"]["per_kwh"]) == (None, None)
    assert sites["mixed"]["currency"] == "EUR and USD"
    assert (sites["dublin"]["paid"], sites["dublin"]["currency"]) == (
        pytest.approx(KWH * PRICE), "EUR",
    )  # fmt: skip
    assert [(row["per_kwh"], row["money"]) for row in hours] == [(None, "EUR and USD")]


def test_devices_are_held_against_their_kind(client: Client) -> None:
    cards = {r["model"]: r for r in ask(client, panel(lifecycle.BOARD, "Scorecard"), {})}
    assert cards["H100"]["energy"] == pytest.approx(500 * HOURS)
    assert cards["H100"]["utilisation"] == pytest.approx(0.45)
    assert cards["H100"]["idle_watts"] == pytest.approx(100.0)
    assert cards["H100"]["failed"] == pytest.approx(0.05 * HOURS * 60)
    assert cards["H100"]["held_down"] == pytest.approx(3 / 60)
    assert cards["H100"]["joules_per_token"] == pytest.approx(4.0)
    assert (cards["Orin"]["failed"], cards["Orin"]["joules_per_token"]) == (None, None)
    assert one(client, lifecycle.BOARD, "Mean utilisation", tier=["edge"]) == pytest.approx(0.5)
    devices = ask(client, panel(lifecycle.BOARD, "Devices unlike their model"), {})
    assert [d["device"] for d in devices if d["peers"] == 2] == ["g0", "g1"]
    assert {d["device"]: d["watts"] for d in devices} == {
        "g0": pytest.approx(60.0),
        "g1": pytest.approx(100.0),
        "edge": None,
    }
    assert devices[0]["apart"] == pytest.approx(60 / 80 - 1)
    errors = ask(client, panel(lifecycle.BOARD, "Memory errors by hardware"), {})
    assert sum(row["Value"] for row in errors) == pytest.approx(0.5 * HOURS * 60)
