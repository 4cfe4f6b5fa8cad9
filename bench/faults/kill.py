"""kill -9 at random points: while it starts, while it takes in, while the ledger runs.

Machines send readings and programs say what they produced, both until they are acknowledged.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

from .machines import Machine
from .produced import Program
from .senders import Sender, finish, sending
from .trial import Row, Trial, hours_ago, until

SENDERS = 4
PROGRAMS = 2
START_SHARE = 0.15
"""Of the lives so many are ended before they serve."""


def run(folder: Path, *, rounds: int = 100, quick: bool = False) -> list[Row]:
    """Kill one collector after another on one store, senders going on all the time."""
    rounds = min(rounds, 3) if quick else rounds
    trial, dice = Trial("kill -9", folder, ledger_seconds=0.5), random.Random(1)
    machines = [Machine(f"kill-{n}", start_ms=hours_ago(6)) for n in range(SENDERS)]
    programs = [Program(f"kill-{n}", start_ms=hours_ago(8)) for n in range(PROGRAMS)]
    senders = [Sender(machine, trial.book) for machine in machines]
    senders += [Sender(program, trial.said, pause_seconds=0.02) for program in programs]
    early = 0
    with sending(senders, trial.port) as threads:
        for _ in range(rounds):
            early += _life(trial, dice)
        last = trial.start()
        trial.must(finish(senders, threads, 180), "not everything could be delivered in the end")
        trial.settle(last)
    trial.must(trial.book.unanswered > 0, "no delivery was interrupted")
    trial.must(trial.said.repeated > 0, "no outcomes had to be said again")
    trial.notes.append(f"{early} killed while they started, {trial.book.unanswered} cut off")
    done = f"{rounds} times on one store, {SENDERS} senders of readings, {PROGRAMS} of outcomes"
    return [trial.row(done)]


def _life(trial: Trial, dice: random.Random) -> bool:
    """Start and kill; return whether it was before it served."""
    if dice.random() < START_SHARE:
        collector = trial.spawn()
        time.sleep(dice.uniform(0.0, 2.0))
        trial.kill(collector)
        return True
    collector = trial.start()
    wanted = trial.book.acknowledged_bodies() + dice.randrange(16)
    until(lambda: trial.book.acknowledged_bodies() >= wanted, 15)
    time.sleep(dice.uniform(0.0, 0.6))
    trial.kill(collector)
    return False
