"""The contract for what is said of a device beside its ticks."""

from __future__ import annotations

from .terms import Attribute, Metric, Type

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
    labels = (*DETAIL_LABELS, *own)
    return prometheus, Metric("", prometheus, otel, unit, type, help, labels, own)


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
            "wattshed_activity_start_timestamp_seconds",
            "wattshed.activity.start",
            "s",
            Type.GAUGE,
            "Unix time at which the device's counters of activity stood at zero.",
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
