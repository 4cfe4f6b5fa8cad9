"""Recompute a window on request: what would change, and then the change itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict, TypeVar

from wattshed_exporter.model import IdlePolicy

from .api.window import window
from .errors import InvalidInput
from .ledger import HOUR_S, Ledger, Progress
from .preview import Change, preview
from .store import ledger_state
from .store.policies import Override

T = TypeVar("T")


class Answer(TypedDict):
    """``start``, ``end``: the whole hours it is about, Unix seconds; ``hours``: how many of them.

    ``changes``: what a dry run found; empty otherwise. ``written``: whether the ledger was changed.
    """

    start: int
    end: int
    hours: int
    written: bool
    changes: list[Change]


@dataclass(frozen=True, slots=True)
class Request:
    """Hours that [since, until) touches, Unix seconds, and what to charge them by instead."""

    since: int
    until: int
    override: Override = field(default_factory=Override)
    dry_run: bool = False


FIELDS = frozenset({"from", "to", "policy", "idle_below", "dry_run"})


def parse(asked: Mapping[str, Any], now: float) -> Request:
    """Read a request as people write it: ``from``, ``to``, ``policy``, ``idle_below``, ``dry_run``.

    Raises InvalidInput with a sentence for everything that is wrong.
    """
    problems = [f"{name!r} is unknown" for name in sorted(set(asked) - FIELDS)]

    def told(read: Callable[[], T]) -> T | None:
        try:
            return read()
        except InvalidInput as error:
            problems.append(str(error))
            return None

    during = told(lambda: window(str(asked.get("from") or ""), str(asked.get("to") or ""), now))
    override = Override(
        told(lambda: _idle(asked.get("policy"))), told(lambda: _below(asked.get("idle_below")))
    )
    dry_run = told(lambda: _flag("dry_run", asked.get("dry_run", False)))
    if problems or during is None:
        raise InvalidInput("; ".join(problems), "request")
    return Request(*during, override, bool(dry_run))


def _flag(name: str, said: Any) -> bool:
    if not isinstance(said, bool):
        raise InvalidInput(f"{name}: {said!r} is neither true nor false", name)
    return said


def _idle(said: Any) -> IdlePolicy | None:
    try:
        return None if said is None else IdlePolicy(said)
    except ValueError:
        raise InvalidInput(
            f"policy: {said!r} is none of {', '.join(IdlePolicy)}", "policy"
        ) from None


def _below(said: Any) -> int | None:
    if said is None:
        return None
    is_number = isinstance(said, int | float) and not isinstance(said, bool)
    if not is_number or not 0 <= said <= 1:
        raise InvalidInput(f"idle_below: {said!r} is not between 0 and 1", "idle_below")
    return round(float(said) * 1e4)


def answer(ledger: Ledger, request: Request, progress: Progress | None = None) -> Answer:
    """Do what is asked. Raises InvalidInput where raw rows may be gone, and NotLeader."""
    lo, hi = request.since // HOUR_S * HOUR_S, -(-request.until // HOUR_S) * HOUR_S
    known = ledger_state.extent(ledger.client)
    first, last = known or (hi, hi)
    hours = range(max(lo, first), min(hi, last + HOUR_S), HOUR_S)
    changes: list[Change] = []
    if request.dry_run:
        changes = preview(ledger, hours, request.override, progress)
    else:
        ledger.check(hours)
        if request.override:
            ledger.override(request.override, lo, hi, hours)
        if hours:
            ledger.recompute(hours, progress)
    return {
        "start": lo,
        "end": hi,
        "hours": len(hours),
        "written": not request.dry_run,
        "changes": changes,
    }
