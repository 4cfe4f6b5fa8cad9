"""What one process counts, and the thread that tells it now and then.

Nothing of it may break or slow a training loop: counting only adds, sending is a daemon thread that
backs off, and what fails is logged once and tried again with what has become of the totals since.
"""

from __future__ import annotations

import json
import logging
import math
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from .counters import MOST_READINGS, Counter, Number, Reading, readings, thinned
from .sending import Answer, Post

log = logging.getLogger("wattshed")

INTERVAL_SECONDS = 5.0
SEND_SECONDS = 5.0
"""Longest time for one request."""
LONGEST_BACKOFF_SECONDS = 300.0
LEAST_SECONDS = 0.05
"""Time that each request gets, however little is left."""
RETRY_SECONDS = 0.05
"""First pause where somebody waits for the totals to arrive."""
AT_ONCE = 500
NEVER_TAKEN = frozenset({400, 413, 422})
"""Answers to a body that will never be taken; later totals are in later bodies."""
JUMP_MS = 60_000
"""A clock that moved by more than this beside the steady one was set, or the machine slept."""


class Account:
    """One workload and its counters; ``said`` is what is known of it, {} where nothing is."""

    def __init__(self, recorder: Recorder, said: Mapping[str, str]) -> None:
        self.said = dict(said)
        self.told = False
        """Whether what is known of it has arrived."""
        self.counters: dict[Any, Counter] = {}
        self._recorder = recorder

    def counter(self, kind: str, model: str = "") -> Counter:
        """Return the counter of a kind, which stands at zero from now on if it is new."""
        known = self.counters.get((kind, model) if model else kind)
        return known if known is not None else self._recorder.made(self, kind, model)

    def outcome(self, kind: str, count: Number = 1, *, model: str = "") -> None:
        """Count so many more of a kind; 0 says that they are counted from now on."""
        counter = self.counters.get((kind, model) if model else kind)
        if counter is None:
            counter = self._recorder.made(self, kind, model)
        counter.add(count)

    def item(self, reading: Reading) -> dict[str, Any]:
        """Return a reading as it is sent; what is known of the workload goes along until it has
        arrived once."""
        whole = {"name": self.said["key"], **self.said}
        is_described = self.said.keys() != {"key"}
        item = {
            "workload": whole if is_described and not self.told else self.said["key"],
            "outcome": reading.counter.kind,
            "total": reading.total,
            "ts": reading.ts_ms / 1000,
            "start": reading.start_ms / 1000,
            "source": reading.source,
        }
        return {**item, "model": reading.counter.model} if reading.counter.model else item


