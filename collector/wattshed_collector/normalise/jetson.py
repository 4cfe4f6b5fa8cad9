"""jetson_stats_node_exporter: the rails of a Jetson, of which one may contain the others.

Volts, amperes, watts, means and limits are one metric, told apart by the label ``statistic``: only
``power`` is read, in mW. VDD_IN (POM_5V_IN on older boards) is the whole module and contains its
rails; boards without it (AGX) are the sum of theirs. The exporter's own total,
``integrated_power_mW``, adds the input to what it contains on some releases and is left out.
Sources: laminair/jetson_stats_node_exporter; rbonghi/jetson_stats issue 51; for the wiring the
device trees tegra186-p3310, tegra234-p3701 and tegra234-p3767 of the Linux kernel.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import Point
from .dialect import POWER, Dialect, Scrape, meter, quantity, the_machine

NAME = "jetson_stats"
RAILS = "integrated_power"
INPUTS = ("VDD_IN", "POM_5V_IN")
"""Rails through which a module gets all that it draws."""
PARTS = {"GPU": "gpu", "CPU": "cpu", "DDR": "memory", "VDDRQ": "memory"}
PARTS |= dict.fromkeys(("SOC", "CV"), "module")
OTHERS = ("cpu_Hz", "ram_kB", "gpuram_kB", "swap_kB", "emc_Hz", "disk_GB", "uptime_s")


def _kind(rail: str) -> str:
    if rail in INPUTS:
        return "module"
    named = [part for part in rail.split("_") if part in PARTS]
    if not named:
        return "board"
    return PARTS[named[0]] if len(named) == 1 else "module"


def _points(scrape: Scrape) -> Iterator[Point]:
    rails = {
        row.labels.get("machine_part", ""): row.value
        for row in scrape.of(RAILS)
        if row.labels.get("statistic") == "power"
    }
    rails.pop("", None)
    whole = next((rail for rail in INPUTS if rail in rails), "")
    for rail, milliwatts in sorted(rails.items()):
        inside = bool(whole) and rail != whole
        attributes = meter(
            scrape,
            NAME,
            f"{scrape.node}/{NAME}/{rail}",
            _kind(rail),
            name=rail,
            vendor="NVIDIA",
            scope="rail",
            method="integral",
            overlap="inner" if inside else "",
            parent=f"{scrape.node}/{NAME}/{whole}" if inside else "",
        )
        yield from quantity(attributes, scrape.ts_ms, POWER, milliwatts, "mW")


JETSON = Dialect(
    NAME,
    rank=5,
    metrics=frozenset({RAILS}),
    others=("integrated_power", "gpu_utilization_percentage", "temperature_C", *OTHERS),
    group=the_machine,
    points=_points,
)
