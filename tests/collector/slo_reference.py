"""Burn rates once more in plain Python, and streams of minutes whose sums are known."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wattshed_collector.ledger_slos import Slos
from wattshed_collector.slo import Sli, Slo
from wattshed_collector.store import ledger_state, slo_definitions
from wattshed_collector.store.client import Client
from wattshed_collector.store.shards import Shards
from wattshed_exporter.model import Workload

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
EXACT_S = 6 * HOUR_S
BEHIND_S = 120


@dataclass(frozen=True, slots=True)
class Minute:
    """What one workload produced and was charged; ``joules`` None where it has no energy."""

    t: int
    outcomes: float
    joules: float | None
    workload: str = "w"


def produce(
    client: Client,
    minutes: Sequence[Minute],
    workloads: Iterable[Workload] = (Workload("w", "w", team="blue"),),
    kind: str = "token",
) -> None:
    """Write minutes and their hours as a run of the ledger does for outcomes."""
    known = {workload.key: workload for workload in workloads}
    describe(client, known.values())
    _rows(client, "outcome_1m", kind, [(m.t, m, known[m.workload].id) for m in minutes])
    hours = {
        (m.t // HOUR_S * HOUR_S, m.workload): m for m in minutes if m.outcomes or m.joules
    }.items()
    _rows(client, "outcome_1h", kind, [(at, m, known[w].id) for (at, w), m in hours])
    made = sorted({known[m.workload].id for m in minutes if m.outcomes})
    client.insert(
        "outcome_kind",
        {
            "workload_id": made,
            "kind": [kind] * len(made),
            "model": [""] * len(made),
            "is_made": [True] * len(made),
            "version": [1] * len(made),
        },
    )


def describe(client: Client, workloads: Iterable[Workload]) -> None:
    told = list(workloads)
    client.insert(
        "workload",
        {
            "workload_id": [w.id for w in told],
            "key": [w.key for w in told],
            "name": [w.name for w in told],
            "team": [w.team for w in told],
        },
    )


def _rows(client: Client, table: str, kind: str, rows: Sequence[tuple[int, Minute, int]]) -> None:
    version = round(time.time() * 1e6)
    energy = [(at, w, "", 0.0, m.joules) for at, m, w in rows]
    made = [(at, w, kind, m.outcomes, None) for at, m, w in rows if m.outcomes]
    of = [*energy, *made]
    client.insert(
        table,
        {
            "t": [row[0] for row in of],
            "workload_id": [row[1] for row in of],
            "kind": [row[2] for row in of],
            "model": [""] * len(of),
            "count": [row[3] for row in of],
            "active_joules": [row[4] for row in of],
            "loaded_joules": [row[4] for row in of],
            "before_joules": [None if row[4] is None else 0.0 for row in of],
            "uncertainty_joules": [None] * len(of),
            "hardware": [""] * len(of),
            "site": [""] * len(of),
            "version": [version] * len(of),
        },
    )


class Follower:
    """What a ledger does for objectives, without all else that it does."""

    def __init__(self, client: Client, since: int, **how: int) -> None:
        self.slos = Slos(Shards(client), **how)
        self._client = client
        self._since = since
        self._version = round(time.time() * 1e6)

    def settle(self, at: int) -> None:
        """Say that everything is charged up to ``at`` (Unix seconds)."""
        self._version += 1
        ledger_state.save(self._client, 0, at * 1000, self._version)

    def follow(self, end: int) -> bool:
        """Do one portion; return whether there was anything to do."""
        self._version += 2
        self.slos.refresh()
        if not self.slos.is_behind(self._since, end, end):
            return False
        versions = self._version - 1, self._version
        self.slos.follow(self._since, end, end, versions, lambda: None)
        return True

    def all(self, end: int) -> int:
        """Follow until nothing is left; return how often that took."""
        return next(n for n in range(1000) if not self.follow(end))

    def recompute(self, lo: int, hi: int) -> None:
        self._version += 1
        self.slos.refresh()
        self.slos.compute(lo, hi, self._version)


def adopt(client: Client, *slos: Slo) -> list[str]:
    return slo_definitions.adopt(client, slos, time.time())


def expected(slo: Slo, minutes: Iterable[Minute], settled: int) -> list[dict[str, Any]]:
    """Return what the burn table must say of an objective that matches all of ``minutes``."""
    at = (settled - BEHIND_S) // MINUTE_S * MINUTE_S
    slots = _slots(minutes)
    whole = _sums(slo, slots, _start(at, slo.window_days * DAY_S), at)
    found = []
    for pair in sorted(slo.burn, key=lambda pair: (pair.long_seconds, pair.short_seconds)):
        long, short = (
            _rate(slo, _sums(slo, slots, _start(at, seconds), at))
            for seconds in (pair.long_seconds, pair.short_seconds)
        )
        is_known = long is not None and short is not None
        found.append(
            {
                "burn_long": long,
                "burn_short": short,
                "is_burning": is_known and long > pair.factor and short > pair.factor,  # type: ignore[operator]
                "outcomes": whole["outcomes"],
                "bad_outcomes": whole["bad"],
                "unmeasured_outcomes": whole["unmeasured"],
                "joules": whole["joules"],
                "idle_joules": whole["idle"],
                "budget_left_ratio": _left(slo, whole),
            }
        )
    return found


def _slots(minutes: Iterable[Minute]) -> dict[int, dict[str, float]]:
    slots: dict[int, dict[str, float]] = {}
    for minute in minutes:
        slot = slots.setdefault(minute.t, {"outcomes": 0.0, "unmeasured": 0.0, "joules": 0.0})
        if minute.joules is None:
            slot["unmeasured"] += minute.outcomes
        else:
            slot["outcomes"] += minute.outcomes
            slot["joules"] += minute.joules
    return slots


def _start(at: int, seconds: int) -> int:
    start = at - seconds
    return start if seconds <= EXACT_S else start // HOUR_S * HOUR_S


def _sums(
    slo: Slo, slots: Mapping[int, Mapping[str, float]], start: int, end: int
) -> dict[str, float]:
    sums = dict.fromkeys(("outcomes", "bad", "unmeasured", "joules", "idle"), 0.0)
    for t, slot in slots.items():
        if start <= t < end:
            for key in ("outcomes", "unmeasured", "joules"):
                sums[key] += slot[key]
            allowed = slo.target_joules_per_outcome * slot["outcomes"] * (1 + 1e-9)
            sums["bad"] += slot["outcomes"] if slot["joules"] > allowed else 0.0
            sums["idle"] += 0.0 if slot["outcomes"] else slot["joules"]
    return sums


def _rate(slo: Slo, sums: Mapping[str, float]) -> float | None:
    left = _left(slo, sums)
    return None if left is None else 1 - left


def _left(slo: Slo, sums: Mapping[str, float]) -> float | None:
    if not sums["outcomes"] or sums["outcomes"] < slo.least_outcomes:
        return None
    allowed = slo.target_joules_per_outcome * sums["outcomes"]
    if slo.sli is Sli.GOOD_OUTCOMES:
        spent_ratio = sums["bad"] / sums["outcomes"]
    else:
        spent_ratio = max(0.0, sums["joules"] - allowed) / allowed
    return 1 - spent_ratio / (1 - slo.objective_ratio)