class Recorder:
    """Counts for one process and sends from a thread of its own.

    Args:
        post: sends a body; None while nobody takes any.
        source: names this process among those of one workload; asked again after a fork.
        interval_seconds: time between two requests.
        now_ms: Unix time in milliseconds.
        monotonic: a steady clock in seconds.
        jitter: picks a part of a back-off between the two.
        threaded: whether there is a thread; else ``flush`` is all that sends.
    """

    def __init__(
        self,
        post: Post | None,
        source: Callable[[], str],
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
        threaded: bool = True,
    ) -> None:
        self.post = post
        self.interval_seconds = interval_seconds
        self._named = source
        self._now_ms, self._monotonic, self._jitter = now_ms, monotonic, jitter
        self._threaded = threaded
        self._accounts: list[Account] = []
        self._said: set[str] = set()
        self._fresh()

    def _fresh(self) -> None:
        """Begin as a process of its own."""
        self._lock = threading.RLock()
        self._sending = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closing, self._at_end_seconds = False, 0.0
        self._waiting: list[Reading] = []
        self._source, self._turn = "", 0
        self._clocks: tuple[int, float] | None = None
        self._failures = 0

    def forked(self) -> None:
        """Be the child of a fork: what was counted before is the parent's, and told by it."""
        self._fresh()
        for account in self._accounts:
            for counter in list(account.counters.values()):
                counter.forget()

    def account(self, said: Mapping[str, str]) -> Account:
        """Return the counters of a workload, the same as long as the same is said of it."""
        with self._lock:
            for known in self._accounts:
                if known.said == said:
                    return known
            account = Account(self, said)
            self._accounts.append(account)
            return account

    def made(self, account: Account, kind: str, model: str) -> Counter:
        """Return the counter of a kind; it begins now. That of no kind is never sent."""
        with self._lock:
            place = (kind, model) if model else kind
            counter = account.counters.get(place)
            if counter is None:
                counter = Counter(account, kind, model, self._begin, self.say)
                if is_kind(kind) and isinstance(model, str):
                    account.counters[place] = counter
                    counter.add(0)
                else:
                    self.say(f"{kind!r:.80} is no kind of outcome, such as token_out")
            return counter

    def send_by(self, post: Post) -> None:
        """Send from now on, and what was counted before as well."""
        with self._lock:
            self.post = post
            if self._source:
                self._start()

    def flush(self, seconds: float = 2.0) -> bool:
        """Send what there is, again and again for so long; return whether all of it arrived."""
        until = self._monotonic() + seconds
        pause = RETRY_SECONDS
        while not self.send(seconds, until):
            left = until - self._monotonic()
            if left <= 0 or self.post is None:
                return False
            time.sleep(min(pause, left))
            pause *= 2
        return True

    def send(self, patience: float = 0.0, until: float = math.inf) -> bool:
        """Send what there is, once; return whether all of it arrived.

        ``patience`` is how long (s) it waits for another thread that sends, ``until`` when it ends
        at the latest, but for a short while that each request has.
        """
        if self.post is None:
            return not self._source
        if not self._sending.acquire(timeout=max(0.0, patience)):
            return False
        try:
            self._read()
            while self._waiting:
                left = max(LEAST_SECONDS, until - self._monotonic())
                if not self._send(min(SEND_SECONDS, left)):
                    return False
            return True
        finally:
            self._sending.release()

    def close(self, seconds: float = 2.0) -> None:
        """Send the last totals, and wait for that no longer than so long."""
        if self._closing:
            return
        self._closing, self._at_end_seconds = True, seconds
        self._wake.set()
        thread = self._thread
        if thread is not None and thread.is_alive():
            thread.join(seconds)
        elif self._source:
            self.flush(seconds)
        if self._waiting:
            self.say("the last outcomes of this process could not be sent")

    def say(self, problem: str) -> None:
        """Log a problem, once."""
        if problem not in self._said and len(self._said) < 100:
            self._said.add(problem)
            log.warning("%s", problem)

    def _begin(self, counter: Counter) -> None:
        """Note when a counter begins, if it has not."""
        with self._lock:
            if counter.began_ms:
                return
            if not self._source:
                self._source = self._named()
            self._start()
            counter.began_ms = self._now_ms()

    def _start(self) -> None:
        if self._thread is not None or self._closing or self.post is None or not self._threaded:
            return
        thread = threading.Thread(target=self._run, name="wattshed", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is ending
            self.say(f"outcomes are sent at the end only: {error}")
            return
        self._thread = thread
        # A child of multiprocessing ends without atexit.
        if "multiprocessing.util" in sys.modules:
            from multiprocessing.util import Finalize

            Finalize(None, self.close, exitpriority=0)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            self._wake.wait(self._pause())
            self._wake.clear()
            is_last = self._closing
            try:
                if is_last:
                    self.flush(self._at_end_seconds)
                else:
                    self.send()
            except Exception as error:  # whatever it is, this thread is the only one that sends
                self._failures += 1
                self.say(f"sending outcomes failed unexpectedly: {error!r}")

    def _pause(self) -> float:
        if not self._failures:
            return self.interval_seconds
        longest = self.interval_seconds * 2.0 ** min(self._failures, 16)
        return self._jitter(self.interval_seconds, min(longest, LONGEST_BACKOFF_SECONDS))

    def _read(self) -> None:
        """Read every counter that has begun."""
        with self._lock:
            now_ms, steady = self._now_ms(), self._monotonic()
            if self._clocks is not None:
                elapsed_ms = round((steady - self._clocks[1]) * 1000)
                if abs(now_ms - self._clocks[0] - elapsed_ms) > JUMP_MS:
                    self._turn_source(max(1, now_ms - elapsed_ms))
            self._clocks = now_ms, steady
            source = f"{self._source}.{self._turn}" if self._turn else self._source
            for number, account in enumerate(self._accounts):
                if not account.said.get("key"):
                    self._unnamed(account)
                    continue
                # Two may say different things of one workload, and count apart.
                own = f"{source}/{number}" if number else source
                for counter in account.counters.values():
                    if counter.began_ms:
                        self._waiting += readings(counter, own, now_ms)
            if len(self._waiting) > MOST_READINGS:
                self._waiting = thinned(self._waiting)

    def _unnamed(self, account: Account) -> None:
        if any(counter.total for counter in account.counters.values()):
            self.say("outcomes are not sent: nothing says which workload this is; "
                     "set WATTSHED_WORKLOAD or call wattshed.configure(workload=...)")  # fmt: skip

    def _turn_source(self, began_ms: int) -> None:
        """Go on as another source, because times before and after cannot be compared."""
        self._turn += 1
        for account in self._accounts:
            for counter in account.counters.values():
                if counter.began_ms:
                    counter.base += counter.read
                    counter.read, counter.began_ms = 0, began_ms
                    counter.read_ms = counter.quiet_ms = 0

    def _send(self, seconds: float) -> bool:
        """Send the oldest readings; return whether they are dealt with."""
        portion, post = self._waiting[:AT_ONCE], self.post
        if post is None:
            return False
        accounts: list[Account] = list({id(r.counter.account): r.counter.account
                                        for r in portion}.values())  # fmt: skip
        items = [reading.counter.account.item(reading) for reading in portion]
        try:
            answer = post(json.dumps(items).encode(), seconds)
        except (OSError, ValueError) as error:
            self._failures += 1
            self.say(f"outcomes cannot be sent now: {error}")
            return False
        if not self._is_done(answer):
            return False
        if answer.status < 300:
            for account in accounts:
                account.told = True
        self._failures = 0
        with self._lock:
            sent = set(map(id, portion))
            self._waiting = [reading for reading in self._waiting if id(reading) not in sent]
        return True

    def _is_done(self, answer: Answer) -> bool:
        if 200 <= answer.status < 300:
            if '"rejected": {"' in answer.text:
                self.say(f"some outcomes were rejected: {answer.text}")
            return True
        if answer.status in NEVER_TAKEN:
            self.say(f"outcomes were refused with {answer.status}: {answer.text}")
            return True
        self._failures += 1
        self.say(f"outcomes cannot be sent now: answered {answer.status} {answer.text}")
        return False


def is_kind(kind: str) -> bool:
    """Return whether a kind is a word that is taken: small letters, digits and underscores."""
    return (
        0 < len(kind) <= 64
        and kind.isascii()
        and kind[0].isalpha()
        and kind == kind.lower()
        and kind.replace("_", "a").isalnum()
    )


def process_source(node: str, rank: str, pid: Callable[[], int] = os.getpid) -> str:
    """Return a name that no other process has, readable by people; asked anew after a fork."""
    ranked = f"/rank{rank}" if rank else ""
    return f"{node}{ranked}/{pid()}-{os.urandom(4).hex()}"
