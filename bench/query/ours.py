"""The questions as the product's API asks them, and what an answer costs this process."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from bench.fleetgen import Fleet
from bench.ledger.ours import Ours, measured
from bench.query.promql import HOUR_S, MINUTE_S, Cost
from bench.query.truth import LEAST, WATCHED, Values, name
from wattshed_collector.store import fleet_queries, queries
from wattshed_collector.store.queries import Record

Question = tuple[Callable[[], list[Record]], Callable[[list[Record]], Values]]
_WASTED = ("idle_held_joules", "idle_unallocated_joules")


def questions(ours: Ours, fleet: Fleet, all_hours: int) -> dict[str, Question]:
    """Return by the name of its question how each is asked, and how its rows are told."""
    client, end, uuid = ours.client, fleet.end, fleet.keys[WATCHED]
    day, month = fleet.start, end - all_hours * HOUR_S
    return {
        "q1": (lambda: ours.now.power(client, "team", end), _by("name", "watts")),
        "q2": (lambda: queries.energy(client, "workload", day, end), _by("workload", "joules")),
        "q3": (
            lambda: fleet_queries.least_used(client, day, end, LEAST),
            _by("device", "utilization_ratio"),
        ),
        "q3b": (lambda: queries.energy(client, "team", day, end), _by("team", *_WASTED)),
        "q4a": (lambda: queries.energy(client, "team", day, end), _by("team", "joules")),
        "q4": (lambda: queries.energy(client, "team", month, end), _by("team", "joules")),
        "q5": (
            lambda: fleet_queries.power(client, "team", day, end, MINUTE_S),
            lambda rows: {(row["t"], name(row["name"])): row["watts"] for row in rows},
        ),
        "q6": (
            lambda: fleet_queries.device_power(client, uuid, day, end, MINUTE_S),
            lambda rows: {(row["t"],): row["watts"] for row in rows},
        ),
    }


def ask(ours: Ours, question: Question, repeats: int) -> tuple[Cost, Values]:
    """Ask once with nothing in memory and ``repeats`` times warm."""
    asked, told = question
    ours.evict()
    rows, cold = measured(asked)
    warm = [measured(asked)[1] for _ in range(repeats)] or [cold]
    wall = statistics.median(cost.wall for cost in warm)
    cpu = statistics.median(cost.cpu for cost in warm)
    return Cost(cold.wall * 1e3, wall * 1e3, cpu * 1e3), told(rows)


def _by(key: str, *columns: str) -> Callable[[list[Record]], Values]:
    def told(rows: list[Record]) -> Values:
        found: Values = {}
        for row in rows:
            called = (name(row[key]),)
            found[called] = found.get(called, 0.0) + sum(float(row[c]) for c in columns)
        return {called: value for called, value in found.items() if value}

    return told
