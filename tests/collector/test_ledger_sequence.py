"""Whatever happens in whatever order, the ledger is as if it were computed afresh at the end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from wattshed_collector.factor import Factor
from wattshed_collector.grid import series
from wattshed_collector.ledger import OVERLAP_US, Ledger, Policy
from wattshed_collector.store import factors, grid
from wattshed_collector.store.policies import HostRemainder, Override
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

BASE_S = 1_768_471_200  # 2026-01-15T10:00:00Z
BASE, HOUR, MINUTE = BASE_S * 1000, 3_600_000, 60_000
WATTS = {"plug": 1000.0, "bmc": 900.0, "gpu": 500.0, "gpu2": 200.0, "spare": 300.0}
SUMS = {
    "measured_1m": "t, device_id, method, reason",
    "charge_1m": "t, device_id, workload_id, class",
    "charge_1h": "t, device_id, workload_id, class, currency",
    "workload_1h": "t, workload_id, class, site, currency",
    "workload_1d": "t, workload_id, class, site, currency",
}
MORE = {"charge_1h": ", facility_joules, cost"}
MORE |= dict.fromkeys(("workload_1h", "workload_1d"), MORE["charge_1h"])
RECONCILED = """
SELECT t, device, status, outer_joules, inner_joules, remainder_joules, uncovered_joules,
       covered_seconds
FROM v_reconciliation_1h
"""


def device(key: str, overlap: Overlap | None = None) -> Device:
    outer = key in ("plug", "bmc")
    source = {"plug": "smartplug", "bmc": "ipmi"}.get(key, "nvml")
    said = Overlap.OUTER if outer else Overlap.NONE
    kind = Kind.HOST if outer else Kind.GPU
    return Device(key, kind, "n", source, site="oslo", overlap=said if overlap is None else overlap)


def ticks(key: str, minutes: range) -> tuple[Tick, ...]:
    return tuple(
        Tick(
            key,
            BASE + minute * MINUTE,
            5 * MINUTE,
            Method.INTEGRAL,
            WATTS[key] + minute % 7,
            utilization_ratio=minute // 20 % 3 / 10,
        )
        for minute in minutes
    )


@dataclass(slots=True)
class Site:
    """A store, what its operator has said, and the collector's ledger."""

    bed: Bed
    topology: dict[str, str | None] = field(default_factory=dict)
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        # A clock with which a run reads only the marks that are newer than the run before it.
        self.ledger = Ledger(self.bed.client, self.policy(), now)

    def policy(self) -> Policy:
        return Policy(0.05, 0, host_remainder=HostRemainder.PROPORTIONAL, topology=self.topology)

    def override(self, override: Override, hour: int) -> None:
        lo = BASE_S + hour * 3600
        self.ledger.override(override, lo, lo + 3600, [lo])


def now() -> float:
    return time.time() + OVERLAP_US / 1e6


def said(where: str, first: int, last: int, activity: float | None, revision: int) -> Batch:
    start, end = BASE + first * MINUTE, BASE + last * MINUTE
    allocation = Allocation(where, "w", start, end, 0.5, "", activity, revision)
    return Batch(workloads=(Workload("w", "w", team="t"),), allocations=(allocation,))


def priced(zone: str, start_s: int, length_s: int, value: float | None) -> grid.Told:
    at = BASE_S + start_s
    return grid.Told(
        "price", zone, "EUR/kWh", "a file", BASE_S, [series.Step(at, at + length_s, value)]
    )


