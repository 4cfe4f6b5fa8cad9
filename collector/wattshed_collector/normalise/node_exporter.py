"""node_exporter: RAPL domains, an ACPI power meter and the battery that a machine runs on.

Everything else that it says is no energy. Of hwmon only a chip that is called ``power_meter`` is
known to measure the whole machine; other chips' powers measure some part that nobody names, and are
left out. node_exporter does not say where a RAPL counter wraps: one that has fallen counts from
zero, so that the joules before the wrap are missed (a package at 500 W wraps about every nine
minutes). A battery's power is the machine's only while it discharges. Sources:
prometheus/node_exporter, ``collector/rapl_linux.go``, ``hwmon_linux.go``,
``powersupplyclass_linux.go``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from . import Point, rapl
from .dialect import (
    ENERGY,
    POWER,
    Dialect,
    Row,
    Scrape,
    meter,
    quantity,
    the_machine,
)

NAME = "node_exporter"
ZONE = re.compile(r"(intel-rapl(?:-mmio)?):([0-9a-f]+)(?::([0-9a-f]+))?$")
DOMAINS = {f"node_rapl_{domain}_joules_total": domain for domain in rapl.KINDS}
LABELLED = "node_rapl_joules_total"
"""With ``--collector.rapl.enable-zone-label`` the domain is a label."""
CHIPS, SUPPLIES = "node_hwmon_chip_names", "node_power_supply_info"
METERS = ("node_hwmon_power_average_watt", "node_hwmon_power_watt")
BATTERIES = "node_power_supply_power_watt"


def _points(scrape: Scrape) -> Iterator[Point]:
    yield from _rapl(scrape)
    yield from _acpi(scrape)
    yield from _batteries(scrape)


def _rapl(scrape: Scrape) -> Iterator[Point]:
    zones = _zones(scrape)
    domains = {domain for domain, _ in zones.values()}
    for name, (domain, row) in sorted(zones.items()):
        attributes = meter(
            scrape,
            NAME,
            f"{scrape.node}/{NAME}/rapl/{name}",
            rapl.KINDS.get(domain, "cpu"),
            name=name,
            scope=domain,
            overlap=rapl.overlap(domain, domains),
        )
        yield from quantity(attributes, scrape.ts_ms, ENERGY, row.value, "J")


def _zones(scrape: Scrape) -> dict[str, tuple[str, Row]]:
    """Return the domains by ``package-0/core``; the mmio interface repeats what registers say."""
    named = [(domain, row) for name, domain in DOMAINS.items() for row in scrape.of(name)]
    for row in scrape.of(LABELLED):
        named.append((re.split(r"[-_@]", row.labels.get("rapl_zone", ""))[0], row))
    found: dict[str, tuple[str, Row]] = {}
    named.sort(key=lambda of: ("mmio" in of[1].labels.get("path", ""), of[0]))
    for domain, row in named:
        found.setdefault(_place(domain, row), (domain, row))
    return found


def _place(domain: str, row: Row) -> str:
    zone = ZONE.search(row.labels.get("path", ""))
    index = row.labels.get("index", "")
    if zone is None or zone[3] is None:
        return f"{domain}-{zone[2] if zone else index}"
    return f"package-{zone[2]}/{domain}"


def _acpi(scrape: Scrape) -> Iterator[Point]:
    known = {row.labels.get("chip") for row in scrape.of(CHIPS) if _is_meter(row)}
    said: dict[tuple[str, str], Row] = {}
    for name in METERS:
        for row in scrape.of(name):
            if row.labels.get("chip") in known:
                said.setdefault((row.labels["chip"], row.labels.get("sensor", "")), row)
    for (chip, sensor), row in sorted(said.items()):
        key = f"{scrape.node}/{NAME}/hwmon/{chip}/{sensor}"
        yield from _power(scrape, key, "host", f"{chip}/{sensor}", row)


def _is_meter(row: Row) -> bool:
    return row.labels.get("chip_name") == "power_meter"


def _batteries(scrape: Scrape) -> Iterator[Point]:
    discharging = {
        row.labels.get("power_supply")
        for row in scrape.of(SUPPLIES)
        if row.labels.get("status") == "Discharging"
    }
    for row in scrape.of(BATTERIES):
        name = row.labels.get("power_supply", "")
        if name in discharging and row.value > 0:
            key = f"{scrape.node}/{NAME}/power_supply/{name}"
            yield from _power(scrape, key, "battery", name, row)


def _power(scrape: Scrape, key: str, kind: str, name: str, row: Row) -> Iterator[Point]:
    told = {"name": name, "method": "integral", "overlap": "outer", "scope": kind}
    attributes = meter(scrape, NAME, key, kind, **told)
    yield from quantity(attributes, scrape.ts_ms, POWER, row.value, "W")


def _claim(point: Point) -> str:
    key, node = str(point.attributes["hw.id"]), point.attributes.get("wattshed.node", "")
    return f"{node}/rapl" if f"/{NAME}/rapl/" in key else key


NODE_EXPORTER = Dialect(
    NAME,
    rank=4,
    metrics=frozenset({*DOMAINS, LABELLED, CHIPS, SUPPLIES, *METERS, BATTERIES}),
    others=("node_",),
    group=the_machine,
    points=_points,
    claim=_claim,
)
