"""Showback: what each team drew, paid, emitted, left idle, produced and saved in a month or week.

Sums are of full charged hours. Each amount is the sum of what is known, None where nothing is, and
beside it stand the joules of which it is not known. Every team's amounts, with those of nobody,
add up to the fleet's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import advice_book, decide
from .advice.model import State
from .period import Period
from .store import ledger_state
from .store import showback as asked
from .store.client import Client
from .store.energy_carbon import SCOPE
from .store.outcome_queries import LEAST_OUTCOMES, Asked, per_outcome

Record = dict[str, Any]

HOUR_S = 3600
CLASSES = ("active", "idle_held", "idle_unallocated", "overhead", "unattributed")
METHODS = ("factor", "hourly", "yearly")
MOST_WORKLOADS, MOST_WASTE = 50, 20
"""Shown of each team, the largest; what the others drew is in the team's sums."""
_KNOWN = ("facility_joules", "carbon_g", "market_g", "marginal_g")
_UNKNOWN = ("facility", "cost", "carbon", "market", "marginal")
_ADVICE = (
    *("id", "kind", "title", "site", "owner", "state", "joules_per_month", "are_facility_joules"),
    *("cost_per_month", "currency", "g_per_month", "confidence", "effort", "part"),
)
_PARTED = ("joules_per_month", "cost_per_month", "g_per_month")
_PARTED_SAVINGS = (
    *("expected_joules", "saved_joules", "saved_joules_per_month", "expected_g", "saved_g"),
)
_IDLE = ("workload", *(f"idle_held_{name}" for name in ("joules", "seconds", "costs", "g")))
_NOT_OF_DAYS = ("sources", "said", "estimated_g")
_SAVED = (
    *("verdict", "seconds", "expected_joules", "saved_joules", "saved_joules_per_month"),
    *("ratio", "expected_g", "saved_g"),
)


@dataclass(slots=True)
class Amounts:
    """Sums of rows of ``store.showback``; what is None there adds nothing, and stays None alone."""

    joules: float = 0.0
    seconds: float = 0.0
    known: dict[str, float | None] = field(default_factory=lambda: dict.fromkeys(_KNOWN))
    costs: dict[str, float] = field(default_factory=dict)
    unknown: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_UNKNOWN, 0.0))
    by_method: dict[str, float] = field(default_factory=dict)
    estimated_g: float | None = None
    sources: set[str] = field(default_factory=set)
    said: int | None = None

    def add(self, row: Mapping[str, Any]) -> None:
        self.joules += row["joules"]
        self.seconds += row["device_seconds"]
        for name in _KNOWN:
            self.known[name] = _added(self.known[name], row[name])
        if row["cost"] is not None:
            self.costs[row["currency"]] = self.costs.get(row["currency"], 0.0) + row["cost"]
        for name in _UNKNOWN:
            self.unknown[name] += row[f"{name}_unknown_joules"]
        for method in METHODS:
            if grams := row.get(f"{method}_g"):
                self.by_method[method] = self.by_method.get(method, 0.0) + grams
        self.estimated_g = _added(self.estimated_g, row.get("estimated_g"))
        self.sources |= set(row.get("sources", ()))
        if said := row.get("said"):
            self.said = max(said, self.said or 0)

    @property
    def short(self) -> Record:
        """Without where the grams come from."""
        return {
            "joules": self.joules,
            "device_seconds": self.seconds,
            "facility_joules": self.known["facility_joules"],
            "costs": dict(sorted(self.costs.items())),
            "carbon_g": self.known["carbon_g"],
        }

    @property
    def document(self) -> Record:
        grams, estimated = self.known["carbon_g"], self.estimated_g
        ratio = estimated / grams if grams and estimated is not None else None
        return {
            **self.short,
            "carbon_market_g": self.known["market_g"],
            "carbon_marginal_g": self.known["marginal_g"],
            "carbon_g_by_method": dict(sorted(self.by_method.items())),
            "carbon_estimated_ratio": ratio,
            "carbon_sources": sorted(self.sources),
            "carbon_said": self.said,
            "unknown_joules": dict(self.unknown),
        }


@dataclass(frozen=True, slots=True)
class Found:
    """What the store says, by which a document is made; rows of ``store.showback``.

    ``until_s`` is up to when the period is charged, ``before_until_s`` where the one before it is
    cut, ``first_s`` from when on anything is known. ``advice`` are records of
    ``advice_book.within`` the period, ``jobs`` of ``decide.saved`` with their team, ``coverage``
    known and unknown seconds by team, ``rates`` who told the prices and PUEs.
    """

    until_s: int
    before_until_s: int
    first_s: int
    days: Sequence[Record] = ()
    earlier: Sequence[Record] = ()
    workloads: Sequence[Record] = ()
    outcomes: Sequence[Record] = ()
    advice: Sequence[Record] = ()
    jobs: Sequence[Record] = ()
    coverage: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    rates: Sequence[Record] = ()