Step = Callable[[Site], object]
KEYS = st.sampled_from(sorted(WATTS))
STEPS: st.SearchStrategy[tuple[str, Step]] = st.one_of(
    st.builds(
        lambda key, first, minutes: (
            f"ticks of {key} {first} {minutes}",
            lambda site: site.bed.write(
                Batch(devices=(device(key),), ticks=ticks(key, range(first, first + minutes)))
            ),
        ),
        KEYS,
        st.integers(0, 130),
        st.sampled_from([1, 20, 90]),
    ),
    st.builds(
        lambda key, first, minutes, activity, revision: (
            f"{key} is held {first} {minutes} {activity} {revision}",
            lambda site: site.bed.write(said(key, first, first + minutes, activity, revision)),
        ),
        KEYS,
        st.sampled_from([0, 50]),
        st.sampled_from([0, 30, 60]),
        st.sampled_from([None, None, 0.0, 0.4]),
        st.sampled_from([0, 0, 1]),
    ),
    st.builds(
        lambda idle, below, hour: (
            f"policy {idle} {below} at {hour}",
            lambda site: site.override(Override(idle, below), hour),
        ),
        st.sampled_from([None, *IdlePolicy]),
        st.sampled_from([None, 1500]),
        st.integers(0, 2),
    ),
    st.builds(
        lambda key, parent: (
            f"topology {key} {parent}",
            lambda site: (site.topology.update({key: parent}), site.restart()),
        ),
        st.sampled_from(["gpu", "spare", "bmc"]),
        st.sampled_from([None, "plug", "bmc"]),
    ),
    st.builds(
        lambda key, overlap: (
            f"{key} is {overlap!r}",
            lambda site: site.bed.write(Batch(devices=(device(key, overlap),))),
        ),
        KEYS,
        st.sampled_from(list(Overlap)),
    ),
    st.builds(
        lambda kind, site, start, value: (
            f"{kind} of {site} {start} {value}",
            lambda place: factors.put(
                place.bed.client,
                [Factor(kind, site, BASE_S + start, value, "EUR/kWh" * (kind == "price"))],
                time.time(),
            ),
        ),
        st.sampled_from(["pue", "price"]),
        st.sampled_from(["", "oslo"]),
        st.sampled_from([-60, 1800, 3600]),
        st.sampled_from([None, 1.5, 2.0]),
    ),
    st.builds(
        lambda zone, start, minutes, value: (
            f"price in {zone} {start} {minutes} {value}",
            lambda place: grid.put(
                place.bed.client, [priced(zone, 60 * start, 60 * minutes, value)], time.time()
            ),
        ),
        st.sampled_from(["NO1", "NO1", "NO2"]),
        st.sampled_from([-30, 0, 60, 90]),
        st.sampled_from([30, 60, 180]),
        st.sampled_from([None, 1.5, 2.0]),
    ),
    st.builds(
        lambda zone: (
            f"lies in {zone}",
            lambda place: grid.put_zones(
                place.bed.client, {"oslo": (zone, None, "")}, BASE_S + 5000.0
            ),
        ),
        st.sampled_from(["NO1", "NO2", ""]),
    ),
    st.just(("restart", Site.restart)),
)


DAYS = """
SELECT toStartOfDay(ts) AS day, device_id, min(ts), max(ts) FROM tick
WHERE isNotNull(power_uw) OR isNotNull(energy_uj) GROUP BY day, device_id ORDER BY ALL
"""
"""What ``tick_day`` must be after a run."""
Sums = dict[tuple[Any, ...], tuple[float, ...]]


def everything(bed: Bed) -> Sums:
    """Every sum of the ledger, by table and key, without what was cancelled; NaN is NULL."""
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for table, key in SUMS.items():
        width = key.count(",") + 1
        for row in bed.client.rows(
            f"SELECT {key}, joules, seconds{MORE.get(table, '')} FROM {table} FINAL "
            "WHERE seconds != 0"
        ):
            found[table, *row[:width]] = row[width:]
    found.update((("reconciled", *row[:3]), row[3:]) for row in bed.client.rows(RECONCILED))
    return {
        key: tuple(math.nan if value is None else value for value in values)
        for key, values in found.items()
    }


def differences(found: Sums, expected: Sums) -> list[str]:
    return [
        f"{key}: {found.get(key)} should be {expected.get(key)}"
        for key in sorted({*found, *expected}, key=str)
        if key not in found
        or key not in expected
        or found[key] != pytest.approx(expected[key], rel=1e-9, abs=1e-6, nan_ok=True)
    ]


