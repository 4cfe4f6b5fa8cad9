"""The part of a ledger that sums up days, so that boards over months read a row per device and day.

A day is due while one of its hours is newer than it is, which the store itself says; the newest
come first, a few in a run. Today changes with every run: how often that is looked at falls from
every few seconds after a start to once an hour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .store.days_sql import DAYS, DUE
from .store.shards import Shards

DAY_S = 86_400
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 3600.0
DAYS_PER_RUN = 4

Due = tuple[int, int]
"""When a day begins (Unix seconds), and the version of its newest hour."""


class Days:
    """Days on the tables of ``shards``."""

    def __init__(self, shards: Shards, days_per_run: int = DAYS_PER_RUN) -> None:
        self._shards = shards
        self._days_per_run = days_per_run
        self._pause_s = FIRST_PAUSE_S
        self._looked = self._next = 0.0
        self._since = 0

    def due(self, oldest: int, now: float) -> list[Due]:
        """Return the days to sum up now, none where it is not time to look.

        ``oldest``: the oldest hour (Unix seconds) that can change by ``now``.
        """
        if self._looked <= now < self._next:
            return []
        given = {"since": self._since, "most": self._days_per_run}
        due = [(int(day), int(version)) for day, version in self._shards.client.rows(DUE, given)]
        self._looked = self._next = now
        if len(due) < self._days_per_run:
            self._since = oldest // DAY_S * DAY_S
            self._next = now + self._pause_s
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        return due

    def sum_up(self, due: Iterable[Due], may_go_on: Callable[[], None]) -> None:
        """Write days anew; ``may_go_on`` raises where the ledger is to stop."""
        for day, version in due:
            given = {"lo": day, "hi": day + DAY_S, "version": version}
            for statement in DAYS:
                may_go_on()
                self._shards.command(statement, given)
