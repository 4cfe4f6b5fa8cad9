"""dcgm-exporter: one device per GPU UUID, pods and jobs by their labels.

In MIG mode every row of an instance repeats the value of the whole board, with small differences,
so rows are never added: the row without ``GPU_I_ID`` counts if there is one, else the largest.
Where a GPU is shared by turns, its rows are repeated for each pod. A profiling field of an instance
is relative to that instance, so it counts by the instance's slices. DCGM's blank values are
nothing. Sources: dcgm-exporter's ``etc/*.csv``, ``internal/pkg/transformation`` and issues 216,
317, 582, 594 and 662; ``dcgm_structs.h``.
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
    Hold,
    Labels,
    Row,
    Scrape,
    meter,
    quantity,
)
from .gpus import Part, holds, slices_ratio
from .holders import holder

NAME = "dcgm_exporter"
BLANKS = frozenset(
    base + code for base in (0x7FFF_FFF0, 0x7FFF_FFFF_FFFF_FFF0, 1 << 47) for code in range(4)
)
"""Blank, not found, not supported, no permission: of 32-bit and 64-bit integers and of doubles."""
BLANK_FROM = float(0x7FFF_FFFF_FFFF_FFF0)
"""A page's 64-bit blank becomes this float, whichever of the four it was."""

FIELDS: dict[str, tuple[str, float]] = {
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": ("energy", 1 << 53),
    "DCGM_FI_DEV_POWER_USAGE": ("power", 1e6),
    "DCGM_FI_DEV_POWER_MGMT_LIMIT": ("limit", 1e6),
    "DCGM_FI_DEV_GPU_UTIL": ("percent", 100),
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": ("engine", 1),
    "DCGM_FI_PROF_SM_ACTIVE": ("cores", 1),
    "DCGM_FI_DEV_FB_USED": ("memory", 1 << 32),
    "DCGM_FI_DEV_GPU_TEMP": ("celsius", 200),
    "dcgm_total_energy_consumption": ("energy", 1 << 53),
    "dcgm_power_usage": ("power", 1e6),
    "dcgm_gpu_utilization": ("percent", 100),
    "dcgm_fi_prof_gr_engine_active": ("engine", 1),
    "dcgm_fi_prof_sm_active": ("cores", 1),
    "dcgm_fb_used": ("memory", 1 << 32),
    "dcgm_gpu_temp": ("celsius", 200),
}
"""Metric to what it says and the largest value that can be meant. Energy is in mJ, power in W,
memory in MiB. Lower case: dcgm-exporter 1.x."""
MOST = dict(FIELDS.values())
NAMES = {what: [name for name, (of, _) in FIELDS.items() if of == what] for what in MOST}
JOBS = {"job": "hpc_job"}


def _uuid(labels: Labels) -> str | None:
    said = labels.get("UUID") or labels.get("uuid") or ""
    return said if said and not said.startswith("MIG-") else None


def _rows(scrape: Scrape, what: str) -> Iterator[Row]:
    most = MOST[what]
    for row in scrape.of(*NAMES[what]):
        if 0 <= row.value <= most and row.value not in BLANKS and row.value < BLANK_FROM:
            yield row


def _by_instance(scrape: Scrape, what: str) -> dict[str, float]:
    """Return the largest value of each MIG instance; "" is the board."""
    found: dict[str, float] = {}
    for row in _rows(scrape, what):
        instance = row.labels.get("GPU_I_ID", "")
        found[instance] = max(row.value, found.get(instance, row.value))
    return found


def _of_board(scrape: Scrape, what: str) -> float | None:
    said = _by_instance(scrape, what)
    return said[""] if "" in said else max(said.values(), default=None)


def _told(scrape: Scrape) -> dict[str, str]:
    return {name: text for labels in scrape.labels() for name, text in labels.items() if text}


