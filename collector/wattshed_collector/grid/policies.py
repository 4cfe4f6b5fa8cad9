"""Rules of an operator for jobs that can wait: hold, prefer, cap. Evaluated to a decision.

The first policy that matches a job decides. wattshed decides and never acts: a scheduler asks.
"""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

SIGNALS = ("carbon", "carbon_marginal", "price")


class Action(StrEnum):
    """What a job should do now."""

    RUN = "run"
    HOLD = "hold"
    CAP = "cap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Thresholds are in the unit of the signal: g/kWh of carbon, money per kWh of price."""

    name: str
    match: Mapping[str, str] = field(default_factory=dict)
    """Patterns (``train-*``) by attribute of a job: team, workload, site, tier, queue, ..."""
    signal: str = "carbon"
    prefer_below: float | None = None
    """At or below, it runs at once, whatever may come later."""
    hold_above: float | None = None
    hold_at_most_s: int = 0
    """Who has been held for so long is held no more."""
    cap_above: float | None = None
    cap_ratio: float | None = None
    """Of the device's power limit, where it runs above ``cap_above``."""

    def matches(self, job: Mapping[str, str]) -> bool:
        return all(fnmatch.fnmatchcase(job.get(k, ""), v) for k, v in self.match.items())


@dataclass(frozen=True, slots=True)
class Now:
    """What is known of the signal: its value, None where unknown, and when it will be cheapest.

    ``best_start_s`` is where the cheapest plan before the deadline begins, None where none is
    known; ``latest_start_s`` is when the job must begin to be done before it.
    """

    at_s: int
    value: float | None
    best_start_s: int | None = None
    best_mean: float | None = None
    latest_start_s: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """``until_s`` says when a job that is held should ask again; ``reasons`` are sentences."""

    action: Action
    policy: str
    reasons: tuple[str, ...]
    until_s: int | None = None
    cap_ratio: float | None = None


def decide(
    policies: Sequence[Policy], job: Mapping[str, str], now: Mapping[str, Now], held_s: int = 0
) -> Decision:
    """Return what ``job`` should do, which has waited for ``held_s`` seconds.

    ``now`` has what is known by signal. An unknown value holds nobody.
    """
    policy = next((policy for policy in policies if policy.matches(job)), None)
    if policy is None:
        return Decision(Action.RUN, "", ("no policy matches",))
    known = now.get(policy.signal)
    if known is None or known.value is None:
        return Decision(Action.RUN, policy.name, (f"{policy.signal} is not known now",))
    if policy.prefer_below is not None and known.value <= policy.prefer_below:
        why = f"{policy.signal} is {known.value:g}, not above {policy.prefer_below:g}"
        return Decision(Action.RUN, policy.name, (why,))
    held, reasons = _held(policy, known, known.value, held_s)
    return held or _running(policy, known.value, reasons)


def _held(
    policy: Policy, now: Now, value: float, held_s: int
) -> tuple[Decision | None, tuple[str, ...]]:
    if policy.hold_above is None or value <= policy.hold_above:
        return None, ()
    above = f"{policy.signal} is {value:g}, above {policy.hold_above:g}"
    left = policy.hold_at_most_s - held_s
    if left <= 0:
        return None, (above, f"held for {held_s} s, at most {policy.hold_at_most_s} s")
    if now.best_start_s is not None and now.best_start_s <= now.at_s:
        return None, (above, "no later time before the deadline is better")
    if now.latest_start_s is not None and now.latest_start_s <= now.at_s:
        return None, (above, "it must begin now to be done before its deadline")
    until, reasons = now.at_s + left, [above]
    if now.latest_start_s is not None:
        until = min(until, now.latest_start_s)
    if now.best_start_s is not None:
        until = min(until, now.best_start_s)
        if now.best_mean is not None:
            reasons.append(f"{now.best_mean:g} is expected from {_clock(now.best_start_s)}")
    return Decision(Action.HOLD, policy.name, tuple(reasons), until), ()


def _running(policy: Policy, value: float, reasons: tuple[str, ...]) -> Decision:
    if policy.cap_above is not None and value > policy.cap_above:
        why = f"{policy.signal} is {value:g}, above {policy.cap_above:g}: capped"
        return Decision(Action.CAP, policy.name, (*reasons, why), cap_ratio=policy.cap_ratio)
    return Decision(
        Action.RUN, policy.name, reasons or (f"{policy.signal} is {value:g}: nothing holds it",)
    )


def _clock(at_s: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at_s))
