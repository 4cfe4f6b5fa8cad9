"""THE CONTRACT: every metric and attribute that crosses the wire, declared once as data.

The Prometheus renderer, the OTLP encoder, the collector's normaliser and docs/METRICS.md are all
driven by these tables. Units are UCUM on OTLP (as in OpenTelemetry's semantic conventions for
hardware) and base units on Prometheus.
"""

from __future__ import annotations

from .details import (
    DETAIL_ATTRIBUTES,
    DETAIL_LABELS,
    DETAIL_METRICS,
)
from .devices import (
    DEVICE_ATTRIBUTES,
    DEVICE_INFO,
    DEVICE_LABELS,
    FLEET_METRICS,
    GAP,
    HOST_NAMES,
    INTERVAL_ATTRIBUTE,
    NAMED_ONCE,
    POWER_LIMIT,
    REASON_ATTRIBUTE,
    TICK_METRICS,
    UNCERTAINTY_ATTRIBUTE,
)
from .health import (
    HEALTH_METRICS,
    PROCESS_METRICS,
    SELF_ATTRIBUTES,
    SELF_ENERGY,
)
from .pushed import PUSHED_ATTRIBUTES, PUSHED_DETAILS
from .terms import (
    UNIT_SCALE,
    Attribute,
    Metric,
    Type,
)
from .workloads import (
    ALLOCATION,
    ALLOCATION_ACTIVITY_ATTRIBUTE,
    ALLOCATION_METHOD_ATTRIBUTE,
    ALLOCATION_REVISION_ATTRIBUTE,
    OUTCOME_KIND_ATTRIBUTE,
    OUTCOME_MODEL_ATTRIBUTE,
    OUTCOME_SOURCE_ATTRIBUTE,
    OUTCOMES,
    WORKLOAD_ATTRIBUTES,
    WORKLOAD_ENERGY,
    WORKLOAD_LABELS,
)

__all__ = (
    "ALLOCATION",
    "ALLOCATION_ACTIVITY_ATTRIBUTE",
    "ALLOCATION_METHOD_ATTRIBUTE",
    "ALLOCATION_REVISION_ATTRIBUTE",
    "ALL_METRICS",
    "DETAIL_ATTRIBUTES",
    "DETAIL_LABELS",
    "DETAIL_METRICS",
    "DEVICE_ATTRIBUTES",
    "DEVICE_INFO",
    "DEVICE_LABELS",
    "FLEET_METRICS",
    "GAP",
    "HEALTH_METRICS",
    "HOST_NAMES",
    "INTERVAL_ATTRIBUTE",
    "NAMED_ONCE",
    "OUTCOMES",
    "OUTCOME_KIND_ATTRIBUTE",
    "OUTCOME_MODEL_ATTRIBUTE",
    "OUTCOME_SOURCE_ATTRIBUTE",
    "POWER_LIMIT",
    "PROCESS_METRICS",
    "PUSHED_ATTRIBUTES",
    "PUSHED_DETAILS",
    "REASON_ATTRIBUTE",
    "SELF_ATTRIBUTES",
    "SELF_ENERGY",
    "TICK_METRICS",
    "UNCERTAINTY_ATTRIBUTE",
    "UNIT_SCALE",
    "WORKLOAD_ATTRIBUTES",
    "WORKLOAD_ENERGY",
    "WORKLOAD_LABELS",
    "Attribute",
    "Metric",
    "Type",
)

ALL_METRICS: tuple[Metric, ...] = (
    *TICK_METRICS,
    GAP,
    *FLEET_METRICS,
    *DETAIL_METRICS.values(),
    ALLOCATION,
    WORKLOAD_ENERGY,
    OUTCOMES,
    *HEALTH_METRICS,
    *PROCESS_METRICS,
)
