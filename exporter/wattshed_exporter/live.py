"""Who burned which joule, live: counters by device, workload and class, for whoever pulls.

They follow the rule of ``split`` and nothing else, so for every device they add up to what its
meter said, up to the time until which allocations are known. Readings wait until then, in a
bounded buffer. A counter is 0 in its first two scrapes, because Prometheus cannot see what a series
began with: two, for a pair of servers, or for a scrape that fails. Meanwhile all counters of its
device wait with it, so that their sum is true at every scrape.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter

from .integrate import STILL_TICKS
from .model import Allocation, Batch, Joules, Span, Tick, Workload
from .outputs import Charged, Labels
from .semconv import WORKLOAD_ATTRIBUTES
from .split import Policy, charges, spans
from .telemetry import Telemetry

ZERO_SCRAPES = 2
"""Scrapes in which a new counter is 0."""
MOST_BATCHES = 3000
"""Batches that wait at most; beyond that they are charged to who is known by then."""
GONE_SECONDS = 600.0
"""Time after which a workload that is charged nothing more leaves the page."""
MOST_SERIES = 20_000
"""Series on the page at most; whose workload ended first makes room, and is counted."""
MOST_DUE = 1000
"""Series that wait at most where nobody pulls; then those that ended leave as if somebody had."""
MOST_WORKLOADS = 10_000
PAST_MS = 1_800_000
"""History that is read again (a recording, say) is not live, and is left out."""
KEPT_MS = 60_000
"""How long an allocation is remembered after the time that is charged."""
HELD_MS = 3_600_000
"""How long it is remembered at most: what a gap hides may never be known."""

NOBODY: Labels = ("",) * len(WORKLOAD_ATTRIBUTES)
LABELS_OF = attrgetter(*(a.name for a in WORKLOAD_ATTRIBUTES))


@dataclass(slots=True)
class _Account:
    """What is charged for one device."""

    last: Tick | None = None
    gap: Tick | None = None
    pending: list[Tick] = field(default_factory=list)
    amended: dict[int, Tick] = field(default_factory=dict)
    still: list[Tick] = field(default_factory=list)
    """Charged ticks since the counter last moved: they may be taken back yet."""
    allocations: dict[tuple[str, int], Allocation] = field(default_factory=dict)
    due: dict[Labels, float] = field(default_factory=dict)
    """Joules since the last scrape."""
    waiting: deque[dict[Labels, float]] = field(default_factory=deque)
    """Joules of earlier scrapes that wait for a series of theirs to have been seen with 0."""
    young: dict[Labels, int] = field(default_factory=dict)
    """In how many scrapes each new series was seen with 0."""
    shown: dict[Labels, float] = field(default_factory=dict)
    charged_at: dict[Labels, float] = field(default_factory=dict)
    """When each workload's labels were last charged something."""


