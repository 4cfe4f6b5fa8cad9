"""Parts of a program that count something when they end, as context managers and decorators."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from types import TracebackType

from .counters import Number
from .recorder import Account


class Scope(ContextDecorator):
    """Counts one of ``kind`` where it ends well, else one of ``<kind>_failed``.

    It ends well without an exception, or with ``SystemExit`` of no error.
    """

    def __init__(self, kind: str, account: Callable[[], Account]) -> None:
        self._kind = kind
        self._account = account

    def __enter__(self) -> Scope:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        well = error is None or (isinstance(error, SystemExit) and error.code in (None, 0))
        self._account().outcome(self._kind if well else f"{self._kind}_failed")


class Whose(ContextDecorator):
    """Says whose the outcomes are that this thread or task counts inside of it."""

    def __init__(self, account: Account, current: ContextVar[Account | None]) -> None:
        self.account = account
        self._current = current
        self._before: list[Token[Account | None]] = []

    def __enter__(self) -> Whose:
        self._before.append(self._current.set(self.account))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._current.reset(self._before.pop())

    def outcome(self, kind: str, count: Number = 1, *, model: str = "") -> None:
        """Count for this workload from any thread."""
        self.account.outcome(kind, count, model=model)
