"""What writing costs and what rows take on disk: days of a fleet through the collector's Writer.

``python -m bench.write --days 3 --gpus 1000 --commit-rows 4000`` fills a temporary embedded store
with the fleet of ``bench/fleetgen.py`` (fifteen metrics of each GPU every ten seconds), so many
ticks to a commit, and prints for each day the CPU time of the process without that of making the
data up, per million samples, with the merges that it causes; then the bytes of each column, merged.
``--one-by-one`` sends each machine's rows of a time as a delivery of their own.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench import rows
from bench.fleetgen import Fleet, Hour
from wattshed_collector.store.client import Client, Store
from wattshed_collector.store.insert import Column, Frame
from wattshed_collector.store.latest import LATEST_SECONDS
from wattshed_collector.store.migrate import Layout, migrate
from wattshed_collector.store.write import Writer
from wattshed_exporter.model import Batch, Device, Kind, stable_id

METRICS = 15
GPUS = 8
SETTLE_SECONDS = 3.0
"""Time for merges to end before a day's costs are read."""


def frames(fleet: Fleet, ids: NDArray[np.uint64], hour: Hour) -> tuple[Frame, Frame]:
    """Return an hour as rows of ``tick`` and of ``detail``, in the order of their times."""
    at = range(fleet.ticks)
    return rows.ticks(fleet, hour, at, ids), rows.details(fleet, hour, at, ids)


def deliveries(told: tuple[Frame, Frame], most: int) -> Iterator[tuple[Frame, ...]]:
    """Cut an hour into portions of ``most`` rows."""
    for at in range(0, len(told[0]), most):
        part = slice(at, at + most)
        yield tuple(
            Frame(f.table, {n: Column(c.values[part]) for n, c in f.columns.items()}) for f in told
        )


class Costs:
    """CPU time of the process but for the calling thread, which makes the data up."""

    def __init__(self) -> None:
        self._at = self._now()

    def spent_seconds(self) -> float:
        before, self._at = self._at, self._now()
        return self._at - before

    @staticmethod
    def _now() -> float:
        return time.process_time() - time.thread_time()


def write_hour(
    writer: Writer, told: tuple[Frame, Frame], commit_rows: int, one_by_one: bool
) -> None:
    for portion in deliveries(told, commit_rows):
        parts = deliveries((portion[0], portion[1]), GPUS) if one_by_one else iter((portion,))
        for future in [writer.submit(Batch(), part) for part in parts]:
            future.result(120)


def measure(fleet: Fleet, client: Client, writer: Writer, told: argparse.Namespace) -> None:
    ids = np.array([stable_id(key) for key in fleet.keys], np.uint64)
    devices = tuple(
        Device(key, Kind.GPU, f"node-{g // GPUS:05d}", "nvml") for g, key in enumerate(fleet.keys)
    )
    writer.submit(Batch(devices=devices)).result(60)
    costs, commits = Costs(), writer.counters.commits
    for hour in fleet.each_hour():
        write_hour(writer, frames(fleet, ids, hour), told.commit_rows, told.one_by_one)
        if hour.index % 24 == 23:
            time.sleep(SETTLE_SECONDS)
            spent, made = costs.spent_seconds(), writer.counters.commits - commits
            commits += made
            samples = 24 * fleet.ticks * fleet.devices * METRICS
            ((parts, kept),) = client.rows(
                "SELECT count(), sum(rows) FROM system.parts WHERE active "
                "AND table IN ('tick', 'detail')"
            )
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
            print(
                f"day {hour.index // 24 + 1:3}: {spent / samples * 1e6:6.3f} CPU-s per M samples, "
                f"{spent / made * 1e3:6.1f} CPU-ms per commit, {parts:4} parts, {kept} rows, "
                f"at most {most:.0f} MiB",
                flush=True,
            )


def disk(client: Client, samples: int) -> None:
    """Print what each column takes once merged, and the whole with marks and index."""
    for table in ("tick", "detail"):
        client.command(f"OPTIMIZE TABLE {table} FINAL")
    for table, column, size in client.rows(
        "SELECT table, column, sum(column_data_compressed_bytes) AS bytes "
        "FROM system.parts_columns WHERE active AND table IN ('tick', 'detail') "
        "GROUP BY table, column HAVING bytes / {samples:UInt64} >= 0.0005 ORDER BY bytes DESC",
        {"samples": samples},
    ):
        print(f"{table:7}{column:24}{size / samples * METRICS:7.3f} bytes per tick")
    ((size,),) = client.rows(
        "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table IN ('tick', 'detail')"
    )
    print(f"all with index: {size / samples:.3f} bytes per sample")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=2)
    parser.add_argument("--gpus", type=int, default=1000)
    parser.add_argument("--commit-rows", type=int, default=4000)
    parser.add_argument("--one-by-one", action="store_true")
    told = parser.parse_args()
    fleet = Fleet(nodes=told.gpus // GPUS, hours=24 * told.days)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        client = store.client()
        migrate(client, Layout(raw_days=0, minute_days=0))
        writer = Writer(store.client, window_seconds=0.0, share=1.0, latest_seconds=LATEST_SECONDS)
        measure(fleet, client, writer, told)
        writer.close()
        disk(client, told.days * 24 * fleet.ticks * fleet.devices * METRICS)
        client.close()
        store.close()


if __name__ == "__main__":
    main()
