"""Sends what waits in a store: what is new first, then the backlog, at a bounded rate.

A request that the collector may take later is sent again after a back-off with full jitter; one
that it will never take is counted and gone, and so is one that alone is refused time and again.
Of a backlog several requests are sent as one, twice as many after each answer that came soon and
half as many after any other, down to a single one that is to blame for itself. What is sent at
once is in memory, at most a megabyte of it.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from enum import Enum

from wattshed_exporter.spool import Record, Store
from wattshed_exporter.telemetry import Telemetry

from .joined import MOST_BYTES, fitting, joined
from .otlp_client import Client, Retry
from .wire import rejected_points

log = logging.getLogger(__name__)

FINAL = frozenset({400, 413, 415, 422})
"""What says that these bytes will never be taken. Anything else may be said by whatever stands in
between, such as a proxy during a rollout, and must cost no data."""
NOT_OF_THE_BODY = frozenset({401, 403, 404, 405, 408, 429, 502, 503, 504})
REFUSALS = 10
"""Refusals after which the body is to blame, if another was accepted before each of them."""
LONGEST_WAIT_SECONDS = 3600.0
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
SAY_EVERY_SECONDS = 60.0
SOON_SECONDS, LATE_SECONDS = 3.0, 6.0
"""An answer within the first lets the next request be larger, one after the second smaller."""
MOST_AT_ONCE = 256
TOO_LARGE = 413

Jitter = Callable[[float, float], float]
"""Picks a pause between the two, in seconds."""


class Refused(Retry):
    """A refusal for which the body itself may be to blame."""


class Turn(Enum):
    """What is sent next."""

    LIVE = "what was put last"
    BACKLOG = "what waits longest"
    END = "nothing any more"


class Blame:
    """Tells a body that makes a collector fail from a collector that fails."""

    def __init__(self) -> None:
        self._suspect: tuple[int, int] | None = None
        self._refusals = 0
        self._others = False

    def accepted(self) -> None:
        """Take note that the collector took a body."""
        self._others = True

    def refused(self, place: tuple[int, int]) -> bool:
        """Return whether it is to blame: nothing else was refused, and others were in between."""
        if place != self._suspect:
            self._suspect, self._refusals = place, 0
        else:
            self._refusals += self._others
        self._others = False
        return self._refusals >= REFUSALS


class Portion:
    """How many requests of a backlog are sent as one: ``most``, of ``most_bytes``.

    Begins with one, so that a thousand exporters that find their collector again ask it for little
    at first, and goes back as soon as it has more to do than it can.
    """

    def __init__(self) -> None:
        self.most = 1
        self.most_bytes = MOST_BYTES

    def answered(self, sent: int, seconds: float) -> None:
        """Take note that so many were taken within so many seconds."""
        if seconds <= SOON_SECONDS:
            self.most = min(2 * sent, MOST_AT_ONCE)
        elif seconds > LATE_SECONDS:
            self.failed(sent)

    def failed(self, sent: int) -> None:
        """Take note that so many were not taken, or only just."""
        self.most = max(1, sent // 2)

    def too_large(self, size: int) -> None:
        """Take note that several of so many bytes were refused for their size."""
        self.most_bytes = size // 2


class Sender:
    """A thread that empties a store into a client.

    Args:
        changed: is notified after every attempt; guards what this class keeps.
        drain_per_second: requests of a backlog per second at most. A collector that takes long
            over them gets them with pauses as long as it took.
        told: is called after each request that has left the store.
    """

    def __init__(
        self,
        client: Client,
        store: Store,
        telemetry: Telemetry,
        changed: threading.Condition,
        drain_per_second: float,
        *,
        told: Callable[[], None] = lambda: None,
        jitter: Jitter = random.uniform,
    ) -> None:
        self._client = client
        self._store = store
        self._telemetry = telemetry
        self._changed = changed
        self._least_pause = 1.0 / drain_per_second
        self._backoff = FIRST_BACKOFF_SECONDS
        self._jitter = jitter
        self._told = told
        self._puts = self._emptied = 0
        self._fresh = self._hurry = False
        self._not_before = self._drain_at = 0.0
        self._give_up_at = float("inf")
        self._said_at = float("-inf")
        self._blame = Blame()
        self._portion = Portion()
        self._stumbled = False
        self._thread = threading.Thread(target=self._run, name="otlp-send", daemon=True)
        self._thread.start()

    def wake(self, *, live: bool) -> None:
        """Say that the store holds something; ``live`` unless it is from an earlier run."""
        with self._changed:
            self._puts += 1
            self._fresh = self._fresh or live
            self._changed.notify_all()

    def hurry(self, wanted: bool) -> None:
        """Send a backlog as fast as the collector takes it, or no longer."""
        with self._changed:
            self._hurry = wanted
            self._changed.notify_all()

    def close(self, seconds: float) -> None:
        """Try what waits once more, for so many seconds."""
        with self._changed:
            self._give_up_at = time.monotonic() + seconds
            self._not_before = 0.0
            self._changed.notify_all()
        self._thread.join(seconds + 0.1)
        if not self._thread.is_alive():
            self._client.close()

    def _run(self) -> None:
        while (turn := self._wait_turn()) is not Turn.END:
            try:
                self._take_turn(turn)
            except Exception:  # whatever it is, this thread is the only one that sends
                if not self._stumbled:
                    log.exception("sending failed unexpectedly; it goes on")
                self._stumbled = True
                self._hold(turn, 0.0)
            with self._changed:
                self._changed.notify_all()

    def _take_turn(self, turn: Turn) -> None:
        puts = self._puts
        if turn is Turn.LIVE:
            newest = self._store.peek(newest=True)
            records: Sequence[Record] = () if newest is None else (newest,)
        else:
            portion = self._portion
            records = fitting(self._store.oldest(portion.most, portion.most_bytes))
        if records:
            self._attempt(records, turn)
        elif turn is Turn.BACKLOG:
            with self._changed:
                self._emptied = puts

    def _wait_turn(self) -> Turn:
        with self._changed:
            while True:
                now = time.monotonic()
                closing = self._give_up_at != float("inf")
                if closing and max(now, self._not_before) >= self._give_up_at:
                    return Turn.END
                wait = self._not_before - now
                if wait <= 0 and self._fresh:
                    self._fresh = False
                    return Turn.LIVE
                if self._emptied == self._puts:
                    if closing:
                        return Turn.END
                    self._changed.wait()
                    continue
                if not (self._hurry or closing):
                    wait = max(wait, self._drain_at - now)
                if wait <= 0:
                    return Turn.BACKLOG
                self._changed.wait(min(wait, LONGEST_WAIT_SECONDS))

    def _attempt(self, records: Sequence[Record], turn: Turn) -> None:
        began = time.monotonic()
        try:
            accepted = self._post(records)
        except Retry as retry:
            if turn is Turn.BACKLOG:
                self._portion.failed(len(records))
            if not self._is_to_blame(records, retry):
                self._say("%s; sending again", retry)
                self._hold(turn, retry.after_seconds)
                return
            log.warning("%s; to this request alone, so it is given up", retry)
            accepted = False
        now = time.monotonic()
        self._backoff = FIRST_BACKOFF_SECONDS
        if turn is Turn.BACKLOG:
            self._drain_at = now + max(self._least_pause, now - began)
        if accepted:
            self._blame.accepted()
            if turn is Turn.BACKLOG:
                self._portion.answered(len(records), now - began)
        elif len(records) > 1:
            self._portion.failed(len(records))  # one of them is to blame
            return
        self._done(records, accepted)

    def _is_to_blame(self, records: Sequence[Record], retry: Retry) -> bool:
        alone = isinstance(retry, Refused) and len(records) == 1
        return alone and self._blame.refused(records[0].place)

    def _done(self, records: Sequence[Record], accepted: bool) -> None:
        """Forget requests, and count them."""
        ticks = sum(record.ticks for record in records if self._store.ack(record))
        self._telemetry.handed_over("otlp", "sent" if accepted else "rejected", ticks)
        self._told()

    def _hold(self, turn: Turn, seconds: float) -> None:
        """Send nothing for so long at least, and what was to be sent then."""
        pause = max(seconds, self._jitter(0.0, self._backoff))
        self._backoff = min(2 * self._backoff, LONGEST_BACKOFF_SECONDS)
        with self._changed:
            self._fresh = self._fresh or turn is Turn.LIVE
            self._not_before = time.monotonic() + pause

    def _post(self, records: Sequence[Record]) -> bool:
        """Send once; return False where the collector will never take it as it is."""
        body = joined([record.body for record in records])
        status, answer, after = self._client.post(body)
        if 200 <= status < 300:
            rejected, why = rejected_points(answer)
            if rejected:
                self._telemetry.add("wattshed_output_points_rejected_total", rejected, "otlp")
                self._say("the collector rejected %d data points: %s", rejected, why)
            return True
        if status not in FINAL:
            of_it = status >= 400 and status not in NOT_OF_THE_BODY
            kind = Refused if of_it else Retry
            raise kind(f"the collector answered {status} {_words(answer)}".rstrip(), after)
        if len(records) > 1:
            if status == TOO_LARGE:
                self._portion.too_large(len(body))
            return False
        self._say("the collector refused a batch for good: %d %s", status, _words(answer))
        return False

    def _say(self, message: str, *told: object) -> None:
        now = time.monotonic()
        if now - self._said_at >= SAY_EVERY_SECONDS:
            self._said_at = now
            log.warning(message, *told)


def _words(answer: bytes) -> str:
    return " ".join(answer[:200].decode(errors="replace").split())
