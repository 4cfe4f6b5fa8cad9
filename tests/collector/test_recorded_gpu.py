"""Joules per token, step and product on a real H100: recorded readings through the real ledger."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from tests.fixtures.nvml.recorded import Phase, recording

from wattshed_collector.store.outcome_queries import Asked, per_outcome
from wattshed_exporter.model import (
    Allocation,
    Batch,
    Device,
    Kind,
    Method,
    Outcome,
    Tick,
    Workload,
)

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BASE = 1_768_471_200_000
GPU = "GPU-h100"
H100 = recording()


@pytest.fixture(scope="module")
def charged(shared_bed: Bed) -> Bed:
    """Each phase holds the GPU alone and counts from its start to its end."""
    shared_bed.clean()
    shared_bed.write(
        Batch(
            (Device(GPU, Kind.GPU, "node", "nvml", "gpu0", model=H100.name),),
            tuple(_tick(*reading) for reading in H100.readings),
            workloads=tuple(Workload(p.name, p.name) for p in _held()),
            allocations=tuple(
                Allocation(GPU, p.name, BASE + p.start_ms, BASE + p.end_ms, 1.0, "static")
                for p in _held()
            ),
            outcomes=tuple(
                Outcome(p.name, p.outcome, BASE + at, total, BASE + p.start_ms, "one")
                for p in _held()
                if p.outcome
                for at, total in ((p.start_ms, 0.0), (p.end_ms, float(p.count)))
            ),
        )
    )
    shared_bed.ledger().run()
    return shared_bed


def _held() -> list[Phase]:
    return [phase for phase in H100.phases if phase.name != "bare-idle"]


def _tick(at_ms: int, milliwatts: int, millijoules: int, percent: int) -> Tick:
    energy = 1000 * millijoules
    return Tick(
        GPU, BASE + at_ms, 1000, Method.COUNTER, milliwatts / 1000, energy, BASE, percent / 100
    )


def _joules(phase: Phase) -> float:
    """Return the counter's gain during the phase, its edges interpolated."""
    found = 0.0
    for (a, _, before, _), (b, _, after, _) in pairwise(H100.readings):
        inside = min(b, phase.end_ms) - max(a, phase.start_ms)
        found += (after - before) / 1000 * max(0, inside) / (b - a)
    return found


def test_a_token_takes_what_the_counter_gained(charged: Bed) -> None:
    asked = Asked(("workload",), BASE // 1000, BASE // 1000 + 3600)
    found = {
        (r["workload"], r["outcome"]): r["joules_per_outcome_loaded"]
        for r in per_outcome(charged.client, asked)
        if r["outcome"]
    }
    wanted = {(p.name, p.outcome): _joules(p) / p.count for p in _held() if p.outcome}
    assert found == pytest.approx(wanted, rel=1e-9)
    assert found["graph-decode-b64", "token_out"] < 0.05 * found["graph-decode-b1", "token_out"]


def test_a_parked_model_burns_half_as_much_again_as_a_bare_card(charged: Bed) -> None:
    rows = charged.client.rows(
        "SELECT workload, class, sum(joules) FROM v_energy_1m GROUP BY workload, class"
    )
    by_class = {(workload, kind): joules for workload, kind, joules in rows}
    parked = next(phase for phase in H100.phases if phase.name == "parked-7b")
    bare = next(phase for phase in H100.phases if phase.name == "bare-idle")
    assert by_class["parked-7b", "idle_held"] == pytest.approx(_joules(parked), rel=1e-9)
    assert ("parked-7b", "active") not in by_class
    watts = [1000 * _joules(p) / (p.end_ms - p.start_ms) for p in (parked, bare)]
    assert watts[0] - watts[1] > 50
    assert sum(by_class.values()) == pytest.approx(H100.readings[-1][2] / 1000, rel=1e-9)