@settings(
    max_examples=2,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # each try runs the ledger
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(STEPS, min_size=3, max_size=6))
def test_any_sequence_equals_the_ledger_from_scratch(
    shared_bed: Bed, steps: list[tuple[str, Step]]
) -> None:
    shared_bed.clean()
    described = tuple(device(key) for key in WATTS)
    whole = tuple(tick for key in ("bmc", "gpu", "gpu2") for tick in ticks(key, range(0, 150, 5)))
    shared_bed.write(Batch(devices=described, ticks=whole))
    site = Site(shared_bed)
    site.ledger.run()
    for _, step in steps:
        step(site)
        site.ledger.run()
    days = shared_bed.client.rows("SELECT * FROM tick_day FINAL ORDER BY ALL")
    assert days == shared_bed.client.rows(DAYS)
    found = everything(shared_bed)
    for table in (*SUMS, "reconcile_1h", "tree"):
        shared_bed.client.command(f"TRUNCATE TABLE {table}")
    Ledger(shared_bed.client, site.policy()).recompute(BASE_S + hour * 3600 for hour in range(4))
    expected = everything(shared_bed)
    told = [name for name, _ in steps]
    assert differences(found, expected) == [], told


@pytest.mark.parametrize(
    ("before", "after"),
    [({}, {"bmc": None}), ({"gpu": None}, {}), ({}, {"gpu": None, "gpu2": None})],
)
def test_a_corrected_topology_is_charged_in_the_hours_before(
    bed: Bed, before: dict[str, str | None], after: dict[str, str | None]
) -> None:
    every = tuple(tick for key in WATTS for tick in ticks(key, range(0, 61, 5)))
    bed.write(Batch(devices=tuple(device(key) for key in WATTS), ticks=every))
    wrong = Site(bed, before)
    wrong.ledger.run()
    was = everything(bed)
    right = Site(bed, after)
    assert BASE_S in right.ledger.run()
    found = everything(bed)
    for table in (*SUMS, "reconcile_1h", "tree"):
        bed.client.command(f"TRUNCATE TABLE {table}")
    Ledger(bed.client, right.policy()).recompute([BASE_S, BASE_S + 3600])
    assert differences(found, everything(bed)) == []
    assert differences(found, was) != []


def test_a_topology_that_says_what_is_known_computes_nothing(bed: Bed) -> None:
    every = tuple(tick for key in ("plug", "bmc") for tick in ticks(key, range(0, 61, 5)))
    bed.write(Batch(devices=(device("plug"), device("bmc")), ticks=every))
    assert Site(bed).ledger.run()
    assert not Site(bed, {"bmc": "plug"}).ledger.run()


def test_who_was_told_no_topology_keeps_what_the_store_knows(bed: Bed) -> None:
    """As `wattshed energy` on the folder of a collector that does not run."""
    every = tuple(tick for key in ("bmc", "gpu") for tick in ticks(key, range(0, 61, 5)))
    bed.write(Batch(devices=(device("bmc"), device("gpu")), ticks=every))
    Ledger(bed.client, Policy(raw_days=0, topology={"g*": None}), now).run()
    tree = bed.client.rows("SELECT * FROM tree FINAL ORDER BY device_id")
    bed.write(Batch(devices=(device("spare"),), ticks=ticks("spare", range(0, 61, 5))))
    Ledger(bed.client, Policy(raw_days=0), now).run()
    kept = bed.client.rows("SELECT * FROM tree FINAL ORDER BY device_id")
    assert [row for row in kept if row in tree] == tree


def test_what_will_be_held_some_day_is_not_computed_today(bed: Bed) -> None:
    bed.write(Batch(devices=(device("gpu"),), ticks=ticks("gpu", range(0, 61, 5))))
    year = BASE + 365 * 24 * HOUR
    bed.write(Batch(allocations=(Allocation("gpu", "w", BASE, year),)))
    hours = bed.ledger().run()
    assert set(hours) <= set(range(BASE_S, BASE_S + 24 * 3600, 3600))
    assert {w for _, _, w, _ in bed.charged()} != {0}
