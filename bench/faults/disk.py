"""The disk of the store is filled by a neighbour, slowly and at once, and freed again."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .collector import Collector
from .machines import Machine
from .senders import Sender, finish, sending
from .trial import Row, Skipped, Trial, hours_ago, until

MIB = 2**20
DISK_MIB, FREE_MIB, BALLAST_MIB = 320, 64, 32
LOOK_S = 5.0
"""Time between two looks of the collector at its disk."""
SENDERS = 3


def run(folder: Path, *, rounds: int = 100, quick: bool = False) -> list[Row]:
    """Refuse below the limit, survive a full disk and a kill on it, take in again."""
    with _mounted(folder / "disk", DISK_MIB * MIB) as place:
        flags: tuple[str, ...] = "--durability.disk-free-bytes", str(FREE_MIB * MIB)
        flags += "--durability.ballast-bytes", str(BALLAST_MIB * MIB)
        trial = Trial("disk full", folder, flags=flags, allowed=frozenset({"503"}))
        trial.store = place / "data"
        machines = [Machine(f"disk-{n}", start_ms=hours_ago(6)) for n in range(SENDERS)]
        senders = [Sender(machine, trial.book, pause_seconds=0.02) for machine in machines]
        collector = trial.start()
        with sending(senders, trial.port) as threads:
            _taken(trial, "at first")
            collector = _filled_below_the_limit(trial, collector, place / "neighbour")
            _filled_at_once(trial, place / "neighbour")
            trial.must(finish(senders, threads, 180), "not everything could be delivered")
        trial.settle(collector)
        done = f"{DISK_MIB} MiB tmpfs filled below {FREE_MIB} MiB, full, kill -9, full at once"
        return [trial.row(done)]


def _filled_below_the_limit(trial: Trial, collector: Collector, neighbour: Path) -> Collector:
    """Fill until input is refused, then to the last byte; kill, start on the full disk, free."""
    _fill(neighbour, keep=FREE_MIB * MIB * 3 // 4)
    _refused(trial, "below the limit")
    _fill(neighbour, keep=0)
    given_up = until(lambda: not (trial.store / "ballast").exists(), 3 * LOOK_S)
    trial.must(given_up, "the ballast was not given up")
    trial.kill(collector)
    collector = trial.start()
    _refused(trial, "on the full disk after a kill")
    neighbour.unlink()
    _taken(trial, "once the disk was freed")
    return collector


def _filled_at_once(trial: Trial, neighbour: Path) -> None:
    """Fill to the last byte between two looks: the engine itself fails first."""
    _fill(neighbour, keep=0)
    _refused(trial, "on a disk that was full at once")
    time.sleep(2 * LOOK_S)
    neighbour.unlink()
    _taken(trial, "once the disk was freed again")


def _fill(neighbour: Path, keep: int) -> None:
    """Have a file take all of the disk but ``keep`` bytes."""
    told = os.statvfs(neighbour.parent)
    size = neighbour.stat().st_size if neighbour.exists() else 0
    more = told.f_bavail * told.f_frsize - keep
    file = os.open(neighbour, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while more > 4096:
            try:
                os.posix_fallocate(file, size, more)
                return
            except OSError:  # the store has taken some of it meanwhile
                more -= more // 8 + 1
    finally:
        os.close(file)


def _refused(trial: Trial, when: str) -> None:
    before = trial.book.refused[503]
    refused = until(lambda: trial.book.refused[503] > before + SENDERS, 4 * LOOK_S)
    trial.must(refused, f"input was not refused {when}")


def _taken(trial: Trial, when: str) -> None:
    began, before = time.monotonic(), trial.book.acknowledged_bodies()
    taken = until(lambda: trial.book.acknowledged_bodies() > before + 30, 60)
    trial.must(taken, f"input was not taken {when}")
    trial.notes.append(f"taken {when}: after {time.monotonic() - began:.1f} s")


@contextmanager
def _mounted(place: Path, size: int) -> Iterator[Path]:
    """Mount a small file system. Raises Skipped where that is not allowed."""
    place.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if told.returncode:
        raise Skipped(f"no file system can be mounted here: {told.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
