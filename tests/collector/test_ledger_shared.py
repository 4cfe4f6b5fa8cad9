"""Devices that several workloads share, and who pays for idling: the ledger against the rule."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from wattshed_exporter.model import (
    Allocation,
    Batch,
    Device,
    IdlePolicy,
    Kind,
    Method,
    Tick,
    stable_id,
)
from wattshed_exporter.split import Policy

if TYPE_CHECKING:
    from tests.collector.conftest import Bed, Reference

MINUTE, HOUR = 60_000, 3_600_000
BASE = 1_768_471_200_000  # 2026-01-15T10:00:00Z
HOUR_S = BASE // 1000
IDLE_BELOW = 1 / 16
"""Exact, as are the shares and activities below, so that no sum is on both sides of it."""
SIXTEENTHS = tuple(n / 16 for n in range(17))
GPU = Device("d", Kind.GPU, "n", "s", site="hall")
Differ = Callable[..., list[str]]


def life(device: str, dice: random.Random) -> list[Tick]:
    """Three hours of power or of a counter, now idle, now busy, at any distance in time."""
    times = sorted({dice.randrange(3 * HOUR) for _ in range(dice.randint(2, 40))} | {0, HOUR})
    counts, energy = dice.random() < 0.5, 0
    ticks = []
    for at in times:
        energy += dice.choice((0, dice.randrange(10**12)))
        power = None if counts else dice.choice((0.0, 40.0, dice.randrange(700_000) / 1000))
        ticks.append(
            Tick(
                device,
                BASE + at,
                HOUR,
                Method.COUNTER,
                power,
                energy if counts else None,
                utilization_ratio=dice.choice((None, 0.0, 0.5, 0.9)),
            )
        )
    return ticks


def sharers(device: str, dice: random.Random) -> list[Allocation]:
    """Long allocations, windows of activity, corrections, and what holds nothing."""
    edges = [BASE + dice.randrange(-2 * HOUR, 4 * HOUR) for _ in range(5)] + [BASE + HOUR]
    said = []
    for _ in range(dice.choice((0, 1, 2, 4, 7))):
        start, end = dice.choice(edges), dice.choice((*edges, BASE + dice.randrange(4 * HOUR)))
        known = dice.random() < 0.6
        activity = dice.choice((0.0, *SIXTEENTHS)) if known else None
        said.append(
            Allocation(
                device,
                dice.choice("abc"),
                start,
                end,
                dice.choice((0.0, 1.0, *SIXTEENTHS)),
                "",
                activity,
                dice.choice((0, 0, 1, 2)),
            )
        )
    # The store takes one of two that differ in nothing that ranks them: the last, in one insert.
    return list({(a.workload, a.start_ms, a.revision, a.end_ms): a for a in said}.values())


Idle = dict[tuple[str, int], float]


def fleet(seed: int, devices: int) -> tuple[list[Tick], list[Allocation], Idle]:
    dice = random.Random(seed)
    keys = [f"{seed}/{i}" for i in range(devices)]
    ticks = [tick for key in keys for tick in life(key, dice)]
    said = [allocation for key in keys for allocation in sharers(key, dice)]
    idle = {
        (key, HOUR_S + hour * 3600): dice.choice((0.0, 40.0, 1e6))
        for key in keys
        for hour in range(3)
        if dice.random() < 0.7
    }
    return ticks, said, idle


def learn(bed: Bed, idle: Idle) -> None:
    """Say each baseline, and a higher one that does not count."""
    rows = [(hour, stable_id(d), w) for (d, hour), w in idle.items()]
    for more in (0.0, 5.0):
        bed.client.insert(
            "idle_hour",
            {
                "hour": [hour for hour, _, _ in rows],
                "device_id": [device for _, device, _ in rows],
                "watts": [watts + more for _, _, watts in rows],
            },
        )


@pytest.mark.parametrize("idle", list(IdlePolicy))
def test_sql_equals_the_rule(
    bed: Bed, reference: type[Reference], differ: Differ, idle: IdlePolicy
) -> None:
    ticks, said, watts = fleet(sum(idle.encode()), 60)
    bed.write(Batch(ticks=tuple(ticks)))
    bed.say(*said)
    learn(bed, watts)
    bed.ledger(idle=str(idle), idle_below_ratio=IDLE_BELOW).run()
    expected = reference(ticks, said, Policy(idle, IDLE_BELOW), watts)
    assert differ(bed.measured(), expected.measured) == []
    assert differ(bed.charged(), expected.minutes) == []
    assert differ(bed.charged("charge_1h"), expected.hours) == []
    conserves(bed)


def conserves(bed: Bed) -> None:
    """Minutes and hours add up to what was measured, and nobody pays less than nothing."""
    measured = math.fsum(j for j, _ in bed.measured().values() if j is not None)
    for table in ("charge_1m", "charge_1h"):
        paid = [joules for joules, _ in bed.charged(table).values()]
        assert min(paid, default=0.0) >= 0
        assert math.isclose(math.fsum(paid), measured, rel_tol=1e-9)
    rows = bed.client.rows(
        "SELECT max(abs(residual_joules) / measured_joules) FROM v_conservation_1h "
        "WHERE measured_joules > 0"
    )
    assert rows[0][0] <= 1e-9


def busy(at: int, watts: float = 100.0, device: str = "d", utilization: float = 0.9) -> Tick:
    return Tick(device, BASE + at, MINUTE, Method.INTEGRAL, watts, utilization_ratio=utilization)


def paid(bed: Bed) -> dict[tuple[int, str], float]:
    """Joules by workload and class."""
    found: dict[tuple[int, str], float] = {}
    for (_, _, workload, name), (joules, _) in bed.charged("charge_1h").items():
        found[workload, name] = found.get((workload, name), 0.0) + joules
    return found


class TestCases:
    def run(self, bed: Bed, ticks: list[Tick], *said: Allocation) -> None:
        bed.write(Batch(devices=(GPU,), ticks=tuple(ticks)))
        bed.say(*said)
        bed.ledger().run()
        conserves(bed)

    def test_a_job_that_comes_back_pays_for_its_own_time_only(self, bed: Bed) -> None:
        """Idle, job A, idle, job A again: no joule of the time between is charged to A."""
        ticks = [
            Tick(
                "d",
                BASE + m * MINUTE,
                MINUTE,
                Method.COUNTER,
                energy_uj=m * 6000 * 10**6,
                utilization_ratio=0.9 if 10 < m <= 20 or 30 < m <= 40 else 0.0,
            )
            for m in range(51)
        ]
        said = [Allocation("d", "A", BASE + m * MINUTE, BASE + (m + 10) * MINUTE) for m in (10, 30)]
        self.run(bed, ticks, *said)
        assert paid(bed) == pytest.approx(
            {(stable_id("A"), "active"): 120_000.0, (0, "idle_unallocated"): 180_000.0}, rel=1e-9
        )

    def test_a_pod_that_restarts_under_its_name(self, bed: Bed) -> None:
        said = [
            Allocation("d", "pod", BASE, BASE + 10 * MINUTE + 250),
            Allocation("d", "pod", BASE + 12 * MINUTE + 750, BASE + 20 * MINUTE),
        ]
        self.run(bed, [busy(m * MINUTE) for m in range(21)], *said)
        assert paid(bed) == pytest.approx(
            {(stable_id("pod"), "active"): 107_950.0, (0, "unattributed"): 12_050.0}, rel=1e-9
        )

    def test_a_job_across_midnight_is_in_both_days(self, bed: Bed) -> None:
        midnight = 14 * HOUR
        ticks = [busy(midnight + m * MINUTE) for m in range(-60, 61)]
        job = Allocation("d", "job", BASE + midnight - HOUR // 2, BASE + midnight + HOUR // 4)
        self.run(bed, ticks, job)
        rows = bed.client.rows(
            "SELECT toDayOfMonth(t), joules FROM v_workload_1d "
            f"WHERE workload_id = {stable_id('job')} ORDER BY t"
        )
        assert rows == [(15, pytest.approx(180_000.0)), (16, pytest.approx(90_000.0))]
        hours = {t: joules for (t, _, w, _), (joules, _) in bed.charged("charge_1h").items() if w}
        assert hours == pytest.approx(
            {HOUR_S + 13 * 3600: 180_000.0, HOUR_S + 14 * 3600: 90_000.0}, rel=1e-9
        )