def build(client: Client, period: Period, team: str | None, now_s: int) -> Record:
    """Return the document of ``GET /v1/showback``: of one ``team``, or of all (None).

    A period that is not over counts up to the last charged hour, and the one before it as long.
    """
    return document(find(client, period, now_s), period, team, now_s)


def find(client: Client, period: Period, now_s: int) -> Found:
    """Ask the store for everything that a document of ``period`` says."""
    until, before_until = _cut(client, period)
    extent = ledger_state.extent(client)
    first = extent[0] if extent else now_s
    window = client, period.start_s, until
    earlier = asked.in_all(client, period.before_s, before_until)
    advice = advice_book.within(client, period.start_s, until)
    if until == period.start_s:
        return Found(until, before_until, first, earlier=earlier, advice=advice)
    return Found(
        until,
        before_until,
        first,
        asked.by_day(*window),
        earlier,
        asked.workloads(*window),
        _outcomes(*window),
        advice,
        _jobs(*window),
        asked.coverage(*window),
        asked.rates(*window),
    )


def _cut(client: Client, period: Period) -> tuple[int, int]:
    settled = int(ledger_state.read(client)["settled"] or 0) // HOUR_S * HOUR_S
    until = max(period.start_s, min(period.end_s, settled))
    if until == period.end_s:
        return until, period.start_s
    return until, min(period.start_s, period.before_s + until - period.start_s)


def document(found: Found, period: Period, team: str | None, now_s: int) -> Record:
    """Return the document of what was found."""
    totals, olds = _by(found.days, "team"), _by(found.earlier, "team")
    names = sorted(totals, key=lambda name: -totals[name].joules) if team is None else [team]
    beside = _Beside(found, period)
    return {
        "version": 1,
        "made": now_s,
        "period": {
            "kind": period.kind,
            "name": period.name,
            "start": period.start_s,
            "end": period.end_s,
            "until": found.until_s,
            "is_whole": found.until_s == period.end_s and found.first_s <= period.start_s,
        },
        "before": {
            "name": period.before,
            "start": period.before_s,
            "end": found.before_until_s,
            "is_whole": found.first_s <= period.before_s,
        },
        "team": team,
        "carbon_scope": SCOPE,
        "rates": list(found.rates),
        "fleet": _sum(found.days).document,
        "fleet_before": _sum(found.earlier).document if found.earlier else None,
        "teams": [_team(name, found.days, totals, olds, beside) for name in names],
        "days": [_day(row) for row in found.days if team is None or row["team"] == team],
    }


class _Beside:
    """What stands beside the energy of a period, by team."""

    def __init__(self, found: Found, period: Period) -> None:
        self.workloads = _listed(found.workloads)
        self.coverage = found.coverage
        self.outcomes = _listed(found.outcomes)
        self.advice = _listed(_shared(found.advice))
        self.jobs = _listed(found.jobs)
        self.period = period


def _team(
    name: str,
    rows: Sequence[Record],
    totals: Mapping[str, Amounts],
    olds: Mapping[str, Amounts],
    beside: _Beside,
) -> Record:
    own = [row for row in rows if row["team"] == name]
    classes = _by(own, "class")
    workloads = _workloads(beside.workloads.get(name, ()))
    known, unknown = beside.coverage.get(name, (0.0, 0.0))
    return {
        "team": name,
        "totals": totals.get(name, Amounts()).document,
        "before": olds[name].document if name in olds else None,
        "classes": {known: classes[known].short for known in CLASSES if known in classes},
        "workloads": workloads[:MOST_WORKLOADS],
        "waste": _waste(workloads),
        "outcomes": beside.outcomes.get(name, []),
        "advice": _open(beside.advice.get(name, ())),
        "done": _done(beside.advice.get(name, ()), beside.period),
        "shifted": _saved(beside.jobs.get(name, ())),
        "coverage": {
            "known_seconds": known,
            "unknown_seconds": unknown,
            "known_ratio": known / (known + unknown) if known + unknown > 0 else None,
        },
    }


def _by(rows: Iterable[Record], column: str) -> dict[str, Amounts]:
    found: dict[str, Amounts] = {}
    for row in rows:
        found.setdefault(row[column], Amounts()).add(row)
    return found


