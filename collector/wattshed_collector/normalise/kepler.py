"""Kepler from 0.10 on: the node's meters are devices, its pods' joules say who worked on them.

Kepler's levels (process, container, pod, VM) are separate views of one energy and are never added:
of them only the pods are read. A pod's part of the package's active joules between two scrapes is
its activity on that device; what no pod did is the machine's own. So the joules that are charged
are those of the meter, idle ones too, and not Kepler's, which leave idling out. Source:
sustainable-computing-io/kepler, ``docs/user/metrics.md``.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import Attributes, Point, rapl
from .dialect import (
    ENERGY,
    POWER,
    UTILISATION,
    Dialect,
    Hold,
    Labels,
    Scrape,
    meter,
    quantity,
)
from .holders import pod_workload

NAME = "kepler"
CPU, CPU_POWER = "kepler_node_cpu_joules_total", "kepler_node_cpu_watts"
ACTIVE, LOAD = "kepler_node_cpu_active_joules_total", "kepler_node_cpu_usage_ratio"
GPU, GPU_POWER = "kepler_node_gpu_joules_total", "kepler_node_gpu_watts"
POD = "kepler_pod_cpu_joules_total"
WORKED = "package"
"""The zone whose joules say who worked: the one that contains the cores."""

Pod = tuple[str, str, str]
"""Namespace, name and id."""


def _group(labels: Labels) -> str | None:
    return labels.get("gpu_uuid", "")


def _key(scrape: Scrape, zone: str) -> str:
    return f"{scrape.node}/kepler/{zone}"


def _points(scrape: Scrape) -> Iterator[Point]:
    yield from _gpu(scrape)
    energies, powers = _by_zone(scrape, CPU), _by_zone(scrape, CPU_POWER)
    load = next((row.value for row in scrape.of(LOAD)), None)
    for zone in sorted(energies):
        attributes = meter(
            scrape,
            NAME,
            _key(scrape, zone),
            rapl.KINDS.get(zone, "cpu"),
            name=zone,
            scope=zone,
            overlap=rapl.overlap(zone, energies),
        )
        yield from quantity(attributes, scrape.ts_ms, ENERGY, energies[zone], "J")
        yield from quantity(attributes, scrape.ts_ms, POWER, powers.get(zone), "W")
        if zone == WORKED:
            yield from quantity(attributes, scrape.ts_ms, UTILISATION, load, "1")


def _by_zone(scrape: Scrape, metric: str) -> dict[str, float]:
    """Sum a metric by zone: several paths of a zone are several sockets.

    What else tells rows apart was added on their way, and is no other energy.
    """
    paths: dict[tuple[str, str], float] = {}
    for row in scrape.of(metric):
        path = row.labels.get("zone", ""), row.labels.get("path", "")
        paths[path] = max(row.value, paths.get(path, row.value))
    found: dict[str, float] = {}
    for (zone, _), value in paths.items():
        found[zone] = found.get(zone, 0.0) + value
    return found


def _gpu(scrape: Scrape) -> Iterator[Point]:
    for row in scrape.of(GPU):
        uuid, vendor = row.labels.get("gpu_uuid", ""), row.labels.get("vendor", "")
        if not uuid:
            continue
        attributes = meter(
            scrape, NAME, uuid, "gpu", name=f"gpu{row.labels.get('gpu', '')}", vendor=vendor.upper()
        )
        power = next((watts.value for watts in scrape.of(GPU_POWER)), None)
        yield from quantity(attributes, scrape.ts_ms, ENERGY, row.value, "J")
        yield from quantity(attributes, scrape.ts_ms, POWER, power, "W")


def _pods(scrape: Scrape) -> dict[Pod, float]:
    """Return joules by namespace, name and id of a pod in the zone that tells."""
    states: dict[tuple[Pod, str], float] = {}
    for row in scrape.of(POD):
        names = ("pod_namespace", "pod_name", "pod_id", "state")
        namespace, name, identity, state = (row.labels.get(label, "") for label in names)
        if row.labels.get("zone") == WORKED and name:
            key = (namespace, name, identity), state
            states[key] = max(row.value, states.get(key, row.value))
    found: dict[Pod, float] = {}
    for (pod, _), value in states.items():
        found[pod] = found.get(pod, 0.0) + value
    return found


def _holds(before: Scrape, now: Scrape) -> Iterator[Hold]:
    active = _by_zone(now, ACTIVE).get(WORKED, 0.0) - _by_zone(before, ACTIVE).get(WORKED, 0.0)
    earlier = _pods(before)
    if active <= 0 or not earlier:
        return
    worked = _worked(earlier, _pods(now), active)
    # Rounding and pods that ended since can make the parts a little more than the whole.
    whole = max(active, sum(worked.values()))
    for (namespace, name), joules in sorted(worked.items()):
        workload = pod_workload(namespace, name, now.cluster)
        yield _hold(before, now, workload, joules / whole)
    rest = whole - sum(worked.values())
    if rest > 0:
        yield _hold(before, now, _machine(now), rest / whole)


def _worked(
    earlier: dict[Pod, float], pods: dict[Pod, float], active: float
) -> dict[tuple[str, str], float]:
    """Return each pod's joules since; of one that was not there before at most what others left."""
    old = {pod: max(0.0, joules - earlier[pod]) for pod, joules in pods.items() if pod in earlier}
    new = {pod: joules for pod, joules in pods.items() if pod not in earlier}
    left = max(0.0, active - sum(old.values()))
    fits = min(1.0, left / sum(new.values())) if sum(new.values()) > 0 else 0.0
    worked: dict[tuple[str, str], float] = {}
    for (namespace, name, _), joules in (*old.items(), *((p, j * fits) for p, j in new.items())):
        if joules > 0:
            worked[namespace, name] = worked.get((namespace, name), 0.0) + joules
    return worked


def _machine(scrape: Scrape) -> Attributes:
    return {
        "wattshed.workload.id": f"host/{scrape.cluster}/{scrape.node}",
        "wattshed.workload.name": f"{scrape.node}: not in a pod",
        "wattshed.workload.kind": "host",
    }


def _hold(before: Scrape, now: Scrape, workload: Attributes, activity: float) -> Hold:
    device = _key(now, WORKED)
    return Hold(device, workload, before.ts_ms, now.ts_ms, 0.0, NAME, min(1.0, activity))


def _claim(point: Point) -> str:
    key = str(point.attributes.get("hw.id", ""))
    return f"{point.attributes.get('wattshed.node', '')}/rapl" if f"/{NAME}/" in key else key


KEPLER = Dialect(
    NAME,
    rank=2,
    metrics=frozenset({CPU, CPU_POWER, ACTIVE, LOAD, GPU, GPU_POWER, POD}),
    others=("kepler_",),
    group=_group,
    points=_points,
    holds=_holds,
    node_labels=("node_name",),
    claim=_claim,
)
