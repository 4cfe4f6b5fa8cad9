"""THE CONTRACT: every metric and attribute that crosses the wire, declared once as data.

The Prometheus renderer, the OTLP encoder, the collector's normaliser and docs/METRICS.md are all
driven by these tables. Units are UCUM on OTLP (as in OpenTelemetry's semantic conventions for
hardware) and base units on Prometheus.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    Attribute("driver", "hw.driver_version", "driver", "Version of the driver."),
    Attribute("firmware", "hw.firmware_version", "firmware", "Version of the firmware or VBIOS."),
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

NAMED_ONCE = ("serial", "driver", "firmware", "parent", "vendor")
"""Attributes that only ``wattshed_device_info`` carries."""
DEVICE_LABELS: tuple[str, ...] = tuple(
    a.label for a in DEVICE_ATTRIBUTES if a.name not in NAMED_ONCE
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

HOST_NAMES = {"hw.energy": "hw.host.energy", "hw.power": "hw.host.power"}
"""OTLP names for a device of kind host, whose total OpenTelemetry keeps apart from its parts."""

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
    (
        "device",
        "node",
        "kind",
        "vendor",
        "model",
        "serial",
        "driver",
        "firmware",
        "parent",
        "overlap",
    ),
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

DETAIL_ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute("scope", "wattshed.scope", "scope", "Part of the device: gpu, module, memory."),
    Attribute("window", "wattshed.window", "window", "average (of the last second) or instant."),
    Attribute("bound", "wattshed.bound", "bound", "requested, default, min or max."),
    Attribute("engine", "hw.gpu.task", "engine", "encoder, decoder, jpeg, ofa."),
    Attribute("pipe", "wattshed.pipe", "pipe", "tensor, fp64, fp32, fp16, integer."),
    Attribute("domain", "wattshed.domain", "domain", "graphics, sm, memory, video."),
    Attribute("sensor", "hw.sensor_location", "sensor", "Where the temperature is taken."),
    Attribute("reason", "wattshed.reason", "reason", "Why the clocks are held down."),
    Attribute("severity", "error.type", "severity", "corrected or uncorrected."),
    Attribute("xid", "wattshed.xid", "xid", "Number of the error in the driver's list."),
    Attribute("rows", "wattshed.rows", "rows", "corrected, uncorrected, pending or failed."),
    Attribute("link", "wattshed.link", "link", "pcie or nvlink."),
    Attribute("direction", "network.io.direction", "direction", "transmit or receive."),
    Attribute("state", "hw.state", "state", "ok, degraded or failed; of a baseline bare, context."),
    Attribute("instance", "wattshed.instance", "instance", "MIG instance as gi or gi/ci."),
    Attribute("profile", "wattshed.profile", "profile", "MIG profile, such as 1g.10gb."),
    Attribute("uuid", "wattshed.uuid", "uuid", "Identity of the instance for the driver."),
    Attribute("slices", "wattshed.slices", "slices", "Compute slices of the instance, of 7."),
    Attribute("class", "wattshed.class", "class", "What the device was doing; see activity."),
)
"""Labels of ``DETAIL_METRICS`` beside ``DETAIL_LABELS``."""
DETAIL_LABELS: tuple[str, ...] = ("device", "node", "name")


def _detail(
    prometheus: str, otel: str, unit: str, type: Type, help: str, *own: str
) -> tuple[str, Metric]:
    return prometheus, Metric("", prometheus, otel, unit, type, help, (*DETAIL_LABELS, *own))


DETAIL_METRICS: dict[str, Metric] = dict(
    (
        _detail(
            "wattshed_power_reading_watts",
            "wattshed.power.reading",
            "W",
            Type.GAUGE,
            "Power by every reading that the board offers; they overlap, so never add them.",
            "scope",
            "window",
        ),
        _detail(
            "wattshed_power_limit_bound_watts",
            "wattshed.power.limit.bound",
            "W",
            Type.GAUGE,
            "What the enforced power limit may be set to.",
            "bound",
        ),
        _detail(
            "wattshed_memory_total_bytes",
            "hw.gpu.memory.limit",
            "By",
            Type.GAUGE,
            "Device memory that there is.",
        ),
        _detail(
            "wattshed_memory_activity_ratio",
            "wattshed.memory.activity",
            "1",
            Type.GAUGE,
            "Share of time in which device memory was read or written.",
        ),
        _detail(
            "wattshed_sm_activity_ratio",
            "wattshed.sm.activity",
            "1",
            Type.GAUGE,
            "Share of the streaming multiprocessors that worked, averaged over time.",
        ),
        _detail(
            "wattshed_pipe_activity_ratio",
            "wattshed.pipe.activity",
            "1",
            Type.GAUGE,
            "Share of cycles in which a kind of arithmetic unit worked.",
            "pipe",
        ),
        _detail(
            "wattshed_process_utilization_ratio",
            "wattshed.process.utilization",
            "1",
            Type.GAUGE,
            "SM utilisation of all processes together.",
        ),
        _detail(
            "wattshed_engine_utilization_ratio",
            "wattshed.engine.utilization",
            "1",
            Type.GAUGE,
            "Share of time in which a fixed-function engine worked.",
            "engine",
        ),
        _detail(
            "wattshed_contexts",
            "wattshed.contexts",
            "{process}",
            Type.GAUGE,
            "Processes that keep a context on the device.",
        ),
        _detail(
            "wattshed_clock_hertz",
            "wattshed.clock",
            "Hz",
            Type.GAUGE,
            "Frequency of a clock.",
            "domain",
        ),
        _detail(
            "wattshed_sensor_temperature_celsius",
            "wattshed.sensor.temperature",
            "Cel",
            Type.GAUGE,
            "Temperature of a part of the device.",
            "sensor",
        ),
        _detail(
            "wattshed_throttled",
            "wattshed.throttled",
            "1",
            Type.GAUGE,
            "1 while the clocks are held down for a reason, else 0.",
            "reason",
        ),
        _detail(
            "wattshed_throttled_seconds_total",
            "wattshed.throttled.time",
            "s",
            Type.COUNTER,
            "Time in which the clocks were held down, by reason; reasons overlap.",
            "reason",
        ),
        _detail(
            "wattshed_ecc_errors_total",
            "hw.errors",
            "{error}",
            Type.COUNTER,
            "Memory errors since the driver was loaded.",
            "severity",
        ),
        _detail(
            "wattshed_xid_errors_total",
            "wattshed.xid.errors",
            "{error}",
            Type.COUNTER,
            "Errors that the driver reported since the exporter started.",
            "xid",
        ),
        _detail(
            "wattshed_remapped_rows",
            "wattshed.remapped.rows",
            "{row}",
            Type.GAUGE,
            "Memory rows that were replaced, by cause, or whether that is pending or failed.",
            "rows",
        ),
        _detail(
            "wattshed_link_bytes_total",
            "hw.gpu.io",
            "By",
            Type.COUNTER,
            "Bytes that went over a link.",
            "link",
            "direction",
        ),
        _detail(
            "wattshed_device_status",
            "hw.status",
            "1",
            Type.GAUGE,
            "1 for the state that the device is in, 0 for the others.",
            "state",
        ),
        _detail(
            "wattshed_mig_instance_info",
            "wattshed.mig.instance",
            "1",
            Type.GAUGE,
            "Always 1; a MIG instance of the board. Instances have no meters.",
            "instance",
            "profile",
            "uuid",
            "slices",
        ),
        _detail(
            "wattshed_mig_memory_used_bytes",
            "wattshed.mig.memory.usage",
            "By",
            Type.GAUGE,
            "Device memory in use in a MIG instance.",
            "instance",
        ),
        _detail(
            "wattshed_activity_seconds_total",
            "wattshed.activity.time",
            "s",
            Type.COUNTER,
            "Time by what the device was doing; the classes do not overlap.",
            "class",
        ),
        _detail(
            "wattshed_activity_joules_total",
            "wattshed.activity.energy",
            "J",
            Type.COUNTER,
            "Energy by what the device was doing; the classes add up to what was measured.",
            "class",
        ),
        _detail(
            "wattshed_idle_baseline_watts",
            "wattshed.idle.baseline",
            "W",
            Type.GAUGE,
            "Power of the idle device as learned, bare or with a context resident.",
            "state",
        ),
        _detail(
            "wattshed_energy_agreement_ratio",
            "wattshed.energy.agreement",
            "1",
            Type.GAUGE,
            "Energy by the counter over energy by integrated power; far from 1 one of them lies.",
        ),
    )
)
"""By Prometheus name: what is said of a device beside its ticks, as ``model.Detail``."""

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

SELF_ENERGY = "wattshed_self_energy_joules_total"


def _health(prometheus: str, otel: str, unit: str, type: Type, help: str, *labels: str) -> Metric:
    named = f"wattshed.{otel}" if otel.startswith("exporter.") else otel
    return Metric("", prometheus, named, unit, type, help, labels)


HEALTH_METRICS: tuple[Metric, ...] = (
    _health("wattshed_source_up", "exporter.source.up", "1", Type.GAUGE,
        "1 while the source reads in time, else 0; 0 too after three reads in a row in which no "
        "device gave a reading, unless none is due (asleep, not discharging).", "source"),
    _health("wattshed_source_devices", "exporter.source.devices", "1", Type.GAUGE,
        "Devices that the source reads.", "source"),
    _health("wattshed_source_read_seconds_total", "exporter.source.read.time", "s", Type.COUNTER,
        "Time spent reading the source.", "source"),
    _health("wattshed_source_reads_total", "exporter.source.reads", "1", Type.COUNTER,
        "Reads of the source.", "source"),
    _health("wattshed_source_errors_total", "exporter.source.errors", "1", Type.COUNTER,
        "Reads that failed or were dropped, by reason.", "source", "reason"),
    _health("wattshed_output_ticks_total", "exporter.output.ticks", "1", Type.COUNTER,
        "Ticks handed over, by output and result (sent, rejected, dropped).", "output", "result"),
    _health("wattshed_output_points_rejected_total", "exporter.output.points.rejected", "1",
        Type.COUNTER, "Data points that a receiver left out of requests which it took.", "output"),
    _health(SELF_ENERGY, "exporter.energy", "J", Type.COUNTER,
        "Estimated energy of this exporter itself: its CPU seconds times the watts of a busy "
        "CPU, from the CPU's meter where there is one, else from a model."),
    _health("wattshed_spool_bytes", "exporter.spool.size", "By", Type.GAUGE,
        "Room that requests take which wait for the collector.", "output"),
    _health("wattshed_spool_bodies", "exporter.spool.bodies", "1", Type.GAUGE,
        "Requests that wait for the collector.", "output"),
    _health("wattshed_spool_oldest_timestamp_seconds", "exporter.spool.oldest", "s", Type.GAUGE,
        "Unix time of the newest reading in the oldest request that waits; absent while none "
        "does.", "output"),
    _health("wattshed_spool_on_disk", "exporter.spool.on_disk", "1", Type.GAUGE,
        "1 while what waits would outlive a restart, 0 while it is in memory.", "output"),
    _health("wattshed_spool_dropped_total", "exporter.spool.dropped", "1", Type.COUNTER,
        "Requests dropped unsent: full, memory_full, too_big, closed.", "output", "reason"),
    _health("wattshed_spool_damaged_total", "exporter.spool.damaged", "1", Type.COUNTER,
        "Damages found on disk: torn (cut off while written), corrupt, unreadable.", "output",
        "reason"),
    _health("wattshed_build_info", "", "1", Type.GAUGE,
        "Always 1; the version that runs, and that of Python.", "version", "python"),
)  # fmt: skip
"""What the exporter says about itself, on /metrics and over OTLP; the version is in the resource
there."""
PROCESS_METRICS: tuple[Metric, ...] = (
    _health("process_cpu_seconds_total", "process.cpu.time", "s", Type.COUNTER,
        "CPU time that the exporter has spent."),
    _health("process_resident_memory_bytes", "process.memory.usage", "By", Type.GAUGE,
        "Memory that the exporter has in RAM."),
)  # fmt: skip
"""On /metrics prometheus-client tells them; names as in OpenTelemetry's for processes."""
SELF_ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute("source", "wattshed.source", "source", "Plug-in that read the meter."),
    Attribute("output", "wattshed.output", "output", "otlp or stdout."),
    Attribute("result", "wattshed.result", "result", "sent, rejected or dropped."),
)
"""Labels of ``HEALTH_METRICS`` beside the reason."""
PUSHED_DETAILS: dict[str, Metric] = {
    **DETAIL_METRICS,
    **{
        m.prometheus: replace(m, labels=(*DETAIL_LABELS, *m.labels))
        for m in (*HEALTH_METRICS, *PROCESS_METRICS)
        if m.otel
    },
}
"""What goes over OTLP as a detail: of devices, and of the exporter as if it were one."""
PUSHED_ATTRIBUTES = (*DETAIL_ATTRIBUTES, *SELF_ATTRIBUTES)

ALL_METRICS: tuple[Metric, ...] = (
    *TICK_METRICS,
    GAP,
    *FLEET_METRICS,
    *DETAIL_METRICS.values(),
    ALLOCATION,
    OUTCOMES,
    *HEALTH_METRICS,
    *PROCESS_METRICS,
)

UNIT_SCALE: dict[str, dict[str, float]] = {
    "J": {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "kJ": 1e3, "MJ": 1e6, "W.h": 3600.0, "kW.h": 3.6e6},
    "W": {"W": 1.0, "mW": 1e-3, "uW": 1e-6, "kW": 1e3, "MW": 1e6},
    "1": {"1": 1.0, "%": 1e-2},
    "By": {"By": 1.0, "KiBy": 1024.0, "MiBy": 1048576.0, "GiBy": 1073741824.0},
    "Cel": {"Cel": 1.0},
    "s": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9},
    "Hz": {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6},
}
"""Accepted UCUM units per base unit and their factor; any other unit is rejected, never guessed."""
