"""AMD's device-metrics-exporter: one device per board, whatever it is partitioned into.

Labels are in capitals or not, by release. A board that is cut into partitions (DPX, QPX, CPX) has
its power on partition 0 alone, and rows of one board are never added: the largest counts. Of the
powers that it states the package's counts, then ``gpu_power_usage``, then the average. Energy is in
uJ. Sources: ROCm/device-metrics-exporter, ``internal/metricslist.md`` and its issues 171 and 250.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import Point
from .dialect import (
    ENERGY,
    MEMORY,
    POWER,
    TEMPERATURE,
    UTILISATION,
    Dialect,
    Hold,
    Labels,
    Scrape,
    meter,
    quantity,
)
from .gpus import Part, holds
from .holders import holder

NAME = "amd_device_metrics_exporter"
ENERGY_METRIC = "gpu_energy_consumed"
POWERS = ("gpu_package_power", "gpu_power_usage", "gpu_average_package_power")
LOADS = ("gpu_gfx_activity", "gpu_usage")
TEMPERATURES = ("gpu_junction_temperature", "gpu_edge_temperature")
MEMORY_METRIC = "gpu_used_vram"
MEGABYTE = 1_000_000
MOST_ENERGY_UJ, MOST_POWER = 1e19, 1e6
JOBS = {"job": "job_id", "owner": "job_user", "queue": "job_partition", "cluster": "cluster_name"}


def _lower(labels: Labels) -> dict[str, str]:
    return {name.lower(): value for name, value in labels.items()}


def _board(labels: Labels) -> str | None:
    told = _lower(labels)
    serial = told.get("serial_number", "")
    return serial if serial not in ("", "N/A") else told.get("gpu_uuid") or None


def _largest(scrape: Scrape, names: tuple[str, ...], most: float) -> float | None:
    """Return the largest value of the first of some metrics that says something."""
    for name in names:
        values = [row.value for row in scrape.of(name) if 0 <= row.value <= most]
        if values:
            return max(values)
    return None


def _points(scrape: Scrape) -> Iterator[Point]:
    energy = _largest(scrape, (ENERGY_METRIC,), MOST_ENERGY_UJ)
    power = _largest(scrape, POWERS, MOST_POWER)
    if not energy and power is None:
        return
    rows = [_lower(labels) for labels in scrape.labels()]
    told = {name: text for labels in reversed(rows) for name, text in labels.items() if text}
    attributes = meter(
        scrape,
        NAME,
        f"amd/{_board(told)}",
        "gpu",
        name=f"gpu{told.get('gpu_id', '')}",
        vendor="AMD",
        model=told.get("card_series") or told.get("card_model", ""),
        serial=told.get("serial_number", ""),
        driver=told.get("driver_version", ""),
        scope="gpu",
        method="counter" if energy else "integral",
    )
    used = _largest(scrape, (MEMORY_METRIC,), 1e9)
    yield from quantity(attributes, scrape.ts_ms, ENERGY, energy or None, "uJ")
    yield from quantity(attributes, scrape.ts_ms, POWER, power, "W")
    yield from quantity(attributes, scrape.ts_ms, UTILISATION, _largest(scrape, LOADS, 100), "%")
    yield from quantity(
        attributes, scrape.ts_ms, MEMORY, None if used is None else used * MEGABYTE, "By"
    )
    celsius = _largest(scrape, TEMPERATURES, 200)
    yield from quantity(attributes, scrape.ts_ms, TEMPERATURE, celsius, "Cel")


def _parts(scrape: Scrape) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    for labels in scrape.labels():
        told = _lower(labels)
        part = parts.setdefault(told.get("gpu_partition_id", ""), Part())
        workload = holder(told, scrape, JOBS)
        if workload is not None:
            part.holders[str(workload["wattshed.workload.id"])] = workload
    for part in parts.values():
        part.ratio = 1 / len(parts)
    return parts


def _holds(before: Scrape, now: Scrape) -> Iterator[Hold]:
    board = next(_board(labels) for labels in before.labels())
    yield from holds(f"amd/{board}", NAME, (before, _parts(before)), (now, _parts(now)))


AMD = Dialect(
    NAME,
    rank=1,
    metrics=frozenset({ENERGY_METRIC, *POWERS, *LOADS, *TEMPERATURES, MEMORY_METRIC}),
    others=("gpu_", "pcie_", "xgmi_", "amd_"),
    group=_board,
    points=_points,
    holds=_holds,
    node_labels=("hostname", "HOSTNAME"),
)
