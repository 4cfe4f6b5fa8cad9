"""Ten times the senders that it can serve, none of which waits as it is told, for a minute."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

from .machines import Machine
from .senders import Sender, finish, sending
from .trial import Row, Trial, hours_ago

FEW = 4
TIMES = 10
DEVICES = 8
TICKS = 120
QUEUE_MIB = 16
MOST_MB = 1024 * 2**20 / 1e6
"""The collector's whole memory, code included, may be a gibibyte (the goal at 60,000 samples/s)."""
CALM_S = 1.0
RUDE_S = 0.05
"""Overloading senders come again after that, whatever they are told."""


@dataclass
class Crowd:
    """Senders from addresses of their own, so that each is somebody else."""

    trial: Trial
    start_ms: int
    made: int = 0

    def senders(self, count: int) -> list[Sender]:
        first, self.made = self.made, self.made + count
        return [self._sender(number) for number in range(first, first + count)]

    def _sender(self, number: int) -> Sender:
        machine = Machine(
            f"load-{number}", start_ms=self.start_ms, devices=DEVICES, ticks=TICKS, interval_ms=100
        )
        address = f"127.0.1.{number + 1}"
        return Sender(machine, self.trial.book, address=address, patience_seconds=RUDE_S)


def run(folder: Path, *, rounds: int = 100, quick: bool = False) -> list[Row]:
    """Find what it takes from a few, then send from ten times as many beside a calm tenant."""
    few_s, many_s = (3.0, 3.0) if quick else (10.0, 60.0)
    flags = "--durability.queue-bytes", str(QUEUE_MIB * 2**20)
    trial = Trial("10x overload", folder, flags=flags, allowed=frozenset({"429", "503"}))
    crowd = Crowd(trial, hours_ago(24))
    collector = trial.start()
    tried, sustained = _load(trial, crowd.senders(FEW), few_s)
    collector.note_peak()
    trial.must(sustained > 0, "a few senders were not served")
    trial.notes.append(
        f"{FEW} senders: {sustained:,.0f} samples/s taken, {collector.peak_mb:.0f} MB"
    )
    calm = _calm(trial)
    with sending([calm], trial.port) as threads:
        tried, taken = _load(trial, crowd.senders(FEW * TIMES), many_s)
        trial.must(finish([calm], threads, 60), "the calm tenant could not deliver")
    trial.notes.append(
        f"{FEW * TIMES} senders, {many_s:g} s: {tried:,.0f} samples/s offered "
        f"({tried / (sustained or math.nan):.1f}x), {taken:,.0f} taken"
    )
    trial.notes.append(f"the calm tenant waited {calm.slowest_seconds:.2f} s at worst")
    trial.must(sum(trial.book.refused.values()) > 0, "nobody was refused")
    trial.settle(collector)
    trial.must(trial.peak_mb < MOST_MB, f"it took {trial.peak_mb:.0f} MB")
    return [
        trial.row(f"{DEVICES * TICKS} samples a request, queue of {QUEUE_MIB} MiB, rude senders")
    ]


def _load(trial: Trial, senders: list[Sender], seconds: float) -> tuple[float, float]:
    """Send for that long; return samples per second that were tried and that were acknowledged."""
    tries, taken = trial.book.tries, trial.book.acknowledged_tries
    began = time.monotonic()
    with sending(senders, trial.port) as threads:
        time.sleep(seconds)
        spent = time.monotonic() - began
        tries, taken = trial.book.tries - tries, trial.book.acknowledged_tries - taken
        trial.must(finish(senders, threads, 120), "not everything could be delivered")
    return tries * DEVICES * TICKS / spent, taken * DEVICES * TICKS / spent


def _calm(trial: Trial) -> Sender:
    machine = Machine("calm", start_ms=hours_ago(1), ticks=10, interval_ms=100)
    return Sender(
        machine, trial.book, address="127.0.2.1", patience_seconds=60.0, pause_seconds=CALM_S
    )
