"""What is sent: machines whose counters grow unevenly, and the bodies that our exporter makes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from wattshed_exporter.model import (
    Allocation,
    Batch,
    Device,
    Kind,
    Method,
    Tick,
    Workload,
    stable_id,
)
from wattshed_exporter.outputs.protobuf import Encoder

READING = np.dtype([("device", "<u8"), ("ts", "<i8"), ("energy", "<i8")])
"""A sample: what one device said at one instant (ms, counter in microjoules)."""
Readings = NDArray[np.void]
POINTS = 2
"""Data points of a reading on the wire: power and energy."""


@dataclass(eq=False)
class Body:
    """One request. ``readings`` is what of it can be stored, ``incredible`` how much cannot."""

    data: bytes
    readings: Readings
    incredible: int = 0
    is_poison: bool = False
    path: str = "/v1/metrics"
    headers: Mapping[str, str] = field(
        default_factory=lambda: {"Content-Type": "application/x-protobuf"}
    )


class Machine:
    """Makes numbered readings of its devices, which one workload holds all the time.

    Powers are whole watts from 50 to 149, so that every counter is exact in microjoules.
    ``shift_ms`` is how far its clock is ahead. ``set_clock`` is what an exporter does when somebody
    sets it: the counters start anew.
    """

    def __init__(
        self,
        name: str,
        *,
        start_ms: int,
        devices: int = 1,
        ticks: int = 20,
        interval_ms: int = 50,
        shift_ms: int = 0,
        holds: bool = True,
    ) -> None:
        self.devices = [f"{name}/gpu-{n}" for n in range(devices)]
        self.workload = f"job/{name}" if holds else ""
        self._name, self._ticks, self._interval_ms = name, ticks, interval_ms
        self._dice = random.Random(name)
        self._encoder = Encoder({"wattshed.node": name}, "0")
        self._next_ms = start_ms + shift_ms
        self._start_ms = self._next_ms
        self._counter_start_ms = self._next_ms - interval_ms
        self._energies = dict.fromkeys(self.devices, 0)

    def bodies(self, count: int) -> Iterator[Body]:
        """Give the next requests."""
        return islice(self, count)

    def __iter__(self) -> Iterator[Body]:
        return self

    def __next__(self) -> Body:
        ticks = [tick for _ in range(self._ticks) for tick in self._round()]
        return Body(self._encoder.request(self._batch(ticks)), readings(ticks))

    def set_clock(self, shift_ms: int) -> None:
        """Move the clock; what follows is counted from the next instant on."""
        self._next_ms += shift_ms
        self._counter_start_ms = self._next_ms - self._interval_ms
        self._energies = dict.fromkeys(self.devices, 0)

    def _round(self) -> Iterator[Tick]:
        now, self._next_ms = self._next_ms, self._next_ms + self._interval_ms
        for device in self.devices:
            watts = self._dice.randrange(50, 150)
            self._energies[device] += watts * self._interval_ms * 1000
            yield Tick(
                device,
                now,
                self._interval_ms,
                Method.COUNTER,
                float(watts),
                self._energies[device],
                self._counter_start_ms,
            )

    def _batch(self, ticks: list[Tick]) -> Batch:
        devices = tuple(Device(d, Kind.GPU, self._name, "bench") for d in self.devices)
        if not self.workload:
            return Batch(devices=devices, ticks=tuple(ticks))
        end = ticks[-1].ts_ms
        held = (Allocation(d, self.workload, self._start_ms, end) for d in self.devices)
        return Batch(
            devices=devices,
            ticks=tuple(ticks),
            workloads=(Workload(self.workload, self.workload),),
            allocations=tuple(held),
        )


def readings(ticks: list[Tick]) -> Readings:
    """Return ticks as an array of ``READING``."""
    ids = {tick.device: 0 for tick in ticks}
    ids = {device: stable_id(device) for device in ids}
    rows = [(ids[t.device], t.ts_ms, t.energy_uj) for t in ticks]
    return np.array(rows, READING)


def poisoned(body: Body, dice: random.Random) -> Body:
    """Return the body cut short or with its first length wrong: no reader can make sense of it."""
    data = bytearray(body.data)
    if dice.random() < 0.5:
        del data[dice.randrange(len(data) // 2, len(data) - 1) :]
    else:
        data[1:4] = b"\xff\xff\xff"
    return Body(bytes(data), np.empty(0, READING), is_poison=True)
