"""The ledger on a thread of its own: it runs in turns, and answers in between."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypedDict, TypeVar

from .errors import Retryable, StoreError
from .ledger import Ledger, NotLeader, Policy, Stopped
from .store import ledger_state
from .store.client import Client
from .store.lease import Lease
from .store.policies import Rule
from .store.shards import Shards
from .telemetry import Telemetry

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 2.0
DROP_SECONDS = 120.0
STOP_SECONDS = 30.0

T = TypeVar("T")
Question = Callable[[Ledger], T]


class LastRun(TypedDict):
    """``at``: when it ended (Unix seconds); ``result``: ok, failed or follows (another leads)."""

    at: float
    result: str
    hours: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and where its answer goes."""

    question: Question[Any]
    future: Future[Any]


class LedgerJob:
    """Runs the ledger until it is closed.

    The first runs follow one another quickly, so that a newcomer sees charges within seconds; then
    they settle at ``interval_seconds``. Everything that the ledger does is done on one thread, so
    that what is asked for never runs beside a run. One that is not ``enabled`` only answers.
    """

    def __init__(
        self,
        open_shards: Callable[[], Shards],
        policy: Policy,
        telemetry: Telemetry,
        interval_seconds: float,
        lease: Callable[[Client], Lease] | None = None,
        late_seconds: float = 0.0,
        enabled: bool = True,
    ) -> None:
        self.last_run: LastRun | None = None
        self.leads = False
        self._open_shards = open_shards
        self._late_seconds = late_seconds
        self._enabled = enabled
        self._policy = policy
        self._telemetry = telemetry
        self._interval_seconds = interval_seconds
        self._make_lease = lease
        self._lease: Lease | None = None
        self._shards: Shards | None = None
        self._ledger: Ledger | None = None
        self._rule: Rule | None = None
        self._skipped = 0
        self._stop = threading.Event()
        self._asked: queue.Queue[Asked | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
        self._thread.start()

    def ask(self, question: Question[T]) -> Future[T]:
        """Have ``question`` answered between two runs; the future gets its result or error."""
        future: Future[T] = Future()
        if self._stop.is_set():
            future.set_exception(Retryable("the collector is stopping"))
        else:
            self._asked.put(Asked(question, future))
        return future

    def drop_oldest(self, keep_days: int, timeout_seconds: float = DROP_SECONDS) -> str:
        """Have the ledger drop the oldest day of raw readings early; return what that was.

        Raises Retryable where the ledger does not find the time, and StoreError.
        """
        asked = self.ask(lambda ledger: ledger.drop_oldest(keep_days))
        try:
            return asked.result(timeout_seconds)
        except TimeoutError:
            # Else each try would leave one more day to be dropped once there is time.
            asked.cancel()
            raise Retryable("the ledger is at work") from None

    def close(self, timeout_seconds: float = STOP_SECONDS) -> None:
        """End after the statement that runs now: the engine crashes if it is closed meanwhile."""
        self._stop.set()
        self._asked.put(None)
        self._thread.join(timeout_seconds)

    def _work(self) -> None:
        pause = min(FIRST_PAUSE_S, self._interval_seconds)
        while not self._stop.is_set():
            began = time.monotonic()
            if self._enabled:
                self._run()
            now = time.monotonic()
            # Of a fleet that takes long to compute, at most half of the time is spent on it.
            self._answer(now + max(pause, now - began))
            pause = min(pause * 2, self._interval_seconds)
        self._end()

    def _open(self) -> Ledger:
        if self._ledger is None:
            self._shards = self._shards or self._open_shards()
            client = self._shards.client
            if self._make_lease and self._lease is None:
                self._lease = self._make_lease(client)
            # The store knows for how long it has kept raw rows.
            policy = replace(
                self._policy,
                raw_days=ledger_state.raw_days(client),
                raw_since=ledger_state.raw_since(client),
            )
            self._ledger = Ledger(
                client,
                policy,
                is_stopping=self._stop.is_set,
                lease=self._lease,
                shards=self._shards,
                late_seconds=self._late_seconds,
            )
        return self._ledger

    def _run(self) -> None:
        started = time.perf_counter()
        hours, result = 0, "ok"
        try:
            ledger = self._open()
            self.leads = ledger.leads()
            if self.leads and self._rule is None:
                self._rule = ledger.adopt()
            result = "ok" if self.leads else "follows"
            if self.leads:
                with self._telemetry.span("ledger.run"):
                    hours = len(ledger.run())
                    ledger.sum_up()
        except Stopped:
            return
        except NotLeader:
            self.leads, result = False, "follows"
        except StoreError as error:
            log.error("the ledger could not run, it tries again: %s", error)
            result = "failed"
            self._hang_up()
        except Exception:  # the thread must outlive whatever the driver raises
            log.exception("the ledger could not run, it tries again")
            result = "failed"
        seconds = time.perf_counter() - started
        self.last_run = {"at": time.time(), "result": result, "hours": hours, "seconds": seconds}
        self._tell(self.last_run)

    def _hang_up(self) -> None:
        """Leave the nodes of a cluster that the ledger kept to: one of them may be gone."""
        if self._shards is not None and self._shards.are_replicated:
            self._shards.close()
            self._shards = self._ledger = None
            self._skipped = 0  # the next ledger counts from there

    def _tell(self, run: LastRun) -> None:
        telemetry = self._telemetry
        telemetry.count("ledger_runs_total", result=run["result"])
        telemetry.count("ledger_seconds_total", run["seconds"])
        telemetry.set("ledger_leader", float(self.leads))
        if run["result"] == "ok":
            telemetry.count("ledger_hours_total", run["hours"])
            telemetry.set("ledger_last_run_timestamp_seconds", run["at"])
        if self._ledger:
            telemetry.count(
                "ledger_skipped_hours_total", self._ledger.skipped_hours - self._skipped
            )
            self._skipped = self._ledger.skipped_hours
        if self._rule:
            labels = {name: str(value) for name, value in self._rule.parameters().items()}
            telemetry.set("ledger_policy", 1, **labels)

    def _answer(self, until: float) -> None:
        """Answer what is asked until the monotonic time ``until``, or until told to stop.

        The lease is kept meanwhile, so that the lead does not wander from one to the other.
        """
        keep_seconds = (self._lease and self._lease.keep_seconds) or math.inf
        if not self._enabled:  # who was asked to compute may lead for once, and does not stay so
            keep_seconds = math.inf
        while not self._stop.is_set():
            left = until - time.monotonic()
            try:
                asked = self._asked.get(timeout=max(0.0, min(left, keep_seconds)))
            except queue.Empty:
                if left <= keep_seconds:
                    return
                self._keep()
                continue
            if asked and asked.future.set_running_or_notify_cancel():
                self._serve(asked)

    def _keep(self) -> None:
        try:
            self.leads = self._open().leads()
        except Exception as error:  # the thread must outlive whatever the driver raises
            log.warning("the lease could not be kept: %s", error)

    def _serve(self, asked: Asked) -> None:
        try:
            answer = asked.question(self._open())
        except Stopped:
            asked.future.set_exception(Retryable("the collector is stopping"))
        except NotLeader:
            asked.future.set_exception(
                Retryable("another collector computes on this store: ask that one")
            )
        except Exception as error:
            asked.future.set_exception(error)
        else:
            asked.future.set_result(answer)

    def _end(self) -> None:
        with suppress(queue.Empty):
            while True:
                asked = self._asked.get_nowait()
                if asked and asked.future.set_running_or_notify_cancel():
                    asked.future.set_exception(Retryable("the collector is stopping"))
        if self._lease is not None:
            with suppress(StoreError):
                self._lease.release()
        if self._shards is not None:
            self._shards.close()
