"""The product on a fleet: its writer takes the ticks in, its ledger charges, its queries answer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from bench.fleetgen import Fleet, Hour
from bench.peers import Answer
from wattshed_collector.ledger import Ledger, Policy
from wattshed_collector.store import queries
from wattshed_collector.store.client import Client, Store
from wattshed_collector.store.migrate import Layout, migrate
from wattshed_collector.store.now import Now
from wattshed_collector.store.write import Writer
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Method, Tick, Workload

CHUNK = 20_000
T = TypeVar("T")


@dataclass
class Cost:
    """Of this process, all threads: seconds of CPU and of the clock."""

    cpu: float = 0.0
    wall: float = 0.0

    @contextmanager
    def counted(self) -> Iterator[None]:
        cpu, wall = time.process_time(), time.perf_counter()
        try:
            yield
        finally:
            self.cpu += time.process_time() - cpu
            self.wall += time.perf_counter() - wall


def measured(work: Callable[[], T]) -> tuple[T, Cost]:
    cost = Cost()
    with cost.counted():
        result = work()
    return result, cost


@dataclass
class Ours:
    """A store of its own in ``folder``, as the collector has it.

    ``clock`` says when now is, in Unix seconds: a fleet that is made up may have ended before.
    """

    folder: Path
    clock: Callable[[], float] = time.time
    store: Store = field(init=False)
    client: Client = field(init=False)
    now: Now = field(init=False)
    writer: Writer = field(init=False)
    building: Cost = field(default_factory=Cost)
    writing: Cost = field(default_factory=Cost)

    def __post_init__(self) -> None:
        self.store = Store(self.folder)
        self.client = self.store.client()
        migrate(self.client, Layout(raw_days=0, minute_days=0))
        self.now = Now(self.clock)
        self.writer = Writer(self.store.client, window_seconds=0.0, share=1.0, now=self.now)

    def close(self) -> None:
        self.writer.close()
        self.client.close()
        self.store.close()

    def ledger(self) -> Ledger:
        return Ledger(self.client, Policy(raw_days=0))

    def write(self, batch: Batch) -> None:
        with self.writing.counted():
            self.writer.submit(batch).result()

    def describe(self, fleet: Fleet) -> None:
        """Write who there is and who holds what: each job its nodes' GPUs, at its own hours."""
        devices = tuple(
            Device(key, Kind.GPU, f"node-{g // fleet.gpus:05d}", "nvml", cluster="c1")
            for g, key in enumerate(fleet.keys)
        )
        workloads = tuple(Workload(j.pod, j.workload, "training", team=j.team) for j in fleet.jobs)
        allocations = tuple(
            Allocation(
                fleet.keys[job.node * fleet.gpus + gpu],
                job.pod,
                (fleet.start + job.first * 3600) * 1000,
                (fleet.start + min(job.last, fleet.hours) * 3600) * 1000,
            )
            for job in fleet.jobs
            for gpu in range(fleet.gpus)
        )
        self.write(Batch(devices=devices, workloads=workloads, allocations=allocations))

    def take(self, fleet: Fleet, hour: Hour, offset: int) -> None:
        """Write one hour of ticks."""
        with self.building.counted():
            ticks = list(_ticks(fleet, hour, offset))
        for first in range(0, len(ticks), CHUNK):
            self.write(Batch(ticks=tuple(ticks[first : first + CHUNK])))

    def ask(self, by: str, since: int, until: int) -> Answer:
        """Joules by workload name ("" is nobody), or by job."""

        def question() -> dict[tuple[str, ...], float]:
            if by == "workload":
                return _sum(queries.energy(self.client, by, since, until), "workload")
            return _sum(queries.workload_energy(self.client, since, until), "workload_key")

        joules, cost = measured(question)
        return Answer(joules, cost.wall * 1e3, cost.cpu * 1e3)

    def meter_joules(self, since: int, until: int) -> float:
        """What the meters said, before anybody was charged."""
        found = queries.quality(self.client, since, until)
        return sum(float(record["joules"]) for record in found)

    def disk_bytes(self, *tables: str) -> int:
        """Bytes of the parts in use, of ``tables`` or of all."""
        chosen = f"AND table IN ({', '.join(map(repr, tables))})" if tables else ""
        ((size,),) = self.client.rows(
            f"SELECT sum(bytes_on_disk) FROM system.parts WHERE active {chosen}"
        )
        return int(size)

    def evict(self) -> None:
        """Drop what the engine and the kernel remember of the files, and the writer of the rows."""
        self.now.forget()
        for cache in ("MARK", "UNCOMPRESSED"):
            self.client.command(f"SYSTEM DROP {cache} CACHE")
        os.sync()
        for path in self.folder.rglob("*"):
            if path.is_file() and os.access(path, os.R_OK):
                handle = os.open(path, os.O_RDONLY)
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(handle)


def _sum(records: Sequence[queries.Record], name: str) -> dict[tuple[str, ...], float]:
    sums: dict[tuple[str, ...], float] = {}
    for record in records:
        key = (str(record[name]),)
        sums[key] = sums.get(key, 0.0) + float(record["joules"])
    return sums


def _ticks(fleet: Fleet, hour: Hour, offset: int) -> Iterator[Tick]:
    begin_ms = (fleet.start + hour.index * 3600 - offset) * 1000
    columns = (hour.power_watts, hour.energy_joules * 1e6, hour.utilization)
    rows = zip(*(column.round(6).tolist() for column in columns), strict=True)
    for n, (powers, energies, ratios) in enumerate(rows):
        ts = begin_ms + (n + 1) * fleet.step * 1000
        for key, power, energy, ratio in zip(fleet.keys, powers, energies, ratios, strict=True):
            yield Tick(
                key,
                ts,
                fleet.step * 1000,
                Method.COUNTER,
                power,
                round(energy),
                None,
                ratio,
            )
