"""One scenario: a collector and its further lives on one store, its senders' book, its outcome."""

from __future__ import annotations

import math
import random
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import produced
from .audit import Counts, Found, audit
from .book import Book
from .collector import Collector

TOLERANCE = 1e-9
HOUR_MS = 3_600_000
PORTS = 20_000, 30_000


class Skipped(Exception):
    """A scenario cannot be played here; says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """What came of a scenario. ``problems`` is empty where everything is as it must be."""

    scenario: str
    done: str
    sent: int
    acknowledged: int
    refused: dict[str, int]
    repeated: int
    found: Found
    rejected_points: int
    peak_mb: float
    seconds: float
    notes: list[str]
    problems: list[str]
    outcomes: produced.Made | None = None
    """What became of what programs said, where any did."""


@dataclass
class Trial:
    """Runs a scenario in ``folder``; ``flags`` are those of every life of the collector.

    ``data`` is the store where that is not a folder here, ``engine`` the folder of the engine that
    is looked at in the end.
    """

    name: str
    folder: Path
    flags: tuple[str, ...] = ()
    data: str = ""
    engine: Path | None = None
    book: Book = field(default_factory=Book)
    said: Book = field(default_factory=Book)
    """That of programs, which say what they produced."""
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    truths: dict[int, float] = field(default_factory=dict)
    expected_rejections: int = 0
    allowed: frozenset[str] = frozenset()
    """Statuses with which a delivery may be refused here."""
    checks_holders: bool = True
    ledger_seconds: float = 2.0
    lives: int = 0
    peak_mb: float = 0.0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.log = self.folder.parent / f"{self.folder.name}.log"
        self.began = time.monotonic()
        self.store = self.folder / "data"

    def spawn(self) -> Collector:
        """Begin another life; it does not serve yet."""
        self.lives += 1
        data = self.data or str(self.store)
        fast: tuple[str, ...] = "--ledger.interval-seconds", str(self.ledger_seconds)
        fast += "--ingest.group-seconds", "0.02", "--ingest.group-longest-seconds", "0.05"
        return Collector(data, self.port, self.log, *fast, *self.flags)

    def start(self) -> Collector:
        """Begin another life and wait until it serves. Raises RuntimeError."""
        collector = self.spawn()
        if not collector.wait():
            collector.kill()
            raise RuntimeError(f"the collector does not start: {self._last_words()}")
        return collector

    def kill(self, collector: Collector) -> None:
        """End a life with kill -9."""
        collector.kill()
        self.peak_mb = max(self.peak_mb, collector.peak_mb)

    def settle(self, collector: Collector, seconds: float = 300.0) -> None:
        """Wait until the ledger has charged everything, and end the last life."""
        if not collector.settled(time.time(), seconds):
            self.fail("the ledger did not come to rest")
        code = collector.end(signal.SIGTERM)
        self.peak_mb = max(self.peak_mb, collector.peak_mb)
        if code:
            self.fail(f"the collector ended with status {code}")

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return " / ".join(lines[-2:])[-600:]

    def must(self, holds: bool, said: str) -> None:
        """Note a problem unless it holds."""
        if not holds:
            self.fail(said)

    def fail(self, said: str) -> None:
        self.problems.append(said)

    def row(self, done: str) -> Row:
        """Look at the store and say what came of it all."""
        folder = self.engine or self.store / "chdb"
        found = audit(folder, self.book, self.truths)
        self._judge(found)
        made = produced.audit(folder, self.said) if self.said.tries else None
        if made is not None:
            self._judge_outcomes(made)
        book = self.book
        refused = {str(status): count for status, count in sorted(book.refused.items())}
        if book.unanswered:
            refused["cut off"] = book.unanswered
        return Row(
            scenario=self.name,
            done=done,
            sent=book.tries,
            acknowledged=book.acknowledged_tries,
            refused=refused,
            repeated=book.repeated,
            found=found,
            rejected_points=book.rejected,
            peak_mb=self.peak_mb,
            seconds=time.monotonic() - self.began,
            notes=self.notes,
            problems=self.problems,
            outcomes=made,
        )

    def _judge(self, found: Found) -> None:
        balance = found.balance
        self._judge_counts(found.counts, "samples")
        self.must(balance.residual <= TOLERANCE, f"the residual is {balance.residual:.1e}")
        self.must(balance.off <= TOLERANCE, f"energy is off by {balance.off:.1e}")
        if self.checks_holders:
            self.must(balance.unheld <= TOLERANCE, f"{balance.unheld:.1e} went to nobody")
        self.must(self.book.without_retry_after == 0, "refusals without Retry-After")
        told = self.book.rejected
        self.must(told == self.expected_rejections, f"{told} points rejected")
        strange = {str(s) for s in (*self.book.refused, *self.said.refused)} - self.allowed
        self.must(not strange, f"refused with {', '.join(sorted(strange))}")

    def _judge_counts(self, found: Counts, what: str) -> None:
        counts = asdict(found)
        self.must(counts["acknowledged"] > 0, f"no {what} were acknowledged")
        for name in ("lost", "doubled", "altered", "unasked"):
            self.must(counts[name] == 0, f"{counts[name]} {what} {name}")

    def _judge_outcomes(self, made: produced.Made) -> None:
        counts, book = made.counts, self.said
        self._judge_counts(counts, "readings of outcomes")
        self.must(made.off <= TOLERANCE, f"outcomes counted are off by {made.off:.1e}")
        self.must(book.rejected == 0, f"{book.rejected} outcomes rejected")
        self.notes.append(
            f"/v1/outcomes: {book.tries} documents sent, {book.acknowledged_tries} acknowledged, "
            f"{book.repeated} repeated, {book.unanswered} cut off; of {counts.acknowledged} "
            f"acknowledged readings {counts.stored} stored, {counts.lost} lost, "
            f"{counts.doubled} doubled; {made.counted:.0f} counted, off by {made.off:.1e}"
        )


def until(holds: Callable[[], bool], seconds: float, step: float = 0.01) -> bool:
    """Wait until something holds; return whether it does within the time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(step)
    return True


def free_port() -> int:
    """Return a port below those from which senders connect.

    One that knocks at an ended collector's port without end would sooner or later be given that
    very port by the kernel, and answer itself.
    """
    for port in random.sample(range(*PORTS), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free")


def hours_ago(hours: float) -> int:
    """Return a whole second that long ago, as Unix milliseconds."""
    return math.floor(time.time() - hours * 3600) * 1000