def _points(scrape: Scrape) -> Iterator[Point]:
    told, ts_ms = _told(scrape), scrape.ts_ms
    energy, power = _of_board(scrape, "energy"), _of_board(scrape, "power")
    if energy is None and power is None:
        return
    attributes = meter(
        scrape,
        NAME,
        told.get("UUID") or told["uuid"],
        "gpu",
        name=f"gpu{told.get('gpu', '')}",
        vendor="NVIDIA",
        model=told.get("modelName", ""),
        driver=told.get("DCGM_FI_DRIVER_VERSION", ""),
        scope="gpu",
        method="integral" if energy is None else "counter",
    )
    yield from quantity(attributes, ts_ms, ENERGY, energy, "mJ")
    yield from quantity(attributes, ts_ms, POWER, power, "W")
    yield from quantity(attributes, ts_ms, UTILISATION, _utilisation(scrape), "1")
    yield from quantity(attributes, ts_ms, MEMORY, _memory(scrape), "MiBy")
    yield from quantity(attributes, ts_ms, TEMPERATURE, _of_board(scrape, "celsius"), "Cel")
    yield from quantity(attributes, ts_ms, LIMIT, _of_board(scrape, "limit") or None, "W")


def _memory(scrape: Scrape) -> float | None:
    said = _by_instance(scrape, "memory")
    return said.get("", sum(said.values())) if said else None


def _utilisation(scrape: Scrape) -> float | None:
    """Return the largest of what the board says of itself, because each signal may stand at zero.

    ``GPU_UTIL`` does in MIG mode, where it is not used; profiling fields where another profiles.
    """
    parts = _parts(scrape)
    found = [_of_all(scrape, parts, what) for what in ("engine", "cores")]
    if "" in parts:
        told_apart = parts[""].by_holder.values()
        one = max((row.value / 100 for row in _rows(scrape, "percent")), default=None)
        found.append(sum(told_apart) if len(set(told_apart)) > 1 else one)
    return max((min(1.0, ratio) for ratio in found if ratio is not None), default=None)


def _of_all(scrape: Scrape, parts: dict[str, Part], what: str) -> float | None:
    """Return a profiling field of the board: as it says itself, else of its instances by size."""
    said = _by_instance(scrape, what)
    if "" in said or not said:
        return said.get("")
    return sum(value * parts[instance].ratio for instance, value in said.items())


def _parts(scrape: Scrape) -> dict[str, Part]:
    """Return the instances, or the whole board as ""; holders and activity of each."""
    if scrape.memo is None:
        scrape.memo = _find_parts(scrape)
    parts: dict[str, Part] = scrape.memo
    return parts


def _find_parts(scrape: Scrape) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    profiles, model = dict[str, str](), ""
    told = scrape.labels()
    mig = any(labels.get("GPU_I_ID") for labels in told)
    for labels in told:
        model = labels.get("modelName") or model
        instance = labels.get("GPU_I_ID", "")
        if mig and not instance:
            continue
        part = parts.setdefault(instance, Part())
        if profile := labels.get("GPU_I_PROFILE", ""):
            profiles[instance] = profile
        workload = holder(labels, scrape, JOBS)
        if workload is not None:
            part.holders[str(workload["wattshed.workload.id"])] = workload
    for instance, part in parts.items():
        if instance:
            part.ratio = slices_ratio(profiles.get(instance, ""), model)
    _work(scrape, parts)
    return parts


def _work(scrape: Scrape, parts: dict[str, Part]) -> None:
    for instance, value in _by_instance(scrape, "engine").items():
        if instance and instance in parts:
            parts[instance].active = value
    for row in _rows(scrape, "percent"):
        workload = holder(row.labels, scrape, JOBS)
        if workload is not None and "" in parts:
            key, ratio = str(workload["wattshed.workload.id"]), row.value / 100
            parts[""].by_holder[key] = max(ratio, parts[""].by_holder.get(key, 0.0))


def _holds(before: Scrape, now: Scrape) -> Iterator[Hold]:
    told = _told(now)
    device = told.get("UUID") or told["uuid"]
    yield from holds(device, NAME, (before, _parts(before)), (now, _parts(now)))


DCGM = Dialect(
    NAME,
    rank=1,
    metrics=frozenset(FIELDS),
    others=("DCGM_", "dcgm_"),
    group=_uuid,
    points=_points,
    holds=_holds,
    node_labels=("Hostname", "hostname"),
)
