"""The contract for the health of an exporter itself, on /metrics and over OTLP."""

from __future__ import annotations

from .terms import Attribute, Metric, Type

SELF_ENERGY = "wattshed_self_energy_joules_total"


def _health(prometheus: str, otel: str, unit: str, type: Type, help: str, *labels: str) -> Metric:
    named = f"wattshed.{otel}" if otel.startswith("exporter.") else otel
    return Metric("", prometheus, named, unit, type, help, labels)


HEALTH_METRICS: tuple[Metric, ...] = (
    _health(
        "wattshed_source_up",
        "exporter.source.up",
        "1",
        Type.GAUGE,
        "1 while the source reads in time, else 0; 0 too after three reads in a row in which no "
        "device gave a reading, unless none is due (asleep, not discharging).",
        "source",
    ),
    _health(
        "wattshed_source_devices",
        "exporter.source.devices",
        "1",
        Type.GAUGE,
        "Devices that the source reads.",
        "source",
    ),
    _health(
        "wattshed_source_read_seconds_total",
        "exporter.source.read.time",
        "s",
        Type.COUNTER,
        "Time spent reading the source, without looking for its devices.",
        "source",
    ),
    _health(
        "wattshed_source_reads_total",
        "exporter.source.reads",
        "1",
        Type.COUNTER,
        "Reads of the source.",
        "source",
    ),
    _health(
        "wattshed_source_errors_total",
        "exporter.source.errors",
        "1",
        Type.COUNTER,
        "Reads that failed or were dropped, by reason.",
        "source",
        "reason",
    ),
    _health(
        "wattshed_output_ticks_total",
        "exporter.output.ticks",
        "1",
        Type.COUNTER,
        "Ticks handed over, by output and result (sent, rejected, dropped).",
        "output",
        "result",
    ),
    _health(
        "wattshed_output_points_rejected_total",
        "exporter.output.points.rejected",
        "1",
        Type.COUNTER,
        "Data points that a receiver left out of requests which it took.",
        "output",
    ),
    _health(
        SELF_ENERGY,
        "exporter.energy",
        "J",
        Type.COUNTER,
        "Estimated energy of this exporter itself: its CPU seconds times the watts of a busy "
        "CPU, from the CPU's meter where there is one, else from a model.",
    ),
    _health(
        "wattshed_spool_bytes",
        "exporter.spool.size",
        "By",
        Type.GAUGE,
        "Room that requests take which wait for the collector.",
        "output",
    ),
    _health(
        "wattshed_spool_bodies",
        "exporter.spool.bodies",
        "1",
        Type.GAUGE,
        "Requests that wait for the collector.",
        "output",
    ),
    _health(
        "wattshed_spool_oldest_timestamp_seconds",
        "exporter.spool.oldest",
        "s",
        Type.GAUGE,
        "Unix time of the newest reading in the oldest request that waits; absent while none does.",
        "output",
    ),
    _health(
        "wattshed_spool_on_disk",
        "exporter.spool.on_disk",
        "1",
        Type.GAUGE,
        "1 while what waits would outlive a restart, 0 while it is in memory.",
        "output",
    ),
    _health(
        "wattshed_spool_dropped_total",
        "exporter.spool.dropped",
        "1",
        Type.COUNTER,
        "Requests dropped unsent: full, memory_full, too_big, closed.",
        "output",
        "reason",
    ),
    _health(
        "wattshed_spool_damaged_total",
        "exporter.spool.damaged",
        "1",
        Type.COUNTER,
        "Damages found on disk: torn (cut off while written), corrupt, unreadable.",
        "output",
        "reason",
    ),
    _health(
        "wattshed_build_info",
        "",
        "1",
        Type.GAUGE,
        "Always 1; the version that runs, and that of Python.",
        "version",
        "python",
    ),
)
"""What the exporter says about itself, on /metrics and over OTLP; the version is in the resource
there."""
PROCESS_METRICS: tuple[Metric, ...] = (
    _health(
        "process_cpu_seconds_total",
        "process.cpu.time",
        "s",
        Type.COUNTER,
        "CPU time that the exporter has spent.",
    ),
    _health(
        "process_resident_memory_bytes",
        "process.memory.usage",
        "By",
        Type.GAUGE,
        "Memory that the exporter has in RAM.",
    ),
)
"""Named on /metrics as every exporter does, over OTLP as OpenTelemetry names them."""
SELF_ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute("source", "wattshed.source", "source", "Plug-in that read the meter."),
    Attribute("output", "wattshed.output", "output", "otlp or stdout."),
    Attribute("result", "wattshed.result", "result", "sent, rejected or dropped."),
)
"""Labels of ``HEALTH_METRICS`` beside the reason."""
