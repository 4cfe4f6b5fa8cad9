"""The part of a ledger that knows objectives: what became of them in the hours that it computes.

An hour is computed after its outcomes, with them. More than that is news where a definition is new
or changed, or where it turns out whom it matches: then hours of its window are computed again, the
newest first, at most ``portion_hours`` in a run, so that new readings never wait long. How far back
that is done stands in the store, and a restart goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from .store import ledger_state, slo_definitions
from .store.pieces_sql import within
from .store.shards import Shards
from .store.slo_sql import DONE, IS_NEWS, MEMBERS, NEWS, REACHED, RESTART, SLOS

HOUR_S = 3600
DAY_S = 24 * HOUR_S
HOURS_PER_STATEMENT = 24
PORTION_HOURS = 168


@dataclass(frozen=True, slots=True)
class Reach:
    """An objective is computed under ``revision`` from ``since`` on, as far back as ``floor`` once
    it is done; times are Unix seconds."""

    slo: str
    revision: int
    since: int
    floor: int
    is_done: bool


class Slos:
    """Objectives on the tables of ``shards``. ``minute_days`` is for how long minutes are kept, 0
    for ever; None: the store knows."""

    def __init__(
        self,
        shards: Shards,
        portion_hours: int = PORTION_HOURS,
        minute_days: int | None = None,
    ) -> None:
        self._shards = shards
        self._portion_hours = portion_hours
        self._are_any: bool | None = None
        self._minute_days = minute_days

    def refresh(self) -> bool:
        """Look whether there are any; return it."""
        self._are_any = slo_definitions.any_active(self._shards.client)
        return self._are_any

    def compute(self, lo: int, hi: int, version: int, slos: Sequence[str] = ()) -> None:
        """Compute the hours of [lo, hi), Unix seconds, of ``slos`` or of all."""
        if self._are_any is None:
            self.refresh()
        if not self._are_any:
            return
        given = {**within(lo, hi), "version": version, "slos": list(slos)}
        for statement in SLOS:
            self._shards.command(statement, given)

    def is_behind(self, since: int, end: int, now: float) -> bool:
        """Return whether new definitions or members are news of hours that are computed already.

        ``since`` is the first hour with outcomes, ``end`` follows the last (Unix seconds).
        """
        if not self._are_any:
            return False
        ((news,),) = self._shards.client.rows(IS_NEWS)
        return bool(news) or bool(self._behind(self._oldest(since, end, now), end))

    def follow(
        self,
        since: int,
        end: int,
        now: float,
        versions: tuple[int, int],
        may_go_on: Callable[[], None],
    ) -> None:
        """Compute what those change. ``versions`` ascend; ``may_go_on`` raises where the ledger is
        to stop."""
        first, last = versions
        since = self._oldest(since, end, now)
        self._compute(self._of_members(since, end, first), first, may_go_on)
        self._shards.command(DONE, {"version": last})
        behind = self._behind(since, end)
        if behind:
            self._reach_back(behind, last, may_go_on)

    def _oldest(self, since: int, end: int, now: float) -> int:
        """Return the oldest hour whose minutes are all there."""
        if self._minute_days is None:
            self._minute_days = ledger_state.minute_days(self._shards.client)
        if self._minute_days:
            kept = int(now) - (self._minute_days - 1) * DAY_S
            since = max(since, -(-kept // HOUR_S) * HOUR_S)
        return min(since, end)

    def _of_members(self, since: int, end: int, version: int) -> list[int]:
        """Find new members; return the hours that change, none where that is to take portions."""
        self._shards.command(MEMBERS, {"version": version})
        rows = self._shards.client.rows(NEWS, within(since, end))
        hours = [int(hour) for (hour,) in rows if hour < end]
        if len(hours) <= self._portion_hours:
            return hours
        self._shards.command(RESTART, {**within(since, end), "version": version})
        return []

    def _behind(self, since: int, end: int) -> list[Reach]:
        return [reach for reach in self._reaches(since, end) if not reach.is_done]

    def _reach_back(
        self, behind: Sequence[Reach], version: int, may_go_on: Callable[[], None]
    ) -> None:
        hi = max(reach.since for reach in behind)
        lo = max(min(reach.floor for reach in behind), hi - self._portion_hours * HOUR_S)
        now = [reach for reach in behind if reach.since > lo]
        names = [reach.slo for reach in now]
        self._compute(range(lo, hi, HOUR_S), version, may_go_on, names)
        self._note(now or behind, lo, version)

    def _reaches(self, since: int, end: int) -> Iterator[Reach]:
        for slo, revision, days, reached, is_done in self._shards.client.rows(REACHED):
            floor = max(since, (end - int(days) * DAY_S) // HOUR_S * HOUR_S - HOUR_S)
            at = int(reached) or end
            yield Reach(str(slo), int(revision), at, floor, bool(is_done) and at <= floor)

    def _compute(
        self,
        hours: Iterable[int],
        version: int,
        may_go_on: Callable[[], None],
        slos: Sequence[str] = (),
    ) -> None:
        for lo, hi in _spans(hours):
            may_go_on()
            self.compute(lo, hi, version, slos)

    def _note(self, reaches: Sequence[Reach], lo: int, version: int) -> None:
        since = [min(reach.since, lo) for reach in reaches]
        self._shards.client.insert(
            "slo_reach",
            {
                "slo": [reach.slo for reach in reaches],
                "revision": [reach.revision for reach in reaches],
                "since": since,
                "is_done": [at <= reach.floor for at, reach in zip(since, reaches, strict=True)],
                "version": [version] * len(reaches),
            },
        )


def _spans(hours: Iterable[int]) -> list[tuple[int, int]]:
    """Join hours that follow one another, up to a statement's worth; the newest first."""
    spans: list[tuple[int, int]] = []
    for hour in sorted(hours, reverse=True):
        lo, hi = spans[-1] if spans else (0, 0)
        if spans and hour == lo - HOUR_S and hi - lo < HOURS_PER_STATEMENT * HOUR_S:
            spans[-1] = hour, hi
        else:
            spans.append((hour, hour + HOUR_S))
    return spans
