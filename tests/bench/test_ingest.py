"""The bench of ingest: what it sends of others is what it says, and all of it is stored."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import cramjam
import pytest
from bench.ingest import collectors
from bench.ingest.rows import Row
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from tests.fixtures.otlp_bodies import as_collectors_write

from wattshed_collector.receivers import remote_write_pb as pb

ROOT = Path(__file__).resolve().parents[2]
BEGIN_MS = 1_767_225_600_000


def test_a_collectors_batch_is_laid_out_as_a_collector_lays_it_out() -> None:
    first, _ = map(gzip.decompress, collectors.bodies(3, 2, 2, BEGIN_MS))
    said = ExportMetricsServiceRequest.FromString(first)
    assert as_collectors_write(said) == first
    hosts = [
        resource.resource.attributes[0].value.string_value for resource in said.resource_metrics
    ]
    assert hosts == ["node-00003", "checkout", "node-00004", "checkout"]
    metrics = [m for r in said.resource_metrics for scope in r.scope_metrics for m in scope.metrics]
    points = sum(
        len(m.gauge.data_points) + len(m.sum.data_points) + 2 * len(m.histogram.data_points)
        for m in metrics
    )
    assert points == 2 * collectors.PER_HOST


def test_remote_writes_hold_the_same_values() -> None:
    (body,) = collectors.bodies(7, 1, 1, BEGIN_MS)
    (write,) = collectors.writes(7, 1, 1, BEGIN_MS)
    said = ExportMetricsServiceRequest.FromString(gzip.decompress(body))
    values: list[float] = []
    for resource in said.resource_metrics:
        for metric in resource.scope_metrics[0].metrics:
            values += [point.as_double for point in metric.gauge.data_points]
            values += [point.as_double for point in metric.sum.data_points]
            for point in metric.histogram.data_points:
                values += [float(point.count), point.sum]
    series = pb.series(bytes(cramjam.snappy.decompress_raw(write)))
    samples = [pb.TimeSeries.FromString(raw).samples[0] for raw in series]
    assert [sample.value for sample in samples] == values
    assert {sample.timestamp for sample in samples} == {BEGIN_MS + collectors.STEP_MS}


@pytest.mark.parametrize(("stored", "is_off"), [(None, False), (10, False), (9, True), (11, True)])
def test_a_row_knows_whether_all_is_stored(stored: int | None, is_off: bool) -> None:
    assert Row("w", "w", 8, 1.0, 1.0, 1.0, 1.0, 10, stored).is_off is is_off


@pytest.mark.e2e
def test_the_quick_form_runs_and_counts(tmp_path: Path) -> None:
    told = ["--quick", "--json", "--only", "C2b", "--no-peers", "--folder", str(tmp_path)]
    command = [sys.executable, "-m", "bench.ingest", *told]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = json.loads(ran.stdout)["C2b"]
    assert [row["what"] for row in rows] == ["OTLP, a batch", "OTLP, one host", "remote write"]
    each = collectors.PER_HOST
    assert [row["sent"] for row in rows] == [2 * 5 * 4 * each, 5 * 5 * each, 2 * 5 * 4 * each]
    assert [row["stored"] for row in rows] == [row["sent"] for row in rows]
