"""Power and energy from the roll-up by the minute, against a sum over every device's charges."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed_collector.store import fleet_queries, ledger_state, queries
from wattshed_collector.store.ledger_sql import ROLL_UP_PLAIN, WORKLOAD_HOURS, WORKLOAD_MINUTES
from wattshed_collector.store.policies import Rule
from wattshed_exporter.model import Batch, Device, Kind, Overlap, Workload, stable_id

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

HOUR_S = 3600
BASE = 1_768_435_200  # 2026-01-15T00:00:00Z
SITES = {"d": "x", "e": "y", "f": "x", "core": "x"}
TEAMS = {"": "", "a": "red", "b": "blue", "c": "red"}
RUN = (WORKLOAD_MINUTES, ROLL_UP_PLAIN, WORKLOAD_HOURS, ledger_state.FINISH)

Charge = tuple[int, str, str, str]
"""Minute of the hour, device, workload ("" is nobody) and class."""
Charges = dict[Charge, float]

charges: st.SearchStrategy[Charges] = st.dictionaries(
    st.tuples(
        st.integers(0, 59),
        st.sampled_from(sorted(SITES)),
        st.sampled_from(sorted(TEAMS)),
        st.sampled_from(["active", "idle_held", "idle_unallocated"]),
    ),
    st.integers(0, 10**6).map(float),
    min_size=1,
    max_size=30,
)


@pytest.fixture(scope="module")
def fleet(shared_bed: Bed) -> Bed:
    """Three cards at two sites and a core inside of one of them."""
    shared_bed.clean()
    devices = (
        Device(
            key,
            Kind.GPU,
            key,
            "s",
            site=site,
            overlap=Overlap.INNER if key == "core" else Overlap.NONE,
        )
        for key, site in SITES.items()
    )
    workloads = (Workload(key, key, team=team) for key, team in TEAMS.items() if key)
    shared_bed.write(Batch(devices=tuple(devices), workloads=tuple(workloads)))
    return shared_bed


@pytest.fixture(scope="module")
def hours() -> Iterator[int]:
    """Hours that nobody has charged yet."""
    return count(BASE, HOUR_S)


def compute(bed: Bed, hour: int, told: Charges, version: int, is_finished: bool) -> None:
    """Do what the ledger does with an hour once its charges are known."""
    ledger_state.open_hours(bed.client, [hour], version)
    rows = [
        (hour + minute * 60, stable_id(device), stable_id(who) if who else 0, name, joules)
        for (minute, device, who, name), joules in told.items()
    ]
    columns = ("t", "device_id", "workload_id", "class", "joules")
    values: dict[str, list[Any]] = dict(
        zip(columns, map(list, zip(*rows, strict=True)), strict=True)
    )
    values |= {"seconds": [60.0] * len(rows), "version": [version] * len(rows)}
    bed.client.insert("charge_1m", values)
    done = RUN if is_finished else RUN[:-1]
    bed.ledger().compute(done, hour, hour + HOUR_S, Rule(), version)


def summed(
    told: Charges, key: Callable[[Charge], object], first: int, end: int
) -> dict[object, float]:
    sums: dict[object, float] = defaultdict(float)
    for charge, joules in told.items():
        if first <= charge[0] < end and charge[1] != "core":
            sums[key(charge)] += joules
    return sums


def by_minute(key: Callable[[Charge], object]) -> Callable[[Charge], object]:
    return lambda charge: (charge[0], key(charge))


KEYS: dict[str, Callable[[Charge], object]] = {
    "team": lambda c: TEAMS[c[2]],
    "workload": lambda c: c[2],
    "site": lambda c: SITES[c[1]],
    "class": lambda c: c[3],
    "node": lambda c: c[1],
}


@settings(max_examples=4, deadline=None)
@given(charges, charges, charges, st.integers(0, 59), st.integers(1, 60))
def test_what_is_asked_is_the_sum_of_the_last_finished_run(
    fleet: Bed,
    hours: Iterator[int],
    first: Charges,
    last: Charges,
    open_: Charges,
    since: int,
    long: int,
) -> None:
    """A run before it, whose keys are not all written again, and one that is under way."""
    hour, until = next(hours), min(since + long, 60)
    version = 3 * hour
    compute(fleet, hour, first, version, is_finished=True)
    for table in ledger_state.READ:
        fleet.client.command(f"SYSTEM STOP MERGES {table}")
    compute(fleet, hour, last, version + 1, is_finished=True)
    compute(fleet, hour, open_, version + 2, is_finished=False)
    window = hour + since * 60, hour + until * 60
    try:
        for by, key in KEYS.items():
            found = {r[by]: r["joules"] for r in queries.energy(fleet.client, by, *window)}
            assert found == pytest.approx(summed(last, key, since, until)), by
        for by in ("team", "site", "node", "workload"):
            power = {
                ((r["t"] - hour) // 60, r["name"]): r["watts"] * 60
                for r in fleet_queries.power(fleet.client, by, *window, 60)
            }
            assert power == pytest.approx(summed(last, by_minute(KEYS[by]), since, until)), by
    finally:
        for table in ledger_state.READ:
            fleet.client.command(f"SYSTEM START MERGES {table}")
