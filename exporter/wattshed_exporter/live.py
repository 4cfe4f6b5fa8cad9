"""Who burned which joule, live: counters by device, workload and class, for whoever pulls.

They follow the rule of ``split`` and nothing else, so for every device they add up to what its
meter said, up to the time until which allocations are known. Readings wait until then, in a
bounded buffer. A counter appears with 0 and gets its first joules at the scrape after that, because
Prometheus cannot see what a series began with; meanwhile all counters of its device wait with it,
so that their sum is true at every scrape.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from .integrate import STILL_TICKS
from .model import Allocation, Batch, Charge, Span, Tick, Workload
from .outputs import Charged, Labels
from .semconv import WORKLOAD_ATTRIBUTES
from .split import spans
from .telemetry import Telemetry

MOST_BATCHES = 3000
"""Batches that wait at most; beyond that they are charged to who is known by then."""
GONE_SECONDS = 600.0
"""Time after which a workload that is charged nothing more leaves the page."""
MOST_SERIES = 20_000
"""Series on the page at most; whose workload ended first makes room, and is counted."""
MOST_WORKLOADS = 10_000
PAST_MS = 1_800_000
"""History that is read again (a recording, say) is not live, and is left out."""
KEPT_MS = 60_000
"""How long an allocation is remembered after the time that is charged."""

Charging = Callable[[Span, Sequence[Allocation], float | None], Iterable[Charge]]
"""The rule: a span, who held its device, and what the device draws while it idles."""
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
    born: dict[Labels, float] = field(default_factory=dict)
    """Joules that wait for their series to have been seen with 0."""
    shown: dict[Labels, float] = field(default_factory=dict)
    charged_at: dict[Labels, float] = field(default_factory=dict)
    """When each workload's labels were last charged something."""


class Live:
    """An ``Output`` that charges what passes by.

    Args:
        charge: the rule of splitting.
        idle_watts: what a device draws while it idles, None where that is not known.
        waits: whether ``settle`` will say until when allocations are known; else they always are.
        telemetry: where series that had to make room are counted.
        now_ms: Unix time in milliseconds.
        monotonic: a clock in seconds.
    """

    name = "live"

    def __init__(
        self,
        charge: Charging,
        idle_watts: Callable[[str], float | None],
        telemetry: Telemetry,
        *,
        waits: bool,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._charge = charge
        self._idle_watts = idle_watts
        self._telemetry = telemetry
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._until_ms = -math.inf if waits else math.inf
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
            now = self._monotonic()
            for account in self._accounts.values():
                _publish(account, now)
            self._leave(now)
            keys = tuple((key, own) for key, a in self._accounts.items() for own in a.shown)
            if keys != self._keys:
                self._keys = keys
            joules = tuple(j for a in self._accounts.values() for j in a.shown.values())
            return Charged(self._keys, joules)

    def _catch_up(self) -> None:
        self._open_all()
        for key, account in self._accounts.items():
            self._charge_until(key, account, self._until_ms)

    def _open_all(self) -> None:
        """Sort what came in by device."""
        while self._inbox:
            batch = self._inbox.popleft()
            for workload in batch.workloads:
                self._learn(workload)
            for held in batch.allocations:
                account = self._accounts.setdefault(held.device, _Account())
                account.allocations[held.workload, held.start_ms] = held
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
            account.pending.append(tick)

    def _charge_until(self, key: str, account: _Account, until_ms: float) -> None:
        if account.amended:
            self._amend(key, account)
        ready = [tick for tick in account.pending if tick.ts_ms <= until_ms]
        if not ready:
            return
        account.pending = account.pending[len(ready) :]
        before = [tick for tick in (account.last, account.gap) if tick is not None]
        self._book(key, account, spans([*before, *ready]))
        for tick in ready:
            _carry(account, tick)
        oldest_ms = min(account.still[0].ts_ms if account.still else ready[-1].ts_ms, until_ms)
        held = account.allocations
        for place in [p for p, a in held.items() if a.end_ms < oldest_ms - KEPT_MS]:
            del held[place]

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
        for span in found:
            if not span.joules:
                continue
            held = [
                a for a in account.allocations.values()
                if a.start_ms < span.end_ms and a.end_ms > span.start_ms
            ]  # fmt: skip
            for charge in self._charge(span, held, idle_watts):
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
            for whose in [w for w, at in account.charged_at.items() if now - at > GONE_SECONDS]:
                _forget(account, whose)
        extra = sum(len(a.shown) for a in self._accounts.values()) - MOST_SERIES
        if extra > 0:
            ended = sorted(
                ((at, key, whose) for key, a in self._accounts.items()
                 for whose, at in a.charged_at.items() if whose != NOBODY),
            )  # fmt: skip
            for _, key, whose in ended:
                if extra <= 0:
                    break
                gone = _forget(self._accounts[key], whose)
                self._telemetry.add("wattshed_source_errors_total", gone, self.name, "too_many")
                extra -= gone


def _carry(account: _Account, tick: Tick) -> None:
    """Remember a tick that was charged, for the span to the next one."""
    if tick.power_watts is None and tick.energy_uj is None:
        account.gap = account.gap or tick
        account.still.append(tick)
        return
    last, account.last, account.gap = account.last, tick, None
    if last is None or last.energy_uj != tick.energy_uj or len(account.still) > STILL_TICKS:
        account.still.clear()
    account.still.append(tick)


def _publish(account: _Account, now: float) -> None:
    """Show joules whose series have been seen with 0, and those that are new with 0."""
    shown = account.shown
    for own, joules in account.born.items():
        shown[own] = shown.get(own, 0.0) + joules
    account.born = {}
    if all(own in shown for own in account.due):
        for own, joules in account.due.items():
            shown[own] += joules
    else:
        account.born = account.due
        for own in account.born:
            shown.setdefault(own, 0.0)
            account.charged_at[own[1:]] = now
    account.due = {}


def _forget(account: _Account, whose: Labels) -> int:
    """Take a workload of a device from the page, unless joules of it wait; return its series."""
    waiting = any(own[1:] == whose for own in (*account.due, *account.born))
    if waiting or whose == NOBODY:
        return 0
    del account.charged_at[whose]
    series = [own for own in account.shown if own[1:] == whose]
    for own in series:
        del account.shown[own]
    return len(series)
