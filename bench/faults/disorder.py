"""Deliveries one to four times, in any order, by many at once, hours late, ledger runs between."""

from __future__ import annotations

import random
import time
from pathlib import Path

from .machines import Body, Machine
from .senders import Sender, done, sending
from .trial import Row, Trial, hours_ago

MACHINES = 6
DEVICES = 2
THREADS = 8
PARTS = 3
HOURS = 6


def run(folder: Path, *, rounds: int = 100, quick: bool = False) -> list[Row]:
    """Send everything in parts, each part a random choice of all hours."""
    hours = 2 if quick else HOURS
    trial, dice = Trial("disorder", folder), random.Random(3)
    sent = _shuffled(hours, dice)
    collector = trial.start()
    for part in range(PARTS):
        _send(trial, sent[part::PARTS])
        trial.must(collector.settled(time.time()), "the ledger did not come to rest in between")
    hours_computed = collector.metric("ledger_hours_total")
    trial.settle(collector)
    trial.notes.append(f"the ledger computed hours {hours_computed:.0f} times")
    return [
        trial.row(f"{MACHINES * DEVICES} devices, {hours} h, in {PARTS} parts, {THREADS} lines")
    ]


def _shuffled(hours: int, dice: random.Random) -> list[Body]:
    """Return every body one to four times, in random order."""
    start, sent = hours_ago(hours), list[Body]()
    for number in range(MACHINES):
        machine = Machine(
            f"disorder-{number}", start_ms=start, devices=DEVICES, ticks=30, interval_ms=5000
        )
        for body in machine.bodies(hours * 24):
            sent += [body] * dice.randint(1, 4)
    dice.shuffle(sent)
    return sent


def _send(trial: Trial, bodies: list[Body]) -> None:
    senders = [Sender(bodies[n::THREADS], trial.book) for n in range(THREADS)]
    with sending(senders, trial.port) as threads:
        trial.must(done(threads, 300), "the senders did not come to an end")
