"""The ledger: recompute the hours that new facts touched, from the raw rows, exactly.

A tick changes its own hour and, through the span that reaches to its neighbour, every hour up to
the device's nearest tick on either side. Nothing is ever added to a roll-up: an hour is computed
again and written with a higher version, which is why late and repeated data come out the same. Each
hour is charged by the policy that was in force when it began.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from wattshed_exporter.model import IdlePolicy

from . import ledger_edges
from .errors import InvalidInput
from .ledger_days import Days
from .ledger_edges import Edges
from .ledger_outcomes import Outcomes
from .ledger_rates import Charged, Rates
from .ledger_slos import Slos
from .store import ledger_state, policies
from .store.client import Client
from .store.device_power import POWER_HOURS
from .store.lease import Lease
from .store.ledger_sql import (
    READ_HOURS,
    RECOMPUTE,
    ROWS,
    TICK_HOURS,
    TICKS,
    TOUCHED,
    WHOLE,
    WITHOUT,
    Slice,
    Without,
    needed,
    slices,
    steps,
)
from .store.marks import NO_NEWS, Marks
from .store.pieces_sql import within
from .store.policies import HostRemainder, Override, Policies, Rule
from .store.retention import drop_oldest
from .store.shards import Shards
from .store.tree import Containment
from .topology import Topology

HOUR_S = 3600
DAY_S = 24 * HOUR_S
HOURS_PER_STATEMENT, LIGHT_HOURS = 6, 72
"""More where little is in them: planning one costs more than computing a small fleet's day."""
RUN = (*RECOMPUTE, ledger_state.FINISH)
OVERLAP_US = 30_000_000
"""How far back dirty marks are taken for new: a mark is stamped before its block becomes visible,
and one covers what is written soon after it. On a server, what becomes visible even later is found
by ``Marks``; in one process, what the last run computed is left alone until anything was written
since it began."""

Progress = Callable[[int, int], None]
"""Told how many hours are done, and of how many."""
Range = tuple[int, int, Rule]
"""Hours of [lo, hi), Unix seconds, and how they are charged."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How the ledger charges. ``idle_below_ratio``: utilisation under which a device is idle."""

    idle_below_ratio: float = 0.05
    raw_days: int = 30
    """Hours older than this are never recomputed: their raw rows may be gone. 0 keeps them all. At
    other prices they are charged without."""
    idle: IdlePolicy = IdlePolicy.HOLDER
    host_remainder: HostRemainder = HostRemainder.PLATFORM
    """Who pays what a wall meter measures beside its devices."""
    topology: Topology | None = None
    """Which meter lies inside which, as the operator says it; None: as was said before."""
    slice_ticks: int = 4_000_000
    """Readings that one statement takes up: memory grows with them, about 150 bytes each."""
    light_rows: int = 250_000
    """Pieces and outcomes up to which a statement takes more than its hours, a day of a few dozen
    devices."""
    rate_rows: int = 10_000_000
    """Charges that are looked at for other prices in a run: the rest waits for the next one."""
    raw_since: int = 0
    """Nor are hours from before this time (Unix seconds): retention was shorter then."""

    @property
    def rule(self) -> Rule:
        return Rule(self.idle, round(self.idle_below_ratio * 1e4), self.host_remainder)


class Stopped(Exception):
    """The ledger was told to stop before it was done; the next one does the rest."""


class NotLeader(Exception):
    """Another ledger computes on this store; what was begun is its to do."""


