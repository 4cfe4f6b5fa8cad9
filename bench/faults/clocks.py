"""Senders whose clocks are wrong: ahead, behind, set back in the middle, and two days ahead."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from wattshed_exporter.model import stable_id

from .audit import gained
from .machines import POINTS, READING, Body, Machine
from .senders import Sender, done, sending
from .trial import HOUR_MS, Row, Trial

MINUTE_MS = 60_000
INTERVAL_MS = 1000
TICKS = 30
BODIES = 40
BACK_MS = 10 * MINUTE_MS + 500
"""Half an interval more, so that no instant is shown twice."""


def run(folder: Path, *, rounds: int = 100, quick: bool = False) -> list[Row]:
    """Send twenty minutes of each, up to now as each of them understands it."""
    trial = Trial("clocks", folder, checks_holders=False)
    start = int(time.time() * 1000) // 1000 * 1000 - BODIES * TICKS * INTERVAL_MS
    shifts = {"right": 0, "ahead": 5 * MINUTE_MS, "behind": -7 * MINUTE_MS}
    machines = {name: _machine(name, start, shift) for name, shift in shifts.items()}
    lines = [list(machine.bodies(BODIES)) for machine in machines.values()]
    lines += [_set_back(trial, start), _beyond(start), _half_beyond(start)]
    trial.expected_rejections = sum(body.incredible for line in lines for body in line)
    collector = trial.start()
    senders = [Sender(line, trial.book) for line in lines]
    with sending(senders, trial.port) as threads:
        trial.must(done(threads, 300), "the senders did not come to an end")
    counted = collector.metric("rejected_total", reason="future_timestamp")
    trial.must(
        counted == trial.expected_rejections > 0,
        f"{counted:.0f} of {trial.expected_rejections} points are counted as from the future",
    )
    trial.settle(collector)
    trial.notes.append(f"{counted:.0f} points from the future refused and counted")
    return [trial.row("5 min ahead, 7 min behind, 10 min set back, 2 days ahead, half a body so")]


def _machine(name: str, start_ms: int, shift_ms: int = 0) -> Machine:
    return Machine(
        f"clock-{name}",
        start_ms=start_ms,
        ticks=TICKS,
        interval_ms=INTERVAL_MS,
        shift_ms=shift_ms,
        holds=False,
    )


def _set_back(trial: Trial, start_ms: int) -> list[Body]:
    """Two counters; where their readings alternate neither can be told, before and after both."""
    machine = _machine("set-back", start_ms)
    before = list(machine.bodies(BODIES // 2 + 10))
    machine.set_clock(-BACK_MS)
    after = list(machine.bodies(BODIES // 2 + 10))
    first = np.concatenate([body.readings for body in before])
    second = np.concatenate([body.readings for body in after])
    since = second["ts"][0] - INTERVAL_MS
    alone = first[first["ts"] <= since + INTERVAL_MS], second[second["ts"] >= first["ts"][-1]]
    (device,) = machine.devices
    trial.truths[stable_id(device)] = sum(
        joules for part in alone for joules in gained(part).values()
    )
    return before + after


def _beyond(start_ms: int, name: str = "beyond") -> list[Body]:
    """Every reading is from the day after tomorrow."""
    machine = _machine(name, start_ms, 48 * HOUR_MS)
    count = POINTS * TICKS
    return [Body(body.data, np.empty(0, READING), count) for body in machine.bodies(BODIES)]


def _half_beyond(start_ms: int) -> list[Body]:
    """Half of each body's readings are right, half are of a machine that is two days ahead."""
    machine = _machine("half-right", start_ms)
    pairs = zip(machine.bodies(BODIES), _beyond(start_ms, "half-beyond"), strict=True)
    # Two requests of protobuf one after the other are one request that has what both have.
    return [
        Body(right.data + wrong.data, right.readings, wrong.incredible) for right, wrong in pairs
    ]
