"""Workloads on a GPU each, at constant power, whose outcomes come evenly: sizes in closed form."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from wattshed_collector import advice_book
from wattshed_collector.factor import Factor
from wattshed_collector.quality import Score
from wattshed_collector.store import factors, quality
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
DAY = 24
WATTS = 400.0


class Served:
    """What writes workloads into a store from BASE on, and looks for advice about them."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed

    def serve(
        self,
        key: str,
        each: float,
        *,
        start: int = 0,
        end: int = DAY,
        watts: float = WATTS,
        limit: float | None = None,
        tier: str = "datacenter",
        hardware: str = "H100",
        gpu: str = "",
        **of: str,
    ) -> None:
        """Make one outcome for ``each`` joules from hour ``start`` until ``end``."""
        device = Device(
            f"gpu-{gpu or key}", Kind.GPU, "n", "nvml", model=hardware, site="dub", tier=tier,
            power_limit_watts=limit,
        )  # fmt: skip
        named = {"name": key, "kind": "inference", "team": "t", "owner": "ada", "model": "llama"}
        first, last = (BASE + start * HOUR) * 1000, (BASE + end * HOUR) * 1000
        times = range(first, last + 1, STEP * 1000)
        rate = watts / each / 1000
        self.bed.write(
            Batch(
                devices=(device,),
                workloads=(Workload(key, **{**named, **of}),),
                allocations=(Allocation(device.key, key, first, last),),
                ticks=tuple(_ticks(device.key, times, watts)),
                outcomes=tuple(
                    Outcome(key, "request", at, rate * (at - first), first) for at in times
                ),
            )
        )

    def score(self, **of: float) -> None:
        now = time.time()
        scores = [
            Score("llama", precision, "mmlu", score, "higher", int(now * 1000) - 1000)
            for precision, score in of.items()
        ]
        quality.put(self.bed.client, scores, now)

    def factors(self, *told: tuple[str, int, tuple[float, str]]) -> None:
        """Tell kind, hour, value and unit of factors of the site."""
        rows = [Factor(kind, "dub", BASE + hour * HOUR, *of) for kind, hour, of in told]
        factors.put(self.bed.client, rows, time.time())

    def found(self, until: int = DAY) -> dict[str, Any]:
        self.bed.ledger(now=lambda: BASE + (until + 0.2) * HOUR).run()
        advice_book.look(self.bed.client, int(time.time()))
        rows = advice_book.listed(self.bed.client)["advice"]
        return {row["subject"].partition("@")[0]: row for row in rows}


def _ticks(key: str, times: range, watts: float) -> Iterator[Tick]:
    for at in times:
        energy = round(watts * (at - BASE * 1000) * 1000)
        yield Tick(key, at, STEP * 1000, Method.COUNTER, watts, energy, BASE * 1000, 0.9)
