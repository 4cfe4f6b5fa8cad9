"""What signals of alerts cost: CPU milliseconds of each view, and of all that a scrape leads to.

``python -m bench.signals --gpus 1000`` fills a temporary embedded store with the last hour of the
fleet of ``bench/fleetgen.py``, learned baselines and the ledger's answer, and asks each view, then
everything as the collector does while somebody scrapes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench import rows
from bench.fleetgen import Fleet
from bench.ledger.ours import Ours, measured
from wattshed_collector.alert_watch import AlertWatch, signals
from wattshed_collector.store.alert_queries import told
from wattshed_collector.store.read import Reader
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch, Detail, stable_id

TICKS_AT_ONCE = 60
BARE_WATTS = 60.0


def fill(ours: Ours, fleet: Fleet) -> None:
    """Write the fleet's hour and charge it."""
    ids = np.array([stable_id(key) for key in fleet.keys], np.uint64)
    ours.describe(fleet)
    for hour in fleet.each_hour():
        for at in rows.portions(fleet.ticks, TICKS_AT_ONCE):
            told = rows.ticks(fleet, hour, at, ids), rows.details(fleet, hour, at, ids)
            ours.writer.submit(Batch(), told).result()
    at_ms = fleet.end * 1000
    baselines = (
        Detail(key, "wattshed_idle_baseline_watts", at_ms, BARE_WATTS, ("bare",))
        for key in fleet.keys
    )
    ours.write(Batch(details=tuple(baselines)))
    ours.ledger().run()


def cpu_ms(work: Callable[[], object], repeats: int) -> float:
    """Return the median of the process's CPU time, after one run to warm up."""
    work()
    return statistics.median(measured(work)[1].cpu for _ in range(repeats)) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gpus", type=int, default=1000)
    parser.add_argument("--step", type=int, default=10, help="seconds between readings")
    parser.add_argument("--repeats", type=int, default=15)
    told_ = parser.parse_args()
    end = int(time.time()) // told_.step * told_.step
    fleet = Fleet(max(1, told_.gpus // 8), 8, 1, told_.step, end=end)
    with tempfile.TemporaryDirectory(prefix="wattshed-signals-") as folder:
        ours = Ours(Path(folder) / "chdb")
        fill(ours, fleet)
        reader = Reader(ours.store.client)
        watch = AlertWatch(reader, Telemetry(), signals())
        for signal in signals():
            found = told(ours.client, signal, 10_000).values
            cost = cpu_ms(lambda s=signal: told(ours.client, s, 10_000), told_.repeats)
            print(f"{signal.view:28} {len(found):6} rows {cost:7.1f} CPU-ms", flush=True)
        cost = cpu_ms(lambda: watch.look(ours.client), told_.repeats)
        print(f"{'all, as /metrics asks them':28} {fleet.devices:6} GPUs {cost:7.1f} CPU-ms")
        reader.close()
        ours.close()


if __name__ == "__main__":
    main()
