"""The ledger's SQL against ``wattshed_exporter.split``, and against whatever order data come in."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from wattshed_collector.errors import Permanent
from wattshed_collector.ledger import OVERLAP_US
from wattshed_exporter.model import Allocation, Batch, Method, Tick

if TYPE_CHECKING:
    from tests.collector.conftest import Bed, Reference

MINUTE, HOUR = 60_000, 3_600_000
BASE = 1_768_471_200_000  # 2026-01-15T10:00:00Z
METHODS = (Method.COUNTER, Method.INTEGRAL, Method.ESTIMATED, Method.SIMULATED)
REASONS = ("", "deadline", "sentinel", "off")
WITHDRAWN = ("counter_frozen", "counter_frozen", "meter_replaced")
"""Reasons beside power, which take the energy back; the first one does so on its own as well."""
WORKLOADS = ("train", "serve", "notebook", "batch")
Differ = Callable[..., list[str]]


def instant(dice: random.Random, hours: float) -> int:
    """A time within ``hours`` of BASE, often at or beside a border."""
    end = round(hours * HOUR)
    match dice.randrange(6):
        case 0:
            at = dice.randrange(end // HOUR + 1) * HOUR
        case 1:
            at = dice.randrange(end // MINUTE + 1) * MINUTE
        case 2:
            at = dice.randrange(end // MINUTE + 1) * MINUTE + dice.choice((-1, 1, 999))
        case _:
            at = dice.randrange(end)
    return BASE + max(at, 1)


def life(device: str, dice: random.Random) -> list[Tick]:
    """The ticks of one device: counters that reset, power, gaps, dense or hours apart."""
    hours = dice.choice((0.05, 0.5, 2.5, 6.0))
    times = sorted({instant(dice, hours) for _ in range(dice.randint(2, 30))})
    interval = dice.choice((1000, 10_000, 120_000, 900_000, 3_600_000))
    energy, start = dice.choice((0, 5, 10**9, 2**63, 17 * 10**18)), None
    style = dice.choice(("energy", "power", "both", "any"))
    ticks = []
    for ts in times:
        has_energy = style in ("energy", "both") or (style == "any" and dice.random() < 0.5)
        has_power = style in ("power", "both") or (style == "any" and dice.random() < 0.7)
        energy += dice.choice((0, 1, dice.randrange(10**6), dice.randrange(10**13)))
        if dice.random() < 0.12:
            energy = dice.randrange(10**7)
            start = dice.choice((None, ts - dice.randrange(5 * MINUTE), ts, ts + 1))
        gap = dice.random() < 0.15
        withdrawn = has_power and not gap and dice.random() < 0.2
        ticks.append(
            Tick(
                device,
                ts,
                interval,
                dice.choice(METHODS),
                dice.choice((0, 1, dice.randrange(7 * 10**8))) / 1e6
                if has_power and not gap
                else None,
                energy if has_energy and not gap else None,
                start,
                dice.choice((None, None, 0.0, 0.0499, 0.05, 0.3, 1.0)),
                gap=dice.choice(REASONS) if gap else dice.choice(WITHDRAWN) if withdrawn else "",
            )
        )
    return ticks


def holders(device: str, dice: random.Random) -> list[Allocation]:
    """Allocations that overlap, share, hold nothing, hold too much and meet at borders."""
    edges = [instant(dice, 6.0) for _ in range(4)]
    shares = (0.0, 1 / 7, 0.25, 1 / 3, 0.5, 1.0, 1.0, dice.random(), 3.0)
    share_of: dict[tuple[str, int], float] = {}
    found = []
    for _ in range(dice.choice((0, 0, 1, 2, 3, 6))):
        start, end = sorted((dice.choice(edges), dice.choice((*edges, instant(dice, 6.0)))))
        workload = dice.choice(WORKLOADS)
        share = share_of.setdefault((workload, start), dice.choice(shares))
        found.append(Allocation(device, workload, start, end, share))
    return found


def fleet(seeds: Sequence[int], devices: int) -> tuple[list[Tick], list[Allocation]]:
    """Several fleets in one store: a run of the ledger costs the same for all of them."""
    ticks, held = [], []
    for seed in seeds:
        dice = random.Random(seed)
        keys = [f"{seed}/{i}" for i in range(devices)]
        ticks += [tick for key in keys for tick in life(key, dice)]
        held += [allocation for key in keys for allocation in holders(key, dice)]
    return ticks, held


def check(bed: Bed, expected: Reference, differ: Differ) -> None:
    assert differ(bed.measured(), expected.measured) == []
    assert differ(bed.charged(), expected.minutes) == []
    assert differ(bed.charged("charge_1h"), expected.hours) == []


def test_sql_equals_the_rule(bed: Bed, reference: type[Reference], differ: Differ) -> None:
    ticks, allocations = fleet(range(2), 150)
    bed.write(Batch(ticks=tuple(ticks), allocations=tuple(allocations)))
    bed.ledger().run()
    check(bed, reference(ticks, allocations), differ)


def portions(
    ticks: Sequence[Tick], allocations: Sequence[Allocation], dice: random.Random
) -> list[Batch]:
    """Everything in any order, a tenth of it twice."""
    facts: list[Tick | Allocation] = [*ticks, *allocations]
    facts += dice.sample(facts, len(facts) // 10)
    dice.shuffle(facts)
    size = -(-len(facts) // 4)
    return [
        Batch(
            ticks=tuple(f for f in facts[at : at + size] if isinstance(f, Tick)),
            allocations=tuple(f for f in facts[at : at + size] if isinstance(f, Allocation)),
        )
        for at in range(0, len(facts), size)
    ]


def test_any_order_and_repeats_with_runs_in_between(
    bed: Bed, reference: type[Reference], differ: Differ
) -> None:
    ticks, allocations = fleet(range(10, 12), 50)
    ledger = bed.ledger()
    for portion in portions(ticks, allocations, random.Random(10)):
        bed.write(portion)
        ledger.run()
    check(bed, reference(ticks, allocations), differ)


FIELDS = ("energy_uj", "start_ms"), ("power_watts",), ("utilization_ratio",), ("gap",)
"""What may come apart: energy and the start of its counter are one data point."""


def shares(tick: Tick) -> list[Tick]:
    """A tick as an OpenTelemetry Collector hands it on that splits batches by data point."""
    if tick.gap and tick.gap != WITHDRAWN[0]:
        return [tick]
    every: dict[str, object] = {name: None for fields in FIELDS for name in fields}
    every["gap"] = ""
    return [
        replace(tick, **{**every, **{name: getattr(tick, name) for name in fields}})
        for fields in FIELDS
        if getattr(tick, fields[0]) not in (None, "")
    ] or [tick]


def test_a_tick_may_come_in_parts_with_runs_in_between(
    bed: Bed, reference: type[Reference], differ: Differ
) -> None:
    ticks, allocations = fleet(range(30, 32), 40)
    parts = [part for tick in ticks for part in shares(tick)]
    assert len(parts) > len(ticks)
    ledger = bed.ledger()
    for portion in portions(parts, allocations, random.Random(30)):
        bed.write(portion)
        ledger.run()
    check(bed, reference(ticks, allocations), differ)


def apart() -> float:
    """A clock with which a run reads only the marks that are newer than the run before it."""
    return time.time() + OVERLAP_US / 1e6


def test_late_facts_reach_every_hour_that_they_change(
    bed: Bed, reference: type[Reference], differ: Differ
) -> None:
    ticks, allocations = fleet(range(20, 22), 25)
    dice = random.Random(20)
    ledger = bed.ledger(now=apart)
    late = [fact for fact in (*ticks, *allocations) if dice.random() < 0.04]
    bed.write(
        Batch(
            ticks=tuple(t for t in ticks if t not in late),
            allocations=tuple(a for a in allocations if a not in late),
        )
    )
    ledger.run()
    dice.shuffle(late)
    writer = bed.writer()
    while late:
        facts = [late.pop() for _ in range(min(len(late), dice.choice((1, 2, 5))))]
        writer.submit(
            Batch(
                ticks=tuple(f for f in facts if isinstance(f, Tick)),
                allocations=tuple(f for f in facts if isinstance(f, Allocation)),
            )
        ).result(120)
        ledger.run()
    writer.close()
    check(bed, reference(ticks, allocations), differ)


def power(device: str, ts: int, watts: float | None = 100.0, **more: object) -> Tick:
    plain = Tick(device, ts, HOUR, Method.INTEGRAL, watts, gap="" if watts else "deadline")
    return replace(plain, **more)  # type: ignore[arg-type]


def energy(ts: int, joules: int, device: str = "d") -> Tick:
    return Tick(device, ts, 1000, Method.COUNTER, energy_uj=joules * 10**6)


class TestLateFacts:
    def test_a_tick_in_a_long_gap_changes_every_hour_around_it(
        self, bed: Bed, reference: type[Reference], differ: Differ
    ) -> None:
        ticks = [energy(BASE + 5 * MINUTE, 0), energy(BASE + 8 * HOUR + 5 * MINUTE, 28_800)]
        ledger = bed.ledger(now=apart)
        bed.write(Batch(ticks=tuple(ticks)))
        assert ledger.run() == [BASE // 1000 + h * 3600 for h in range(9)]
        late = energy(BASE + 4 * HOUR, 100)
        bed.write(Batch(ticks=(late,)))
        assert ledger.run() == [BASE // 1000 + h * 3600 for h in range(9)]
        check(bed, reference([*ticks, late]), differ)

    @pytest.mark.parametrize("late_ms", [-1000, 1000])
    def test_a_late_gap_at_the_edge_of_its_hour_reaches_into_the_next(
        self, bed: Bed, reference: type[Reference], differ: Differ, late_ms: int
    ) -> None:
        ticks = [power("d", BASE + HOUR - 2000), power("d", BASE + HOUR + 2000)]
        late = power("d", BASE + HOUR + late_ms, None)
        ledger = bed.ledger(now=apart)
        bed.write(Batch(ticks=tuple(ticks)))
        ledger.run()
        bed.write(Batch(ticks=(late,)))
        ledger.run()
        check(bed, reference([*ticks, late]), differ)

    @pytest.mark.parametrize("late_ms", [-1000, 1000])
    def test_a_late_part_of_a_tick_at_the_edge_of_its_hour_reaches_into_the_next(
        self, bed: Bed, reference: type[Reference], differ: Differ, late_ms: int
    ) -> None:
        ticks = [energy(BASE + HOUR + at, 5 + at // 1000) for at in (-3000, -1000, 1000, 3000)]
        late = replace(energy(BASE + HOUR + late_ms, 0), energy_uj=None, utilization_ratio=0.0)
        ledger = bed.ledger(now=apart)
        bed.write(Batch(ticks=tuple(ticks)))
        ledger.run()
        bed.write(Batch(ticks=(late,)))
        ledger.run()
        whole = [replace(t, utilization_ratio=0.0) if t.ts_ms == late.ts_ms else t for t in ticks]
        check(bed, reference(whole), differ)

    def test_an_earlier_gap_renames_a_stretch_of_many_hours(
        self, bed: Bed, reference: type[Reference], differ: Differ
    ) -> None:
        ticks = [power("d", BASE), power("d", BASE + 9 * HOUR)]
        ticks += [power("d", BASE + 2 * HOUR + 60_000, None, gap="off")]
        late = power("d", BASE + 2 * HOUR + 1000, None, gap="deadline")
        ledger = bed.ledger(now=apart)
        bed.write(Batch(ticks=tuple(ticks)))
        ledger.run()
        bed.write(Batch(ticks=(late,)))
        ledger.run()
        check(bed, reference([*ticks, late]), differ)

    def test_what_a_failed_run_was_to_do_the_next_one_does(
        self, bed: Bed, reference: type[Reference], differ: Differ
    ) -> None:
        ticks = [energy(BASE + 5 * MINUTE, 0), energy(BASE + 3 * HOUR + 5 * MINUTE, 10_800)]
        ledger = bed.ledger(now=apart)
        bed.write(Batch(ticks=tuple(ticks[:1])))
        ledger.run()
        bed.write(Batch(ticks=tuple(ticks[1:])))
        bed.client.command("RENAME TABLE charge_1h TO away")
        try:
            with pytest.raises(Permanent, match="charge_1h"):
                ledger.run()
        finally:
            bed.client.command("RENAME TABLE away TO charge_1h")
        ledger.run()
        check(bed, reference(ticks), differ)

    def test_a_gap_without_end_costs_one_hour(self, bed: Bed) -> None:
        ledger = bed.ledger(now=apart)
        bed.write(Batch(ticks=(power("d", BASE),)))
        ledger.run()
        for hour in (5, 6):
            bed.write(Batch(ticks=(power("d", BASE + hour * HOUR + MINUTE, None),)))
            assert ledger.run() == [BASE // 1000 + hour * 3600]

    def test_steady_ticks_cost_one_hour_after_a_long_gap_has_ended(self, bed: Bed) -> None:
        ledger = bed.ledger(now=apart)
        hour = BASE + 5 * HOUR
        bed.write(Batch(ticks=(energy(BASE, 0), power("d", hour, None), energy(hour + 5000, 9))))
        assert len(ledger.run()) == 6
        for second in (6, 7):
            bed.write(Batch(ticks=(energy(hour + second * 1000, 9 + second),)))
            assert ledger.run() == [hour // 1000]
