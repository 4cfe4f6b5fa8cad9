"""Objectives as Prometheus sees them: declared here once, filled by ``slo_watch``.

A ratio over a window cannot be added up, so the burn rates are for alert rules as they are; whoever
wants joules per outcome of anything else divides the rates of the counters. They count from the
start of the collector.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from .slo import DAY_S
from .telemetry import Health, Labels

Record = Mapping[str, Any]

GAUGES: tuple[Health, ...] = (
    Health(
        "wattshed_slo_burn_ratio",
        "How fast the error budget is spent, 1 is evenly over its window; absent where a window "
        "has too few outcomes.",
        ("slo", "owner", "window"),
    ),
    Health(
        "wattshed_slo_budget_left_ratio",
        "Part of the error budget that is left, below 0 where more was spent.",
        ("slo", "owner"),
    ),
    Health(
        "wattshed_slo_burning",
        "1 while a pair of windows of this severity burns faster than its factor, else 0.",
        ("slo", "owner", "severity"),
    ),
    Health("wattshed_slo_objective_ratio", "Part that is to be good.", ("slo", "owner")),
    Health(
        "wattshed_slo_target_joules_per_outcome",
        "Most joules that an outcome is to take.",
        ("slo", "owner", "outcome"),
    ),
    Health(
        "wattshed_slo_settled_timestamp_seconds",
        "Unix time with which the windows end; now minus this is how old the burn rates are.",
    ),
)
COUNTERS: tuple[Health, ...] = (
    Health("wattshed_slo_outcomes_total", "Outcomes that have energy.", ("slo", "owner")),
    Health(
        "wattshed_slo_bad_outcomes_total",
        "Of them those of minutes above the target.",
        ("slo", "owner"),
    ),
    Health(
        "wattshed_slo_unmeasured_outcomes_total",
        "Outcomes without energy: neither good nor bad, and not among the others.",
        ("slo", "owner"),
    ),
    Health("wattshed_slo_joules_total", "Joules, of the basis of the objective.", ("slo", "owner")),
    Health(
        "wattshed_slo_idle_joules_total",
        "Of them those of minutes without outcomes.",
        ("slo", "owner"),
    ),
)
_UNITS = (("d", DAY_S), ("h", 3600), ("m", 60))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was found last: gauges by name, and counters by objective and owner, in their order."""

    gauges: Mapping[str, Mapping[Labels, float]] = field(default_factory=dict)
    counters: Mapping[Labels, Sequence[float]] = field(default_factory=dict)


def gauges(rows: Iterable[Record], defined: Iterable[Record]) -> dict[str, dict[Labels, float]]:
    """Return the gauges of a burn table and its definitions, as ``slo_queries`` gives them."""
    found: dict[str, dict[Labels, float]] = {health.name: {} for health in GAUGES}
    for row in rows:
        of = row["slo"], row["owner"]
        for seconds, rate in (("long_seconds", "burn_long"), ("short_seconds", "burn_short")):
            if row[rate] is not None:
                found["wattshed_slo_burn_ratio"][*of, window(row[seconds])] = row[rate]
        if row["budget_left_ratio"] is not None:
            found["wattshed_slo_budget_left_ratio"][of] = row["budget_left_ratio"]
        burning, key = found["wattshed_slo_burning"], (*of, row["severity"])
        burning[key] = max(burning.get(key, 0.0), float(row["is_burning"]))
        found["wattshed_slo_settled_timestamp_seconds"][()] = row["budget_until"]
    for told in defined:
        of = told["slo"], told["owner"]
        found["wattshed_slo_objective_ratio"][of] = told["objective_ratio"]
        target = found["wattshed_slo_target_joules_per_outcome"]
        target[*of, told["outcome"]] = told["target_joules_per_outcome"]
    return found


def window(seconds: int) -> str:
    """Return a length as rules write it: 5m, 6h, 3d."""
    name, unit = next((name, unit) for name, unit in _UNITS if seconds % unit == 0)
    return f"{seconds // unit}{name}"


class Exposed:
    """What prometheus-client asks for the metrics of objectives.

    ``was_asked`` says whether anybody has since it was last set to False.
    """

    def __init__(self) -> None:
        self.snapshot = Snapshot()
        self.was_asked = True

    def collect(self) -> Iterator[Metric]:
        self.was_asked = True
        found = self.snapshot
        for health in GAUGES:
            gauge = GaugeMetricFamily(health.name, health.help, labels=health.labels)
            for labels, value in found.gauges.get(health.name, {}).items():
                gauge.add_metric(list(labels), value)
            yield gauge
        for at, health in enumerate(COUNTERS):
            counter = CounterMetricFamily(
                health.name.removesuffix("_total"), health.help, labels=health.labels
            )
            for labels, values in found.counters.items():
                counter.add_metric(list(labels), values[at])
            yield counter
