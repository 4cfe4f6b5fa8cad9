"""A synthetic fleet that pushes as exporters do: by node, with the exporter's own encoder.

Nodes of eight GPUs, each held by one job of the hour. What the GPUs draw is made up from a seed, so
that the same arguments give the same bytes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from wattshed_exporter import __version__
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Method, Tick, Workload
from wattshed_exporter.outputs.joined import gzipped
from wattshed_exporter.outputs.protobuf import Encoder

PER_NODE = 8
VALUES = 5
"""Energy, power, utilisation, memory and temperature of a reading."""
PUSH_S = 5
"""An exporter sends what it has read in so many seconds at once."""
HOUR_MS = 3_600_000
TEAMS = ("vision", "nlp", "search", "ads", "infra", "robotics", "speech", "research")


class Frame(NamedTuple):
    """A compressed request of one node, and how many readings are in it."""

    body: bytes
    readings: int


@dataclass(frozen=True, slots=True)
class Fleet:
    """``gpus`` read every ``step_s`` seconds from ``start_ms`` on for ``minutes``."""

    gpus: int
    start_ms: int
    minutes: int
    step_s: int
    seed: int = 7

    @property
    def readings(self) -> int:
        return self.gpus * len(range(0, self.minutes * 60, self.step_s))

    def frames(self) -> Iterator[Frame]:
        """Yield what the nodes send, in order of time."""
        nodes = [Node(self, n) for n in range(-(-self.gpus // PER_NODE))]
        reads = max(1, PUSH_S // self.step_s)
        times = range(0, self.minutes * 60, self.step_s)
        for first in range(0, len(times), reads):
            stamps = [self.start_ms + second * 1000 for second in times[first : first + reads]]
            for node in nodes:
                yield node.frame(stamps)


class Node:
    """One machine: its GPUs' counters, and the job that holds them."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        self._name = f"bench-{number:05d}"
        self._step_s = fleet.step_s
        self._dice = random.Random(f"{fleet.seed}/{number}")
        gpus = min(PER_NODE, fleet.gpus - number * PER_NODE)
        self._devices = tuple(self._device(number * PER_NODE + gpu, gpu) for gpu in range(gpus))
        self._energy_uj = [self._dice.randrange(10**12, 10**15) for _ in self._devices]
        self._started_ms = fleet.start_ms - 86_400_000
        resource = {"service.name": "wattshed-exporter", "host.name": self._name}
        self._encoder = Encoder(resource, __version__)
        self._encoder.request(Batch(devices=self._devices))

    def _device(self, number: int, index: int) -> Device:
        return Device(
            f"GPU-{number:08x}-1234-4c1e-9f00-{number:012x}",
            Kind.GPU,
            self._name,
            "nvml",
            f"gpu{index}",
            "NVIDIA",
            "NVIDIA H100 80GB HBM3",
            serial=f"16{number:08d}",
            driver="580.95.05",
            site="bench",
            tier="datacenter",
            cluster="bench",
            scope="gpu",
        )

    def frame(self, stamps: list[int]) -> Frame:
        """Return the request with the readings of some instants and who held what."""
        ticks = tuple(
            self._tick(gpu, ts_ms) for ts_ms in stamps for gpu in range(len(self._devices))
        )
        hour = stamps[-1] // HOUR_MS
        team = TEAMS[(hour + len(self._name) + self._dice.randrange(2)) % len(TEAMS)]
        job = f"bench/{self._name}/{hour}"
        held = tuple(
            Allocation(device.key, job, hour * HOUR_MS, stamps[-1] + 1000, method="slurm")
            for device in self._devices
        )
        work = Workload(job, f"{team}-train-{hour % 23}", "training", team=team, cluster="bench")
        batch = Batch(ticks=ticks, workloads=(work,), allocations=held)
        return Frame(gzipped(self._encoder.pieces(batch)), len(ticks))

    def _tick(self, gpu: int, ts_ms: int) -> Tick:
        used = self._dice.uniform(0.6, 1.0)
        watts = round(70 + 560 * used, 3)
        self._energy_uj[gpu] += round(watts * self._step_s * 1e6)
        return Tick(
            *(self._devices[gpu].key, ts_ms, self._step_s * 1000, Method.COUNTER, watts),
            *(self._energy_uj[gpu], self._started_ms, round(used, 4)),
            *(round(60e9 + used * 2**30), round(40 + 30 * used, 1)),
        )
