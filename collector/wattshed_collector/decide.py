"""What a job that can wait should do now, by policies and the grid; and what waiting has saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import when
from .advice.model import RAN_AT_ONCE
from .grid.policies import Now, Policy, decide
from .grid.series import mean
from .grid.shift import MINUTE_S, Shifted, shifted
from .grid.windows import best
from .store import decisions, worth
from .store.client import Client
from .store.decisions import Held
from .when import Question


@dataclass(frozen=True, slots=True)
class Job:
    """Who asks: ``key`` is that of its workload, ``attributes`` are what policies match."""

    key: str
    attributes: Mapping[str, str]
    question: Question


def told(
    client: Client, policies: Sequence[Policy], job: Job, now_s: int, *, keep: bool
) -> dict[str, Any]:
    """Decide, keep what was decided unless told not to, and return the document of the answer."""
    policy = next((p for p in policies if p.matches(job.attributes)), None)
    first = decisions.first_asked(client, job.key, now_s)
    held_s = max(0, now_s - first) if first is not None else 0
    known: dict[str, Now] = {}
    place = worth.place(client, job.question.site, job.question.zone)
    if policy is not None:
        question = replace(job.question, signal=policy.signal)
        known[policy.signal] = _now(client, question, now_s)
    decision = decide(policies, job.attributes, known, held_s)
    value = known[policy.signal].value if policy else None
    if keep:
        decisions.put(client, job.key, place, decision, policy, value, now_s)
    return {
        "job": job.key,
        "action": str(decision.action),
        "policy": decision.policy,
        "signal": policy.signal if policy else "",
        "value": value,
        "until": decision.until_s,
        "cap_ratio": decision.cap_ratio,
        "held_seconds": held_s,
        "reasons": list(decision.reasons),
    }


def _now(client: Client, question: Question, now_s: int) -> Now:
    seen = when.outlook(client, question, now_s)
    steps = seen.steps
    plan = best(
        steps,
        question.run_s,
        question.earliest_s,
        question.deadline_s,
        interruptible=question.interruptible,
    )
    value = mean(steps, now_s, now_s + 1).value
    latest = question.deadline_s - question.run_s
    return Now(now_s, value, plan.start_s if plan else None, plan.mean if plan else None, latest)


def saved(client: Client, since_s: int, until_s: int) -> dict[str, Any]:
    """Return what each run saved whose job asked first in [since_s, until_s) and was held.

    Grams or money of the joules as they were drawn, against the same joules drawn from when it
    first asked, by the factor of the site, else the series of the zone. What cannot be told is
    null, with the reason. A job that comes again has a row of each time it was held.
    """
    rows = [_saved(client, held) for held in decisions.held(client, since_s, until_s)]
    known = [row["saved"] for row in rows if row["saved"] is not None]
    return {
        "since": since_s,
        "until": until_s,
        "jobs": rows,
        "saved_by_unit": _by_unit(rows),
        "unknown": len(rows) - len(known),
        "assumes": RAN_AT_ONCE,
    }


def _by_unit(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in rows:
        if row["saved"] is not None:
            found[row["unit"]] = found.get(row["unit"], 0.0) + row["saved"]
    return found


def _saved(client: Client, held: Held) -> dict[str, Any]:
    begun, until = min(held.joules), max(held.joules) + MINUTE_S
    shift = max(0, begun - held.asked_s)
    told = worth.actual(client, held.signal, held.place, begun - shift, until)
    found = shifted(held.joules, told.steps, shift)
    return {
        "job": held.job,
        "policy": held.policy,
        "signal": held.signal,
        "site": held.place.site,
        "zone": held.place.zone,
        "asked": held.asked_s,
        "shift_seconds": shift,
        "joules": found.joules,
        "are_facility_joules": held.are_facility,
        "cost": found.cost,
        "cost_at_once": found.cost_at_once,
        "saved": found.saved,
        "unit": told.unit.partition("/")[0],
        "source": told.source,
        "reason": _why_not(held, found),
    }


def _why_not(held: Held, found: Shifted) -> str:
    if found.saved is not None:
        return ""
    what = "while it ran" if found.cost is None else "when it first asked"
    place = held.place
    where = f"in zone {place.zone!r}" if place.by_zone else f"at site {place.site!r}"
    return f"{held.signal} {where} is not known for every hour {what}"
