"""A sink that writes into a server, or into the spool while the server is away.

While anything waits in the spool all that comes goes behind it, so that rows arrive in the order
in which they were taken: of two descriptions of a device the later one must come later. A group
that is delivered twice, because a crash came before its mark, is the same rows again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from wattshed_collector.errors import Permanent, Retryable, StoreError

from .client import Client
from .faults import SCHEMA_CODES, code_of
from .held import Held, Key, stored
from .insert import Insert
from .limits import Changes
from .limits import stored as stored_limits
from .sink import MARK_SECONDS, MARKS, mark_again
from .spool import Kept, Spool

log = logging.getLogger(__name__)

FIRST_RETRY_S = 1.0
LAST_RETRY_S = 30.0
PATIENCE_S = 600.0
"""A table or column that a server lacks may be on its way: so long everything waits for it."""
DRAIN_BYTES = 8 * 2**20
"""What is read back at once, and inserted with one statement per table."""


class Connection:
    """One thread's client, opened when it is needed and again after it has failed."""

    def __init__(self, open_client: Callable[[], Client]) -> None:
        self._open_client = open_client
        self._client: Client | None = None

    def insert(self, insert: Insert) -> None:
        self._with(lambda client: client.insert_native(insert))

    def stored(self, keys: Sequence[Key]) -> dict[Key, Held]:
        found: dict[Key, Held] = {}
        self._with(lambda client: found.update(stored(client, keys)))
        return found

    def limits(self) -> Changes:
        found: Changes = {}
        self._with(lambda client: found.update(stored_limits(client)))
        return found

    def close(self) -> None:
        if self._client is not None:
            with suppress(Exception):  # there is nothing left to lose with it
                self._client.close()
        self._client = None

    def _with(self, use: Callable[[Client], None]) -> None:
        if self._client is None:
            self._client = self._open_client()
        try:
            use(self._client)
        except Retryable:
            self.close()
            raise


@dataclass(slots=True)
class Drained:
    """What has gone through the spool since the start."""

    spooled_rows: int = 0
    drained_rows: int = 0
    aside_rows: int = 0


class Spooling:
    """Writes into a server, or into ``spool`` while that does not answer; drains it by itself.

    ``close`` leaves what waits for the next start.
    """

    def __init__(
        self,
        open_client: Callable[[], Client],
        spool: Spool,
        *,
        first_retry_seconds: float = FIRST_RETRY_S,
        patience_seconds: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = Drained()
        self.spool = spool
        self._direct = Connection(open_client)
        self._drain = Connection(open_client)
        self._first_retry_seconds = first_retry_seconds
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._lacking_since: float | None = None
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._wake.set()
        self._thread = threading.Thread(target=self._work, name="spool", daemon=True)
        self._thread.start()

    def write(self, inserts: Sequence[Insert]) -> None:
        if self.spool.empty:
            try:
                self._insert(self._direct, inserts)
            except Retryable as error:
                log.warning("the store is away, rows wait in the spool: %s", error)
            else:
                return
        self.spool.append(inserts)
        self.counters.spooled_rows += sum(insert.rows for insert in inserts)
        self._wake.set()

    def stored(self, keys: Sequence[Key]) -> dict[Key, Held] | None:
        if not self.spool.empty:
            return None  # the store has yet to be given what waits
        try:
            return self._direct.stored(keys)
        except Retryable:
            return None

    def limits(self) -> Changes | None:
        if not self.spool.empty:
            return None
        try:
            return self._direct.limits()
        except Retryable:
            return None

    def close(self, timeout_seconds: float = 4.0) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout_seconds)
        self._direct.close()
        if not self._thread.is_alive():
            self.spool.close()

    def _work(self) -> None:
        pause = self._first_retry_seconds
        aside_tried = False
        while not self._stop.is_set():
            try:
                if not aside_tried:
                    self._retry_aside()
                    aside_tried = True
                emptied = self._drain_some()
                pause = self._first_retry_seconds
            except Exception as error:  # the thread must outlive whatever the driver raises
                log.log(
                    logging.DEBUG if isinstance(error, Retryable) else logging.ERROR,
                    "the spool could not be drained, it is tried again in %.0f s: %s",
                    pause,
                    error,
                )
                self._stop.wait(pause)
                pause = min(2 * pause, LAST_RETRY_S)
                continue
            if emptied:
                self._wake.wait()
                self._wake.clear()
        self._drain.close()

    def _drain_some(self) -> bool:
        """Deliver the oldest groups; return whether there were none."""
        groups = self.spool.peek(DRAIN_BYTES)
        if not groups:
            return True
        try:
            self._insert(self._drain, joined(groups))
        except StoreError as error:
            if not self._is_for_good(error):
                raise
            self._one_by_one(groups)
        else:
            self._lacking_since = None
            self._delivered(groups)
        return False

    def _insert(self, connection: Connection, inserts: Sequence[Insert]) -> None:
        began = self._clock()
        for insert in inserts:
            connection.insert(insert)
        if self._clock() - began > MARK_SECONDS:
            mark_again(connection.insert, inserts)

    def _is_for_good(self, error: StoreError) -> bool:
        """Return whether waiting is of no use, or was not for long enough."""
        if code_of(error) not in SCHEMA_CODES:
            return isinstance(error, Permanent)
        if self._lacking_since is None:
            self._lacking_since = self._clock()
            log.warning("the store lacks a table or a column, rows wait for it: %s", error)
        return self._clock() - self._lacking_since >= self._patience_seconds

    def _one_by_one(self, groups: Iterable[Kept]) -> None:
        """Deliver each insert by itself; set aside what the store refuses."""
        for kept in groups:
            began = self._clock()
            for number, insert in enumerate(kept.inserts):
                try:
                    self._drain.insert(insert)
                except StoreError as error:
                    if not self._is_for_good(error):
                        raise
                    self.spool.set_aside(kept, number, str(error))
                    self.counters.aside_rows += insert.rows
                    log.error("%d rows of %s are set aside: %s", insert.rows, insert.table, error)
            if self._clock() - began > MARK_SECONDS:
                mark_again(self._drain.insert, kept.inserts)
            self._delivered([kept])

    def _delivered(self, groups: Sequence[Kept]) -> None:
        self.spool.ack(groups)
        self.counters.drained_rows += sum(i.rows for kept in groups for i in kept.inserts)
        if self.spool.empty:
            log.info("the store has all that waited in the spool")

    def _retry_aside(self) -> None:
        """Try once more what was set aside: a newer version, or a migration, may take it."""
        for aside in self.spool.aside():
            try:
                self._insert(self._drain, (*aside.marks, aside.insert))
            except StoreError as error:
                if not isinstance(error, Permanent) and code_of(error) not in SCHEMA_CODES:
                    raise
                log.warning("%s is still refused: %s", aside.path, error)
            else:
                self.spool.forget_aside(aside)


def joined(groups: Iterable[Kept]) -> list[Insert]:
    """Return one insert per table and set of columns, marks of dirty hours first, else in order."""
    bodies: dict[tuple[str, tuple[str, ...]], list[bytes]] = defaultdict(list)
    rows: dict[tuple[str, tuple[str, ...]], int] = defaultdict(int)
    for kept in groups:
        for insert in kept.inserts:
            key = insert.table, insert.columns
            bodies[key].append(insert.body)
            rows[key] += insert.rows
    order = sorted(bodies, key=lambda key: key[0] != MARKS)
    return [Insert(*key, rows[key], b"".join(bodies[key])) for key in order]
