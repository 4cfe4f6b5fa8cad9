"""One definition, two engines: SQL for Grafana and PromQL fire for the same things."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.collector.slo_reference import Follower, Minute, adopt, produce

from wattshed_collector import slo_metrics
from wattshed_collector.alert_watch import AlertWatch, signals
from wattshed_collector.config import Quality
from wattshed_collector.numerics_watch import NumericsWatch
from wattshed_collector.quality import Score
from wattshed_collector.slo import Burn, Slo
from wattshed_collector.store import quality, slo_queries
from wattshed_collector.store.read import Reader
from wattshed_collector.telemetry import Telemetry
from wattshed_dashboards.alerts import Alert, expression, load
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

CATALOGUE = load()
IN_STORE = [alert for alert in CATALOGUE.alerts if expression.sql(alert.signal)]
IN_BOTH = [alert for alert in IN_STORE if alert.signal.metric]
FIRING = {
    "GPUIdleBurn",
    "GPUIdleBurnSevere",
    "GPUUnallocatedPowered",
    "ParkedModel",
    "PowerBudget",
    "EnergySLOFastBurn",
    "EnergySLOSlowBurn",
    "NumericsDrift",
    "ExporterDown",
    "TelemetryStale",
}
"""What the scenario makes fire; the other alerts must be silent in both."""
WELL_TOO = FIRING - {"GPUUnallocatedPowered", "ParkedModel", "PowerBudget"}
"""Of which it has a thing as well that does not."""
QUARTER_MS = 900_000


def gpus(now_ms: int) -> Batch:
    """Return idle GPUs that are held and not, a busy one, and a node that is silent."""
    read = {
        # key: node, watts, utilisation, when it was read last
        "held": ("n1", 360.0, 0.0, now_ms),
        "spare": ("n1", 160.0, 0.0, now_ms),
        "busy": ("n2", 700.0, 0.9, now_ms),
        "parked": ("n2", 100.0, 0.0, now_ms),
        "many": ("n3", 9000.0, 0.0, now_ms),
        "dark": ("n4", 360.0, 0.0, now_ms - 3_600_000),
    }
    held = {"held": "job", "busy": "job", "parked": "chat", "many": "sweep"}
    return Batch(
        devices=tuple(
            Device(key, Kind.GPU, node, "nvml", site="oslo", tier="dc", cluster="c1")
            for key, (node, *_) in read.items()
        ),
        ticks=tuple(
            Tick(key, end - ago, 1000, Method.COUNTER, watts, None, None, used)
            for key, (_, watts, late, end) in read.items()
            for ago, used in ((QUARTER_MS + 1, 0.5), (0, late))
        ),
        details=tuple(
            Detail(key, "wattshed_idle_baseline_watts", end, 60.0, ("bare",))
            for key, (*_, end) in read.items()
        ),
        workloads=(
            Workload("job", "train", "training", team="blue", owner="ann"),
            Workload("chat", "chat", "inference", team="red", owner="bob", model="llama"),
            Workload("sweep", "sweep", "batch", team="green", owner='o"d\\d'),
        ),
        allocations=tuple(
            Allocation(device, workload, now_ms - 60_000, now_ms)
            for device, workload in held.items()
        ),
    )


@dataclass(frozen=True)
class Told:
    """The scenario's answers: rows of each signal's SQL by column, and the page of metrics.

    ``types`` are those of columns of signals without rows.
    """

    rows: Mapping[str, list[dict[str, Any]]]
    types: Mapping[str, Mapping[str, str]]
    page: str

    def fires(self, alert: Alert) -> list[dict[str, str]]:
        """Return the labels of the rows beyond the alert's threshold."""
        return [
            {name: text for name, text in row.items() if name != "value"}
            for row in self.rows[alert.signal.name]
            if row["value"] > alert.fire_above
        ]


@pytest.fixture(scope="module")
def told(shared_bed: Bed) -> Told:
    bed, now = shared_bed, time.time()
    bed.write(gpus(int(now * 1000) - 1000))
    _budget(bed, now)
    _objective(bed, int(now))
    _scores(bed, now)
    asked = {alert.signal.name: expression.sql(alert.signal) for alert in IN_STORE}
    rows = {name: bed.client.records(sql) for name, sql in asked.items()}
    types = {name: _types(bed, sql) for name, sql in asked.items() if not rows[name]}
    return Told(rows, types, asyncio.run(_page(bed)))


def _budget(bed: Bed, now: float) -> None:
    row = {"kind": "power_budget_watts", "site": "oslo", "start_ts": int(now) - 60, "value": 5000.0}
    bed.client.insert("factor", {name: [value] for name, value in row.items()})


