"""Tell wattshed what a program produced: ``import wattshed; wattshed.outcome("step", n)``.

It needs nothing but the standard library, never raises in a loop and never waits for anybody. Each
process counts for itself, also the child of a fork. What this module holds is the process's one
recorder, because that is what a program means; ``Client`` is the same without it.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Unpack

from . import place
from .counters import Counter, Number
from .place import Access, Fields
from .recorder import INTERVAL_SECONDS, Account, Recorder, process_source
from .scopes import Scope, Whose
from .sending import Http

__all__ = (
    "Client",
    "Counter",
    "Fields",
    "configure",
    "counter",
    "epoch",
    "flush",
    "job",
    "outcome",
    "workload",
)

log = logging.getLogger("wattshed")

AT_END_SECONDS = 2.0


class Client:
    """Counts for one process.

    Args:
        environment: what tells where outcomes go and whose they are.
        recorder: counts and sends.
        node: name of this machine.
    """

    def __init__(self, environment: Mapping[str, str], recorder: Recorder, node: str) -> None:
        self.recorder = recorder
        self._environment = environment
        self._node = node
        self._current: ContextVar[Account | None] = ContextVar("wattshed", default=None)
        self._found: dict[str, str] = {}
        try:
            self._found = place.told_workload(environment, node)
            if (to := place.told_endpoint(environment)) is not None:
                recorder.send_by(Http(to, place.told_access(environment)))
        except ValueError as error:  # what an environment says wrong must not end a program
            log.warning("outcomes are not sent: %s", error)
        self._default = recorder.account(self._found)

    def outcome(self, kind: str, count: Number = 1, *, model: str = "") -> None:
        """Count so many more of a kind for the workload that is in force; never raises.

        A count of 0 says that they are counted from now on: what is burned before the first one
        is then known to be loading, not work.
        """
        # The body of Account.outcome: a call is a fifth of the whole.
        account = self._current.get() or self._default
        counter = account.counters.get((kind, model) if model else kind)
        if counter is None:
            counter = account.counter(kind, model)
        counter.add(count)

    def counter(self, kind: str, *, model: str = "") -> Counter:
        """Return the counter of a kind, for who counts a million times a second."""
        return (self._current.get() or self._default).counter(kind, model)

    def workload(self, name: str = "", **fields: Unpack[Fields]) -> Whose:
        """Say whose the outcomes are inside of a ``with`` block or a function.

        Raises TypeError where a field is none, and ValueError where nothing names the workload.
        """
        told: dict[str, str] = dict(fields)  # type: ignore[arg-type]
        said = place.described(self._found, name, told)
        if "key" not in said:
            raise ValueError("a workload needs a name or a key")
        return Whose(self.recorder.account(said), self._current)

    def job(self, kind: str = "job") -> Scope:
        """Count one job where the block or function ends well, else one ``job_failed``."""
        return Scope(kind, lambda: self._current.get() or self._default)

    def epoch(self) -> Scope:
        """Count one epoch where the block or function ends well."""
        return Scope("epoch", lambda: self._current.get() or self._default)

    def configure(
        self,
        url: str = "",
        *,
        token: str = "",
        user: str = "",
        password: str = "",
        ca_file: str = "",
        workload: str = "",
        interval_seconds: float | None = None,
        **fields: Unpack[Fields],
    ) -> None:
        """Say what the environment does not: where outcomes go, and whose they are by default.

        Raises ValueError and TypeError where that cannot be meant.
        """
        shown = place.told_access(self._environment)
        if token or user or ca_file:
            shown = Access(token, user, password, ca_file or shown.ca_file)
        to = place.endpoint(url) if url else place.told_endpoint(self._environment)
        if to is not None:
            self.recorder.send_by(Http(to, shown))
        if interval_seconds is not None:
            if not 0 < interval_seconds <= 3600:
                raise ValueError(f"{interval_seconds} is no interval of at most an hour")
            self.recorder.interval_seconds = interval_seconds
        if workload or fields:
            told: dict[str, str] = dict(fields)  # type: ignore[arg-type]
            said = place.described(self._found, workload, told)
            if not self._default.said.get("key"):
                self._default.said = said  # what was counted before had no name
            self._default = self.recorder.account(said)

    def flush(self, seconds: float = AT_END_SECONDS) -> bool:
        """Send now, and wait for it for so long at most; return whether all of it arrived."""
        return self.recorder.flush(seconds)


def _of_process() -> Client:
    node = place.node_name()
    rank = place.rank(os.environ)
    recorder = Recorder(None, lambda: process_source(node, rank), interval_seconds=INTERVAL_SECONDS)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=recorder.forked)
    atexit.register(lambda: recorder.close(AT_END_SECONDS))
    return Client(os.environ, recorder, node)


_client = _of_process()
outcome = _client.outcome
counter = _client.counter
workload = _client.workload
job = _client.job
epoch = _client.epoch
configure = _client.configure
flush = _client.flush
