"""What programs of this machine say that they produced: passed on, and counted for who pulls.

What is passed on is exact: a reading is answered 200 once it is where it outlives this process (in
the state_dir, if there is one), and one that comes twice is the same row. What is pulled are the
same counters added up by workload and kind, as far as this process has seen them grow.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .model import Batch, Outcome
from .outcome_document import Said, Unreadable, read
from .semconv import OUTCOMES
from .telemetry import Family, Sample, Telemetry
from .web.server import Answer, Take

if TYPE_CHECKING:
    from .outputs.families import Registry

PATH = "/v1/outcomes"
JSON = "application/json"
KEEP_SECONDS = 5.0
"""Longest time until an answer, of which a disk may take nearly all."""
FUTURE_MS = 600_000
OLDEST_MS = 29 * 86_400_000
MOST_STREAMS = 10_000
"""Counters that are remembered; the one that was said longest ago makes room."""
MOST_SERIES = 2_000
ZERO_SCRAPES = 2
"""Scrapes in which a new series is 0, because Prometheus cannot see what one began with."""

Keep = Callable[[Batch, float], bool]
"""Keeps a batch within so many seconds; returns whether it did."""


class LocalOutcomes:
    """Takes documents of local programs.

    Args:
        keep: passes on; None where nothing is pushed.
        telemetry: where rejections are counted.
        now_ms: Unix time in milliseconds.
    """

    def __init__(
        self,
        keep: Keep | None,
        telemetry: Telemetry,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._keep = keep
        self._telemetry = telemetry
        self._now_ms = now_ms
        self.takes: Mapping[str, Take] = {PATH: self.post}
        self.seen = Seen(now_ms())

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Take a document; 400 where nothing of it can be used, 503 where it cannot be kept now."""
        key = headers.get("idempotency-key", "").strip()
        now_ms = self._now_ms()
        try:
            said = read(body, lambda at_ms: doubt(at_ms, now_ms), now_ms, key)
        except Unreadable as unreadable:
            self._reject({"malformed": 1})
            told = {"error": "the document cannot be read", "problems": unreadable.problems}
            return _json(400, told)
        if self._keep is not None and not self._keep(said.batch, KEEP_SECONDS):
            return _json(503, {"error": "it cannot be kept now; send it again"})
        self._reject(said.batch.rejected)
        if more := self.seen.take(said.batch.outcomes):
            self._reject({"too_many": more})
        return _json(200, _told(said))

    def beside(self, registry: Registry) -> Registry:
        """Return a registry of everything in another one, and of what was counted."""
        return _Both(registry, self.seen)

    def _reject(self, rejected: Mapping[str, int]) -> None:
        for reason, count in rejected.items():
            self._telemetry.add("wattshed_source_errors_total", count, "outcomes", reason)


class Seen:
    """Counters of programs, added up by workload and kind.

    A counter that began before ``start_ms`` is followed from its first reading on: what it stood at
    was added up by an earlier process.
    """

    def __init__(self, start_ms: int) -> None:
        self._start_ms = start_ms
        self._lock = threading.Lock()
        self._streams: dict[tuple[str, str, str, str], tuple[int, float]] = {}
        self._series: dict[tuple[str, str], float] = {}
        self._young: dict[tuple[str, str], int] = {}

    def take(self, outcomes: Iterable[Outcome]) -> int:
        """Add readings; return how many are left out because there are too many series."""
        left_out = 0
        with self._lock:
            for outcome in outcomes:
                place = outcome.workload, outcome.kind
                if place not in self._series and len(self._series) >= MOST_SERIES:
                    left_out += 1
                    continue
                gained = self._gained(outcome)
                if place not in self._series:
                    self._series[place], self._young[place] = 0.0, 0
                self._series[place] += gained
        return left_out

    def collect(self) -> Iterator[Family]:
        """Yield the family, for one scrape; a new series is 0 in its first two."""
        with self._lock:
            shown = {p: 0.0 if p in self._young else n for p, n in self._series.items()}
            for place, scrapes in list(self._young.items()):
                if scrapes + 1 < ZERO_SCRAPES:
                    self._young[place] = scrapes + 1
                else:
                    del self._young[place]
        name = OUTCOMES.prometheus
        samples = [
            Sample(name, dict(zip(OUTCOMES.labels, place, strict=True)), total)
            for place, total in shown.items()
        ]
        yield Family(name.removesuffix("_total"), OUTCOMES.type, OUTCOMES.help, samples)

    def _gained(self, outcome: Outcome) -> float:
        """Return by how much a counter grew; what is said late or again is passed over."""
        stream = outcome.workload, outcome.kind, outcome.source, outcome.model
        known = self._streams.pop(stream, None)
        if known is not None and outcome.ts_ms <= known[0]:
            self._streams[stream] = known
            return 0.0
        self._streams[stream] = outcome.ts_ms, outcome.total
        if len(self._streams) > MOST_STREAMS:
            del self._streams[next(iter(self._streams))]
        if known is None:
            began = outcome.start_ms is not None and outcome.start_ms >= self._start_ms
            return outcome.total if began else 0.0
        return outcome.total - known[1] if outcome.total >= known[1] else outcome.total


class _Both:
    def __init__(self, first: Registry, second: Registry) -> None:
        self._parts = first, second

    def collect(self) -> Iterator[Any]:
        for part in self._parts:
            yield from part.collect()


def doubt(at_ms: int, now_ms: int) -> str:
    """Return why a time is not believed, "" where it is."""
    if at_ms > now_ms + FUTURE_MS:
        return "future_timestamp"
    return "too_old" if at_ms < now_ms - OLDEST_MS else ""


def _told(said: Said) -> dict[str, Any]:
    rejected = dict(said.batch.rejected)
    return {"accepted": len(said.whose), "rejected": rejected, "problems": said.problems}


def _json(status: int, told: Mapping[str, Any]) -> Answer:
    return Answer(status, JSON, json.dumps(told).encode() + b"\n")
