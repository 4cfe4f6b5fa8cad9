"""The ledger job: recompute the hours that new facts touched, from the raw rows, exactly.

A tick changes its own hour and, through the span that reaches to its neighbour, every hour up to
the device's nearest tick on either side. Nothing is ever added to a roll-up: an hour is computed
again and written with a higher version, which is why late and repeated data come out the same.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from .errors import StoreError
from .store.client import Client
from .store.ledger_sql import DIRTY_HOURS, NEWEST_TICK, RECOMPUTE, TOUCHED
from .store.tree import Containment
from .telemetry import Telemetry
from .topology import Topology

log = logging.getLogger(__name__)

HOUR_S = 3600
HOURS_PER_STATEMENT = 6
FIRST_PAUSE_S = 2.0
OVERLAP_US = 30_000_000
"""How far back dirty marks are read again: a mark is stamped before its block becomes visible."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How the ledger charges. ``idle_below_ratio``: utilisation under which a device is idle."""

    idle_below_ratio: float = 0.05
    raw_days: int = 30
    """Hours older than this are never recomputed: their raw rows may be gone. 0 keeps them all."""
    idle: str = "holder"
    host_remainder: str = "platform"
    """Who pays what a wall meter measures beside its devices: platform or proportional."""
    topology: Topology = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Edge:
    """Where an hour's readings of one device begin and end, and what lies beyond.

    ``first`` and ``last`` are the times of the outermost readings (``last`` 0 without any), the
    hours the nearest that have readings (0 if none), the gaps those outside of ``first``, ``last``.
    ``first_came`` and ``last_came`` are when something was last said of those two instants: a part
    of a reading that comes late, or a correction, changes the span across the edge all the same.
    """

    first: int
    last: int
    hour_before: int
    hour_beyond: int
    gaps_before: int
    gaps_beyond: int
    first_came: int
    last_came: int

    @property
    def head(self) -> tuple[int, int, int]:
        return self.first, self.first_came, self.gaps_before

    @property
    def tail(self) -> tuple[int, int, int]:
        return self.last, self.last_came, self.gaps_beyond


Edges = dict[tuple[int, int], Edge]
"""By hour (Unix seconds) and device."""


class Stopped(Exception):
    """The ledger was told to stop before it was done; the next one does the rest."""


