"""An hour of a very large fleet through the writer, the ledger and the roll-ups, on this machine.

``python -m bench.scale --gpus 100000`` writes an hour of readings of the synthetic fleet as arrays
through the product's own writer, in the order in which they would come, lets the ledger charge it,
asks what a dashboard asks, and prints what each step cost and took. The readings of a thousand GPUs
are drawn (bench/fleetgen.py) and said again for each further thousand, under other identities and
from other counters. Nothing here is a test; nothing passes or fails.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench import rows
from bench.fleetgen import Fleet
from bench.ledger.ours import Ours, measured
from wattshed_collector.store import queries
from wattshed_collector.store.insert import Frame
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Workload, stable_id

DRAWN = 1000
DESCRIBED = 20_000
MODEL = "NVIDIA H100 80GB HBM3"
HOUR_S = 3600


@dataclass(frozen=True)
class Step:
    """What one step took; ``rows`` are readings, 0 for none. Memory is the highest so far."""

    what: str
    cpu_s: float
    wall_s: float
    rows: int
    peak_mb: float

    @property
    def line(self) -> str:
        rate = f"{self.cpu_s / self.rows * 1e6:8.2f} us of CPU a reading" if self.rows else ""
        return f"{self.what:44}{self.cpu_s:9.2f}{self.wall_s:9.2f}{self.peak_mb:9.0f}  {rate}"


class Large:
    """The fleet: ``gpus`` of them, every thousand alike but for who they are."""

    def __init__(self, gpus: int, step: int) -> None:
        end = int(time.time()) // HOUR_S * HOUR_S
        self.drawn = Fleet(DRAWN // 8, 8, 1, step, 7, end)
        self.copies = max(1, gpus // DRAWN)
        (self.hour,) = self.drawn.each_hour()
        self.keys = [f"{key}-{n:03d}" for n in range(self.copies) for key in self.drawn.keys]
        self.ids = np.array([stable_id(key) for key in self.keys], np.uint64)

    @property
    def rows(self) -> int:
        return len(self.keys) * self.drawn.ticks

    def described(self) -> Iterator[Batch]:
        """Who there is and who holds what, in portions."""
        start_ms, end_ms = self.drawn.start * 1000, self.drawn.end * 1000
        for first in range(0, len(self.keys), DESCRIBED):
            devices, workloads, allocations = [], {}, []
            for at, key in enumerate(self.keys[first : first + DESCRIBED], first):
                copy, gpu = divmod(at, DRAWN)
                devices.append(Device(key, Kind.GPU, f"node-{at // 8:06d}", "nvml", model=MODEL))
                job = self.hour.jobs[gpu // 8]
                if job is not None:
                    pod = f"{job.pod}-{copy:03d}"
                    workloads[pod] = Workload(pod, job.workload, "training", team=job.team)
                    allocations.append(Allocation(key, pod, start_ms, end_ms))
            yield Batch(
                devices=tuple(devices),
                workloads=tuple(workloads.values()),
                allocations=tuple(allocations),
            )

    def frames(self, at_once: int = 6) -> Iterator[Frame]:
        """The readings, ``at_once`` ticks of everybody in each frame."""
        for at in rows.portions(self.drawn.ticks, at_once):
            yield rows.ticks(self.drawn, self.hour, at, self.ids)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--gpus", type=int, default=100_000, help="in thousands (100000)")
    parser.add_argument("--step", type=int, default=10, help="seconds between readings (10)")
    parser.add_argument("--folder", type=Path, help="where the scratch folder is made")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wattshed-bench-", dir=options.folder) as name:
        steps = list(measure(Large(options.gpus, options.step), Path(name), options.json))
    if options.json:
        print(json.dumps([asdict(step) for step in steps], indent=2))


def measure(fleet: Large, folder: Path, quiet: bool) -> Iterator[Step]:
    """Run every step, and print each as it is done."""
    if not quiet:
        load = " ".join(f"{load:.1f}" for load in os.getloadavg())
        print(f"{len(fleet.keys)} GPUs, {fleet.rows} readings, {os.cpu_count()} CPUs, load {load}")
        print(f"{'':44}{'CPU s':>9}{'wall s':>9}{'peak MB':>9}")
    ours = Ours(folder)
    try:
        for step in _steps(fleet, ours):
            if not quiet:
                print(step.line, flush=True)
            yield step
    finally:
        ours.close()


def _steps(fleet: Large, ours: Ours) -> Iterator[Step]:
    for batch in fleet.described():
        ours.write(batch)
    yield _step("devices, jobs, allocations", ours.writing.cpu, ours.writing.wall)
    ours.writing.cpu = ours.writing.wall = 0.0
    for frame in fleet.frames():
        with ours.writing.counted():
            ours.writer.submit(Batch(), (frame,)).result()
    yield _step("readings, written", ours.writing.cpu, ours.writing.wall, fleet.rows)
    hour = fleet.drawn.start
    ledger = ours.ledger()
    _, cost = measured(ledger.run)
    yield _step("the ledger's run of the hour", cost.cpu, cost.wall, fleet.rows)
    _, cost = measured(lambda: ledger.recompute([hour]))
    yield _step("the same hour once more", cost.cpu, cost.wall, fleet.rows)
    for what, tables, rows_of in (
        ("a reading of 5 samples", ("tick", "tick_hour", "tick_day"), fleet.rows),
        ("a minute of a GPU", ("charge_1m", "measured_1m", "workload_1m"), len(fleet.keys) * 60),
        ("an hour of a GPU", ("charge_1h", "workload_1h"), len(fleet.keys)),
        ("an hour of a GPU's power", ("power_hour",), len(fleet.keys)),
    ):
        for table in tables:
            ours.client.command(f"OPTIMIZE TABLE {table} FINAL")
        size = ours.disk_bytes(*tables)
        print(f"  on disk {size / rows_of:.2f} bytes {what}", file=sys.stderr)
    for what, question in _questions(ours, hour).items():
        question()
        _, cost = measured(question)
        yield _step(what, cost.cpu, cost.wall)


def _questions(ours: Ours, hour: int) -> dict[str, Callable[[], object]]:
    client, until = ours.client, hour + HOUR_S
    return {
        "energy of the hour by team": lambda: queries.energy(client, "team", hour, until),
        "energy of the hour by workload": lambda: queries.energy(client, "workload", hour, until),
        "energy of the hour by node": lambda: queries.energy(client, "node", hour, until),
    }


def _step(what: str, cpu_s: float, wall_s: float, rows: int = 0) -> Step:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return Step(what, cpu_s, wall_s, rows, peak)


if __name__ == "__main__":
    main()
