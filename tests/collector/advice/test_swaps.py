"""Dearer ways that are planted in a store are found with their size, and measured once they go."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from wattshed_collector import advice_book
from wattshed_collector.advice.model import MONTH_S, State
from wattshed_collector.quality import Score
from wattshed_collector.store import quality
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

HOUR, STEP = 3600, 600
BASE = int(time.time()) // HOUR * HOUR - 60 * HOUR
DAY, UNTIL = 24, 50
WATTS, WITHIN = 400.0, 1e-3


class Served:
    """Services on a GPU each, at constant power, whose outcomes come evenly."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed

    def serve(self, name: str, each: float, *, start: int = 0, end: int = DAY, **of: str) -> None:
        """Make one outcome for ``each`` joules from hour ``start`` until ``end``."""
        tier, hardware = of.pop("tier", "datacenter"), of.pop("hardware", "H100")
        key = f"gpu-{name}"
        start, end = start * HOUR, end * HOUR
        times = range(start, end + 1, STEP)
        rate = WATTS / each
        self.bed.write(
            Batch(
                devices=(
                    Device(key, Kind.GPU, "n", "nvml", model=hardware, site="dub", tier=tier),
                ),
                workloads=(
                    Workload(name, name, "inference", team="t", owner="ada", model="llama", **of),
                ),
                allocations=(Allocation(key, name, (BASE + start) * 1000, (BASE + end) * 1000),),
                ticks=tuple(self._ticks(key, times)),
                outcomes=tuple(
                    Outcome(
                        name, "request", (BASE + at) * 1000, rate * (at - start),
                        (BASE + start) * 1000,
                    )
                    for at in times
                ),
            )
        )  # fmt: skip

    def _ticks(self, key: str, times: range) -> Iterator[Tick]:
        for at in times:
            yield Tick(
                key, (BASE + at) * 1000, STEP * 1000, Method.COUNTER, WATTS,
                round(WATTS * at * 1e6), BASE * 1000, 0.9,
            )  # fmt: skip

    def score(self, **of: float) -> None:
        now = time.time()
        scores = [
            Score("llama", precision, "mmlu", score, "higher", int(now * 1000) - 1000)
            for precision, score in of.items()
        ]
        quality.put(self.bed.client, scores, now)

    def found(self, until: int = DAY) -> dict[str, Any]:
        self.bed.ledger(now=lambda: BASE + (until + 0.2) * HOUR).run()
        advice_book.look(self.bed.client, int(time.time()))
        rows = advice_book.listed(self.bed.client)["advice"]
        return {row["subject"].partition("@")[0]: row for row in rows}


@pytest.fixture
def served(bed: Bed) -> Served:
    return Served(bed)


def monthly(each: float, other: float) -> float:
    return WATTS * MONTH_S * (1 - other / each)


def test_each_kind_is_found_with_its_size_and_its_twin_is_not(served: Served) -> None:
    plan: dict[str, tuple[float, dict[str, Any]]] = {
        "wide": (8.0, {"precision": "bf16"}),
        "narrow": (5.0, {"precision": "fp8"}),
        "unscored": (2.0, {"precision": "int4"}),
        "exact": (8.0, {"precision": "bf16", "phase": "prefill"}),
        "worse": (2.0, {"precision": "int3", "phase": "prefill"}),
        "single": (9.0, {"precision": "fp16", "batch_class": "1", "phase": "decode"}),
        "grouped": (3.0, {"precision": "fp16", "batch_class": "32", "phase": "decode"}),
        "other-gpu": (1.0, {"precision": "fp8", "hardware": "B200", "phase": "x"}),
        "near": (20.0, {"precision": "int8", "tier": "edge", "hardware": "Orin"}),
        "far": (4.0, {"precision": "int8", "hardware": "L40S"}),
    }
    for name, (each, of) in plan.items():
        served.serve(name, each, **of)
    served.score(bf16=0.82, fp8=0.815, int3=0.80)
    found = served.found()
    assert {name: (row["kind"], row["workload"]) for name, row in found.items()} == {
        "wide": ("precision", "wide\nnarrow"),
        "single": ("batch", "single\ngrouped"),
        "near": ("placement", "near\nfar"),
    }
    for name, row in found.items():
        other = row["workload"].splitlines()[1]
        size = monthly(plan[name][0], plan[other][0])
        assert row["joules_per_month"] == pytest.approx(size, rel=WITHIN)
        assert row["cost_per_month"] is None
        assert row["owner"] == "ada"
        assert len(served.bed.client.rows(row["evidence"])) == 2
    assert "0.815 in fp8" in found["wide"]["reason"]


def test_what_is_done_is_measured_wherever_the_work_went(served: Served) -> None:
    served.serve("moved", 8.0, precision="bf16", phase="a")
    served.serve("to", 5.0, precision="fp8", phase="a")
    served.serve("stays", 8.0, precision="bf16", phase="b")
    served.serve("beside", 5.0, precision="fp8", phase="b")
    served.score(bf16=0.82, fp8=0.815)
    for row in served.found().values():
        advice_book.say(served.bed.client, row["id"], State.DONE, "ada", "", BASE + DAY * HOUR)
    for name, each, precision, phase in (
        ("to", 5.0, "fp8", "a"),
        ("stays", 8.0, "bf16", "b"),
        ("beside", 5.0, "fp8", "b"),
    ):
        served.serve(name, each, start=DAY, end=UNTIL, precision=precision, phase=phase)
    served.bed.ledger(now=lambda: BASE + (UNTIL + 0.2) * HOUR).run()
    done = advice_book.listed(served.bed.client, ["done"])["advice"]
    checks = {row["subject"].partition("@")[0]: row["verification"] for row in done}
    seconds = checks["moved"]["seconds"]
    assert seconds >= 24 * HOUR
    # Before, both together took 2 x 400 W for 400 / 8 + 400 / 5 outcomes a second.
    before = 2 * WATTS / (WATTS / 8 + WATTS / 5)
    saved = WATTS * seconds * (before / 5 - 1)
    assert checks["moved"]["saved_joules"] == pytest.approx(saved, rel=0.02)
    assert checks["moved"]["verdict"] == "verified"
    assert checks["stays"]["saved_joules"] == pytest.approx(0.0, abs=1e-3 * saved)
    assert checks["stays"]["verdict"] == "not_verified"
