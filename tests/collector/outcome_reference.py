"""What the ledger must say of outcomes, written down once more as a pure function."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, pairwise

from wattshed_exporter.model import Outcome

MINUTE_MS = 60_000

Counts = dict[tuple[int, str, str], float]
"""What was produced, by minute (Unix seconds), workload and kind."""
Parts = dict[tuple[int, str], float]
"""Which part of a minute's energy came before the first outcome of a run, by minute, workload."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one counter says of [start_ms, end_ms): how much it grew, or that it stands at zero."""

    start_ms: int
    end_ms: int
    gained: float
    is_before: bool


def reference(
    outcomes: Iterable[Outcome], held_since: Mapping[str, int], settled_ms: int
) -> tuple[Counts, Parts]:
    """``outcomes`` in the order of their arrival; ``held_since`` in Unix milliseconds."""
    latest = {(o.workload, o.kind, o.source, o.ts_ms): o for o in outcomes}
    counts: Counts = defaultdict(float)
    parts: Parts = {}
    ordered = [latest[key] for key in sorted(latest)]
    for workload, readings in groupby(ordered, lambda o: o.workload):
        since = held_since.get(workload, 0)
        mine = list(readings)
        said: list[Stretch] = []
        for (kind, _), counter in groupby(mine, lambda o: (o.kind, o.source)):
            for stretch in _stretches(list(counter), since, min(o.ts_ms for o in mine)):
                said.append(stretch)
                for minute, lasted in _minutes(stretch.start_ms, stretch.end_ms, settled_ms):
                    whole = stretch.end_ms - stretch.start_ms
                    counts[minute, workload, kind] += stretch.gained * lasted / whole
        parts.update(((m, workload), part) for m, part in _before(said, since, settled_ms))
    return {key: count for key, count in counts.items() if count}, parts


def _stretches(readings: list[Outcome], since: int, heard_ms: int) -> Iterator[Stretch]:
    first = readings[0]
    start = first.start_ms or 0
    is_whole = bool(since) and 0 < start <= first.ts_ms and start >= since - MINUTE_MS
    stands_at_zero = is_whole or first.total == 0
    began = start if is_whole else first.ts_ms
    if is_whole:
        began = yield from _one(start, first, first.total)
    if since and first.ts_ms == heard_ms and since < began:
        yield Stretch(since, began, 0.0, stands_at_zero)
    for a, b in pairwise(readings):
        restarted = (b.start_ms or 0) > a.ts_ms
        gained = b.total if restarted or b.total < a.total else b.total - a.total
        yield from _one(min(b.start_ms or 0, b.ts_ms) if restarted else a.ts_ms, b, gained)


def _one(start_ms: int, reading: Outcome, gained: float) -> Generator[Stretch, None, int]:
    """A counter that says to have begun at its reading grew in the millisecond before."""
    if gained:
        start_ms = min(start_ms, reading.ts_ms - 1)
    if start_ms < reading.ts_ms:
        yield Stretch(start_ms, reading.ts_ms, gained, reading.total == 0)
    return start_ms


def _minutes(start_ms: int, end_ms: int, settled_ms: int) -> Iterator[tuple[int, int]]:
    """Give each minute (Unix seconds) and how much of it lies within, up to ``settled_ms``."""
    end_ms = min(end_ms, settled_ms)
    at = start_ms
    while at < end_ms:
        beyond = min(end_ms, at // MINUTE_MS * MINUTE_MS + MINUTE_MS)
        yield at // MINUTE_MS * 60, beyond - at
        at = beyond


def _before(said: list[Stretch], since: int, settled_ms: int) -> Iterator[tuple[int, float]]:
    edges = sorted({edge for s in said for edge in (s.start_ms, s.end_ms)})
    lasted: dict[int, int] = defaultdict(int)
    for a, b in pairwise(edges):
        states = {s.is_before for s in said if s.start_ms <= a and s.end_ms >= b}
        if states == {True}:
            for minute, ms in _minutes(a, b, settled_ms):
                lasted[minute] += ms
    for minute, ms in lasted.items():
        end_ms = min(minute * 1000 + MINUTE_MS, settled_ms)
        held_ms = end_ms - max(minute * 1000, since)
        yield minute, min(1.0, ms / max(held_ms, ms))
