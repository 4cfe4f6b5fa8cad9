"""The store is a server that is away: for an hour of data, or in each way that servers fail.

The server is the stand-in of the tests: ClickHouse's HTTP interface over the real engine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

import chdb
from tests.fixtures.clickhouse import Fault, Front

from .collector import Collector
from .machines import Machine
from .senders import Sender, done, finish, sending
from .trial import Row, Trial, hours_ago, until

MACHINES = 6
DEVICES = 4
TICKS = 30
ALWAYS = 10**9
QUERY_S = 10
MOODS: dict[str, Fault] = {
    "503": Fault(times=ALWAYS, status=503),
    "500 of memory": Fault(times=ALWAYS, status=500, code=241),
    "hanging": Fault(times=ALWAYS, delay_seconds=1.5 * QUERY_S),
    "half-closing": Fault(times=ALWAYS, hang_up=True),
    "half-closing when done": Fault(times=ALWAYS, hang_up=True, after=True),
}


def run(folder: Path, *, rounds: int = 100, quick: bool = False) -> list[Row]:
    """An hour of data, stamped at its times and sent faster, while the server is down."""
    hours = 0.1 if quick else 1.0
    bodies = int(hours * 3600) // TICKS
    with _front(folder) as (front, trial):
        trial.name, start = "away for an hour", hours_ago(hours)
        machines = [_machine(f"away-{n}", start) for n in range(MACHINES)]
        senders = [
            Sender(machine.bodies(bodies), trial.book, pause_seconds=0.02, compresses=True)
            for machine in machines
        ]
        collector = trial.start()
        with sending(senders, trial.port) as threads:
            _reach(trial, 0.1, bodies)
            front.stop()
            _reach(trial, 0.5, bodies)
            trial.kill(collector)
            collector = _restarted(trial, front)
            trial.must(done(threads, 300), "the senders did not come to an end")
        spooled = collector.metric("spool_rows")
        trial.must(spooled > 0, "nothing was spooled")
        front.start()
        seconds = _drained(trial, collector)
        trial.notes.append(f"{spooled:.0f} rows waited in the end, stored {seconds:.1f} s later")
        trial.settle(collector)
    done_here = f"{MACHINES * DEVICES} devices, {hours:g} h at 1 Hz, gzip, kill -9 once in between"
    return [trial.row(done_here)]


def moods(folder: Path, *, rounds: int = 100, quick: bool = False) -> list[Row]:
    """The server answers 5xx, hangs, closes half-way, refuses; well again between any two."""
    seconds = 1.0 if quick else 3.0
    with _front(folder) as (front, trial):
        trial.name, start = "server's moods", hours_ago(6)
        senders = [
            Sender(_machine(f"mood-{n}", start), trial.book, pause_seconds=0.05)
            for n in range(MACHINES)
        ]
        collector = trial.start()
        with sending(senders, trial.port) as threads:
            for name, mood in MOODS.items():
                _mood(trial, front, name, mood, seconds)
            front.stop()
            time.sleep(seconds)
            front.start()
            trial.must(finish(senders, threads, 180), "not everything could be delivered")
        _drained(trial, collector)
        trial.must(collector.metric("spooled_rows") > 0, "nothing was spooled")
        trial.settle(collector)
    return [trial.row(", ".join((*MOODS, "refusing")) + f", {seconds:g} s each")]


def _mood(trial: Trial, front: Front, name: str, mood: Fault, seconds: float) -> None:
    """Play one mood, then let the server be well until what waited is stored."""
    before = trial.book.acknowledged_bodies()
    front.faults.append(mood)
    time.sleep(seconds)
    front.faults.clear()
    took = until(lambda: trial.book.acknowledged_bodies() > before, 60)
    trial.must(took, f"nothing was taken while and after the server was {name}")
    time.sleep(1.0)


def _machine(name: str, start_ms: int) -> Machine:
    return Machine(name, start_ms=start_ms, devices=DEVICES, ticks=TICKS, interval_ms=1000)


def _reach(trial: Trial, part: float, bodies: int) -> None:
    wanted = part * bodies * MACHINES
    reached = until(lambda: trial.book.acknowledged_bodies() >= wanted, 120)
    trial.must(reached, f"{part:.0%} of the hour were not taken")


def _restarted(trial: Trial, front: Front) -> Collector:
    """Start again while the server is away; where that cannot be, it is there for a moment."""
    collector = trial.spawn()
    if collector.wait(30):
        trial.notes.append("started again while the server was away")
        return collector
    collector.kill()
    trial.notes.append("does not start while the server is away: senders waited for its return")
    front.start()
    collector = trial.start()
    front.stop()
    return collector


def _drained(trial: Trial, collector: Collector) -> float:
    """Wait until the spool is empty; return how long that took."""
    began = time.monotonic()

    def is_empty() -> bool:
        with suppress(OSError, HTTPException):
            return collector.metric("spool_rows") == 0
        return False

    trial.must(until(is_empty, 300, 0.1), "the spool was not drained")
    trial.must(collector.metric("spool_aside") == 0, "rows were set aside")
    return time.monotonic() - began


@contextmanager
def _front(folder: Path) -> Iterator[tuple[Front, Trial]]:
    """Run the stand-in over a new engine, which stays open while the front comes and goes."""
    engine = folder / "engine"
    engine.mkdir(parents=True)
    held = chdb.connect(str(engine))  # type: ignore[no-untyped-call]
    front = Front(str(engine))
    front.start()
    flags: tuple[str, ...] = "--durability.spool-folder", str(folder / "spool")
    flags += "--store.query-seconds", f"{QUERY_S}"
    trial = Trial("server", folder, flags=flags, data=front.url, engine=engine)
    trial.allowed = frozenset({"503"})
    try:
        yield front, trial
    finally:
        front.stop()
        held.close()
