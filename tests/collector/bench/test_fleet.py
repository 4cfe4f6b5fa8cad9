"""What the bench pushes is what a fleet says: read back by the receiver's own rules."""

from __future__ import annotations

import gzip
import itertools
from collections import Counter

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from wattshed_collector.bench.fleet import PER_NODE, VALUES, Fleet, Frame
from wattshed_collector.normalise import otlp
from wattshed_collector.normalise.facts import Limits, Normaliser
from wattshed_exporter.model import Batch

START = 1_764_126_000_000


def read(frame: Frame) -> Batch:
    rejected: Counter[str] = Counter()
    request = ExportMetricsServiceRequest.FromString(gzip.decompress(frame.body))
    points = list(otlp.points(request, rejected))
    batch = Normaliser(Limits(oldest_seconds=0)).batch(points, rejected)
    assert not batch.rejected
    assert not batch.quarantine
    return batch


@pytest.mark.parametrize(("step", "reads"), [(1, 5), (10, 1)])
def test_every_reading_is_there_once(step: int, reads: int) -> None:
    fleet = Fleet(gpus=12, start_ms=START, minutes=2, step_s=step)
    frames = list(fleet.frames())
    batches = [read(frame) for frame in frames]
    ticks = [tick for batch in batches for tick in batch.ticks]
    assert len({(tick.device, tick.ts_ms) for tick in ticks}) == len(ticks) == fleet.readings
    assert [frame.readings for frame in frames[:2]] == [PER_NODE * reads, 4 * reads]
    assert all(frame.readings == len(b.ticks) for frame, b in zip(frames, batches, strict=True))
    assert {tick.ts_ms for tick in ticks} == set(range(START, START + 120_000, step * 1000))
    assert {len(batch.allocations) for batch in batches} == {PER_NODE, 4}


def test_a_reading_has_all_its_values_and_energy_follows_power() -> None:
    fleet = Fleet(gpus=1, start_ms=START, minutes=1, step_s=10)
    ticks = [tick for frame in fleet.frames() for tick in read(frame).ticks]
    for tick in ticks:
        said = (tick.energy_uj, tick.power_watts, tick.utilization_ratio)
        said += (tick.memory_used_bytes, tick.temperature_celsius)  # type: ignore[assignment]
        assert None not in said
        assert len(said) == VALUES
    for before, now in itertools.pairwise(ticks):
        gained = ((now.energy_uj or 0) - (before.energy_uj or 0)) / 1e6
        assert gained == pytest.approx((now.power_watts or 0) * 10)


def test_the_same_seed_is_the_same_fleet() -> None:
    same = [Fleet(gpus=3, start_ms=START, minutes=1, step_s=30, seed=s) for s in (1, 1, 2)]
    first, second, other = ([read(frame) for frame in fleet.frames()] for fleet in same)
    assert first == second != other
