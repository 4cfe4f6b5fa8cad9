"""Recompute a window on request: what would change, and then the change itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from wattshed_exporter.model import IdlePolicy

from .api.window import window
from .errors import InvalidInput
from .ledger import HOUR_S, Ledger, Progress
from .preview import Change, preview
from .store import ledger_state
from .store.policies import Override


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


def parse(asked: Mapping[str, Any], now: float) -> Request:
    """Read a request as people write it: ``from``, ``to``, ``policy``, ``idle_below``, ``dry_run``.

    Raises InvalidInput with a sentence that says what is accepted.
    """
    unknown = sorted(set(asked) - {"from", "to", "policy", "idle_below", "dry_run"})
    if unknown:
        raise InvalidInput(f"{unknown[0]!r} is unknown", "field")
    since, until = window(str(asked.get("from") or ""), str(asked.get("to") or ""), now)
    override = Override(_idle(asked.get("policy")), _below(asked.get("idle_below")))
    dry_run = asked.get("dry_run", False)
    if not isinstance(dry_run, bool):
        raise InvalidInput(f"dry_run: {dry_run!r} is neither true nor false", "dry_run")
    return Request(since, until, override, dry_run)


def _idle(said: Any) -> IdlePolicy | None:
    try:
        return IdlePolicy(said) if said else None
    except ValueError:
        raise InvalidInput(
            f"policy: {said!r} is none of {', '.join(IdlePolicy)}", "policy"
        ) from None


def _below(said: Any) -> int | None:
    if said is None:
        return None
    try:
        ratio = float(said)
    except (TypeError, ValueError):
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise InvalidInput(f"idle_below: {said!r} is not between 0 and 1", "idle_below")
    return round(ratio * 1e4)


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
