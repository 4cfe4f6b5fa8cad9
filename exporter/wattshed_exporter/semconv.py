"""THE CONTRACT: every metric and attribute that crosses the wire, declared once as data.

The Prometheus renderer, the OTLP encoder, the collector's normaliser and docs/METRICS.md are all
driven by these tables. Units are UCUM on OTLP (as in OpenTelemetry's semantic conventions for
hardware) and base units on Prometheus.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Type(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a device or workload, on OTLP (``otel``) and as Prometheus ``label``."""

    name: str
    otel: str
    label: str
    help: str


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``field`` is the ``Tick`` field it carries; "" where it is not part of a tick."""

    field: str
    prometheus: str
    otel: str
    unit: str
    type: Type
    help: str
    labels: tuple[str, ...] = ()


DEVICE_ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute("key", "hw.id", "device", "Identity of the meter, unique in the fleet."),
    Attribute("kind", "hw.type", "kind", "What the meter measures: gpu, cpu, memory, host, ..."),
    Attribute("node", "wattshed.node", "node", "Machine that holds the device."),
    Attribute("name", "hw.name", "name", "Name of the device on its machine."),
    Attribute("vendor", "hw.vendor", "vendor", "Manufacturer."),
    Attribute("model", "hw.model", "model", "Model as the driver names it."),
    Attribute("serial", "hw.serial_number", "serial", "Serial number."),
    Attribute("parent", "hw.parent", "parent", "Identity of the device that contains this one."),
    Attribute("site", "wattshed.site", "site", "Place, for PUE, price and carbon."),
    Attribute("tier", "wattshed.tier", "tier", "datacenter, edge, ..."),
    Attribute("cluster", "wattshed.cluster", "cluster", "Cluster that the machine belongs to."),
    Attribute("scope", "wattshed.scope", "scope", "Part of the device that the reading covers."),
    Attribute("source", "wattshed.source", "source", "Plug-in that read the meter."),
    Attribute("method", "wattshed.method", "method", "counter, integral, estimated or simulated."),
    Attribute("overlap", "wattshed.overlap", "overlap", "inner or outer: inside another meter."),
)

UNCERTAINTY_ATTRIBUTE = "wattshed.uncertainty"
"""Relative uncertainty of the meter (a ratio, double); absent where it is not known."""
INTERVAL_ATTRIBUTE = "wattshed.interval_ms"
"""Nominal time between two readings in milliseconds (int)."""
REASON_ATTRIBUTE = "wattshed.reason"
"""Why a gap is a gap."""

WORKLOAD_ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute("key", "wattshed.workload.id", "workload_id", "Identity, unique in the fleet."),
    Attribute("name", "wattshed.workload.name", "workload", "Name that people use."),
    Attribute("kind", "wattshed.workload.kind", "workload_kind", "training, inference, ..."),
    Attribute("namespace", "k8s.namespace.name", "workload_namespace", "Kubernetes namespace."),
    Attribute("team", "wattshed.team", "team", "Team that answers for it."),
    Attribute("owner", "wattshed.owner", "owner", "Person or service that started it."),
    Attribute("project", "wattshed.project", "project", "Project or cost centre."),
    Attribute("model", "gen_ai.request.model", "ai_model", "Model that it trains or serves."),
    Attribute("precision", "wattshed.precision", "precision", "Numeric format, such as fp8."),
    Attribute("cluster", "wattshed.cluster", "cluster", "Cluster that it runs in."),
)
OUTCOME_KIND_ATTRIBUTE = "wattshed.outcome"
OUTCOME_SOURCE_ATTRIBUTE = "wattshed.outcome.source"
ALLOCATION_METHOD_ATTRIBUTE = "wattshed.allocation.method"

DEVICE_LABELS: tuple[str, ...] = tuple(
    a.label for a in DEVICE_ATTRIBUTES if a.name not in ("serial", "parent", "vendor")
)

TICK_METRICS: tuple[Metric, ...] = (
    Metric(
        "energy_joules",
        "wattshed_energy_joules_total",
        "hw.energy",
        "J",
        Type.COUNTER,
        "Energy that the device used since wattshed_energy_start_timestamp_seconds.",
        DEVICE_LABELS,
    ),
    Metric(
        "power_watts",
        "wattshed_power_watts",
        "hw.power",
        "W",
        Type.GAUGE,
        "Power that the device draws.",
        DEVICE_LABELS,
    ),
    Metric(
        "utilization_ratio",
        "wattshed_utilization_ratio",
        "wattshed.device.utilization",
        "1",
        Type.GAUGE,
        "Share of the last interval in which the device worked.",
        DEVICE_LABELS,
    ),
    Metric(
        "memory_used_bytes",
        "wattshed_memory_used_bytes",
        "hw.gpu.memory.usage",
        "By",
        Type.GAUGE,
        "Device memory in use.",
        DEVICE_LABELS,
    ),
    Metric(
        "temperature_celsius",
        "wattshed_temperature_celsius",
        "hw.temperature",
        "Cel",
        Type.GAUGE,
        "Temperature of the device.",
        DEVICE_LABELS,
    ),
    Metric(
        "start_seconds",
        "wattshed_energy_start_timestamp_seconds",
        "",
        "s",
        Type.GAUGE,
        "Unix time at which the device's energy counter stood at zero; absent where unknown.",
        DEVICE_LABELS,
    ),
    Metric(
        "ts_seconds",
        "wattshed_reading_timestamp_seconds",
        "",
        "s",
        Type.GAUGE,
        "Unix time at which the device was read.",
        DEVICE_LABELS,
    ),
)

GAP = Metric(
    "gap",
    "wattshed_energy_unknown_seconds_total",
    "wattshed.gap",
    "1",
    Type.COUNTER,
    "Seconds in which the device's energy is unknown, by reason.",
    ("device", "node", "source", "reason"),
)

DEVICE_INFO = Metric(
    "",
    "wattshed_device_info",
    "",
    "1",
    Type.GAUGE,
    "Always 1; carries what is known of the device.",
    ("device", "node", "kind", "vendor", "model", "serial", "parent", "overlap"),
)
POWER_LIMIT = Metric(
    "power_limit_watts",
    "wattshed_power_limit_watts",
    "wattshed.device.power.limit",
    "W",
    Type.GAUGE,
    "Power limit that the device enforces.",
    DEVICE_LABELS,
)
FLEET_METRICS: tuple[Metric, ...] = (DEVICE_INFO, POWER_LIMIT)

ALLOCATION = Metric(
    "share",
    "wattshed_allocation_share_ratio",
    "wattshed.allocation.share",
    "1",
    Type.GAUGE,
    "Share of the device that the workload holds, from the point's start time until its time.",
    ("device", "workload_id"),
)
OUTCOMES = Metric(
    "total",
    "wattshed_outcomes_total",
    "wattshed.outcomes",
    "{outcome}",
    Type.COUNTER,
    "What the workload produced, by kind of outcome.",
    ("workload_id", "outcome"),
)

HEALTH_METRICS: tuple[Metric, ...] = (
    Metric(
        "",
        "wattshed_source_up",
        "",
        "1",
        Type.GAUGE,
        "1 while the source reads in time, else 0.",
        ("source",),
    ),
    Metric(
        "",
        "wattshed_source_devices",
        "",
        "1",
        Type.GAUGE,
        "Devices that the source reads.",
        ("source",),
    ),
    Metric(
        "",
        "wattshed_source_read_seconds_total",
        "",
        "s",
        Type.COUNTER,
        "Time spent reading the source.",
        ("source",),
    ),
    Metric(
        "",
        "wattshed_source_reads_total",
        "",
        "1",
        Type.COUNTER,
        "Reads of the source.",
        ("source",),
    ),
    Metric(
        "",
        "wattshed_source_errors_total",
        "",
        "1",
        Type.COUNTER,
        "Reads that failed or were dropped, by reason.",
        ("source", "reason"),
    ),
    Metric(
        "",
        "wattshed_output_ticks_total",
        "",
        "1",
        Type.COUNTER,
        "Ticks handed over, by output and result (sent, rejected, dropped).",
        ("output", "result"),
    ),
    Metric(
        "",
        "wattshed_build_info",
        "",
        "1",
        Type.GAUGE,
        "Always 1; the version that runs.",
        ("version",),
    ),
)

ALL_METRICS: tuple[Metric, ...] = (
    *TICK_METRICS,
    GAP,
    *FLEET_METRICS,
    ALLOCATION,
    OUTCOMES,
    *HEALTH_METRICS,
)

UNIT_SCALE: dict[str, dict[str, float]] = {
    "J": {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "kJ": 1e3, "MJ": 1e6, "W.h": 3600.0, "kW.h": 3.6e6},
    "W": {"W": 1.0, "mW": 1e-3, "uW": 1e-6, "kW": 1e3, "MW": 1e6},
    "1": {"1": 1.0, "%": 1e-2},
    "By": {"By": 1.0, "KiBy": 1024.0, "MiBy": 1048576.0, "GiBy": 1073741824.0},
    "Cel": {"Cel": 1.0},
}
"""Accepted UCUM units per base unit and their factor; any other unit is rejected, never guessed."""