def _sum(rows: Iterable[Record]) -> Amounts:
    found = Amounts()
    for row in rows:
        found.add(row)
    return found


def _listed(rows: Iterable[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for row in rows:
        found.setdefault(row["team"], []).append(row)
    return found


def _shared(advice: Iterable[Record]) -> Iterator[Record]:
    """Give advice once for each team that has a part of it, with that part of its amounts."""
    for row in advice:
        for team, part in (row["teams"] or {row["team"]: 1.0}).items():
            check = row["verification"]
            yield {
                **_part(row, _PARTED, part),
                "team": team,
                "part": part,
                "verification": check and _part(check, _PARTED_SAVINGS, part),
            }


def _part(row: Record, amounts: Iterable[str], part: float) -> Record:
    parted = {name: None if row[name] is None else row[name] * part for name in amounts}
    return {**row, **parted}


def _workloads(rows: Iterable[Record]) -> list[Record]:
    """One record per workload: rows of several currencies are its."""
    found: dict[str, list[Record]] = {}
    for row in rows:
        found.setdefault(row["workload"], []).append(row)
    return [_workload(name, own) for name, own in found.items()]


def _workload(name: str, rows: Sequence[Record]) -> Record:
    costs: dict[str, float] = {}
    grams: float | None = None
    for row in rows:
        grams = _added(grams, row["idle_held_g"])
        if row["idle_held_cost"] is not None:
            costs[row["currency"]] = costs.get(row["currency"], 0.0) + row["idle_held_cost"]
    return {
        "workload": name,
        "workload_kind": rows[0]["workload_kind"],
        "ai_model": rows[0]["ai_model"],
        **_sum(rows).short,
        "active_joules": sum(row["active_joules"] for row in rows),
        "idle_held_joules": sum(row["idle_held_joules"] for row in rows),
        "idle_held_seconds": sum(row["idle_held_seconds"] for row in rows),
        "idle_held_costs": costs,
        "idle_held_g": grams,
    }


def _waste(workloads: Iterable[Record]) -> list[Record]:
    """Who held devices idle, the most joules first."""
    idle = [w for w in workloads if w["idle_held_joules"] > 0]
    ordered = sorted(idle, key=lambda workload: -workload["idle_held_joules"])
    return [{name: w[name] for name in _IDLE} for w in ordered[:MOST_WASTE]]


def _outcomes(client: Client, since: int, until: int) -> list[Record]:
    names = ("team", "ai_model", "outcome", "count", "active_joules", "loaded_joules")
    of_each = ("joules_per_outcome_active", "joules_per_outcome_loaded", "low", "high")
    made = [
        {name: row[name] for name in (*names, *of_each)}
        for row in per_outcome(client, Asked(("team", "ai_model"), since, until))
        if row["state"] == "ok" and row["count"] > LEAST_OUTCOMES
    ]
    return sorted(made, key=lambda row: -row["loaded_joules"])


def _open(advice: Iterable[Record]) -> list[Record]:
    """What could be done now, whatever period is shown."""
    still = (State.OPEN, State.ACCEPTED)
    return [{name: row[name] for name in _ADVICE} for row in advice if row["state"] in still]


def _done(advice: Iterable[Record], period: Period) -> list[Record]:
    """What was done before the period ended, with what was measured of it within the period."""
    return [
        {
            **{name: row[name] for name in ("id", "kind", "title", "are_facility_joules")},
            "done": row["state_at"],
            **{name: row["verification"][name] for name in _SAVED},
        }
        for row in advice
        if row["verification"] is not None and row["state_at"] < period.end_s
    ]


def _jobs(client: Client, since: int, until: int) -> list[Record]:
    """What each job saved that asked first in the window and was held."""
    jobs = decide.saved(client, since, until)["jobs"]
    teams = asked.teams_of(client, [job["job"] for job in jobs]) if jobs else {}
    return [{**job, "team": teams.get(job["job"], "")} for job in jobs]


def _saved(jobs: Sequence[Record]) -> Record:
    by_unit: dict[str, float] = {}
    known = [job for job in jobs if job["saved"] is not None]
    for job in known:
        by_unit[job["unit"]] = by_unit.get(job["unit"], 0.0) + job["saved"]
    return {"held": len(jobs), "saved_by_unit": by_unit, "unknown": len(jobs) - len(known)}


def _day(row: Record) -> Record:
    kept = {name: value for name, value in row.items() if name not in _NOT_OF_DAYS}
    return {**kept, "carbon_sources": row["sources"], "carbon_said": row["said"] or None}


def _added(one: float | None, other: float | None) -> float | None:
    return one if other is None else other if one is None else one + other
