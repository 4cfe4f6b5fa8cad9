"""Which hours' outcomes a run of the ledger sets against joules, and that it does.

An outcome that comes late touches, beside its own hour, every hour up to its counter's readings on
either side. More than that is news of other hours where a workload turns out to have been held or
heard of earlier, and where energy is charged up to a later time, since outcomes count only so far.
Before the hour in which the first workload that ever produced was first held there is nothing to
compute; where there are no outcomes at all, nothing is asked and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterable

from . import ledger_edges
from .store import ledger_state
from .store.outcome_sql import BEGUN, EDGES, KNOWN_HOURS, OUTCOMES, SEEN
from .store.pieces_sql import within
from .store.shards import Shards

HOUR_S = 3600
LONG_HOURS = 1500
"""Of a longer stretch only the hours are computed of which anything is known: results of several
years may lie in one store."""


class Outcomes:
    """The part of a ledger that knows outcomes; its tables are those of ``shards``."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._edges = self._next_edges = ledger_edges.none()
        self._since, self._settled_ms = ledger_state.outcomes_since(shards.client)
        self._next_since, self._next_settled_ms = self._since, self._settled_ms

    @property
    def extent(self) -> tuple[int, int]:
        """The first hour with outcomes and the one after the last in which anything is charged,
        Unix seconds; they are one where there are none."""
        end = self._settled_ms // 1000 // HOUR_S * HOUR_S + HOUR_S
        return min(self._since or end, end), end

    def forget(self) -> None:
        """Take everything for new again: another may have led."""
        self._edges = ledger_edges.none()
        self._since, self._settled_ms = ledger_state.outcomes_since(self._shards.client)
        self._next_since, self._next_settled_ms = self._since, self._settled_ms

    def hours(self, told: Iterable[int], touched: Iterable[int], settled_ms: int) -> set[int]:
        """Return the hours (Unix seconds) to compute beside those of charges.

        ``told``: hours with news of outcomes; ``touched``: with news of charges; ``settled_ms``:
        the event time up to which energy is charged.
        """
        found = set(told)
        self._next_settled_ms = settled_ms
        self._next_since, self._next_edges = self._since, self._edges
        if not found and not self._since:
            return set()
        begun = self._beyond(found) if found else set()
        found |= self._begun(sorted(touched), sorted(begun))
        if settled_ms > self._settled_ms:
            lo = max(self._settled_ms // 1000, self._next_since) // HOUR_S * HOUR_S
            found.update(range(lo, settled_ms // 1000 + 1, HOUR_S))
        return self._known({hour for hour in found if hour >= self._next_since})

    def compute(self, lo: int, hi: int, version: int) -> None:
        """Set the outcomes of the hours of [lo, hi), Unix seconds, against what is charged."""
        lo = max(lo, self._next_since)
        if not self._next_since or lo >= hi:
            return
        given = {**within(lo, hi), "version": version, "settled": self._next_settled_ms}
        for statement in OUTCOMES:
            self._shards.command(statement, given)

    def done(self, version: int) -> None:
        """Note that all of what ``hours`` returned, and what was charged with it, is computed."""
        if self._next_since != self._since:
            ledger_state.keep_outcomes_since(self._shards.client, self._next_since, version)
        self._edges, self._since = self._next_edges, self._next_since
        self._settled_ms = self._next_settled_ms

    def _beyond(self, told: set[int]) -> set[int]:
        """Widen ``told`` to the neighbours of what is new; return hours in which counters begin."""
        given = ledger_edges.asked(told)
        self._shards.command(SEEN, given)
        edges = ledger_edges.ordered(self._shards.arrays(EDGES, ledger_edges.EDGE, given))
        begun = ledger_edges.first(edges, self._edges)
        told |= ledger_edges.beyond(edges, self._edges)
        self._next_edges = edges
        return begun

    def _known(self, hours: set[int]) -> set[int]:
        if len(hours) <= LONG_HOURS:
            return hours
        given = {"first": min(hours), "last": max(hours)}
        return hours & {int(hour) for (hour,) in self._shards.client.rows(KNOWN_HOURS, given)}

    def _begun(self, touched: list[int], begun: list[int]) -> set[int]:
        found: set[int] = set()
        since = self._since
        rows = self._shards.client.rows(BEGUN, {"touched": touched, "begun": begun})
        for first, last, is_news in rows:
            since = min(since or int(first), int(first))
            if is_news:
                found.update(range(int(first), int(last) + 1, HOUR_S))
        if since != self._since:
            end = self._since or max(found, default=since) + HOUR_S
            end = max(end, self._next_settled_ms // 1000 + 1) if not self._since else end
            found.update(range(since, end, HOUR_S))
        self._next_since = since
        return found
