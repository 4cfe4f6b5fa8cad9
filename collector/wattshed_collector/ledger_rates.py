"""The part of a ledger that charges hours at other prices and PUEs without their readings.

Readings are kept for a while, what was charged for ever. A price that is told of an older hour, or
corrected, changes what its joules cost and never the joules, so that no reading is needed for it.
Hours of a day are done together, the newest day first; such in which nothing costs anything else
are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from itertools import groupby

from .store import ledger_state
from .store.ledger_sql import slices, steps
from .store.pieces_sql import within
from .store.reprice_sql import DIFFERING, LEFT_OPEN, RATE_DAY, REPRICE, ROWS
from .store.shards import Shards

HOUR_S, DAY_S = 3600, 86_400

GoOn = Callable[[], None]
"""Raises where the ledger is to stop, or leads no more."""


class Rates:
    """Rates of charged hours, on the tables of ``shards``.

    ``slice_rows``: minutes of charges that one statement takes up.
    """

    def __init__(self, shards: Shards, slice_rows: int) -> None:
        self._shards = shards
        self._slice_rows = slice_rows

    def due(self, hours: Set[int]) -> Set[int]:
        """Return which of ``hours`` (Unix seconds) are to be charged at other rates.

        Not those that another run has left half done: to know what they hold takes their readings.
        """
        left: dict[int, bool] = {}
        for hour, only_rates in self._shards.rows(LEFT_OPEN):
            left[int(hour)] = bool(only_rates) and left.get(int(hour), True)
        found = {hour for hour in hours if left.get(hour)}
        for lo, hi in _portions(sorted(hours)):
            given = {**within(lo, hi), "first_device": 0, "last_device": 2**64 - 1}
            found.update(int(hour) for (hour,) in self._shards.rows(DIFFERING, given))
        return {hour for hour in found & hours if left.get(hour, True)}

    def charge(self, hours: Set[int], version: int, oldest: int, may_go_on: GoOn) -> None:
        """Charge the joules of ``hours`` at the rates of now.

        Days that end by ``oldest`` (Unix seconds) are summed up as well: of them nothing can be
        read any more.
        """
        for lo, hi in _portions(sorted(hours)):
            may_go_on()
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
        counts = self._shards.rows(ROWS, within(lo, hi))
        parts = slices(max(int(count) for (count,) in counts), self._slice_rows)
        for statement, (first, last) in steps(REPRICE, parts):
            may_go_on()
            self._run((statement,), lo, hi, version, first, last)

    def _run(
        self, statements: Iterable[str], lo: int, hi: int, version: int, *devices: int
    ) -> None:
        given = {**within(lo, hi), "version": version}
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
