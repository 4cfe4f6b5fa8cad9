"""Outcomes against joules: whatever the order of arrival, the rows are those of the reference."""

from __future__ import annotations

import math
import random
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.collector.outcome_reference import reference

from wattshed_collector.ledger import OVERLAP_US
from wattshed_collector.store.outcome_queries import Asked, Record, per_outcome
from wattshed_exporter.model import (
    Allocation,
    Batch,
    Device,
    Kind,
    Method,
    Outcome,
    Tick,
    Workload,
    stable_id,
)

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BASE_S = 1_768_471_200  # 2026-01-15T10:00:00Z
BASE, MINUTE, HOUR = BASE_S * 1000, 60_000, 3_600_000
MODELS = {"d0": "H100", "d1": "H100", "d2": "A100"}
NAMES = [f"w{n}" for n in range(24)]
LATE = 5
TEAMS = ("red", "blue", "")

Rows = dict[tuple[Any, ...], tuple[float, ...]]


@dataclass
class Facts:
    """What arrived so far, in its order."""

    outcomes: list[Outcome] = field(default_factory=list)
    held_since: dict[str, int] = field(default_factory=dict)
    settled_ms: int = 0

    def take(self, batch: Batch) -> None:
        self.outcomes += batch.outcomes
        for held in batch.allocations:
            since = self.held_since.get(held.workload, held.start_ms)
            self.held_since[held.workload] = min(since, held.start_ms)
        self.settled_ms = max([self.settled_ms, *(tick.ts_ms for tick in batch.ticks)])


def now() -> float:
    """So late that every mark of the run before is old."""
    return time.time() + OVERLAP_US / 1e6


def devices() -> tuple[Device, ...]:
    return tuple(
        Device(key, Kind.GPU, "n", "s", model=model, site="x", uncertainty_ratio=0.05)
        for key, model in MODELS.items()
    )


def workloads() -> tuple[Workload, ...]:
    return tuple(
        Workload(name, name, team=TEAMS[at % 3], model="m" if at % 2 else "")
        for at, name in enumerate(NAMES)
    )


def ticks(keys: Iterable[str], minutes: Iterable[int]) -> tuple[Tick, ...]:
    return tuple(
        Tick(key, BASE + m * MINUTE, 10 * MINUTE, Method.INTEGRAL, 100.0 * (int(key[1]) + 1))
        for key in keys
        for m in minutes
    )


