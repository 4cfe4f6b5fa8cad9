"""The report: one JSON document that the page, the terminal tables and the API all show.

``Report`` documents every key. Nothing is rounded here; whoever shows a number rounds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from .api.outcome_pages import row
from .store import energy_carbon, quarantine, queries, tree_queries
from .store.client import Client
from .store.outcome_queries import LEAST_OUTCOMES, Asked, per_outcome
from .store.queries import Record


class Window(TypedDict):
    start: int
    end: int
    step: int


class Quality(TypedDict):
    """``by_method`` in joules; ``unknown_seconds`` by reason, in device-seconds.

    ``quarantined``: how many allocations that cannot be true came in the window, by reason.
    """

    by_method: dict[str, float]
    known_seconds: float
    unknown_seconds: dict[str, float]
    quarantined: dict[str, int]
    residual_worst_ratio: float


class Report(TypedDict):
    """Energies in joules, powers in watts, times in Unix seconds UTC.

    ``classes``: joules per class. ``power``: mean watts per class at each ``times`` entry.
    ``workloads``: one record per workload with ``outcomes`` {kind: count} and
    ``joules_per_outcome`` {kind: {"active": J, "loaded": J, "low": J, "high": J}}, without what was
    charged before the first outcome of a run; low and high bound loaded by its uncertainty.
    ``carbon``: what ``teams`` emitted in all, as ``energy_carbon`` says it of each of them.
    ``outcomes``: rows of ``outcome_pages`` by AI model and precision. ``nodes``, ``teams``,
    ``devices``: records of ``queries.energy``. ``live``: the newest tick of each device.
    ``outer_meters``: records of ``tree_queries.reconciliation``, what they measured beside what is
    inside of them.
    """

    version: int
    window: Window
    total_joules: float
    mean_power_watts: float
    live_power_watts: float | None
    classes: dict[str, float]
    times: list[int]
    power: dict[str, list[float]]
    workloads: list[Record]
    outcomes: list[Record]
    carbon: Record
    teams: list[Record]
    nodes: list[Record]
    devices: list[Record]
    live: list[Record]
    outer_meters: list[Record]
    quality: Quality


CLASSES = ("active", "idle_held", "idle_unallocated", "overhead", "unattributed")
STEPS_S = (60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
BY_MODEL = ("ai_model", "precision")
POINTS = 300
"""About as many points as a chart can show."""


def build(client: Client, since: int, until: int) -> Report:
    """Ask the store for the window [since, until), Unix seconds."""
    finest = queries.resolution(since, until)
    since -= since % finest
    first = queries.first_charge(client, since, until) or since
    steps = [step for step in STEPS_S if step >= finest]
    step = next((s for s in steps if (until - first) / s <= POINTS), steps[-1])
    classes = {
        str(record["class"]): float(record["joules"])
        for record in queries.energy(client, "class", since, until)
    }
    times, power = _power(queries.energy_by_step(client, since, until, step), step)
    total = sum(classes.values())
    live = queries.live(client)
    teams = queries.energy(client, "team", since, until)
    teams = energy_carbon.with_carbon(client, "team", since, until, teams)
    return {
        "version": 1,
        "window": {"start": since, "end": until, "step": step},
        "total_joules": total,
        "mean_power_watts": total / (until - since),
        "live_power_watts": live_power(live, tree_queries.places(client)),
        "classes": {name: classes.get(name, 0.0) for name in CLASSES},
        "times": times,
        "power": power,
        "workloads": _workloads(client, since, until),
        "outcomes": _outcomes(client, since, until),
        "carbon": {**energy_carbon.in_all(teams), "carbon_scope": energy_carbon.SCOPE},
        "teams": teams,
        "nodes": queries.energy(client, "node", since, until),
        "devices": queries.energy(client, "device", since, until),
        "live": live,
        "outer_meters": tree_queries.reconciliation(client, since - since % 3600, until),
        "quality": _quality(client, since, until),
    }


def live_power(
    live: list[Record], places: Mapping[str, tuple[str, int, list[int]]]
) -> float | None:
    """Return the watts of the meters that are counted now, None where none says.

    An outer meter counts where nothing inside of it says its power, and is left out where something
    does. ``places`` is what ``tree_queries.places`` knows; other meters stand alone.
    """
    alone = {"": "counted", "inner": "inner", "outer": "outer"}
    known = []
    for record in live:
        if record["power_watts"] is not None:
            place = places.get(record["device"], (alone[record["overlap"]], 0, []))
            known.append((*place, float(record["power_watts"])))
    total, counted, covered = 0.0, False, set[int]()
    for role, group, path, watts in sorted(known, key=lambda k: (k[0] == "outer", -len(k[2]))):
        if role == "counted" or (role == "outer" and not (group and group in covered)):
            total, counted = total + watts, True
            covered.update(path)
    return total if counted else None


def _power(records: list[Record], step: int) -> tuple[list[int], dict[str, list[float]]]:
    times = sorted({int(record["t_s"]) for record in records})
    index = {time: position for position, time in enumerate(times)}
    power: dict[str, list[float]] = {}
    for record in records:
        position = index[int(record["t_s"])]
        # Only at its two ends does the series have steps that are not over or not yet begun; a
        # hole in between stays visible as less power.
        at_end = position in (0, len(times) - 1)
        seconds = min(step, record["covered_seconds"]) if at_end else step
        series = power.setdefault(str(record["class"]), [0.0] * len(times))
        series[position] = float(record["joules"]) / seconds
    return times, power


def _workloads(client: Client, since: int, until: int) -> list[Record]:
    produced: dict[str, list[Record]] = {}
    for record in per_outcome(client, Asked(("workload_key",), since, until)):
        if record["count"] > LEAST_OUTCOMES:
            produced.setdefault(record["workload_key"], []).append(record)
    workloads = queries.workload_energy(client, since, until)
    for workload in workloads:
        records = produced.get(workload["workload_key"], [])
        workload["outcomes"] = {record["outcome"]: record["count"] for record in records}
        workload["joules_per_outcome"] = {
            record["outcome"]: {
                "active": record["joules_per_outcome_active"],
                "loaded": record["joules_per_outcome_loaded"],
                "low": record["low"],
                "high": record["high"],
            }
            for record in records
        }
    return workloads


def _outcomes(client: Client, since: int, until: int) -> list[Record]:
    """What models took for what they made, the most energy first; states other than ok as well."""
    asked = Asked(BY_MODEL, since, until)
    rows = [row(asked, record) for record in per_outcome(client, asked)]
    return sorted(rows, key=lambda row: -(row["loaded_joules"] or 0.0))


def _quality(client: Client, since: int, until: int) -> Quality:
    by_method: dict[str, float] = {}
    unknown: dict[str, float] = {}
    known_seconds = 0.0
    for record in queries.quality(client, since, until):
        if record["method"] == "unknown":
            unknown[record["reason"]] = unknown.get(record["reason"], 0.0) + record["seconds"]
        else:
            method = record["method"]
            by_method[method] = by_method.get(method, 0.0) + record["joules"]
            known_seconds += record["seconds"]
    return {
        "by_method": by_method,
        "known_seconds": known_seconds,
        "unknown_seconds": unknown,
        "quarantined": quarantine.counted(client, since, until),
        "residual_worst_ratio": float(queries.residual(client, since, until)["worst_ratio"] or 0.0),
    }
