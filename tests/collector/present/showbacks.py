"""Showbacks to show: a month of three teams, of one of them, and one of which nothing is known."""

from __future__ import annotations

import math
from typing import Any

from wattshed_collector import showback as documents
from wattshed_collector.period import month
from wattshed_collector.showback import Found

Record = dict[str, Any]
PERIOD = month("2026-10")
DAY_S = 86_400
NOW = PERIOD.end_s + 2 * DAY_S
TEAMS = {"research": 410.0, "assist": 260.0, "vision": 75.0, "": 120.0}
"""Mean kilowatt hours a day."""
MIX = {
    "research": {"active": 0.86, "idle_held": 0.13, "overhead": 0.01},
    "assist": {"active": 0.92, "idle_held": 0.08},
    "vision": {"active": 0.44, "idle_held": 0.56},
    "": {"idle_unallocated": 0.8, "overhead": 0.15, "unattributed": 0.05},
}
UNKNOWN = ("facility", "cost", "carbon", "market", "marginal")


def row(team: str, day: int, kind: str, joules: float, grams: float | None = 310.0) -> Record:
    """Return a row of a day: PUE 1.3, 0.24 EUR and ``grams`` per kilowatt hour."""
    kwh = joules / 3.6e6
    carbon = None if grams is None else 1.3 * kwh * grams
    lacks = joules if grams is None else 0.0
    hourly = carbon if day < PERIOD.start_s + 25 * DAY_S else None
    return {
        "team": team,
        "class": kind,
        "day": day,
        "currency": "EUR",
        "joules": joules,
        "device_seconds": joules / 400,
        "facility_joules": 1.3 * joules,
        "cost": 0.24 * kwh,
        "carbon_g": carbon,
        "market_g": None if carbon is None else 0.2 * carbon,
        "marginal_g": None,
        "factor_g": None,
        "hourly_g": hourly,
        "yearly_g": None if hourly else carbon,
        "estimated_g": None if hourly is None else 0.07 * hourly,
        "sources": ["Electricity Maps" if hourly else "Ember and Energy Institute, 2025"],
        "said": day + 7200 if hourly else None,
        **dict.fromkeys([f"{name}_unknown_joules" for name in UNKNOWN], 0.0),
        "carbon_unknown_joules": lacks,
        "marginal_unknown_joules": joules,
    }


def days() -> list[Record]:
    found = []
    for number in range(31):
        wave = 1 + 0.25 * math.cos(number * 0.9) - (0.35 if number % 7 in (2, 3) else 0)
        for team, kwh in TEAMS.items():
            joules = kwh * 3.6e6 * (wave if team else 1)
            found += [
                row(
                    team,
                    PERIOD.start_s + number * DAY_S,
                    kind,
                    joules * share,
                    None if number == 30 else 310.0 - 90 * math.sin(number / 3),
                )
                for kind, share in MIX[team].items()
            ]
    return found


WORKLOADS = (
    ("research", "pretrain-7b", "training", "llama-7b", 0.7, 0.06),
    ("research", "nb-scaling", "notebook", "", 0.2, 0.41),
    ("research", "eval-suite", "batch", "llama-7b", 0.1, 0.02),
    ("assist", "chat-70b", "inference", "llama-3.1-70b", 0.8, 0.05),
    ("assist", "canary-8x22b", "inference", "mixtral-8x22b", 0.2, 0.3),
    ("vision", "nb-vision-1", "notebook", "", 0.6, 0.93),
    ("vision", "segment", "training", "sam2", 0.4, 0.02),
)


def workload(team: str, name: str, kind: str, model: str, share: float, idle: float) -> Record:
    joules = TEAMS[team] * 31 * 3.6e6 * share
    whole = row(team, PERIOD.start_s, "", joules)
    return {
        **whole,
        "workload": name,
        "workload_kind": kind,
        "ai_model": model,
        "active_joules": joules * (1 - idle),
        "idle_held_joules": joules * idle,
        "idle_held_seconds": joules * idle / 90,
        "idle_held_cost": whole["cost"] * idle,
        "idle_held_g": whole["carbon_g"] * idle,
    }


def outcome(team: str, model: str, kind: str, count: float, joules: float) -> Record:
    each = joules / count
    return {
        "team": team,
        "ai_model": model,
        "outcome": kind,
        "count": count,
        "active_joules": 0.9 * joules,
        "loaded_joules": joules,
        "joules_per_outcome_active": 0.9 * each,
        "joules_per_outcome_loaded": each,
        "low": 0.98 * each,
        "high": 1.02 * each,
    }


def advice(team: str, title: str, state: str, kwh: float, saved: float | None = None) -> Record:
    check = None
    if saved is not None:
        check = {
            "verdict": "verified" if saved > 0.5 * kwh else "not_verified",
            "seconds": 20.0 * DAY_S,
            "expected_joules": kwh * 3.6e6 * 20 / 30,
            "saved_joules": saved * 3.6e6 * 20 / 30,
            "saved_joules_per_month": saved * 3.6e6,
            "ratio": saved / kwh,
            "expected_g": None,
            "saved_g": None,
        }
    return {
        "id": title[:8],
        "team": team,
        "teams": {},
        "kind": "release_idle",
        "title": title,
        "site": "dub",
        "owner": "ada",
        "state": state,
        "state_at": PERIOD.start_s + 11 * DAY_S,
        "joules_per_month": kwh * 3.6e6,
        "are_facility_joules": True,
        "cost_per_month": 0.24 * kwh,
        "currency": "EUR",
        "g_per_month": 310.0 * kwh,
        "confidence": 0.95,
        "effort": "low",
        "verification": check,
    }


def found() -> Found:
    """Return what a store could say of October 2026; of its last day the grid is not known."""
    return Found(
        PERIOD.end_s,
        PERIOD.start_s,
        PERIOD.before_s,
        days(),
        [{**one, "joules": one["joules"] * 1.12, "carbon_g": one["carbon_g"] and
          one["carbon_g"] * 1.3} for one in days()[: -3 * 10]],
        [workload(*told) for told in WORKLOADS],
        [
            outcome("assist", "llama-3.1-70b", "token_out", 8.1e9, 6.1e10 / 3),
            outcome("assist", "llama-3.1-70b", "request", 3.4e7, 6.1e10 / 3),
            outcome("research", "llama-7b", "step", 412_000, 3.2e10),
        ],
        [
            advice("vision", "Let nb-vision-1 release its devices while it does not use them",
                   "open", 1120.0),
            advice("research", "Let nb-scaling release its devices while it does not use them",
                   "accepted", 890.0),
            advice("assist", "Unload mixtral-8x22b of canary: no request came", "open", 410.0),
            advice("research", "Let old-sweep release its devices", "done", 500.0, 478.0),
            advice("assist", "Unload embed-v1 of embed: no request came", "done", 60.0, -4.0),
        ],
        [
            {"job": "a", "team": "research", "saved": 48_200.0, "unit": "g"},
            {"job": "b", "team": "research", "saved": None, "unit": "g"},
        ],
        {"research": (2.6e7, 2.1e5), "assist": (1.7e7, 1.2e4), "vision": (9e6, 0.0)},
        [
            {"kind": "price", "site": "dub", "method": "factor", "source": "a contract",
             "said": PERIOD.start_s},
            {"kind": "pue", "site": "dub", "method": "factor", "source": "", "said": None},
        ],
    )  # fmt: skip


def showback(team: str | None = None) -> Record:
    """Return the document of all teams, or of one; of a team that nobody knows it is empty."""
    return documents.document(found(), PERIOD, team, NOW)
