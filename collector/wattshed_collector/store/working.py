"""When devices last worked, from the rows that are written: idleness without looking back.

A device works at a reading where its multiprocessors' activity or the driver's utilisation is at
2 % or above, or its memory's activity at 5 %: of signals that fail independently the one that sees
work is believed. What is not said is no sign of anything. It is the newest such reading that
counts, not a mean, because one burst is work. As in ``latest``, the greater stands, whatever the
order; half a minute of it is gathered, because an insert costs the same whatever its size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .client import Client
from .frames import cast
from .insert import Column, Frame

Array = NDArray[Any]

TABLE = "device_work"
WORKS_FROM, MOVES_FROM = 0.02, 0.05
"""Ratios of activity; ``0022_signals.sql`` has them as well."""
RECENT_S, HOUR_S = 15 * 60, 3600
_U8 = np.dtype("<u8")
_SM, _MEMORY = "wattshed_sm_activity_ratio", "wattshed_memory_activity_ratio"
_WIDE = (("sm_activity_e6", WORKS_FROM), ("memory_activity_e6", MOVES_FROM))

FOUND_AGAIN = (
    """
INSERT INTO device_work (device_id, worked)
SELECT device_id, max(toUInt64(toUnixTimestamp64Milli(k.ts))) FROM tick AS k
WHERE toStartOfHour(k.ts) >= toDateTime({since:UInt32}, 'UTC') AND util_e4 / 1e4 >= {works:Float64}
GROUP BY device_id
""",
    """
INSERT INTO device_work (device_id, activity, worked)
SELECT device_id, maxIf(toUInt64(toUnixTimestamp64Milli(k.ts)), isNotNull(sm_activity_e6)),
       maxIf(toUInt64(toUnixTimestamp64Milli(k.ts)),
             ifNull(sm_activity_e6 / 1e6 >= {works:Float64}, 0)
             OR ifNull(memory_activity_e6 / 1e6 >= {moves:Float64}, 0))
FROM detail AS k WHERE toStartOfHour(k.ts) >= toDateTime({since:UInt32}, 'UTC')
GROUP BY device_id
""",
)
"""A value that no column of ``detail`` holds is not looked for: the next reading says another."""

Seen = tuple[Array, Array, Array]
"""Devices, and by each in milliseconds when activity of its multiprocessors was said, and when it
worked; 0: not so."""


def find_again(client: Client, now: float) -> None:
    """Write what the readings of recent hours say: a writer that was killed had gathered some."""
    since = max(0, (int(now) - RECENT_S) // HOUR_S * HOUR_S)
    told = {"since": since, "works": WORKS_FROM, "moves": MOVES_FROM}
    for statement in FOUND_AGAIN:
        client.command(statement, told)


class Working:
    """Gathers when devices worked and says when that is due: ``every_seconds``, 0: at once."""

    def __init__(self, every_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_seconds = every_seconds
        self._clock = clock
        self._written_at = -every_seconds
        self._waiting: list[Seen] = []

    def gather(self, facts: Sequence[Frame]) -> None:
        """Take rows that were written, and that ``due`` was not told of."""
        self._waiting += _some(facts)
        if len(self._waiting) > 1:
            self._waiting = [_greatest(self._waiting)]

    def due(self, facts: Sequence[Frame] = (), *, always: bool = False) -> Frame | None:
        """Return what is to be written now with ``facts``, None if it is not time or is nothing.

        Rows that cannot be written must not stay in here: they would spoil whatever comes after.
        """
        if not always and self._clock() - self._written_at < self._every_seconds:
            return None
        waiting = [*self._waiting, *_some(facts)]
        if not waiting:
            return None
        device, activity, worked = _greatest(waiting)
        columns = {"device_id": device, "activity": activity, "worked": worked}
        return Frame(TABLE, {name: Column(values) for name, values in columns.items()})

    def written(self) -> None:
        """What was due is in the store."""
        self._waiting, self._written_at = [], self._clock()


def _some(facts: Sequence[Frame]) -> list[Seen]:
    return [seen for seen in _seen(facts) if len(seen[0])]


def _seen(facts: Sequence[Frame]) -> Iterator[Seen]:
    for rows in facts:
        if rows.table == "tick":
            works = _reaches(rows, "util_e4", WORKS_FROM * 1e4)
            yield _devices(rows, works), np.zeros(int(works.sum()), _U8), _ms(rows)[works]
        elif rows.table == "detail":
            yield _of_details(rows)
        elif rows.table == "sample":
            yield from _of_samples(rows)


def _of_details(rows: Frame) -> Seen:
    works = np.zeros(len(rows), bool)
    for name, least in _WIDE:
        works |= _reaches(rows, name, least * 1e6)
    said = _present(rows, "sm_activity_e6")
    chosen = said | works
    ms = _ms(rows)[chosen]
    none = np.zeros_like(ms)
    activity, worked = np.where(said[chosen], ms, none), np.where(works[chosen], ms, none)
    return _devices(rows, chosen), activity, worked


def _of_samples(rows: Frame) -> Iterator[Seen]:
    metrics, values, ms = rows.columns["metric"].values, rows.columns["value"].values, _ms(rows)
    for metric, least in ((_SM, WORKS_FROM), (_MEMORY, MOVES_FROM)):
        chosen = metrics == metric
        when = ms[chosen]
        none = np.zeros_like(when)
        worked = np.where(values[chosen] >= least, when, none)
        yield _devices(rows, chosen), when if metric == _SM else none, worked


def _greatest(seen: Sequence[Seen]) -> Seen:
    """Return one row a device."""
    device, activity, worked = (np.concatenate(arrays) for arrays in zip(*seen, strict=True))
    order = np.argsort(device, kind="stable")
    device = device[order]
    starts = np.flatnonzero(np.append(True, device[1:] != device[:-1]))
    newest = np.maximum.reduceat(activity[order], starts)
    return device[starts], newest, np.maximum.reduceat(worked[order], starts)


def _ms(rows: Frame) -> Array:
    return rows.columns["ts"].values.astype(np.int64).astype(_U8)


def _devices(rows: Frame, chosen: Array) -> Array:
    return cast(f"{rows.table}.device_id", rows.columns["device_id"].values[chosen], _U8)


def _reaches(rows: Frame, name: str, least: float) -> Array:
    column = rows.columns.get(name)
    if column is None:
        return np.zeros(len(rows), bool)
    reaches: Array = column.values >= least
    return reaches if column.present is None else reaches & column.present


def _present(rows: Frame, name: str) -> Array:
    column = rows.columns.get(name)
    if column is None:
        return np.zeros(len(rows), bool)
    return np.ones(len(rows), bool) if column.present is None else column.present
