"""Each signal on the engine: when it is above zero, when it is not, by numbers computed by hand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from wattshed_collector import alert_watch
from wattshed_collector.store.alert_queries import told
from wattshed_exporter.model import (
    Allocation,
    Batch,
    Detail,
    Device,
    Kind,
    Method,
    Tick,
    Workload,
)

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

MINUTE_MS = 60_000
QUARTER_MS = 15 * MINUTE_MS
BARE_WATTS = 60.0
SIGNALS = {signal.name: signal for signal in alert_watch.signals()}


class Fleet:
    """What one test says of GPUs of node ``n1``, in readings that end a second ago."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.now_ms = int(time.time() * 1000) - 1000
        self._batches: list[Batch] = []

    def gpu(
        self,
        key: str,
        watts: float,
        used: Sequence[tuple[int, float | None]] = ((QUARTER_MS, 0.5), (0, 0.0)),
        bare: float | None = BARE_WATTS,
        held: dict[str, float] | None = None,
        **more: Any,
    ) -> None:
        """Read a GPU at some times (ms ago) with a utilisation each; ``held`` has shares."""
        at = {"node": "n1", "site": "s1", "tier": "dc", "cluster": "c1", **more}
        ticks = tuple(
            Tick(key, self.now_ms - ago, 1000, Method.COUNTER, watts, None, None, ratio)
            for ago, ratio in used
        )
        told = () if bare is None else (_baseline(key, self.now_ms, bare, "bare"),)
        self._batches.append(
            Batch(
                devices=(Device(key, Kind.GPU, source="nvml", **at),),
                ticks=ticks,
                details=told,
                allocations=tuple(self.hold(key, who, part) for who, part in (held or {}).items()),
            )
        )

    def hold(self, device: str, workload: str, share: float = 1.0) -> Allocation:
        return Allocation(device, workload, self.now_ms - MINUTE_MS, self.now_ms, share)

    def say(self, **more: Any) -> None:
        self._batches.append(Batch(**more))

    def signal(self, name: str) -> dict[tuple[str, ...], float]:
        """Return what a signal says, without the labels of the place."""
        self.bed.write(*self._batches)
        self._batches.clear()
        signal = SIGNALS[name]
        found = told(self.bed.client, signal, 100).values
        for labels in found:
            assert set(zip(signal.labels, labels, strict=True)) >= {("tier", "dc")}
        at = [n for n, label in enumerate(signal.labels) if label not in _PLACE]
        return {tuple(labels[n] for n in at): value for labels, value in found.items()}


_PLACE = ("cluster", "site", "tier", "node")


def _baseline(key: str, ts_ms: int, watts: float, state: str) -> Detail:
    return Detail(key, "wattshed_idle_baseline_watts", ts_ms, watts, (state,))


@pytest.fixture
def fleet(bed: Bed) -> Fleet:
    return Fleet(bed)


class TestIdleBurn:
    def test_it_is_what_an_idle_device_draws_above_bare(self, fleet: Fleet) -> None:
        fleet.say(workloads=(Workload("ns/job", "job", "inference", team="vision", owner="ada"),))
        fleet.gpu("idle", 110.0, held={"ns/job": 1.0})
        fleet.gpu("also", 100.0, held={"ns/job": 1.0})
        fleet.gpu("works", 300.0, ((MINUTE_MS, 0.02), (0, 0.0)), held={"ns/other": 1.0})
        found = fleet.signal("idle_burn")
        assert found == {
            ("vision", "ada", "job", "ns/job"): pytest.approx(50.0 + 40.0),
            ("", "", "ns/other", "ns/other"): 0.0,
        }
