"""Bodies that nobody can read among good ones: set aside and counted, and in nobody's way."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from wattshed_collector.receivers.dead_letters import DeadLetters

from .machines import Body, Machine, poisoned
from .senders import Sender, ended, sending
from .trial import Row, Trial, hours_ago

SENDERS = 4
STANDSTILL_S = 60.0
"""This is about counts, and takes as long as it takes; but nothing may stand still for so long."""
LETTERS = "dead_letters_total"


def run(folder: Path, *, rounds: int = 100, quick: bool = False) -> list[Row]:
    """Send one malformed body in a hundred, as many kinds as the dice know."""
    each, every = (15, 10) if quick else (1000, 100)
    trial = Trial("poison", folder, allowed=frozenset({"400"}))
    mixed = [Mixed(Machine(f"poison-{n}", start_ms=hours_ago(6)), n, every) for n in range(SENDERS)]
    collector = trial.start()
    senders = [Sender(islice(bodies, each), trial.book) for bodies in mixed]
    with sending(senders, trial.port) as threads:
        came = ended(threads, trial.book.settled_bodies, STANDSTILL_S)
        trial.must(came, f"nothing was answered for good for {STANDSTILL_S:.0f} s")
    bad = sum(bodies.bad for bodies in mixed)
    refused = trial.book.refused[400]
    trial.must(bad > 0, "nothing was poisoned")
    trial.must(refused == bad, f"{refused} of {bad} malformed bodies were refused")
    counted = collector.metric(LETTERS)
    trial.must(counted == bad, f"{counted:.0f} of {bad} dead letters are counted")
    trial.settle(collector)
    kept = DeadLetters(trial.store / "dead-letters", 2**26, 1000).list()
    trial.must(sum(letter.times for letter in kept) == bad, f"{len(kept)} dead letters are kept")
    trial.notes.append(f"{bad} malformed, {counted:.0f} dead letters counted, {len(kept)} kept")
    return [trial.row(f"1 in {every} of {SENDERS * each} bodies malformed")]


class Mixed:
    """The bodies of a machine with malformed copies of some between them."""

    def __init__(self, machine: Machine, seed: int, every: int) -> None:
        self.bad = 0
        self._machine, self._every = machine, every
        self._dice = random.Random(seed)

    def __iter__(self) -> Iterator[Body]:
        for body in self._machine:
            if self._dice.random() < 1 / self._every:
                self.bad += 1
                yield poisoned(body, self._dice)
            yield body
