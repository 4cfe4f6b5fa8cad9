"""What the answers of smart plugs say, by make: Shelly of every generation, Tasmota, HomeWizard.

Pure: an answer goes in, channels come out. Energy counters are exact: watt-minutes (Shelly Gen1
``meters``), watt-hours (``emeters``, Gen2 and newer) or kilowatt-hours (Tasmota, HomeWizard). Each
switch, cover, light and phase that is metered apart is a channel of its own; what shows no
measurement (a relay without a meter, the power that one may type into a Shelly 1) is none.
Sources: shelly-api-docs.shelly.cloud (gen1, gen2), tasmota.github.io/docs/Commands,
api-documentation.homewizard.com (v1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wattshed_exporter.model import MICRO

from .http_json import Json, dig, microjoules, number, objects

WATT_MINUTE_UJ, WATT_HOUR_UJ, KILOWATT_HOUR_UJ = 60 * MICRO, 3600 * MICRO, 3_600_000 * MICRO
MOST_CHANNELS = 64
TARIFFS = tuple(f"total_power_import_t{n}_kwh" for n in range(1, 5))
COMPONENT = re.compile(r"[a-z][a-z0-9]{0,15}:[0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class Said:
    """What one channel says: watts, microjoules, or the reason why neither.

    ``apart`` says that the counter leaves out what flows back.
    """

    watts: float | None = None
    energy_uj: int | None = None
    gap: str = ""
    apart: bool = False


Channels = dict[str, Said]


@dataclass(frozen=True, slots=True)
class Family:
    """How plugs of one make are read."""

    vendor: str
    path: str
    channels: Callable[[Json], Channels]
    mac: tuple[str, ...]
    """Where an answer names the plug, so that another one at the same address is noticed."""


def gen1(status: Json) -> Channels:
    """Return the channels of a Gen1 ``/status``: ``meters`` and the ``emeters`` of EM and 3EM."""
    said: Channels = {}
    for name, unit_uj in (("meters", WATT_MINUTE_UJ), ("emeters", WATT_HOUR_UJ)):
        for index, meter in enumerate(objects(status.get(name))[:MOST_CHANNELS]):
            if "total" not in meter:
                continue  # a power that the user has typed in, not measured
            channel = f"{name[:-1]}:{index}"
            if meter.get("is_valid") is False:
                said[channel] = Said(gap="invalid")
            else:
                apart = "total_returned" in meter
                said[channel] = _said(meter.get("power"), meter["total"], unit_uj, apart)
    return said


def gen2(status: Json) -> Channels:
    """Return the channels of ``Shelly.GetStatus``; a three-phase meter has one per phase."""
    said: Channels = {}
    for key, part in status.items():
        if not isinstance(part, dict) or not COMPONENT.fullmatch(key):
            continue
        kind, _, index = key.partition(":")
        if kind == "em":
            data = dig(status, f"emdata:{index}")
            for phase in "abc":
                if f"{phase}_act_power" in part:
                    watt_hours = dig(data, f"{phase}_total_act_energy")
                    power = part[f"{phase}_act_power"]
                    said[f"{key}/{phase}"] = _said(power, watt_hours, WATT_HOUR_UJ, True)
        elif kind == "em1":
            watt_hours = dig(status, f"em1data:{index}", "total_act_energy")
            said[key] = _said(part.get("act_power"), watt_hours, WATT_HOUR_UJ, True)
        elif "apower" in part:
            both_ways = _above_zero(dig(part, "ret_aenergy", "total"))
            watt_hours = None if both_ways else dig(part, "aenergy", "total")
            said[key] = _said(part["apower"], watt_hours, WATT_HOUR_UJ)
    return said


def tasmota(status: Json) -> Channels:
    """Return the channels of ``Status 8``: one, or one per phase where the totals are apart."""
    energy = dig(status, "StatusSNS", "ENERGY")
    if not isinstance(energy, dict) or not energy.keys() & {"Power", "Total"}:
        return {}
    power, total = energy.get("Power"), energy.get("Total")
    if any(map(_above_zero, _listed(energy.get("ExportActive")))):
        total = None
    powers, totals = _listed(power), _listed(total)
    if isinstance(power, list) and isinstance(total, list) and len(powers) == len(totals):
        pairs = enumerate(zip(powers, totals, strict=True))
        return {f"energy:{i}": _said(p, t, KILOWATT_HOUR_UJ) for i, (p, t) in pairs}
    return {"energy:0": _said(_sum(powers), total, KILOWATT_HOUR_UJ)}


def _sum(powers: Sequence[object]) -> object:
    """Add the powers of all phases; what flows back in one must not hide consumption in another."""
    known = [watts for watts in map(number, powers) if watts is not None]
    if any(watts < 0 for watts in known):
        return min(known)
    return sum(known) if known and len(known) == len(powers) else None


def _said(power: object, total: object, unit_uj: int, apart: bool = False) -> Said:
    watts, energy_uj = number(power), microjoules(total, unit_uj)
    if watts is not None and watts < 0:
        return Said(gap="export", apart=apart)
    if watts is None and energy_uj is None:
        return Said(gap="no_reading")
    return Said(None if watts is None else float(watts), energy_uj)


def _above_zero(value: object) -> bool:
    return (number(value) or 0) > 0


def _listed(value: object) -> list[object]:
    return value[:MOST_CHANNELS] if isinstance(value, list) else [value]


def homewizard(data: Json) -> Channels:
    """Return the one channel of ``/api/v1/data``; what flows back has a counter of its own.

    Older firmware gives the counter by tariff alone. A water meter has no channel.
    """
    if "active_power_w" not in data:
        return {}
    total = data.get("total_power_import_kwh")
    if total is None:
        tariffs = [data[name] for name in TARIFFS if data.get(name) is not None]
        total = _sum(tariffs) if tariffs else None
    return {"energy:0": _said(data["active_power_w"], total, KILOWATT_HOUR_UJ, True)}


GEN1 = Family("Shelly", "/status", gen1, ("mac",))
GEN2 = Family("Shelly", "/rpc/Shelly.GetStatus", gen2, ("sys", "mac"))
TASMOTA = Family("", "/cm?cmnd=Status%208", tasmota, ("StatusNET", "Mac"))
HOMEWIZARD = Family("HomeWizard", "/api/v1/data", homewizard, ("serial",))
