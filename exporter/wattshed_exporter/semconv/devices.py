"""The contract for devices: their attributes, what a tick says, gaps, and what is known of them."""

from __future__ import annotations

from .terms import Attribute, Metric, Type

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