class Ledger:
    """Recomputes dirty hours; ``run`` may be called at any time.

    Where several may compute on one store each has a ``lease``; without one it is the only ledger,
    as on an embedded store that is locked by its process. ``late_seconds`` is how long after its
    stamp an insert may become visible there, and a statement may run: 0 where all is one process.
    """

    def __init__(
        self,
        client: Client,
        policy: Policy,
        now: Callable[[], float] = time.time,
        is_stopping: Callable[[], bool] = bool,
        lease: Lease | None = None,
        shards: Shards | None = None,
        late_seconds: float = 0.0,
    ) -> None:
        self.skipped_hours = 0
        """Dirty hours that were left alone since the start, because their raw rows may be gone and
        nothing in them costs anything else."""
        self._client = client
        self._shards = shards or Shards(client)
        self._marks = Marks(late_seconds)
        self._late_seconds = late_seconds
        self._is_left = True
        """Whether hours may be open that nobody writes: at first, after another, when one fails."""
        self._left: set[int] = set()
        self._left_until = 0.0
        self._policy = policy
        self._now = now
        self._is_stopping = is_stopping
        self._lease = lease
        self._term = 0
        self._containment = Containment(policy.topology)
        self._edges = ledger_edges.none()
        self._outcomes = Outcomes(self._shards)
        self._slos = Slos(self._shards)
        self._days = Days(self._shards)
        self._rates = Rates(self._shards, policy.slice_ticks, policy.rate_rows)
        self._too_old: Set[int] = set()
        self._waiting: Set[int] = frozenset()
        self._written: int | None = None
        self._watermark_us, self._version = ledger_state.restore(client)

    @property
    def client(self) -> Client:
        return self._client

    @property
    def is_divided(self) -> bool:
        """Whether the tables are divided among the shards of a cluster."""
        return self._shards.are_several

    def drop_oldest(self, keep_days: int) -> str:
        """Drop the oldest day of raw readings early; return what that was, "" for nothing."""
        dropped = drop_oldest(self._client, keep_days, self._now())
        since = ledger_state.raw_since(self._client)
        self._policy = replace(self._policy, raw_since=since)
        return dropped

    def leads(self) -> bool:
        """Take or renew the lease; return whether this ledger is the one that computes."""
        if self._lease is None:
            return True
        if not self._lease.hold():
            return False
        if self._lease.term != self._term:
            # Another may have led meanwhile: what it did is in the store, what it did not is dirty.
            self._term = self._lease.term
            self._watermark_us, self._version = ledger_state.restore(self._client)
            self._edges = ledger_edges.none()
            self._outcomes.forget()
            self._waiting = frozenset()
            self._marks.forget()
            self._written = None
            self._is_left = True
        return True

    def _take_over(self) -> None:
        """See to the hours that were left open: now, and, where another led, once more when no
        statement of its can run any longer, since such a one may still write rows of its version.
        """
        left = ledger_state.left_open(self._client)
        ledger_state.mark_dirty(self._client, left)
        if self._late_seconds:
            if not self._shards.are_replicated:
                ledger_state.merging(self._client)
            self._left, self._left_until = left, self._now() + self._late_seconds
        self._is_left = False

    def adopt(self) -> Rule:
        """Put the policy that was configured in force from this hour on; return it."""
        self._must_lead()
        hour = int(self._now()) // HOUR_S * HOUR_S
        known = self.policies()
        rows = known.adopting(self._policy.rule, hour)
        if rows and known.rows:
            ledger_state.mark_dirty(self._client, {start for start, _ in rows if start == hour})
        policies.write(self._client, rows, self._next_version())
        return self._policy.rule

    def policies(self) -> Policies:
        """Return which policy is in force when."""
        return policies.read(self._client, self._policy.rule)

    def run(self) -> Sequence[int]:
        """Recompute what is dirty; return the hours (Unix seconds) that were recomputed.

        None, where another ledger leads. Raises NotLeader where the lead was lost on the way.
        """
        if not self.leads():
            return ()
        self._containment.refresh(self._client)
        if self._is_left:
            self._take_over()
        if self._left and self._now() > self._left_until:
            ledger_state.mark_dirty(self._client, self._left)
            self._left = set()
        started_us = int(self._now() * 1e6)
        if self._late_seconds:  # marks are stamped by the server's clock, which may be behind
            started_us = min(started_us, ledger_state.clock_us(self._client))
        # A clock that is set back must not hide what comes from then on.
        since_us = max(0, min(self._watermark_us, started_us) - OVERLAP_US)
        news = self._marks.read(self._client, since_us)
        self._slos.refresh()
        written = None
        if news and not self._late_seconds:
            written = ledger_state.written(self._client)
            # Read once more, after that: marks of what came in between would else be done with.
            is_old = written is not None and written == self._written
            news = NO_NEWS if is_old else self._marks.read(self._client, since_us)
        if not news:
            self._marks.done(news.seen)
            self._follow()
            return ()
        self._shards.sync()
        edges, hours, old, settled_ms = self._charged_hours(news.touched)
        # Of hours that wait for other prices nothing is news but that they do.
        charged = news.touched - self._waiting
        told = self._outcomes.hours(news.told, charged, settled_ms)
        others = {hour for hour in told.difference(hours) if hour >= self.oldest}
        # What was charged again has its outcomes already.
        self._set_against(sorted(others - self._recompute(hours, others=others)))
        repriced = self._reprice(old)
        self._outcomes.done(self._version)
        ledger_state.save(self._client, started_us, settled_ms, self._version)
        # Only now: what a failed run has seen is news to the next one.
        self._watermark_us, self._edges, self._written = started_us, edges, written
        self._waiting = repriced.left
        self._marks.done(news.seen)
        self._follow()
        return sorted({*hours, *others, *repriced.done})

    def _follow(self) -> None:
        """Compute what became of objectives that are new, or about others than before."""
        since, end = self._outcomes.extent
        if not self._slos.is_behind(since, end, self._now()):
            return
        first, last = self._next_version(), self._next_version()
        ledger_state.begin(self._client, last)
        with self._lease.kept() if self._lease else nullcontext():
            self._slos.follow(since, end, self._now(), (first, last), self._go_on)

    def sum_up(self) -> int:
        """Sum up days of which an hour is newer than they are, a few at a time; return how many.

        To be called after each run. Raises Stopped, and NotLeader where the lead was lost.
        """
        due = self._days.due(self.oldest, self._now())
        if due:
            with self._lease.kept() if self._lease else nullcontext():
                self._days.sum_up(due, self._go_on)
        return len(due)

    def _go_on(self) -> None:
        if self._is_stopping():
            raise Stopped
        self._must_lead()

    def _charged_hours(self, touched: frozenset[int]) -> tuple[Edges, Sequence[int], Set[int], int]:
        """Return where the readings of ``touched`` begin and end, which hours are to be charged
        again, which older ones at other rates alone, and the event time (Unix milliseconds) up to
        which anything was measured."""
        read = self._read(touched)
        if read:
            told = {"hours": sorted(read), "version": self._next_version()}
            self._shards.command(TICK_HOURS, told)
        first, end, settled_ms = ledger_state.measured(self._client)
        if not touched:
            return self._edges, (), frozenset(), settled_ms
        edges = self._edges_of(read)
        hours = touched | ledger_edges.beyond(edges, self._edges)
        old = {hour for hour in hours if hour < self.oldest}
        young = sorted(hour for hour in hours - old if first <= hour < end)
        return edges, young, old, settled_ms

    def _read(self, touched: frozenset[int]) -> Set[int]:
        """Return those of ``touched`` that may have readings: of a year of older ones, of which a
        price was told, none has, and each would be looked for."""
        old = sorted(hour for hour in touched if hour < self.oldest)
        rows = self._shards.rows(READ_HOURS, {"hours": old}) if old else []
        return touched.difference(old) | {int(hour) for (hour,) in rows}

    def recompute(self, hours: Iterable[int], progress: Progress | None = None) -> None:
        """Recompute ``hours`` (Unix seconds at full hours), whether dirty or not.

        Raises InvalidInput where one of them is older than ``oldest``, and NotLeader.
        """
        wanted = sorted(set(hours))
        self.check(wanted)
        self._recompute(wanted, progress)

    def override(self, override: Override, lo: int, hi: int, hours: Iterable[int]) -> None:
        """Put ``override`` in force during [lo, hi), Unix seconds at full hours.

        ``hours``, those of them with data, are dirty from then on: should we not get to it, the
        next run does.
        """
        self._must_lead()
        rows = self.policies().overriding(override, lo, hi)
        ledger_state.mark_dirty(self._client, hours)
        policies.write(self._client, rows, self._next_version())

    def portions(self, hours: Sequence[int], override: Override) -> Iterable[tuple[int, Range]]:
        """Give, for ascending hours, how many are done after it and [lo, hi) with their rule."""
        known = self.policies()
        return self._portions(hours, lambda hour: override.of(known.at(hour)))

    def compute(
        self,
        statements: Iterable[str],
        lo: int,
        hi: int,
        rule: Rule,
        version: int,
        parts: Sequence[Slice] = (WHOLE,),
    ) -> None:
        """Run ``statements`` for the hours of [lo, hi), Unix seconds, one part after the other."""
        given = {**within(lo, hi), "version": version, **rule.parameters()}
        for statement, (first, last) in steps(statements, parts):
            self._shards.command(statement, {**given, "first_device": first, "last_device": last})

    def slices(self, lo: int, hi: int) -> Sequence[Slice]:
        """Return the parts in which the hours of [lo, hi), Unix seconds, are computed."""
        ticks = self._shards.rows(TICKS, within(lo, hi))
        return slices(max(int(count) for (count,) in ticks), self._policy.slice_ticks)

    def statements(self, lo: int, hi: int) -> Sequence[str]:
        """Return what must run to compute the hours of [lo, hi), Unix seconds, in order.

        To be asked before they are opened.
        """
        ((*found,),) = self._client.rows(WITHOUT, within(lo, hi))
        without = Without(*map(bool, found))
        if self._shards.are_replicated:  # another node may have begun what is not seen here yet
            without = without._replace(earlier=False)
        return needed(without)

    def check(self, hours: Sequence[int]) -> None:
        """Raise InvalidInput where raw rows of ``hours`` may be gone: half of an hour is not it."""
        oldest = self.oldest
        if hours and min(hours) < oldest:
            first = datetime.fromtimestamp(oldest, UTC)
            raise InvalidInput(
                f"raw readings are kept for {self._policy.raw_days} days: "
                f"the oldest hour that can be computed again is {first:%Y-%m-%dT%H:%MZ}",
                "too_old",
            )

    @property
    def oldest(self) -> int:
        """The oldest hour (Unix seconds) of which every raw row is there; 0: all of them are."""
        kept, since = self._policy.raw_days, self._policy.raw_since
        if not kept and not since:
            return 0
        oldest = since + DAY_S if since else 0
        if kept:
            oldest = max(oldest, int(self._now()) - (kept - 1) * DAY_S)
        return -(-oldest // HOUR_S) * HOUR_S

    def _recompute(
        self,
        wanted: Sequence[int],
        progress: Progress | None = None,
        others: Set[int] = frozenset(),
    ) -> set[int]:
        """Charge the hours ``wanted``; return which of ``others`` have their outcomes as well.

        Those are hours before others: planning a statement costs as much as what it computes.
        """
        joined: set[int] = set()
        self._must_lead()
        version = self._next_version()
        ledger_state.begin(self._client, version)
        with self._lease.kept() if self._lease else nullcontext(), self._leaving():
            for done, (lo, hi, rule) in self._portions(wanted, self.policies().at):
                self._must_lead()
                first = lo - HOUR_S if lo - HOUR_S in others else lo
                joined.add(first)
                self._write(lo, hi, rule, version, first)
                if progress:
                    progress(done, len(wanted))
        return joined

    def _write(self, lo: int, hi: int, rule: Rule, version: int, first: int) -> None:
        """Charge the hours of [lo, hi), and set what was produced since ``first`` against them."""
        statements = self.statements(lo, hi)
        with ledger_state.unmerged(self._shards):
            self._open_hours(lo, hi, version)
            for statement, part in steps(statements, self.slices(lo, hi)):
                self._must_lead()
                self.compute((statement,), lo, hi, rule, version, (part,))
            self._shards.sync(ledger_state.READ)
            self._must_lead()
            self._outcomes.compute(first, hi, version)
            self._slos.compute(first, hi, version)
            self.compute((ledger_state.FINISH,), lo, hi, rule, version)
        self._keep_minutes(lo, min(hi, int(self._now()) // HOUR_S * HOUR_S), rule, version)

    def _keep_minutes(self, lo: int, hi: int, rule: Rule, version: int) -> None:
        """Keep the power of each device by the minute, of hours that are over."""
        for part in self.slices(lo, hi) if lo < hi else ():
            self._must_lead()
            self.compute((POWER_HOURS,), lo, hi, rule, version, (part,))

    def _set_against(self, hours: Sequence[int]) -> None:
        """Set outcomes against energy that stays as it was charged."""
        if not hours:
            return
        version = self._next_version()
        ledger_state.begin(self._client, version)
        rule = self._policy.rule
        for lo, hi, _ in _ranges(hours, lambda hour: rule, HOURS_PER_STATEMENT):
            self._go_on()
            self._outcomes.compute(lo, hi, version)
            self._slos.compute(lo, hi, version)

    def _open_hours(self, lo: int, hi: int, version: int) -> None:
        hours = range(lo, hi, HOUR_S)
        self._shards.each(lambda client: ledger_state.open_hours(client, hours, version))

    def _portions(
        self, hours: Sequence[int], rule_at: Callable[[int], Rule]
    ) -> Iterable[tuple[int, Range]]:
        done = 0
        if hours:
            self._containment.refresh(self._client)
        for lo, hi, rule in self._sized(_ranges(hours, rule_at, LIGHT_HOURS)):
            if self._is_stopping():
                raise Stopped
            done += (hi - lo) // HOUR_S
            yield done, (lo, hi, rule)

    def _sized(self, ranges: Iterable[Range]) -> Iterator[Range]:
        """Give ``ranges`` with those divided that hold more than a statement should take up."""
        for lo, hi, rule in ranges:
            hours = (hi - lo) // HOUR_S
            step = (hours if hours <= HOURS_PER_STATEMENT else self._light(lo, hi)) * HOUR_S
            for first in range(lo, hi, step):
                yield first, min(first + step, hi), rule

    def _light(self, lo: int, hi: int) -> int:
        """Return how many of the hours of [lo, hi) a statement may take."""
        rows = max(int(count) for (count,) in self._shards.rows(ROWS, within(lo, hi)))
        hours = (hi - lo) // HOUR_S * self._policy.light_rows // max(rows, 1)
        return max(HOURS_PER_STATEMENT, hours)

    def _must_lead(self) -> None:
        if self._lease is not None and self._lease.is_fresh:
            return
        term = self._term
        if not self.leads() or (term and term != self._term):
            raise NotLeader

    def _next_version(self) -> int:
        self._version = max(self._version + 1, int(self._now() * 1e6))
        return self._version

    def _reprice(self, hours: Set[int]) -> Charged:
        """Charge ``hours`` at other rates where those differ.

        What is left for the next run is marked for it; what costs nothing else is counted once.
        """
        if not hours:
            return Charged(hours, hours)
        version = self._next_version()
        ledger_state.begin(self._client, version)
        with self._lease.kept() if self._lease else nullcontext(), self._leaving():
            charged = self._rates.charge(hours, version, self.oldest, self._go_on)
        ledger_state.mark_dirty(self._client, charged.left)
        too_old = hours - charged.done - charged.left
        self.skipped_hours += len(too_old - self._too_old)
        self._too_old = too_old
        return charged

    @contextmanager
    def _leaving(self) -> Iterator[None]:
        """Have hours that are open after it seen to, unless it comes to its end."""
        was, self._is_left = self._is_left, True
        yield
        self._is_left = was

    def _edges_of(self, hours: Set[int]) -> Edges:
        return ledger_edges.ordered(
            self._shards.arrays(TOUCHED, ledger_edges.EDGE, ledger_edges.asked(hours))
        )


def _ranges(hours: Sequence[int], rule_at: Callable[[int], Rule], most_hours: int) -> list[Range]:
    """Join hours that follow one another and are charged alike, at most ``most_hours`` of them."""
    ranges: list[Range] = []
    for hour in hours:
        rule = rule_at(hour)
        lo, hi, known = ranges[-1] if ranges else (0, 0, rule)
        if ranges and (hour, rule) == (hi, known) and hi - lo < most_hours * HOUR_S:
            ranges[-1] = lo, hour + HOUR_S, rule
        else:
            ranges.append((hour, hour + HOUR_S, rule))
    return ranges
