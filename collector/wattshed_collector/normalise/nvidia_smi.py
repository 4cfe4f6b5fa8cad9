"""nvidia_gpu_exporter (nge): one device per UUID, which it writes without ``GPU-``.

Power is as of ``nvidia-smi``: the plain figure, else the mean, else the instant one; a field that a
GPU does not have has no series. An energy counter is there only in newer releases. Nothing says who
holds a GPU. Source: utkuozdemir/nvidia_gpu_exporter, ``METRICS.md`` and its recorded pages.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import Point
from .dialect import (
    ENERGY,
    LIMIT,
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

NAME = "nvidia_gpu_exporter"
PREFIX = "nvidia_smi_"
INFO = f"{PREFIX}gpu_info"
ENERGY_METRIC = f"{PREFIX}energy_joules_total"
POWERS = tuple(f"{PREFIX}power_draw{which}_watts" for which in ("", "_average", "_instant"))
LIMITS = (f"{PREFIX}enforced_power_limit_watts", f"{PREFIX}power_limit_watts")
OTHERS = {
    UTILISATION: (f"{PREFIX}utilization_gpu_ratio", "1"),
    MEMORY: (f"{PREFIX}memory_used_bytes", "By"),
    TEMPERATURE: (f"{PREFIX}temperature_gpu", "Cel"),
}


def _uuid(labels: Labels) -> str | None:
    return labels.get("uuid") or None


def _first(scrape: Scrape, *names: str) -> float | None:
    return next((row.value for name in names for row in scrape.of(name)), None)


def _points(scrape: Scrape) -> Iterator[Point]:
    energy, power = _first(scrape, ENERGY_METRIC), _first(scrape, *POWERS)
    if energy is None and power is None:
        return
    uuid = next(row.labels["uuid"] for row in scrape.all())
    told = next((row.labels for row in scrape.of(INFO)), {})
    index = told.get("index", "")
    attributes = meter(
        scrape,
        NAME,
        uuid if uuid.startswith("GPU-") else f"GPU-{uuid}",
        "gpu",
        name=f"gpu{index}" if index else "",
        vendor="NVIDIA",
        model=told.get("name", ""),
        serial=told.get("serial", ""),
        driver=told.get("driver_version", ""),
        firmware=told.get("vbios_version", ""),
        scope="gpu",
        method="integral" if energy is None else "counter",
    )
    yield from quantity(attributes, scrape.ts_ms, ENERGY, energy, "J")
    yield from quantity(attributes, scrape.ts_ms, POWER, power, "W")
    for metric, (name, unit) in OTHERS.items():
        yield from quantity(attributes, scrape.ts_ms, metric, _first(scrape, name), unit)
    yield from quantity(attributes, scrape.ts_ms, LIMIT, _first(scrape, *LIMITS), "W")


NVIDIA_SMI = Dialect(
    NAME,
    rank=3,
    metrics=frozenset(
        {INFO, ENERGY_METRIC, *POWERS, *LIMITS, *(name for name, _ in OTHERS.values())}
    ),
    others=(PREFIX, "nvidia_gpu_exporter_"),
    group=_uuid,
    points=_points,
)