class Ledger:
    """Recomputes dirty hours. One per store; ``run`` may be called at any time."""

    def __init__(
        self,
        client: Client,
        policy: Policy,
        now: Callable[[], float] = time.time,
        is_stopping: Callable[[], bool] = bool,
    ) -> None:
        self._client = client
        self._policy = policy
        self._now = now
        self._is_stopping = is_stopping
        self._edges: Edges = {}
        self._containment = Containment(policy.topology)
        self._watermark_us, self._version = self._restore()

    def run(self) -> Sequence[int]:
        """Recompute what is dirty; return the hours (Unix seconds) that were recomputed."""
        started_us = int(self._now() * 1e6)
        # A clock that is set back must not hide what comes from then on.
        since_us = min(self._watermark_us, started_us) - OVERLAP_US
        dirty = self._client.rows(DIRTY_HOURS, {"since_us": since_us})
        touched = {int(hour) for (hour,) in dirty}
        if not touched:
            return ()
        settled_ms = int(self._client.rows(NEWEST_TICK)[0][0])
        edges = self._edges_of(touched)
        affected = touched | self._beyond(edges)
        hours = sorted(hour for hour in affected if hour >= self._oldest())
        self.recompute(hours)
        # Only now: what a failed run has seen is news to the next one.
        self._watermark_us, self._edges = started_us, edges
        self._save(settled_ms)
        return hours

    def recompute(self, hours: Iterable[int]) -> None:
        """Recompute ``hours`` (Unix seconds at full hours), whether dirty or not."""
        self._containment.refresh(self._client)
        self._version = max(self._version + 1, int(self._now() * 1e6))
        for lo, hi in _ranges(sorted(set(hours))):
            if self._is_stopping():
                raise Stopped
            parameters = {
                "lo": lo * 1000,
                "hi": hi * 1000,
                "version": self._version,
                "idle_below_e4": round(self._policy.idle_below_ratio * 1e4),
                "idle_policy": self._policy.idle,
                "host_remainder": self._policy.host_remainder,
            }
            for statement in RECOMPUTE:
                self._client.command(statement, parameters)

    def _edges_of(self, hours: set[int]) -> Edges:
        rows = self._client.rows(TOUCHED, {"hours": sorted(hours)})
        return {(row[0], row[1]): Edge(*row[2:]) for row in rows}

    def _beyond(self, edges: Edges) -> set[int]:
        """Return the hours that the spans across the edges of touched hours reach into.

        An edge that is as it was when its hour was last recomputed needs no more than that hour.
        """
        beyond: set[int] = set()
        for (hour, device), edge in edges.items():
            known = self._edges.get((hour, device))
            if not edge.last and not (edge.hour_before and edge.hour_beyond):
                continue  # only gaps, and no reading on one side of them: there is no span
            if edge.hour_before and (known is None or known.head != edge.head):
                beyond.update(range(edge.hour_before, hour, HOUR_S))
            if edge.hour_beyond and (known is None or known.tail != edge.tail):
                beyond.update(range(hour + HOUR_S, edge.hour_beyond + HOUR_S, HOUR_S))
        return beyond

    def _oldest(self) -> int:
        if not self._policy.raw_days:
            return 0
        return int(self._now()) - (self._policy.raw_days - 1) * 24 * HOUR_S

    def _restore(self) -> tuple[int, int]:
        rows = self._client.rows(
            "SELECT toUnixTimestamp64Micro(watermark), version FROM ledger_state FINAL "
            "WHERE name = 'charges'"
        )
        return (int(rows[0][0]), int(rows[0][1])) if rows else (OVERLAP_US, 0)

    def _save(self, settled_ms: int) -> None:
        self._client.insert(
            "ledger_state",
            {
                "name": ["charges"],
                "watermark": [self._watermark_us],
                "settled": [settled_ms],
                "version": [self._version],
            },
        )


def _ranges(hours: Sequence[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for hour in hours:
        lo, hi = ranges[-1] if ranges else (0, 0)
        if ranges and hour == hi and hi - lo < HOURS_PER_STATEMENT * HOUR_S:
            ranges[-1] = lo, hour + HOUR_S
        else:
            ranges.append((hour, hour + HOUR_S))
    return ranges


class LedgerJob:
    """Runs the ledger on a thread of its own until it is closed.

    The first runs follow one another quickly, so that a newcomer sees charges within seconds; then
    they settle at ``interval_seconds``.
    """

    def __init__(
        self,
        open_client: Callable[[], Client],
        policy: Policy,
        telemetry: Telemetry,
        interval_seconds: float,
    ) -> None:
        self._open_client = open_client
        self._policy = policy
        self._telemetry = telemetry
        self._interval_seconds = interval_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
        self._thread.start()

    def close(self, timeout_seconds: float = 3.0) -> None:
        self._stop.set()
        self._thread.join(timeout_seconds)

    def _work(self) -> None:
        client: Client | None = None
        ledger: Ledger | None = None
        pause = min(FIRST_PAUSE_S, self._interval_seconds)
        while not self._stop.is_set():
            started = time.perf_counter()
            try:
                client = client or self._open_client()
                ledger = ledger or Ledger(client, self._policy, is_stopping=self._stop.is_set)
                hours = ledger.run()
            except Stopped:
                break
            except StoreError as error:
                log.error("the ledger could not run, it tries again: %s", error)
                self._telemetry.count("ledger_runs_total", result="failed")
            except Exception:  # the thread must outlive whatever the driver raises
                log.exception("the ledger could not run, it tries again")
                self._telemetry.count("ledger_runs_total", result="failed")
            else:
                self._telemetry.count("ledger_runs_total", result="ok")
                self._telemetry.count("ledger_hours_total", len(hours))
                self._telemetry.set("ledger_last_run_timestamp_seconds", time.time())
            self._telemetry.count("ledger_seconds_total", time.perf_counter() - started)
            self._stop.wait(pause)
            pause = min(pause * 2, self._interval_seconds)
        if client is not None:
            client.close()
