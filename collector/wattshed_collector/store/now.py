"""What is so now, from the rows that pass by: what a store would answer that only we write to.

Everything that power now is made of comes through the one writer of an embedded store, so that it
need not be asked for again: a question costs less than the planning of one query. What was there
before is asked for at the first question. Each table's own rule says which of two rows stands, so
neither order nor repeats matter, and ``live_power.Asked`` says the same at any time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .client import Client
from .energy_queries import Record
from .insert import Frame
from .live_power import FRESH_S, HELD, HOLDERS, PLACES, READING, Asked, power

KEPT_S = FRESH_S
"""What ended longer ago is held no more, however far the clocks of two machines are apart: where
devices are shared, each holder's window of a minute is an allocation, a million an hour."""
FEWEST = 10_000
"""Rows that wait to be made one with the rest, before those of a large fleet are; and names that
are remembered, before those are let go that no question needs any more."""
ASKED_AT_ONCE = 2000
_STATED = {"device": (*PLACES, "overlap"), "workload": HOLDERS}
_CALLED = {"workload": "name"}
"""Columns that are called otherwise in their table."""

Array = NDArray[Any]
Names = tuple[str, ...]


class Now:
    """Told by the writer what is durable, asked by a thread that reads.

    ``clock`` is in Unix seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._is_loaded = False
        self._failures = 0
        self._readings = _Newest(READING, ("device",), ("said", "power_uw"))
        self._held = _Newest(HELD, ("device", "workload", "start"), ("revision", "end"))
        self._names = {table: _Names(table, columns) for table, columns in _STATED.items()}

    def observe(self, last: Frame | None, facts: Iterable[Frame]) -> None:
        """Learn what was written: some rows of ``latest``, and of any other tables."""
        with self._lock:
            if last is not None:
                self._readings.add(_reading_rows(last))
            for rows in facts:
                if rows.table in self._names:
                    self._names[rows.table].learn(rows)
                elif rows.table == "allocation":
                    held = _held_rows(rows)
                    # A correction is merged first: it may end before what it corrects.
                    self._held.add(held[(held["revision"] > 0) | self._counts(held)])
            if self._readings.is_long:
                self._readings.rows()
            if self._held.is_long:
                self._standing()

    def power(self, client: Client, by: str, now: float) -> list[Record]:
        """Return what ``live_power.power`` says; ``client`` is asked for what is not known yet."""
        if not self._is_loaded:
            self._load(client, now)
        return power(_Known(self, client), by, now)

    def _load(self, client: Client, now: float) -> None:
        asked, failures = Asked(client), self._failures
        readings, held = asked.readings(), asked.held(now)
        with self._lock:
            self._readings.add(readings)
            self._held.add(held)
            self._is_loaded = self._failures == failures  # else a part of that may be missing

    def forget(self) -> None:
        """Ask the store again: it may hold a part of what could not be written."""
        with self._lock:
            self._is_loaded = False
            self._failures += 1
            for names in self._names.values():
                names.forget()

    def readings(self) -> Array:
        """Return the newest reading of each device."""
        with self._lock:
            return self._readings.rows()

    def held(self) -> Array:
        """Return what was held lately, each allocation as it stands."""
        with self._lock:
            return self._standing()

    def named(self, client: Client, table: str, ids: list[int]) -> dict[int, Names]:
        """Return what each of ``ids`` is called, ("", ...) for one that nobody described."""
        names = self._names[table]
        heard, found = names.heard, names.known(ids)  # the writer need not wait for so many
        missing = [number for number in ids if number not in found]
        if missing:
            asked = names.ask(client, missing)
            found.update(asked)
            with self._lock:
                if names.heard == heard:  # else what was just written may be newer
                    names.remember(asked, ids)
        return found

    def _standing(self) -> Array:
        """Let go of what ended long ago; return the rest."""
        return self._held.keep(self._counts(self._held.rows()))

    def _counts(self, held: Array) -> Array:
        counts: Array = held["end"] >= (self._clock() - KEPT_S) * 1000
        return counts


class _Known:
    """A ``Source``: what ``Now`` knows, with a client for names that were not asked for before."""

    def __init__(self, now: Now, client: Client) -> None:
        self._now = now
        self._client = client

    def readings(self) -> Array:
        return self._now.readings()

    def apart(self, devices: Array) -> Array:
        overlaps = self._of("device", "overlap", devices)
        return np.fromiter((o != "" for o in overlaps), bool, len(devices))

    def held(self, now: float) -> Array:
        return self._now.held()

    def named(self, table: str, column: str, ids: Array) -> dict[int, str]:
        return dict(zip(ids.tolist(), self._of(table, column, ids), strict=True))

    def _of(self, table: str, column: str, ids: Array) -> list[str]:
        wanted = "workload" if column == "name" else column
        place, asked = _STATED[table].index(wanted), ids.tolist()
        found = self._now.named(self._client, table, asked)
        return [found[number][place] for number in asked]


class _Newest:
    """Rows of which the greatest of each key stands: ``decide`` says which that is."""

    def __init__(self, dtype: np.dtype[np.void], key: Names, decide: Names) -> None:
        self._key = key
        self._order = (*reversed(decide), *reversed(key))
        """As ``lexsort`` takes it, the most important last."""
        self._rows: Array = np.empty(0, dtype)
        self._waiting: list[Array] = []
        self._count = 0

    @property
    def is_long(self) -> bool:
        return self._count > max(FEWEST, len(self._rows))

    def add(self, rows: Array) -> None:
        self._waiting.append(rows)
        self._count += len(rows)

    def rows(self) -> Array:
        """Return one row a key. What is returned is never changed."""
        if self._waiting:
            rows = np.concatenate([self._rows, *self._waiting])
            rows = rows[np.lexsort([rows[name] for name in self._order])]
            differs = np.zeros(max(0, len(rows) - 1), bool)
            for name in self._key:
                differs |= rows[name][1:] != rows[name][:-1]
            self._rows = rows[np.append(differs, True)[: len(rows)]]
            self._waiting, self._count = [], 0
        return self._rows

    def keep(self, chosen: Array) -> Array:
        """Keep those of ``rows`` that are chosen, and return them."""
        if not chosen.all():
            self._rows = self._rows[chosen]
        return self._rows


class _Names:
    """What members of a table are called; only of those that were asked for."""

    def __init__(self, table: str, columns: Names) -> None:
        self._table = table
        self._columns = tuple(_CALLED.get(name, name) for name in columns)
        self._known: dict[int, Names] = {}
        self.heard = 0
        """How often anything was learned."""

    def learn(self, rows: Frame) -> None:
        self.heard += 1
        told = [rows.columns[name].said() for name in self._columns]
        ids = rows.columns[f"{self._table}_id"].values.tolist()
        for number, *names in zip(ids, *told, strict=True):
            if number in self._known:
                self._known[number] = tuple(names)

    def forget(self) -> None:
        self.heard += 1
        self._known = {}

    def known(self, ids: Iterable[int]) -> dict[int, Names]:
        """Return what is known of some; from any thread, since what is there is never taken out."""
        known = self._known
        return {number: known[number] for number in ids if number in known}

    def remember(self, asked: dict[int, Names], wanted: Sequence[int]) -> None:
        """Take in what was asked; of the rest only ``wanted``, once it is much more than that."""
        self._known.update(asked)
        if len(self._known) > max(FEWEST, 2 * len(wanted)):
            self._known = self.known(wanted)

    def ask(self, client: Client, ids: list[int]) -> dict[int, Names]:
        found = dict.fromkeys(ids, ("",) * len(self._columns))
        sql = (
            f"SELECT {self._table}_id, {', '.join(self._columns)} FROM {self._table} FINAL "
            f"WHERE {self._table}_id IN {{ids:Array(UInt64)}}"
        )
        for at in range(0, len(ids), ASKED_AT_ONCE):
            for number, *names in client.rows(sql, {"ids": ids[at : at + ASKED_AT_ONCE]}):
                found[int(number)] = tuple(map(str, names))
        return found


def _reading_rows(last: Frame) -> Array:
    power_now = last.columns["power"].values
    rows = np.empty(len(last), READING)
    rows["device"] = last.columns["device_id"].values
    rows["power_uw"], rows["said"] = power_now["power_uw"], power_now["said"]
    return rows


def _held_rows(allocations: Frame) -> Array:
    rows = np.empty(len(allocations), HELD)
    for name, column in (
        ("device", "device_id"),
        ("workload", "workload_id"),
        ("start", "start_ts"),
        ("revision", "revision"),
        ("end", "end_ts"),
        ("share", "share"),
    ):
        rows[name] = allocations.columns[column].values
    return rows
