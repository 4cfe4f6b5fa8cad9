"""When a job of known length costs least before its deadline: one document, for API and terminal.

What is expected is, from the best down: a tariff or factor that an operator told for the site, what
is known of its zone, the newest forecast of it unless that is too old, the same hours of the last
days. The answer says which of them it rests on and how old the forecast is, and where nothing is
known, that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .grid.profile import DAY_S, same_hours
from .grid.series import Step, clip, layered, mean, under
from .grid.windows import Plan, best
from .store import grid, worth
from .store.client import Client
from .store.grid import Told
from .store.worth import SIGNALS, Place

__all__ = ["LONGEST_RUN_S", "LONGEST_WAIT_S", "SIGNALS", "Question", "answer", "outlook"]

PROFILE_DAYS = 7
LONGEST_RUN_S = 31 * DAY_S
LONGEST_WAIT_S = 31 * DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """``earliest_s`` and ``deadline_s`` are Unix seconds; a site or a zone is named. A forecast
    that was said longer ago than ``forecast_age_s`` is not used; 0: any is."""

    run_s: int
    earliest_s: int
    deadline_s: int
    site: str = ""
    zone: str = ""
    signal: str = "carbon"
    interruptible: bool = False
    forecast_age_s: int = DAY_S


@dataclass(frozen=True, slots=True)
class Forecast:
    """The newest forecast of a zone: who said it when (Unix seconds), and whether it is used."""

    source: str
    said_s: int
    age_s: int
    is_used: bool


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known and expected of a signal. ``layers`` are those of ``steps``, the best last."""

    zone: str
    unit: str
    source: str
    age_s: int | None
    forecast: Forecast | None
    layers: tuple[tuple[str, Sequence[Step]], ...]

    @property
    def steps(self) -> list[Step]:
        return layered(*(steps for _, steps in self.layers))

    def resting_on(self, pieces: Sequence[tuple[int, int]]) -> list[str]:
        """Return the layers of which ``pieces`` take anything, the best first."""
        left = [Step(start, end, 1.0) for start, end in pieces]
        found = []
        for name, steps in reversed(self.layers):
            known = [step for step in steps if step.value is not None]
            if any(clip(known, piece.start_s, piece.end_s) for piece in left):
                found.append(name)
            taken = [Step(step.start_s, step.end_s, 0.0) for step in known]
            left = [step for step in layered(left, taken) if step.value]
        return found


def outlook(client: Client, question: Question, now_s: int) -> Outlook:
    """Return what is known of the signal at the site or in the zone."""
    where = worth.place(client, question.site, question.zone)
    seen = _of_zone(client, question, where, now_s)
    told = worth.factor(client, question.signal, where, now_s, question.deadline_s)
    if told is None:
        return seen
    # Money of two kinds is not compared.
    is_same = told.unit in ("", seen.unit)
    left = tuple((name, under(steps, told.steps)) for name, steps in seen.layers if is_same)
    if not told.unit:
        return replace(seen, layers=left)
    is_now = mean(told.steps, now_s, now_s + 1).value is not None
    return replace(
        seen,
        unit=told.unit,
        source=told.source if is_now or not left else seen.source,
        age_s=None if is_now or not left else seen.age_s,
        layers=(*left, ("factor", told.steps)),
    )


def _of_zone(client: Client, question: Question, where: Place, now_s: int) -> Outlook:
    signal, zone = question.signal, where.zone
    newest = grid.newest(client, signal, zone)
    expected = grid.expected(client, signal, zone)
    unit = newest.unit if newest else expected.unit if expected else ""
    since = now_s - (PROFILE_DAYS + 1) * DAY_S
    known = grid.steps(client, signal, zone, since, question.deadline_s, unit)
    usual = same_hours(known, question.earliest_s, question.deadline_s, now_s, PROFILE_DAYS)
    forecast = _forecast(expected, question, now_s)
    coming = expected.steps if expected and forecast and forecast.is_used else ()
    return Outlook(
        zone,
        unit,
        newest.source if newest else "",
        max(0, now_s - newest.end_s) if newest else None,
        forecast,
        (("same_hours", usual), ("forecast", coming), ("known", known)),
    )


def _forecast(told: Told | None, question: Question, now_s: int) -> Forecast | None:
    if told is None:
        return None
    age_s = max(0, now_s - told.said_s)
    is_young = not question.forecast_age_s or age_s <= question.forecast_age_s
    return Forecast(told.source, told.said_s, age_s, is_young)


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
        "forecast": _said(seen.forecast),
        "run_now": plan is not None and plan.start_s <= now_s,
        "plan": _told(plan, seen) if plan else None,
        "reason": "" if plan else _why_not(seen, question),
    }


def _said(forecast: Forecast | None) -> dict[str, Any] | None:
    if forecast is None:
        return None
    return {
        "source": forecast.source,
        "said": forecast.said_s,
        "age_seconds": forecast.age_s,
        "is_used": forecast.is_used,
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
    old = ", and the forecast is too old" if seen.forecast and not seen.forecast.is_used else ""
    return f"{question.signal} is not known for long enough between now and the deadline{old}"
