"""Measure one round of the sampler: feed, guard, classify and publish what one read brought.

``python bench/sampler.py`` drives a worker with 8 scripted GPUs at 10 Hz of event time, without
outputs and without waiting, and prints microseconds of CPU per round (the median of the repeats).
The source's own work is measured apart and taken off. Nothing here is a test.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import time
from collections.abc import Sequence

from wattshed_exporter.config import Config
from wattshed_exporter.model import Device, Kind, Reading
from wattshed_exporter.sources import Sample
from wattshed_exporter.telemetry import Telemetry
from wattshed_exporter.worker import Clock, Worker

STEP_MS = 100


class Scripted:
    """GPUs whose power and counter move with every read; time is told by the reads."""

    name = "nvml"
    interval_seconds = STEP_MS / 1000

    def __init__(self, devices: int) -> None:
        self.ms = 1_700_000_000_000
        self._devices = [
            Device(f"GPU-{i}", Kind.GPU, "n", self.name, power_limit_watts=700.0)
            for i in range(devices)
        ]
        self._uj = 10**12
        self._round = 0

    def discover(self) -> Sequence[Device]:
        return self._devices

    def read(self) -> Sample:
        self.ms += STEP_MS
        self._round += 1
        watts = 300.0 + self._round % 50
        self._uj += int(watts * STEP_MS * 1000)
        busy = 0.0 if self._round // 600 % 2 else 0.9
        return Sample(
            [
                Reading(d.key, self.ms, watts, self._uj, None, busy, 10**10, 50.0, busy, 1)
                for d in self._devices
            ]
        )

    def close(self) -> None:
        pass


def worker(source: Scripted) -> Worker:
    clock = Clock(lambda: source.ms, lambda: source.ms / 1000)
    made = Worker(source, Config(node="n"), [], Telemetry(), clock, boot_ms=1)
    made.step()
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    took = []
    for _ in range(args.repeats):
        source, alone = Scripted(args.devices), Scripted(args.devices)
        driven = worker(source)
        began = time.thread_time()
        for _ in range(args.rounds):
            driven.step()
        whole = time.thread_time() - began
        began = time.thread_time()
        for _ in range(args.rounds):
            alone.read()
        took.append((whole - (time.thread_time() - began)) / args.rounds * 1e6)
    print(
        f"{args.devices} devices: {statistics.median(took):.1f} us per round, least {min(took):.1f}"
    )
    if args.profile:
        driven = worker(Scripted(args.devices))
        with cProfile.Profile() as profile:
            for _ in range(args.rounds):
                driven.step()
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