def counter(rng: random.Random, workload: str, kind: str, source: str) -> list[Outcome]:
    """Readings of one counter: it begins now or long ago, rests, stands still, begins again."""
    at = BASE + rng.randrange(-20, 150) * MINUTE + rng.randrange(MINUTE)
    start = rng.choice([None, at, at - 90_000, at - 30 * MINUTE, at - 20 * 24 * HOUR])
    total = rng.choice([0.0, 0.0, 5.0])
    found = []
    for _ in range(rng.randrange(1, 7)):
        model = rng.choice(["", "a", "a", "b"]) if rng.random() < 0.2 else ""
        found.append(Outcome(workload, kind, at, total, start, source, model))
        step = rng.choice([1, 15_000, 47_123, 5 * MINUTE, 70 * MINUTE])
        if rng.random() < 0.2:
            total, start = rng.choice([0.0, 3.0]), rng.choice([None, at + step, at + step // 2])
        elif rng.random() < 0.6:
            total += rng.choice([0.5, 7.0, 1000.0])
        if start is not None and rng.random() < 0.2:
            start += rng.randrange(-5, 5)
        at += step
    if rng.random() < 0.3:
        said = rng.choice(found)
        found.append(Outcome(workload, kind, said.ts_ms, said.total + 2, said.start_ms, source))
    return found


def story(seed: int) -> list[Batch]:
    """What a fleet says in a few hours, in the order in which it happens to arrive: much at once,
    then a little at a time. One device is heard of late, and of hours after all others."""
    rng = random.Random(seed)
    measured = {0: ticks(("d0", "d1"), range(-60, 90, 10)), LATE: ticks(("d2",), (240, 249))}
    deliveries: list[list[Any]] = [[] for _ in range(LATE + 3)]
    for name in NAMES:
        for kind in rng.sample(["token_in", "token_out", "step"], rng.randrange(0, 3)):
            for source in ("", "e1")[: rng.randrange(1, 3)]:
                deliveries[0] += counter(rng, name, kind, source)
        for _ in range(rng.randrange(0, 3)):
            start = BASE + rng.randrange(0, 240) * MINUTE // 2
            end = start + rng.choice([30_000, 10 * MINUTE, 2 * HOUR])
            held = Allocation(rng.choice(list(MODELS)), name, start, end, rng.choice([0.5, 1.0]))
            deliveries[0].append(held)
    for later in deliveries[1:]:
        name = rng.choice(NAMES)
        mine = [said for said in deliveries[0] if said.workload == name]
        for said in rng.sample(mine, min(len(mine), 1)) or deliveries[0][:1]:
            deliveries[0].remove(said)
            later.append(said)
    return [
        Batch(
            devices=devices(),
            workloads=workloads(),
            ticks=measured.get(at, ()),
            allocations=tuple(s for s in said if isinstance(s, Allocation)),
            outcomes=tuple(s for s in said if isinstance(s, Outcome)),
        )
        for at, said in enumerate(deliveries)
    ]


def expected(bed: Bed, facts: Facts) -> Rows:
    """The rows of v_outcome_1m by the reference, from what the ledger charged."""
    counts, parts = reference(facts.outcomes, facts.held_since, facts.settled_ms)
    names = {stable_id(name): name for name in NAMES}
    active: dict[tuple[int, str], float] = defaultdict(float)
    charged: dict[tuple[int, str], float] = defaultdict(float)
    for (t, _, payer, name), (joules, _) in bed.charged().items():
        if payer:
            charged[t, names[payer]] += joules
            active[t, names[payer]] += joules if name == "active" else 0.0
    heard: dict[str, int] = {}
    for said in facts.outcomes:
        heard[said.workload] = min(heard.get(said.workload, said.ts_ms), said.ts_ms)
    since = min(min(ms, facts.held_since.get(w, ms)) for w, ms in heard.items())
    kinds: dict[str, set[str]] = defaultdict(set)
    for _, workload, kind in counts:
        kinds[workload].add(kind)
    rows: Rows = {}
    for (t, workload), joules in charged.items():
        part = parts.get((t, workload), 0.0)
        for kind in kinds.get(workload, {""}):
            energy = active[t, workload] * (1 - part), joules * (1 - part), joules * part
            rows[t, workload, kind] = (counts.get((t, workload, kind), 0.0), *energy)
    for key, count in counts.items():
        rows.setdefault(key, (count, math.nan, math.nan, math.nan))
    return {key: row for key, row in rows.items() if key[0] >= (since - MINUTE) // HOUR * 3600}


def minutes(bed: Bed, view: str = "v_outcome_1m") -> Rows:
    found = bed.client.rows(
        "SELECT toUnixTimestamp(t), workload_key, outcome, count, active_joules, loaded_joules, "
        f"before_joules FROM {view}"
    )
    return {
        (t, w, o): tuple(math.nan if value is None else value for value in values)
        for t, w, o, *values in found
    }


def by_hour(rows: Rows) -> Rows:
    found: dict[tuple[Any, ...], list[float]] = {}
    for (t, *which), values in rows.items():
        sums = found.setdefault((t // 3600 * 3600, *which), [0.0] + [math.nan] * 3)
        for at, value in enumerate(values):
            if not math.isnan(value):
                sums[at] = value + (0.0 if math.isnan(sums[at]) else sums[at])
    return {key: tuple(values) for key, values in found.items()}


def differences(found: Rows, wanted: Rows) -> list[str]:
    return [
        f"{key}: {found.get(key)} should be {wanted.get(key)}"
        for key in sorted({*found, *wanted})
        if key not in found
        or key not in wanted
        or found[key] != pytest.approx(wanted[key], rel=1e-9, abs=1e-7, nan_ok=True)
    ]


@settings(
    max_examples=1,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # each try runs the ledger
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.integers(0, 2**32))
def test_any_order_of_arrival_gives_the_rows_of_the_reference(shared_bed: Bed, seed: int) -> None:
    shared_bed.clean()
    facts, ledger = Facts(), shared_bed.ledger(now=now)
    wanted: Rows = {}
    for batch in story(seed):
        shared_bed.write(batch)
        facts.take(batch)
        ledger.run()
        wanted = expected(shared_bed, facts)
        assert differences(minutes(shared_bed), wanted) == []
    assert differences(minutes(shared_bed, "v_outcome_1h"), by_hour(wanted)) == []
    assert_any_window_and_grouping_adds_up(shared_bed, wanted)


def assert_any_window_and_grouping_adds_up(bed: Bed, rows: Rows) -> None:
    """Minutes, hours and what is asked of both are one truth, however it is cut and grouped."""
    teams = {name: TEAMS[at % 3] for at, name in enumerate(NAMES)}
    first, last = min(t for t, *_ in rows), max(t for t, *_ in rows) + 60
    middle = first + 83 * 60
    cuts = [(first, last)], [(first, middle), (middle, last)]
    for by in (("team",), ("workload_key",), ("ai_model", "hardware"), ()):
        for windows in cuts:
            found = [r for a, b in windows for r in per_outcome(bed.client, Asked(by, a, b))]
            for at, column in enumerate(("count", "loaded_joules", "before_joules")):
                wanted = _sums(rows, at if at == 0 else at + 1)
                assert _totals(found, column) == pytest.approx(wanted, rel=1e-9, abs=1e-7)
    by_team = per_outcome(bed.client, Asked(("team",), first, last))
    for record in by_team:
        mine = {k: v for k, v in rows.items() if teams[k[1]] == record["team"]}
        if record["state"] == "ok":
            energy = sum(v[2] for k, v in mine.items() if k[2] == record["outcome"] and v[2] >= 0)
            assert record["loaded_joules"] == pytest.approx(energy, rel=1e-9)
        ratio = record["joules_per_outcome_loaded"]
        assert (ratio is None) == (record["count"] == 0 or record["loaded_joules"] is None)
    paged: list[Record] = []
    asked = Asked(("team",), first, last)
    while page := per_outcome(bed.client, asked, 2, [paged[-1][k] for k in asked.key if paged]):
        paged += page
    assert paged == by_team


def _sums(rows: Rows, column: int) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for (_, _, outcome), values in rows.items():
        sums[outcome] += 0.0 if math.isnan(values[column]) else values[column]
    return sums


def _totals(records: Iterable[Record], column: str) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for record in records:
        sums[record["outcome"]] += record[column] or 0.0
    return sums