class Live:
    """An ``Output`` that charges what passes by.

    Args:
        policy: who pays for idling.
        idle_watts: what a device draws while it idles, None where that is not known.
        waits: whether ``settle`` will say until when allocations are known; else they always are.
        telemetry: where series that had to make room are counted.
        now_ms: Unix time in milliseconds.
        monotonic: a clock in seconds.
    """

    name = "live"

    def __init__(
        self,
        policy: Policy,
        idle_watts: Callable[[str], float | None],
        telemetry: Telemetry,
        *,
        waits: bool,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._idle_watts = idle_watts
        self._telemetry = telemetry
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._until_ms = -math.inf if waits else math.inf
        self._scraped_at = -math.inf
        self._inbox: deque[Batch] = deque()
        self._work = threading.Lock()
        self._accounts: dict[str, _Account] = {}
        self._labels: dict[str, Labels] = {}
        self._keys: tuple[tuple[str, Labels], ...] = ()

    def put(self, batch: Batch) -> None:
        if batch.ticks and batch.ticks[-1].ts_ms < self._now_ms() - PAST_MS:
            batch = Batch(workloads=batch.workloads)
        if not (batch.ticks or batch.allocations or batch.workloads):
            return
        self._inbox.append(batch)
        if len(self._inbox) > MOST_BATCHES:
            with self._work:
                self._open_all()
                for key, account in self._accounts.items():
                    self._charge_until(key, account, math.inf)

    def ready(self) -> bool:
        return True

    def flush(self, seconds: float) -> bool:
        return True

    def close(self) -> None:
        """There is nothing to give up."""

    def settle(self, until_ms: int) -> None:
        """Charge what was read up to a time until which all allocations have been put."""
        with self._work:
            self._until_ms = until_ms
            self._catch_up()

    def scrape(self) -> Charged:
        """Return all counters, for one scrape; a new one is 0 in its first."""
        with self._work:
            if self._until_ms == math.inf:
                self._catch_up()
            self._scraped_at = self._monotonic()
            self._publish_all(self._scraped_at)
            keys = tuple((key, own) for key, a in self._accounts.items() for own in a.shown)
            if keys != self._keys:
                self._keys = keys
            joules = tuple(j for a in self._accounts.values() for j in a.shown.values())
            return Charged(self._keys, joules)

    def _catch_up(self) -> None:
        self._open_all()
        for key, account in self._accounts.items():
            self._charge_until(key, account, self._until_ms)
        now = self._monotonic()
        many = sum(len(a.due) for a in self._accounts.values()) > MOST_DUE
        if many and now - self._scraped_at > GONE_SECONDS:
            for _ in range(ZERO_SCRAPES + 1):
                self._publish_all(now)

    def _publish_all(self, now: float) -> None:
        for account in self._accounts.values():
            _publish(account, now)
        self._leave(now)

    def _open_all(self) -> None:
        """Sort what came in by device."""
        while self._inbox:
            batch = self._inbox.popleft()
            for workload in batch.workloads:
                self._learn(workload)
            for held in batch.allocations:
                told = self._accounts.setdefault(held.device, _Account()).allocations
                known = told.setdefault((held.workload, held.start_ms), held)
                if (known.revision, known.end_ms) <= (held.revision, held.end_ms):
                    told[held.workload, held.start_ms] = held
            for tick in batch.ticks:
                self._take(tick)

    def _learn(self, workload: Workload) -> None:
        self._labels.pop(workload.key, None)
        self._labels[workload.key] = LABELS_OF(workload)
        if len(self._labels) > MOST_WORKLOADS:
            del self._labels[next(iter(self._labels))]

    def _take(self, tick: Tick) -> None:
        account = self._accounts.setdefault(tick.device, _Account())
        latest = account.pending[-1] if account.pending else account.gap or account.last
        if latest is not None and tick.ts_ms <= latest.ts_ms and tick.power_watts is not None:
            account.amended[tick.ts_ms] = tick
        elif latest is None or tick.ts_ms >= latest.ts_ms:
            account.pending.append(tick)
        else:
            # The clock was set back: what was read before it is not compared with what comes now.
            self._charge_until(tick.device, account, math.inf)
            account.last = account.gap = None
            account.still.clear()
            _end_all(account, tick.ts_ms)
            account.pending.append(tick)

    def _charge_until(self, key: str, account: _Account, until_ms: float) -> None:
        if account.amended:
            self._amend(key, account)
        ready = [tick for tick in account.pending if tick.ts_ms <= until_ms]
        if ready:
            account.pending = account.pending[len(ready) :]
            before = [tick for tick in (account.last, account.gap) if tick is not None]
            self._book(key, account, spans([*before, *ready]))
            for tick in ready:
                _carry(account, tick)
        _forget_held(account, until_ms)

    def _amend(self, key: str, account: _Account) -> None:
        """Take back the counter of ticks that are charged: power tells what they burned.

        Nothing was charged between them, because their counter stood still.
        """
        amended, account.amended = account.amended, {}
        account.pending = [amended.get(tick.ts_ms, tick) for tick in account.pending]
        if account.last is not None and account.still and account.still[-1].ts_ms in amended:
            self._book(key, account, spans(amended.get(tick.ts_ms, tick) for tick in account.still))
            account.last = amended.get(account.last.ts_ms, account.last)
            account.still.clear()

    def _book(self, key: str, account: _Account, found: Iterable[Span]) -> None:
        idle_watts, now = self._idle_watts(key), self._monotonic()
        told = account.allocations.values()
        edges = sorted({*(a.start_ms for a in told), *(a.end_ms for a in told)})
        for span in joined(found, edges, self._policy.idle_below, idle_watts):
            held = [
                a for a in account.allocations.values()
                if a.start_ms < span.end_ms and a.end_ms > span.start_ms
            ]  # fmt: skip
            for charge in charges(span, held, self._policy, idle_watts):
                whose = self._whose(charge.workload)
                own = (str(charge.charge_class), *whose)
                account.due[own] = account.due.get(own, 0.0) + charge.joules
                account.charged_at[whose] = now

    def _whose(self, workload: str) -> Labels:
        if not workload:
            return NOBODY
        return self._labels.get(workload) or (workload, *NOBODY[1:])

    def _leave(self, now: float) -> None:
        """Let workloads go that ended a while ago, or the first ones where there are too many."""
        for account in self._accounts.values():
            _forget(account, [w for w, at in account.charged_at.items() if now - at > GONE_SECONDS])
        extra = sum(len(a.shown) for a in self._accounts.values()) - MOST_SERIES
        if extra <= 0:
            return
        ended = sorted((at, key, w) for key, a in self._accounts.items()
                       for w, at in a.charged_at.items())  # fmt: skip
        for key, account in self._accounts.items():
            leaving = [whose for _, where, whose in ended[:extra] if where == key]
            if gone := _forget(account, leaving):
                self._telemetry.add("wattshed_source_errors_total", gone, self.name, "too_many")


def joined(
    found: Iterable[Span], edges: Sequence[int], idle_below: float, idle_watts: float | None
) -> Iterator[Span]:
    """Join neighbouring spans that the rule divides in the same parts, to divide them once.

    That is so between two ``edges`` of allocations, where all are idle or none is, and all burned
    more than the device does idling or none did. Spans of no energy, or of unknown, are left out.
    """
    last: Span | None = None
    last_like: tuple[bool, bool] | None = None
    for span in found:
        if not span.joules:
            continue
        ratio, seconds = span.utilization_ratio, (span.end_ms - span.start_ms) / 1000
        like = (
            ratio is not None and ratio < idle_below,
            idle_watts is not None and span.joules >= idle_watts * seconds,
        )
        if last is not None and last.joules is not None:
            follows = like == last_like and last.end_ms == span.start_ms
            if follows and bisect_right(edges, last.start_ms) == bisect_left(edges, span.end_ms):
                joules = Joules(last.joules + span.joules)
                last = replace(last, end_ms=span.end_ms, joules=joules, power_watts=None)
                continue
            yield last
        last, last_like = span, like
    if last is not None:
        yield last


def _carry(account: _Account, tick: Tick) -> None:
    """Remember a tick that was charged, for the span to the next one."""
    if tick.power_watts is None and tick.energy_uj is None:
        # One stands for all that follow: a gap may last for weeks.
        if account.gap is None:
            account.gap = tick
            account.still.append(tick)
        return
    last, account.last, account.gap = account.last, tick, None
    if last is None or last.energy_uj != tick.energy_uj or len(account.still) > STILL_TICKS:
        account.still.clear()
    account.still.append(tick)


def _forget_held(account: _Account, until_ms: float) -> None:
    """Forget allocations that no span can reach any more, or only one across a very long gap."""
    last = [account.last] if account.last is not None else []
    waiting = [tick.ts_ms for tick in (*last, *account.still[:1], *account.pending[:1])]
    if until_ms == math.inf:
        until_ms = max(waiting, default=-math.inf)
    oldest_ms = max(min([*waiting, until_ms]) - KEPT_MS, until_ms - HELD_MS)
    held = account.allocations
    for place in [p for p, a in held.items() if a.end_ms < oldest_ms]:
        del held[place]


def _end_all(account: _Account, ts_ms: int) -> None:
    """Take back what is held beyond a time that comes twice: of its second time others tell."""
    account.allocations = {
        place: replace(a, end_ms=min(a.end_ms, ts_ms))
        for place, a in account.allocations.items()
        if a.start_ms < ts_ms
    }


def _publish(account: _Account, now: float) -> None:
    """Show joules whose series have been seen with 0, in order, and those that are new with 0."""
    shown, young, waiting = account.shown, account.young, account.waiting
    if account.due:
        waiting.append(account.due)
        account.due = {}
    while waiting and all(own in shown and own not in young for own in waiting[0]):
        for own, joules in waiting.popleft().items():
            shown[own] += joules
    for own in {own: None for each in waiting for own in each if own not in shown}:
        shown[own] = 0.0
        young[own] = 0
        account.charged_at[own[1:]] = now
    for own, scrapes in list(young.items()):
        if scrapes + 1 < ZERO_SCRAPES:
            young[own] = scrapes + 1
        else:
            del young[own]


def _forget(account: _Account, ended: Iterable[Labels]) -> int:
    """Take workloads of a device from the page, but those of which joules wait; return series."""
    waiting = {own[1:] for each in (account.due, *account.waiting) for own in each}
    leaving = set(ended) - waiting - {NOBODY}
    for whose in leaving:
        del account.charged_at[whose]
    series = [own for own in account.shown if own[1:] in leaving]
    for own in series:
        del account.shown[own]
    return len(series)
