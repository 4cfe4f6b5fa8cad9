"""When a job of known length costs least before its deadline: one document, for API and terminal.

What is expected is, from the best down: a tariff or factor that an operator told for the site, the
newest forecast of its zone, the same hours of the last days. The answer says which of them it rests
on, and where nothing is known, that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .grid.profile import DAY_S, same_hours
from .grid.series import Step, clip, mean, tidy
from .grid.windows import Plan, best
from .store import grid
from .store.client import Client

SIGNALS = {
    "carbon": "carbon_g_per_kwh",
    "carbon_marginal": "",
    "price": "price",
}
"""What can be asked for, and the kind of factor that an operator may have told for a site."""
PROFILE_DAYS = 7
LONGEST_RUN_S = 31 * DAY_S
LONGEST_WAIT_S = 31 * DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """``earliest_s`` and ``deadline_s`` are Unix seconds; a site or a zone is named."""

    run_s: int
    earliest_s: int
    deadline_s: int
    site: str = ""
    zone: str = ""
    signal: str = "carbon"
    interruptible: bool = False


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known and expected of a signal. ``layers`` are those of ``steps``, the best last."""

    zone: str
    unit: str
    source: str
    age_s: int | None
    layers: tuple[tuple[str, Sequence[Step]], ...]

    @property
    def steps(self) -> list[Step]:
        known = (step for _, steps in self.layers for step in steps if step.value is not None)
        return tidy(known)

    def resting_on(self, pieces: Sequence[tuple[int, int]]) -> list[str]:
        """Return the layers of which ``pieces`` take anything, the best first."""
        left = [Step(start, end, 1.0) for start, end in pieces]
        found = []
        for name, steps in reversed(self.layers):
            known = [step for step in steps if step.value is not None]
            if any(clip(known, piece.start_s, piece.end_s) for piece in left):
                found.append(name)
            holes = [Step(step.start_s, step.end_s, None) for step in known]
            left = [step for step in tidy([*left, *holes]) if step.value is not None]
        return found


def outlook(client: Client, question: Question, now_s: int) -> Outlook:
    """Return what is known of the signal at the site or in the zone."""
    zone = question.zone or grid.zone_of(client, question.site)
    told = grid.factor_steps(client, SIGNALS[question.signal], question.site)
    is_told = any(step.value is not None for step in clip(told.steps, now_s, question.deadline_s))
    if is_told and not question.zone:
        return Outlook(zone, told.unit, told.source, None, (("factor", told.steps),))
    was = grid.steps(
        client, question.signal, zone, now_s - (PROFILE_DAYS + 1) * DAY_S, now_s + DAY_S
    )
    newest = grid.newest(client, question.signal, zone)
    expected = grid.expected(client, question.signal, zone)
    usual = same_hours(was, question.earliest_s, question.deadline_s, now_s, PROFILE_DAYS)
    return Outlook(
        zone,
        newest.unit if newest else "",
        newest.source if newest else "",
        max(0, now_s - newest.end_s) if newest else None,
        (("same_hours", usual), ("forecast", expected), ("known", was)),
    )


def answer(client: Client, question: Question, now_s: int) -> dict[str, Any]:
    """Return the document of ``GET /v1/when``; times are Unix seconds."""
    seen = outlook(client, question, now_s)
    plan = best(
        seen.steps,
        question.run_s,
        question.earliest_s,
        question.deadline_s,
        interruptible=question.interruptible,
    )
    return {
        "signal": question.signal,
        "unit": seen.unit,
        "site": question.site,
        "zone": seen.zone,
        "run_seconds": question.run_s,
        "earliest": question.earliest_s,
        "deadline": question.deadline_s,
        "interruptible": question.interruptible,
        "now": {
            "value": mean(seen.steps, now_s, now_s + 1).value,
            "source": seen.source,
            "age_seconds": seen.age_s,
        },
        "run_now": plan is not None and plan.start_s <= now_s,
        "plan": _told(plan, seen) if plan else None,
        "reason": "" if plan else _why_not(seen, question),
    }


def _told(plan: Plan, seen: Outlook) -> dict[str, Any]:
    return {
        "start": plan.start_s,
        "end": plan.pieces[-1][1],
        "pieces": [{"start": start, "end": end} for start, end in plan.pieces],
        "mean": plan.mean,
        "mean_at_once": plan.mean_at_once,
        "saved_ratio": plan.saved_ratio,
        "rests_on": seen.resting_on(plan.pieces),
    }


def _why_not(seen: Outlook, question: Question) -> str:
    where = f"site {question.site!r}" if question.site else f"zone {seen.zone!r}"
    if not seen.zone and not seen.steps:
        return f"{where} lies in no zone of the grid; grid.zones says where sites lie"
    if not seen.steps:
        return f"nothing is known of {question.signal} in zone {seen.zone!r} hour by hour"
    if question.deadline_s - question.earliest_s < question.run_s:
        return "the job does not fit before its deadline"
    return f"{question.signal} is not known for long enough between now and the deadline"
