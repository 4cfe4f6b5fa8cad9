"""A training loop on a gateway that nobody reaches, an exporter that is killed: exact counts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.fixtures.outcomes import Taken
from tests.fixtures.programs import collecting, until
from tests.fixtures.stores import Stores

from wattshed_collector.store.client import Store
from wattshed_collector.store.migrate import Layout

pytestmark = pytest.mark.e2e

NOBODY = "http://127.0.0.1:9"
STEPS = 60
TRAIN = f"""
import time, wattshed
wattshed.configure(interval_seconds=0.1)
with wattshed.workload("fit", team="edge", batch_class="8"), wattshed.job():
    wattshed.outcome("step", 0)
    weight = 0.0
    for epoch in range(2):
        with wattshed.epoch():
            for step in range({STEPS // 2}):
                for x in range(8):
                    weight -= 0.001 * 2 * x * (weight * x - 3.0 * x)
                wattshed.outcome("step")
                wattshed.outcome("sample", 8)
                time.sleep(0.03)
assert wattshed.flush(20)
assert abs(weight - 3.0) < 0.01
"""
ROWS = """
SELECT w.key, o.kind, o.source, o.model, toUnixTimestamp64Milli(o.ts),
       toUnixTimestamp64Milli(o.start_ts), o.total
FROM outcome AS o FINAL INNER JOIN workload AS w FINAL USING (workload_id)
"""


@contextmanager
def exporter(folder: Path, endpoint: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run an exporter that only takes outcomes and pushes; it is killed, never asked to end."""
    socket = folder / "outcomes.sock"
    flags = ("--sources=estimate", "--web.listen-address=", "--otlp.batch-seconds=0.2",
             f"--otlp.endpoint={endpoint}", f"--outcomes.socket={socket}",
             f"--state-dir={folder / 'state'}", "--allocations.sources=")  # fmt: skip
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WATTSHED_")}
    told = folder / "exporter.log"
    before = told.read_text().count("taking outcomes") if told.exists() else 0
    with told.open("ab") as log:
        command = [sys.executable, "-m", "wattshed_exporter", *flags]
        process = subprocess.Popen(command, env=clean, stderr=log)
    try:
        until(lambda: told.read_text().count("taking outcomes") > before)
        yield process
    finally:
        process.kill()
        process.wait()


def stored(data: Path) -> Taken:
    store = Store(data)
    client = store.client()
    taken = Taken()
    for workload, kind, source, model, ts_ms, start_ms, total in client.rows(ROWS):
        stream = str(workload), str(kind), str(source), str(model)
        taken.rows.setdefault(stream, {})[ts_ms] = start_ms, total
    client.close()
    store.close()
    return taken


def test_what_was_produced_offline_arrives_exactly_once(tmp_path: Path, stores: Stores) -> None:
    stores.prepare(tmp_path / "data", Layout())
    url = f"unix:{tmp_path / 'outcomes.sock'}"
    environment = {**os.environ, "WATTSHED_OUTCOMES_URL": url, "WATTSHED_WORKLOAD": "gateway/fit"}
    with exporter(tmp_path, NOBODY):
        loop = subprocess.Popen([sys.executable, "-c", TRAIN], env=environment)
        time.sleep(0.8)
    time.sleep(0.3)  # killed, and away while the loop goes on
    with exporter(tmp_path, NOBODY):
        assert loop.wait(30) == 0
    with collecting(tmp_path) as collector, exporter(tmp_path, collector):
        spool = tmp_path / "state" / "spool"
        until(lambda: sum(file.stat().st_size for file in spool.iterdir()) == 0)
    taken = stored(tmp_path / "data")
    assert taken.totals() == {
        ("gateway/fit", "step"): float(STEPS),
        ("gateway/fit", "sample"): 8.0 * STEPS,
        ("gateway/fit", "epoch"): 2.0,
        ("gateway/fit", "job"): 1.0,
    }
    (steps,) = [rows for (_, kind, *_), rows in taken.rows.items() if kind == "step"]
    assert len(steps) > 5, "it was told as it went, not at the end"
