"""What programs say that they produced, over ``POST /v1/outcomes``, and the store against it.

An increment is two readings of a counter of its own, named by its id or by the request's key; so a
reading is known as those of devices are, by its counter, its time and where the counter stood.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chdb
import numpy as np

from wattshed_exporter.model import stable_id

from .audit import Counts, compared
from .book import Book
from .machines import READING, Body, Readings

PATH = "/v1/outcomes"
ITEMS = 4
STEP_MS = 20
WORKLOAD = "made"
STORED = """
SELECT w.key AS workload, toString(o.kind) AS kind, o.source AS source,
       toUnixTimestamp64Milli(o.ts) AS ts, toInt64(o.total) AS total
FROM (SELECT * FROM outcome FINAL) AS o
LEFT JOIN (SELECT workload_id, key FROM workload FINAL) AS w ON w.workload_id = o.workload_id
"""
COUNTED = "SELECT toFloat64(sum(count)) AS count FROM outcome_1m FINAL WHERE kind != ''"


class Program:
    """Makes numbered documents: increments of whole counts, and one counter that goes on.

    Every other document names its increments by an ``Idempotency-Key``.
    """

    def __init__(self, name: str, *, start_ms: int) -> None:
        self._name, self._workload = name, f"{WORKLOAD}/{name}"
        self._start_ms = self._next_ms = start_ms
        self._dice = random.Random(name)
        self._number = self._total = 0

    def __iter__(self) -> Iterator[Body]:
        return self

    def __next__(self) -> Body:
        self._number += 1
        key = f"{self._name}-{self._number}" if self._number % 2 else ""
        found = [self._increment(at, key) for at in range(ITEMS)]
        self._total += self._dice.randrange(1, 9)
        self._next_ms += STEP_MS
        start, ts = self._start_ms, self._next_ms
        found.append(
            (
                {"outcome": "step", "total": self._total, "ts": ts / 1000, "start": start / 1000},
                [(self._counter("step", ""), ts, self._total)],
            )
        )
        items = [{"workload": {"key": self._workload}, **item} for item, _ in found]
        rows = [row for _, rows in found for row in rows]
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        data = json.dumps(items).encode()
        return Body(data, np.array(rows, READING), path=PATH, headers=headers)

    def _increment(self, at: int, key: str) -> tuple[dict[str, Any], list[tuple[int, int, int]]]:
        begin, count = self._next_ms, self._dice.randrange(1, 1000)
        self._next_ms += STEP_MS
        item = {"outcome": "token_out", "count": count}
        item |= {"from": begin / 1000, "to": self._next_ms / 1000}
        own = f"{self._name}-{self._number}-{at}"
        counter = self._counter("token_out", f"key:{key}#{at}" if key else f"id:{own}")
        rows = [(counter, begin, 0), (counter, self._next_ms, count)]
        return item if key else {**item, "id": own}, rows

    def _counter(self, kind: str, source: str) -> int:
        return stable_id(f"{self._workload} {kind} {source}")


@dataclass(frozen=True, slots=True)
class Made:
    """``counts`` are of readings; ``off`` is how far what the ledger counted is from how much the
    stored counters grew, relative."""

    counts: Counts
    counted: float
    off: float


def audit(folder: Path, book: Book) -> Made:
    """Compare the outcomes in a stopped collector's engine folder with the book."""
    engine = chdb.connect(str(folder))  # type: ignore[no-untyped-call]
    try:
        told = engine.query(STORED, "JSONCompactEachRow").bytes()
        (counted,) = json.loads(engine.query(COUNTED, "JSONCompactEachRow").bytes())
    finally:
        engine.close()
    rows = [json.loads(line) for line in told.splitlines()]
    found = [
        (stable_id(f"{w} {kind} {source}"), int(ts), int(n)) for w, kind, source, ts, n in rows
    ]
    counts, meant = compared(np.array(found, READING), book.sent(), book.acknowledged())
    expected = grown(meant)
    return Made(counts, counted, abs(counted - expected) / expected if expected else math.nan)


def grown(stored: Readings) -> float:
    """Return how far counters grew from their first reading to their last; none of them falls."""
    order = np.sort(stored, order=("device", "ts"))
    devices, firsts = np.unique(order["device"], return_index=True)
    lasts = np.append(firsts[1:], len(order)) - 1
    return float((order["energy"][lasts] - order["energy"][firsts]).sum()) if len(devices) else 0.0