def _objective(bed: Bed, now: int) -> None:
    pairs = Burn(4.0, 3600, 300), Burn(2.0, 6 * 3600, 1800, "ticket")
    slo = Slo(
        name="tokens",
        outcome="token",
        target_joules_per_outcome=0.5,
        objective_ratio=0.9,
        owner="ml",
        burn=pairs,
    )
    quiet = replace(slo, name="quiet", target_joules_per_outcome=5.0)
    settled = now // 60 * 60
    minutes = [Minute(settled - 60 * n, 100.0, 80.0, "job") for n in range(3, 120)]
    produce(bed.client, minutes, (Workload("job", "train", team="blue"),))
    adopt(bed.client, slo, quiet)
    follower = Follower(bed.client, settled - 6 * 3600)
    follower.all(settled)
    follower.settle(settled)


def _scores(bed: Bed, now: float) -> None:
    said = [("fp8", 0.5, 60, "calibration"), ("fp8", 0.4, 30, "score")]
    said += [("fp16", 0.5, 60, "calibration"), ("fp16", 0.5, 30, "score")]
    scores = [
        Score("llama", precision, "rouge", value, "higher", int((now - ago) * 1000), kind)
        for precision, value, ago, kind in said
    ]
    quality.put(bed.client, scores, now)


def _types(bed: Bed, sql: str) -> dict[str, str]:
    return {row[0]: row[1] for row in bed.client.rows(f"DESCRIBE ({sql})")}


async def _page(bed: Bed) -> str:
    """Return what a collector on this store would say at /metrics."""
    telemetry, reader = Telemetry(), Reader(bed.store.client)
    try:
        watch = AlertWatch(reader, telemetry, signals())
        telemetry.signals.register(watch)
        generate_latest(telemetry.signals)  # the store is asked once somebody scrapes
        await watch.once()
        numerics = NumericsWatch(reader, Quality(), telemetry)
        await reader.ask(numerics.look)
        exposed = slo_metrics.Exposed()
        burning = slo_metrics.gauges(slo_queries.burn(bed.client), slo_queries.defined(bed.client))
        exposed.snapshot = slo_metrics.Snapshot(burning)
        telemetry.registry.register(exposed)
        told = telemetry.registry, telemetry.signals
        return b"".join(map(generate_latest, told)).decode()
    finally:
        reader.close()


@pytest.mark.parametrize("alert", IN_STORE, ids=lambda alert: alert.name)
def test_grafana_gets_labels_as_strings_and_one_number(told: Told, alert: Alert) -> None:
    columns = [*alert.signal.labels, "value"]
    rows = told.rows[alert.signal.name]
    if not rows:
        types = told.types[alert.signal.name]
        assert list(types) == columns
        assert types["value"] in ("Float64", "Nullable(Float64)")
        assert {types[label] for label in columns[:-1]} <= {"String", "LowCardinality(String)"}
    for row in rows:
        assert list(row) == columns
        assert [name for name in columns if not isinstance(row[name], str)] == ["value"]
        assert isinstance(row["value"], float)
    things = {tuple(row[label] for label in alert.signal.labels) for row in rows}
    assert len(things) == len(rows)


def test_the_scenario_makes_what_it_says_fire(told: Told) -> None:
    assert {alert.name for alert in IN_BOTH if told.fires(alert)} == FIRING
    for alert in map(CATALOGUE.alert, WELL_TOO):
        assert len(told.fires(alert)) < len(told.rows[alert.signal.name])


@pytest.mark.skipif(
    not shutil.which("promtool"), reason="needs promtool (Debian package prometheus)"
)
def test_prometheus_fires_for_the_same_things(told: Told, tmp_path: Path) -> None:
    tests = {
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": list(_series(told.page)),
                "promql_expr_test": [_expected(alert, told.fires(alert)) for alert in IN_BOTH],
            }
        ],
    }
    file = tmp_path / "engines.yml"
    file.write_text(yaml.safe_dump(tests))
    found = subprocess.run(
        ["promtool", "test", "rules", file], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr


def _series(page: str) -> Iterator[dict[str, str]]:
    wanted = {alert.signal.metric for alert in IN_BOTH}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name in wanted:
                series = expression.selector(sample.name, _quoted(sample.labels))
                yield {"series": series, "values": repr(float(sample.value))}


def _expected(alert: Alert, firing: list[dict[str, str]]) -> dict[str, Any]:
    above = f"{expression.promql(alert.signal)} > bool {alert.fire_above:g} == 1"
    samples = [{"labels": expression.selector("", _quoted(thing)), "value": 1} for thing in firing]
    return {"expr": above, "eval_time": "0m", "exp_samples": samples}


def _quoted(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that have a value, as PromQL writes them between quotes."""
    return {
        name: text.replace("\\", "\\\\").replace('"', '\\"')
        for name, text in labels.items()
        if text
    }
