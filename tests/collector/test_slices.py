"""A fleet that is computed in parts comes out as it does at once."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from wattshed_collector.store.ledger_sql import RECOMPUTE, WHOLE, slices, steps
from wattshed_collector.store.policies import Override
from wattshed_exporter.model import (
    Allocation,
    Batch,
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

BASE = 1_768_471_200_000
MINUTE = 60_000
HOUR = 60 * MINUTE
GPUS = [f"n{n}/gpu{g}" for n in range(3) for g in range(4)]


@pytest.mark.parametrize("ticks", [0, 1, 10, 11, 99, 36_000_000])
def test_parts_are_the_whole_fleet(ticks: int) -> None:
    parts = slices(ticks, 10)
    assert (parts[0][0], parts[-1][1]) == WHOLE
    assert all(b == a + 1 for (_, a), (b, _) in pairwise(parts))
    assert len(parts) == max(1, -(-ticks // 10))


def test_what_is_of_each_device_runs_in_parts_and_the_rest_once() -> None:
    parts = slices(3, 1)
    run = list(steps(RECOMPUTE, parts))
    often = [s for s in RECOMPUTE if sum(1 for t, _ in run if t == s) == len(parts)]
    once = [s for s in RECOMPUTE if [p for t, p in run if t == s] == [WHOLE]]
    assert sorted(often + once) == sorted(RECOMPUTE)
    assert [text for text, _ in run if text in once] == once
    assert {"reconcile_1h", "workload_1h", "workload_1d"} <= {
        text.split()[2] for text in once if text.split()[1] == "INTO"
    }


def fleet() -> Batch:
    """Three machines with a wall meter each: counters, gaps and shared cards."""
    devices = [Device(key, Kind.GPU, key[:2], "nvml") for key in GPUS]
    devices += [
        Device(f"n{n}/bmc", Kind.HOST, f"n{n}", "ipmi", overlap=Overlap.OUTER) for n in range(3)
    ]
    ticks = [
        Tick(key, BASE + m * MINUTE + i, MINUTE, Method.COUNTER, 300.0, m * 18_000_000_000, BASE,
             0.0 if (m + i) % 5 == 0 else 0.8)
        for i, key in enumerate(GPUS) for m in range(75) if (m, i) != (30, 4)
    ]  # fmt: skip
    ticks += [
        Tick(f"n{n}/bmc", BASE + m * MINUTE, MINUTE, Method.INTEGRAL, 1500.0)
        for n in range(3)
        for m in range(75)
    ]
    allocations = [
        Allocation(key, f"job{i % 5}", BASE + i * 71_000, BASE + 55 * MINUTE, 0.6)
        for i, key in enumerate(GPUS)
    ]
    return Batch(devices=tuple(devices), ticks=tuple(ticks), allocations=tuple(allocations))


def test_the_parts_of_a_fleet_are_charged_as_all_of_it(bed: Bed) -> None:
    bed.write(fleet())
    bed.ledger().run()
    whole = bed.charged(), bed.charged("charge_1h"), bed.measured()
    ledger = bed.ledger(slice_ticks=100)
    hour = BASE // 1000
    assert len(ledger.slices(hour, hour + 3600)) > 5
    ledger.recompute([hour, hour + 3600])
    assert (bed.charged(), bed.charged("charge_1h"), bed.measured()) == whole
    rows = bed.client.rows("SELECT residual_joules, measured_joules FROM v_conservation_1h")
    assert len(rows) == 2 * (len(GPUS) + 3)
    assert all(abs(residual) <= 1e-9 * measured for residual, measured in rows)


def long() -> Batch:
    """A card that two jobs share beyond hours of any portion, what one makes, and a wall meter."""
    hours = range(0, 15 * HOUR, 10 * MINUTE)
    ticks = [
        Tick(
            "d", BASE + at, MINUTE, Method.COUNTER, None, at * 250_000, BASE, 0.5 * (at % HOUR > 0)
        )
        for at in hours
        if at not in (6 * HOUR, 9 * HOUR)
    ]
    ticks += [Tick("wall", BASE + at, 10 * MINUTE, Method.INTEGRAL, 400.0) for at in hours]
    return Batch(
        devices=(
            Device("d", Kind.GPU, "n", "nvml"),
            Device("wall", Kind.HOST, "n", "smartplug", overlap=Overlap.OUTER),
        ),
        ticks=tuple(ticks),
        workloads=(Workload("v", "chat"), Workload("w", "train")),
        allocations=(
            Allocation("d", "v", BASE + HOUR, BASE + 13 * HOUR, 0.5),
            Allocation("d", "w", BASE + 5 * HOUR, BASE + 7 * HOUR, 0.5),
        ),
        outcomes=tuple(
            Outcome("v", "step", BASE + at, at / MINUTE, BASE) for at in hours if at % HOUR
        ),
    )


def test_hours_that_are_computed_at_once_come_out_as_they_do_apart(bed: Bed) -> None:
    bed.write(long())
    at_once, some, apart = bed.ledger(), bed.ledger(light_rows=1300), bed.ledger(light_rows=0)
    first = BASE // 1000
    hours = range(first, first + 15 * 3600, 3600)
    sizes = [
        [done for done, _ in ledger.portions(hours, Override())]
        for ledger in (at_once, some, apart)
    ]
    # Two devices are cut at 900 minutes, and 75 times something was produced.
    assert sizes == [[15], [10, 15], [6, 12, 15]]
    assert [hour for hour in at_once.run() if hour in hours] == list(hours)
    together = everything(bed)
    apart.recompute(hours)
    assert everything(bed) == together
    assert len(bed.client.rows("SELECT t FROM outcome_1h FINAL WHERE count > 0")) == 15


def everything(bed: Bed) -> tuple[object, ...]:
    tables = "workload_1m", "workload_1h", "workload_1d", "outcome_1h", "reconcile_1h"
    rows = [
        sorted(map(str, bed.client.rows(f"SELECT * EXCEPT version FROM {table} FINAL")))
        for table in tables
    ]
    assert all(rows), tables
    return bed.charged(), bed.charged("charge_1h"), bed.measured(), rows
