"""Panels of fleet, waste, workloads, node and stack on a small fleet of which the truth is known.

Two machines of two GPUs behind a wall meter each, in constant power, through the product's own
writer and ledger; what the collector says of itself comes from its own record.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from wattshed_collector.factor import Factor
from wattshed_collector.self_record import SelfRecord
from wattshed_collector.store import factors
from wattshed_collector.store.client import Client
from wattshed_collector.telemetry import Telemetry
from wattshed_dashboards.boards import fleet, node, stack, waste, workloads
from wattshed_dashboards.macros import ALL, Chosen, Window, expand
from wattshed_dashboards.model import Board, Panel
from wattshed_dashboards.variables import VARIABLES
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
)

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

HOUR_MS, MINUTE_MS = 3_600_000, 60_000
MINUTES = 125
CHARGED_S = (MINUTES - 2) * 60
"""The newest two minutes are left out by the minute."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """``bare_watts`` is the baseline that its exporter learned, None where it learned none."""

    key: str
    watts: int
    used: float
    holder: str = ""
    bare_watts: float | None = None


GPUS = (
    Gpu("n1/busy", 300, 0.9, "train"),
    Gpu("n1/parked", 100, 0.0, "chat", 60.0),
    Gpu("n2/free", 50, 0.0),
    Gpu("n2/weak", 400, 0.1, "eval"),
)
HELD_IDLE, FREE_IDLE, WEAK = 100, 50, 400
INSIDE = sum(gpu.watts for gpu in GPUS)
WALL = 1000
"""Watts of each machine at the wall."""
WORKLOADS = (
    Workload("w/train", "train", "training", team="vision", owner="ann", model="resnet"),
    Workload("w/chat", "chat", "inference", team="chat", owner="bob", model="llama"),
    Workload("w/eval", "eval", "evaluation", team="vision", owner="cyd"),
)


class Asked:
    """Asks panels over the time in which the fleet ran."""

    def __init__(self, client: Client, window: Window) -> None:
        self.client = client
        self.window = window
        self.seconds = (window.to_ms - window.from_ms) / 1000

    def rows(self, board: Board, title: str, **chosen: Chosen) -> list[dict[str, Any]]:
        panel = next(p for row in board.rows for p in row.panels if p.title == title)
        return self.panel(panel, **chosen)

    def panel(self, panel: Panel, **chosen: Chosen) -> list[dict[str, Any]]:
        least_ms = panel.step_s * 1000
        window = Window.of(self.window.from_ms, self.window.to_ms, least_ms=least_ms)
        values = dict.fromkeys(VARIABLES, ALL) | chosen
        return self.client.records(expand(panel.sql, window, values))

    def number(self, board: Board, title: str, **chosen: Chosen) -> float:
        (row,) = self.rows(board, title, **chosen)
        return float(list(row.values())[-1])


def _device(key: str, kind: Kind, **more: Any) -> Device:
    name = key.partition("/")[0]
    return Device(key, kind, name, "test", site=f"s{name[1]}", tier="dc", cluster="c", **more)


def _devices() -> Iterator[Device]:
    for gpu in GPUS:
        parent = gpu.key.partition("/")[0] + "/wall"
        yield _device(gpu.key, Kind.GPU, model="X", parent=parent, power_limit_watts=700.0)
    for name in ("n1", "n2"):
        yield _device(f"{name}/wall", Kind.HOST, overlap=Overlap.OUTER, method=Method.INTEGRAL)


def _ticks(key: str, watts: int, used: float | None, times: range) -> Iterator[Tick]:
    for ts in times:
        energy_uj = watts * (ts - times[0]) * 1000
        yield Tick(
            key, ts, MINUTE_MS, Method.COUNTER, float(watts), energy_uj, times[0], used, 2**30, 50.0
        )


def _details(times: range) -> Iterator[Detail]:
    for gpu in GPUS:
        for ts in times:
            yield Detail(gpu.key, "wattshed_sm_activity_ratio", ts, gpu.used)
            yield Detail(gpu.key, "wattshed_pipe_activity_ratio", ts, gpu.used / 2, ("tensor",))
            yield Detail(gpu.key, "wattshed_memory_activity_ratio", ts, gpu.used / 4)
            yield Detail(gpu.key, "wattshed_clock_hertz", ts, 1.4e9, ("sm",))
            grown = (ts - times[0]) / 1000 * 1e6
            for way in ("transmit", "receive"):
                for link in ("pcie", "nvlink"):
                    said = Detail(gpu.key, "wattshed_link_bytes_total", ts, grown, (link, way))
                    yield said
        if gpu.bare_watts is not None:
            for ts in times[::30]:
                yield Detail(gpu.key, "wattshed_idle_baseline_watts", ts, gpu.bare_watts, ("bare",))
    for at, ts in enumerate((times[10], times[-10])):
        metric = "wattshed_throttled_seconds_total"
        yield Detail("n1/busy", "wattshed_xid_errors_total", ts, 2.0 * at, ("79",), times[0])
        yield Detail("n1/busy", metric, ts, 30.0 * at, ("sw_power_cap",), times[0])
    dropped, joules = "wattshed_spool_dropped_total", "wattshed_self_energy_joules_total"
    yield Detail("n1/exporter", dropped, times[-1], 3.0, ("otlp", "full"))
    for ts in (times[-61], times[-1]):
        yield Detail("n1/exporter", joules, ts, 0.25 * (ts - times[0]) / 1000, (), times[0])


def _outcomes(times: range) -> Iterator[Outcome]:
    for ts in times:
        yield Outcome("w/train", "step", ts, (ts - times[0]) / 1000, times[0], "test")


@pytest.fixture(scope="module")
def asked(shared_bed: Bed) -> Asked:
    shared_bed.clean()
    end = int(time.time()) * 1000 // MINUTE_MS * MINUTE_MS
    times = range(end - MINUTES * MINUTE_MS, end + 1, MINUTE_MS)
    ticks = [t for gpu in GPUS for t in _ticks(gpu.key, gpu.watts, gpu.used, times)]
    ticks += [t for name in ("n1", "n2") for t in _ticks(f"{name}/wall", WALL, None, times)]
    held = tuple(
        Allocation(gpu.key, f"w/{gpu.holder}", start, min(start + HOUR_MS, end), 1.0, "test")
        for gpu in GPUS
        if gpu.holder
        for start in range(times[0], end, HOUR_MS)
    )
    told = Batch(devices=tuple(_devices()), workloads=WORKLOADS, allocations=held)
    facts = Batch(
        ticks=tuple(ticks), details=tuple(_details(times)), outcomes=tuple(_outcomes(times))
    )
    shared_bed.write(told, facts)
    money = [Factor("price", "", 0, 0.5, "EUR/kWh"), Factor("pue", "s1", 0, 1.2)]
    factors.put(shared_bed.client, money, end / 1000)
    shared_bed.ledger().run()
    asyncio.run(_record(shared_bed, end))
    return Asked(shared_bed.client, Window(times[0], end))


async def _record(bed: Bed, end_ms: int) -> None:
    """Record a collector twice, a minute apart, that took ten rows and one late request."""
    telemetry, clock = Telemetry(), iter((end_ms / 1000 - 60, end_ms / 1000))
    telemetry.watch("table_parts", lambda: {("tick",): 7.0})
    telemetry.watch("turned_away", lambda: {(): 0.0})
    telemetry.watch("ledger_settled_timestamp_seconds", lambda: {(): time.time() - 90})
    writer = bed.writer()
    record = SelfRecord(telemetry, writer, "here:1", 60.0, lambda: next(clock))
    for taken in (5, 10):
        telemetry.count("ticks_total", taken, receiver="otlp")
        telemetry.count("rejected_total", taken, receiver="otlp", reason="future_timestamp")
        telemetry.observe("lag_seconds", 2.0, receiver="otlp")
        await record.write()
    writer.close()


class TestFleet:
    def test_power_is_that_of_the_walls(self, asked: Asked) -> None:
        assert asked.number(fleet.BOARD, "Power now") == 2 * WALL

    def test_energy_is_power_by_time(self, asked: Asked) -> None:
        expected = 2 * WALL * CHARGED_S / 3600
        assert asked.number(fleet.BOARD, "Energy") == pytest.approx(expected)
        assert asked.number(fleet.BOARD, "Energy", site=["s1"]) == pytest.approx(expected / 2)

    def test_idle_is_of_what_is_no_overhead(self, asked: Asked) -> None:
        found = asked.number(fleet.BOARD, "Idle share")
        assert found == pytest.approx((HELD_IDLE + FREE_IDLE) / INSIDE)

    def test_a_name_with_a_quote_finds_nothing_and_breaks_nothing(self, asked: Asked) -> None:
        assert asked.rows(fleet.BOARD, "Power by cluster", cluster=["it's"]) == []

    def test_clusters_add_up(self, asked: Asked) -> None:
        (row,) = asked.rows(fleet.BOARD, "Clusters", cluster=["c"], site=["s2"])
        assert row["energy"] == pytest.approx(WALL * CHARGED_S / 3600)
        assert row["power"] == pytest.approx(WALL * CHARGED_S / asked.seconds)
        assert row["idle"] == pytest.approx(FREE_IDLE / (FREE_IDLE + WEAK))
        assert row["measured"] == 1

    def test_curves_have_the_energy_of_the_tile(self, asked: Asked) -> None:
        for title in ("Power by cluster", "Power by what it did", "How energy was measured"):
            watts = [row["Value"] for row in asked.rows(fleet.BOARD, title)]
            energy = sum(watts) * 60 / 3600
            assert energy == pytest.approx(asked.number(fleet.BOARD, "Energy"))

    def test_meters_agree(self, asked: Asked) -> None:
        for row in asked.rows(fleet.BOARD, "Outer meters and what is inside of them"):
            assert row["residual"] == pytest.approx(0, abs=1e-6)
            assert row["outer"] == pytest.approx(row["inner"] + row["remainder"])


class TestWaste:
    def test_reasons(self, asked: Asked) -> None:
        found = asked.rows(waste.BOARD, "Devices that idle the most")
        assert {(row["device"], row["reason"]) for row in found} == {
            ("n1/parked", "parked"),
            ("n2/free", "unallocated"),
        }
        assert [round(row["power"], 6) for row in found] == [HELD_IDLE, FREE_IDLE]

    def test_what_is_expected_is_waste_all_the_same(self, asked: Asked) -> None:
        before = asked.number(waste.BOARD, "Idle energy")
        told = "'x', 'chat', '', 'n1', 'warm standby', 'bob'"
        asked.client.command(
            f"INSERT INTO expected_idle SELECT {told}, now64(3) - 86400, now64(3) + 86400, 1"
        )
        found = asked.rows(waste.BOARD, "Devices that idle the most")
        asked.client.command("TRUNCATE TABLE expected_idle")
        assert {row["reason"] for row in found} == {"expected", "unallocated"}
        assert asked.number(waste.BOARD, "Idle energy") == pytest.approx(before)

    def test_who_holds(self, asked: Asked) -> None:
        (row,) = asked.rows(waste.BOARD, "Who holds devices idle")
        assert (row["team"], row["owner"], row["workload"]) == ("chat", "bob", "chat")
        assert row["energy"] == pytest.approx(HELD_IDLE * row["hours"])
        assert row["paid"] == pytest.approx(row["energy"] / 1000 * 0.5)

    def test_hot_and_hardly_used(self, asked: Asked) -> None:
        energy = asked.number(waste.BOARD, "Low use", team=["vision"])
        table = next(p for p in waste.BOARD.rows[2].panels if p.title == "Hot and hardly used")
        (weak,) = asked.panel(table)
        assert (weak["workload"], round(weak["power"], 6)) == ("eval", WEAK)
        assert weak["energy"] == pytest.approx(WEAK * weak["hours"])
        assert energy == pytest.approx(weak["energy"])

    def test_now(self, asked: Asked) -> None:
        assert asked.number(waste.BOARD, "Held, idle GPUs") == 1
        assert asked.number(waste.BOARD, "Held, idle GPUs", team=["vision"]) == 0
        assert asked.number(waste.BOARD, "Unheld GPUs") == 1


class TestWorkloads:
    def test_each_is_charged_with_its_own(self, asked: Asked) -> None:
        rows = {row["workload"]: row for row in asked.rows(workloads.BOARD, "Workloads")}
        watts = {name: row["energy"] * 3600 / CHARGED_S for name, row in rows.items()}
        assert watts == pytest.approx({"train": 300, "chat": 100, "eval": 400})
        assert rows["chat"]["idle"] == 1
        assert rows["train"]["before"] == 0

    def test_everything_is_accounted_for(self, asked: Asked) -> None:
        assert asked.number(workloads.BOARD, "Attributed") == 1
        assert asked.number(workloads.BOARD, "Ledger residual") == pytest.approx(0, abs=1e-9)

    def test_joules_of_an_outcome(self, asked: Asked) -> None:
        (row,) = asked.rows(workloads.BOARD, "What they made of it")
        assert row["outcome"] == "step"
        assert row["loaded"] == pytest.approx(300, rel=0.01)

    def test_a_model_narrows(self, asked: Asked) -> None:
        rows = asked.rows(workloads.BOARD, "Workloads", model=["llama"])
        assert [row["workload"] for row in rows] == ["chat"]


class TestNode:
    def test_power_is_the_nodes_own_wall(self, asked: Asked) -> None:
        assert asked.number(node.BOARD, "Power now", node=["n1"]) == WALL
        assert asked.number(node.BOARD, "Power now", device=["n2/weak"]) == WEAK

    def test_states(self, asked: Asked) -> None:
        (row,) = asked.rows(node.BOARD, "Devices now", node=["n1"])
        assert (row["busy"], row["idle"], row["unknown"]) == (1, 1, 1)
        did = asked.rows(node.BOARD, "What each device did")
        assert {(row["device"], row["Value"]) for row in did} == {
            ("n1/busy", 3),
            ("n1/parked", 2),
            ("n2/free", 1),
            ("n2/weak", 3),
        }

    def test_errors_and_links(self, asked: Asked) -> None:
        assert asked.number(node.BOARD, "Errors") == 2
        (row,) = asked.rows(node.BOARD, "Throttled")
        assert (row["device"], row["reason"], row["throttled"]) == ("n1/busy", "sw_power_cap", 30)

    def test_kinds_add_up(self, asked: Asked) -> None:
        rows = asked.rows(node.BOARD, "Power by kind of device", node=["n2"])
        energy = sum(row["Value"] for row in rows) * 60
        assert energy == pytest.approx(WALL * CHARGED_S)

    def test_who_holds_a_device(self, asked: Asked) -> None:
        rows = asked.rows(node.BOARD, "Devices")
        held = {row["device"]: row["workload"] for row in rows}
        assert held["n1/busy"] == "train"
        assert held["n2/free"] == ""


class TestStack:
    def test_only_growth_counts(self, asked: Asked) -> None:
        assert asked.number(stack.BOARD, "Not taken in") == 10
        taken = asked.rows(stack.BOARD, "Taken in")
        assert taken == [{"taken": pytest.approx(10 / asked.seconds)}]

    def test_lag_is_the_upper_edge_of_a_bucket(self, asked: Asked) -> None:
        assert asked.number(stack.BOARD, "Safe within") == 2.5

    def test_the_ledger(self, asked: Asked) -> None:
        assert 80 < asked.number(stack.BOARD, "Ledger is behind") < 300

    def test_what_exporters_say(self, asked: Asked) -> None:
        found = asked.rows(stack.BOARD, "What exporters say of themselves")
        (row,) = [row for row in found if row["reason"] == "full"]
        assert (row["node"], row["what"], row["value"]) == ("n1", "spool_dropped", 3)

    def test_what_it_draws(self, asked: Asked) -> None:
        (row,) = asked.rows(stack.BOARD, "Own power")
        assert row == {"watts": pytest.approx(0.25)}

    def test_tables(self, asked: Asked) -> None:
        (row,) = asked.rows(stack.BOARD, "Tables")
        assert (row["name"], row["parts"]) == ("tick", 7)
