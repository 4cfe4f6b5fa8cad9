"""A counter that stands still, from the meter over OTLP to the ledger, in any order."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from tests.fixtures.pages import read_page

from wattshed_collector.normalise import Point, otlp
from wattshed_collector.normalise.facts import Limits, Normaliser
from wattshed_exporter.guards import FROZEN
from wattshed_exporter.integrate import Meter
from wattshed_exporter.model import MICRO, Batch, Device, Kind, Method, Reading, Tick, stable_id
from wattshed_exporter.outputs import Snapshot
from wattshed_exporter.outputs.exposition import Exposition
from wattshed_exporter.outputs.protobuf import Encoder

if TYPE_CHECKING:
    from tests.collector.conftest import Bed, Reference

BASE = 1_768_471_200_000
SECONDS, WATTS = 300, 300
STILL = range(80, 200)
"""It is known after a minute, when the ledger has charged its beginning already."""
GPU = Device("d", Kind.GPU, "n", "nvml", power_limit_watts=700.0)
Deliver = Callable[[Sequence[Batch]], list[Batch]]


def life(device: Device, still: Sequence[int]) -> list[Batch]:
    """What a worker emits at every read of five minutes at 300 W."""
    meter, counter_uj = Meter(device, 1000), 5_000 * MICRO
    batches = []
    for second in range(SECONDS + 1):
        counter_uj += 0 if second in still else WATTS * MICRO
        tick = meter.feed(Reading(device.key, BASE + second * 1000, float(WATTS), counter_uj))
        assert tick is not None
        batches.append(Batch((device,), (*meter.amended, tick)))
        meter.amended.clear()
    return batches


def normal(points: Iterable[Point]) -> Batch:
    rejected: Counter[str] = Counter()
    batch = Normaliser(Limits(oldest_seconds=0), lambda: BASE / 1000).batch(points, rejected)
    assert batch.rejected == {}
    return batch


def wired(groups: Iterable[Sequence[Batch]]) -> list[list[Point]]:
    """Send groups of batches as requests; return the points of each as they are received."""
    encoder, rejected = Encoder({"wattshed.node": "n"}, "0"), Counter[str]()
    requests = [ExportMetricsServiceRequest.FromString(encoder.request(*g)) for g in groups]
    return [list(otlp.points(request, rejected)) for request in requests]


def fives(batches: Sequence[Batch]) -> list[Sequence[Batch]]:
    return [batches[at : at + 5] for at in range(0, len(batches), 5)]


def every_five_seconds(batches: Sequence[Batch]) -> list[Batch]:
    return [normal(points) for points in wired(fives(batches))]


def live_first(batches: Sequence[Batch]) -> list[Batch]:
    return every_five_seconds(batches)[::-1]


def twice(batches: Sequence[Batch]) -> list[Batch]:
    """Everything again later on, as where an answer got lost; the originals come last."""
    return every_five_seconds(batches) + live_first(batches)


def in_one_request(batches: Sequence[Batch]) -> list[Batch]:
    return [normal(points) for points in wired([batches])]


def point_by_point(batches: Sequence[Batch]) -> list[Batch]:
    """As an OpenTelemetry Collector in between may send them: each point wherever it fits."""
    points = [point for request in wired(fives(batches)) for point in request]
    random.Random(7).shuffle(points)
    return [normal(points[at : at + 500]) for at in range(0, len(points), 500)]


def pulled_as_well(batches: Sequence[Batch]) -> list[Batch]:
    """A scrape of what each read had published comes after all of it was pushed."""
    pages = [Exposition().render(Snapshot((GPU,), {"d": b.ticks[-1]})).decode() for b in batches]
    rejected: Counter[str] = Counter()
    pulled = [
        normal(read_page(page, BASE + at * 1000 + 400, 1000, rejected))
        for at, page in enumerate(pages)
        if at % 5 == 0
    ]
    return every_five_seconds(batches) + pulled


DELIVERIES = [
    every_five_seconds,
    live_first,
    twice,
    in_one_request,
    point_by_point,
    pulled_as_well,
]


def write(bed: Bed, batches: Sequence[Batch]) -> None:
    """Write in three portions, with a run of the ledger after each."""
    writer, ledger = bed.writer(window_seconds=0.01), bed.ledger()
    part = -(-len(batches) // 3)
    for at in range(0, len(batches), part):
        for written in [writer.submit(batch) for batch in batches[at : at + part]]:
            written.result(120)
        ledger.run()
    writer.close()


def joules_by_method(bed: Bed) -> dict[str, float]:
    found: dict[str, float] = {}
    for (_, _, method, _), (joules, _) in bed.measured().items():
        assert joules is not None
        found[method] = found.get(method, 0.0) + joules
    return found


@pytest.mark.parametrize("deliver", DELIVERIES)
def test_power_stands_in_for_a_frozen_counter(bed: Bed, deliver: Deliver) -> None:
    batches = deliver(life(GPU, STILL))
    write(bed, batches)
    # The first second after the counter went on has no counter before it.
    lost = len(STILL) + 1
    assert joules_by_method(bed) == {
        "counter": pytest.approx((SECONDS - lost) * WATTS),
        "integral": pytest.approx(lost * WATTS),
    }


@pytest.mark.parametrize("deliver", [twice, pulled_as_well])
def test_a_counter_that_moves_is_left_alone(bed: Bed, deliver: Deliver) -> None:
    write(bed, deliver(life(GPU, ())))
    assert joules_by_method(bed) == {"counter": pytest.approx(SECONDS * WATTS)}
    assert bed.client.rows("SELECT count() FROM tick WHERE isNotNull(withdrawn)") == [(0,)]


def test_what_is_taken_back_is_the_same_in_any_order(
    bed: Bed, reference: type[Reference], differ: Callable[..., list[str]]
) -> None:
    said = Tick("d", BASE + 1000, 1000, Method.COUNTER, 300.0, 5 * MICRO, BASE - 1000, 0.5)
    amended = replace(said, method=Method.INTEGRAL, energy_uj=None, start_ms=None, gap=FROZEN)
    pulled = replace(said, energy_uj=None, start_ms=None)
    edges = [replace(said, ts_ms=BASE + at) for at in (0, 2000)]
    orders = list(itertools.permutations((said, said, amended, pulled)))
    for step in range(4):
        ticks = [replace(o[step], device=f"{n}") for n, o in enumerate(orders)]
        bed.write(Batch(ticks=tuple(ticks)))
    bed.write(Batch(ticks=tuple(replace(e, device=f"{n}") for n in range(24) for e in edges)))
    for _ in range(2):
        bed.ledger().run()
        every = [replace(t, device=f"{n}") for n in range(24) for t in (*edges, amended)]
        assert differ(bed.measured(), reference(every).measured) == []
        assert differ(bed.charged(), reference(every).minutes) == []
        assert {d for _, d, _, _ in bed.measured()} == {stable_id(f"{n}") for n in range(24)}
        bed.client.command("OPTIMIZE TABLE tick FINAL")


def test_live_says_why_a_device_shows_power_and_no_energy(bed: Bed) -> None:
    now = int(time.time() * 1000)
    bed.write(
        Batch(devices=(GPU,), ticks=(Tick("d", now, 1000, Method.INTEGRAL, 300.0, gap=FROZEN),)),
        Batch(ticks=(Tick("d", now, 1000, Method.COUNTER, 300.0, 5),)),
    )
    assert bed.client.rows("SELECT power_watts, gap FROM v_live") == [(300.0, FROZEN)]
