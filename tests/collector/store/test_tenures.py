"""What the store tells of allocations that may go on after a restart."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.fixtures.pages import Reader, dcgm

from wattshed_collector.normalise.dialect import Origin
from wattshed_collector.normalise.facts import Limits, Normaliser
from wattshed_collector.normalise.foreign import SOURCES, Foreign
from wattshed_collector.normalise.tenure import HOUR_MS, Tenure
from wattshed_collector.store.tenures import recent_tenures
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Workload

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

STEP = 15_000
NOW_MS = int(time.time() * 1000)
POD = {"pod": "a", "namespace": "ml"}


def live() -> Reader:
    reader = Reader(Origin("n1:9400", interval_ms=STEP))
    reader.normaliser = Normaliser(Limits())
    return reader


def test_a_collector_that_starts_anew_leaves_no_hole(bed: Bed) -> None:
    start_ms = NOW_MS - NOW_MS % HOUR_MS - HOUR_MS + 60_000
    first = live()
    for at in range(3):
        bed.write(first.page(dcgm(**POD), start_ms + at * STEP))
    tenure = Tenure()
    tenure.learn(recent_tenures(bed.client, SOURCES))
    second = live()
    second.foreign = Foreign(tenure)
    bed.write(second.page(dcgm(**POD), start_ms + 4 * STEP))
    rows = bed.client.rows(
        "SELECT toUnixTimestamp64Milli(start_ts), toUnixTimestamp64Milli(end_ts), share "
        "FROM allocation FINAL"
    )
    assert rows == [(start_ms, start_ms + 4 * STEP, 1.0)]


def test_only_ours_and_recent_ones_and_whether_they_were_alone(bed: Bed) -> None:
    devices = tuple(Device(key, Kind.GPU, "n", "dcgm_exporter") for key in ("d", "e"))
    workload = Workload("w", "w")
    spans = [
        ("d", NOW_MS - 90_000, NOW_MS - 60_000, 0.5, "dcgm_exporter"),
        ("d", NOW_MS - 60_000, NOW_MS, 1.0, "dcgm_exporter"),
        ("e", NOW_MS - 60_000, NOW_MS, 0.5, "dcgm_exporter"),
        ("e", NOW_MS - 1000, NOW_MS + 5, 1.0, "podresources"),
        ("e", NOW_MS - 5 * HOUR_MS, NOW_MS - 4 * HOUR_MS, 1.0, "dcgm_exporter"),
    ]
    held = tuple(Allocation(d, "w", start, end, share, how) for d, start, end, share, how in spans)
    bed.write(Batch(devices=devices, workloads=(workload,), allocations=held))
    assert sorted(recent_tenures(bed.client, SOURCES)) == [
        ("d", "w", NOW_MS - 60_000, NOW_MS, True),
        ("e", "w", NOW_MS - 60_000, NOW_MS, False),
    ]
