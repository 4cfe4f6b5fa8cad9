"""The part of a ledger that charges hours at other prices and PUEs without their readings.

Readings are kept for a while, what was charged for ever. A price that is told of an older hour, or
corrected, changes what its joules cost and never the joules, so that no reading is needed for it.
Hours of a day are done together, the newest day first, and a portion in a run, so that new readings
never wait long; such in which nothing costs anything else are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from itertools import groupby
from typing import Any, NamedTuple

from .store import ledger_state
from .store.ledger_sql import slices, steps
from .store.pieces_sql import within
from .store.reprice_sql import DIFFERING, HOUR_ROWS, LEFT_OPEN, RATE_DAY, REPRICE, ROWS
from .store.shards import Shards

HOUR_S, DAY_S = 3600, 86_400

GoOn = Callable[[], None]
"""Raises where the ledger is to stop, or leads no more."""


class Charged(NamedTuple):
    """Hours (Unix seconds) that were charged at other rates, and those that wait for it."""

    done: Set[int]
    left: Set[int]


class Rates:
    """Rates of charged hours, on the tables of ``shards``.

    ``slice_rows``: minutes of charges that one statement takes up; ``portion_rows``: charges after
    which a run leaves the rest to the next one, at the end of a day.
    """

    def __init__(self, shards: Shards, slice_rows: int, portion_rows: int) -> None:
        self._shards = shards
        self._slice_rows = slice_rows
        self._portion_rows = portion_rows

    def charge(self, hours: Set[int], version: int, oldest: int, may_go_on: GoOn) -> Charged:
        """Charge the joules of those of ``hours`` (Unix seconds) at the rates of now that cost
        anything else by them.

        Not those that another run has left half done: to know what they hold takes their readings.
        Days that end by ``oldest`` (Unix seconds) are summed up as well: of them nothing can be
        read any more.
        """
        opened = self._left_open()
        left = {hour for hour in hours if opened.get(hour, True)}
        done: set[int] = set()
        rows = 0
        for lo, hi in list(_portions(sorted(left))):
            if rows >= self._portion_rows:
                break
            may_go_on()
            span = range(lo, hi, HOUR_S)
            due = self._differing(lo, hi) | {hour for hour in span if hour in opened}
            for first, end in _portions(sorted(due)):
                self._charge(first, end, version, oldest, may_go_on)
                rows += self._rows(ROWS, first, end)
            rows += self._rows(HOUR_ROWS, lo, hi)
            left.difference_update(span)
            done |= due
        return Charged(done, left)

    def _left_open(self) -> dict[int, bool]:
        """Return the hours of which a version was begun and not ended, and whether each was begun
        to be charged at other rates alone."""
        found: dict[int, bool] = {}
        for hour, only_rates in self._shards.rows(LEFT_OPEN):
            found[int(hour)] = bool(only_rates) and found.get(int(hour), True)
        return found

    def _differing(self, lo: int, hi: int) -> set[int]:
        given = {**within(lo, hi), "first_device": 0, "last_device": 2**64 - 1}
        return {int(hour) for (hour,) in self._shards.rows(DIFFERING, given)}

    def _rows(self, counted: str, lo: int, hi: int) -> int:
        """Return how many rows the shard with the most of them has."""
        return max(int(count) for (count,) in self._shards.rows(counted, within(lo, hi)))

    def _charge(self, lo: int, hi: int, version: int, oldest: int, may_go_on: GoOn) -> None:
        with ledger_state.unmerged(self._shards):
            self._open(range(lo, hi, HOUR_S), version)
            self._write(lo, hi, version, may_go_on)
            day = lo // DAY_S * DAY_S
            if day + DAY_S <= oldest:
                self._sum_up(day, version)
            self._shards.sync(ledger_state.READ)
            may_go_on()
            self._run((ledger_state.FINISH,), lo, hi, version)

    def _open(self, hours: Sequence[int], version: int) -> None:
        self._shards.each(
            lambda client: ledger_state.open_hours(client, hours, version, only_rates=True)
        )

    def _write(self, lo: int, hi: int, version: int, may_go_on: GoOn) -> None:
        parts = slices(self._rows(ROWS, lo, hi), self._slice_rows)
        for statement, (first, last) in steps(REPRICE, parts):
            may_go_on()
            self._run((statement,), lo, hi, version, first, last)

    def _run(
        self, statements: Iterable[str], lo: int, hi: int, version: int, *devices: int
    ) -> None:
        given: dict[str, Any] = {**within(lo, hi), "version": version}
        if devices:
            given["first_device"], given["last_device"] = devices
        for statement in statements:
            self._shards.command(statement, given)

    def _sum_up(self, day: int, version: int) -> None:
        given = {"lo": day, "hi": day + DAY_S, "version": version}
        for statement in RATE_DAY:
            self._shards.command(statement, given)


def _portions(hours: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Give [lo, hi) of hours that follow one another within a day, the newest day first."""
    days = [list(same) for _, same in groupby(hours, lambda hour: hour // DAY_S)]
    for day in reversed(days):
        lo = day[0]
        for hour, following in zip(day, [*day[1:], 0], strict=True):
            if following != hour + HOUR_S:
                yield lo, hour + HOUR_S
                lo = following
