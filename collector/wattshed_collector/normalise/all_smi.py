"""all-smi: one device per GPU, with the counter that it integrates from power itself.

Its counter is kept over restarts and is an integral, not a meter's, so it counts as one. Of its
scopes only GPUs are read: the chassis may contain them. Source: lablup/all-smi, ``API.md``.
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
    Labels,
    Scrape,
    meter,
    quantity,
)

NAME = "all_smi"
ENERGY_METRIC = "all_smi_energy_consumed_joules_total"
VALUES = {
    POWER: ("all_smi_gpu_power_consumption_watts", "W"),
    UTILISATION: ("all_smi_gpu_utilization", "%"),
    MEMORY: ("all_smi_gpu_memory_used_bytes", "By"),
    TEMPERATURE: ("all_smi_gpu_temperature_celsius", "Cel"),
}


def _gpu(labels: Labels) -> str | None:
    return labels.get("gpu_uuid") or labels.get("uuid") or None


def _first(scrape: Scrape, name: str) -> float | None:
    return next((row.value for row in scrape.of(name)), None)


def _points(scrape: Scrape) -> Iterator[Point]:
    energy = _first(scrape, ENERGY_METRIC)
    if energy is None and _first(scrape, VALUES[POWER][0]) is None:
        return
    told = {name: text for labels in scrape.labels() for name, text in labels.items() if text}
    attributes = meter(
        scrape,
        NAME,
        str(_gpu(told)),
        "gpu",
        name=f"gpu{told.get('gpu_index') or told.get('index', '')}",
        model=told.get("gpu", ""),
        scope="gpu",
        method="integral",
    )
    yield from quantity(attributes, scrape.ts_ms, ENERGY, energy, "J")
    for metric, (name, unit) in VALUES.items():
        yield from quantity(attributes, scrape.ts_ms, metric, _first(scrape, name), unit)


ALL_SMI = Dialect(
    NAME,
    rank=6,
    metrics=frozenset({ENERGY_METRIC, *(name for name, _ in VALUES.values())}),
    others=("all_smi_",),
    group=_gpu,
    points=_points,
    node_labels=("hostname", "host"),
)
