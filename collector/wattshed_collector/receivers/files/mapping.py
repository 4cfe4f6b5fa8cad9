"""Which column of a table is which quantity: what ``--map``, ``--set`` and a YAML file say.

A field is a time, a text of the device, or a quantity with its unit in its name. ``quantity:name``
is the quantity of one of several devices whose columns stand side by side. Everything that is wrong
with a mapping is said at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import tzinfo
from pathlib import Path
from typing import Any

from wattshed_collector.errors import InvalidInput
from wattshed_collector.normalise.dialect import (
    ENERGY,
    LIMIT,
    MEMORY,
    NAMES,
    POWER,
    TEMPERATURE,
    UTILISATION,
)
from wattshed_exporter.model import Kind, Method, Overlap

from .times import EPOCHS, zone

QUANTITIES: dict[str, tuple[str, str]] = {
    "power_watts": (POWER, "W"),
    "power_milliwatts": (POWER, "mW"),
    "power_microwatts": (POWER, "uW"),
    "power_kilowatts": (POWER, "kW"),
    "power_megawatts": (POWER, "MW"),
    "energy_joules": (ENERGY, "J"),
    "energy_millijoules": (ENERGY, "mJ"),
    "energy_microjoules": (ENERGY, "uJ"),
    "energy_kilojoules": (ENERGY, "kJ"),
    "energy_megajoules": (ENERGY, "MJ"),
    "energy_watt_hours": (ENERGY, "W.h"),
    "energy_kilowatt_hours": (ENERGY, "kW.h"),
    "utilization_ratio": (UTILISATION, "1"),
    "utilization_percent": (UTILISATION, "%"),
    "memory_used_bytes": (MEMORY, "By"),
    "memory_used_mebibytes": (MEMORY, "MiBy"),
    "memory_used_gibibytes": (MEMORY, "GiBy"),
    "temperature_celsius": (TEMPERATURE, "Cel"),
    "power_limit_watts": (LIMIT, "W"),
}
"""Metric and unit of each field that is a number; an energy is a counter that only grows."""
TIME = "time"
TIMES = {TIME: "", **{f"{TIME}_{unit}": unit for unit in EPOCHS}}
DEVICE = "device"
TEXTS = (*NAMES, DEVICE)
"""Fields of a device; ``key`` is taken as it is, ``device`` is made unique by the machine."""
CHOICES = {"kind": Kind, "method": Method, "overlap": Overlap}
MISSING = frozenset({"", "-", "--", "na", "n/a", "nan", "null", "none", "[n/a]", "unknown"})


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a table's columns mean, by their names or their numbers from 1."""

    map: Mapping[str, str] = field(default_factory=dict)
    """Column by field; ``field:device`` for one of several devices."""
    set: Mapping[str, str] = field(default_factory=dict)
    """Text by field, the same in all rows."""
    delimiter: str = ""
    """"" is found out."""
    decimal: str = "."
    time_format: str = ""
    timezone: str = ""
    missing: tuple[str, ...] = ()
    header: bool = True

    @property
    def zone(self) -> tzinfo | None:
        return zone(self.timezone)

    @property
    def time(self) -> str:
        return next(name for name in self.map if name in TIMES)

    def texts(self) -> dict[str, str]:
        """Return the columns of device fields."""
        return {name: column for name, column in self.map.items() if name in TEXTS}

    def numbers(self) -> dict[str, dict[str, str]]:
        """Return the columns of quantities by device; "" is the device that the row names."""
        found: dict[str, dict[str, str]] = {}
        for name, column in self.map.items():
            quantity, _, device = name.partition(":")
            if quantity in QUANTITIES:
                found.setdefault(device, {})[quantity] = column
        return found

    def problems(self) -> list[str]:
        """Return what is wrong, each as one sentence."""
        return [
            *(problem for name in self.map for problem in _unknown(name)),
            *(f"set: {name!r} is no text of a device" for name in self.set if name not in TEXTS),
            *self._wrong_choices(),
            *self._missing_parts(),
            *self._wrong_forms(),
        ]

    def _wrong_choices(self) -> Iterable[str]:
        for name, kinds in CHOICES.items():
            said = self.set.get(name)
            if said is not None and said not in list(kinds):
                yield f"set: {name} is one of {', '.join(map(str, kinds))}, not {said!r}"

    def _missing_parts(self) -> Iterable[str]:
        if sum(name in TIMES for name in self.map) != 1:
            yield "map: say which one column is the time, as time=COLUMN"
        by_device = self.numbers()
        if not by_device:
            yield "map: say which column is the power or the energy, as power_watts=COLUMN"
        named = {"key", DEVICE} & {*self.map, *self.set}
        if "" in by_device and len(named) != 1:
            yield (
                "say once which device a row is of: --map device=COLUMN, or --set device=NAME "
                "where it is the same in all rows"
            )
        if named and "" not in by_device and by_device:
            yield "map: columns name their devices as in power_watts:gpu0, so no other names them"
        twice = {*self.map} & {*self.set}
        yield from (f"set: {name} is a column as well" for name in sorted(twice))

    def _wrong_forms(self) -> Iterable[str]:
        if len(self.delimiter) > 1:
            yield f"delimiter: {self.delimiter!r} is not one character"
        if self.decimal not in (".", ","):
            yield f"decimal: {self.decimal!r} is neither . nor ,"
        try:
            zone(self.timezone)
        except InvalidInput as error:
            yield f"timezone: {error}"


def _unknown(name: str) -> Iterable[str]:
    quantity, colon, device = name.partition(":")
    if name in TIMES or name in TEXTS or (quantity in QUANTITIES and bool(colon) == bool(device)):
        return
    known = ", ".join((*TIMES, *TEXTS, *QUANTITIES))
    yield f"map: {name!r} is no field; they are {known}"


def pairs(said: Iterable[str], what: str) -> dict[str, str]:
    """Return ``name=text`` arguments as a mapping; raises InvalidInput."""
    found: dict[str, str] = {}
    for text in said:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidInput(f"{what}: {text!r} is not of the form name=text", "mapping")
        found[name.strip()] = value
    return found


def load(file: Path) -> Meaning:
    """Read a mapping file; raises InvalidInput with what is wrong."""
    import yaml

    try:
        document = yaml.safe_load(file.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} is no YAML: {error}", "mapping") from error
    known = {one.name for one in fields(Meaning)}
    if not isinstance(document, dict) or not known.issuperset(document):
        raise InvalidInput(f"{file} holds other than {', '.join(sorted(known))}", "mapping")
    told: dict[str, Any] = dict(document)
    for name in ("map", "set"):
        if name in told:
            told[name] = _flat(file, name, told[name])
    if "missing" in told:
        told["missing"] = tuple(map(str, _listed(told["missing"])))
    if "header" in told and not isinstance(told["header"], bool):
        raise InvalidInput(f"{file}: header is true or false", "mapping")
    for name in ("delimiter", "decimal", "time_format", "timezone"):
        if name in told:
            told[name] = str(told[name])
    return Meaning(**told)


def _listed(said: object) -> Sequence[object]:
    return said if isinstance(said, list) else [said]


def _flat(file: Path, name: str, said: object) -> dict[str, str]:
    """Return ``{field: column}``; ``{field: {device: column}}`` becomes ``field:device``."""
    if not isinstance(said, dict):
        raise InvalidInput(f"{file}: {name} is no mapping of fields", "mapping")
    found: dict[str, str] = {}
    for key, value in said.items():
        if isinstance(value, dict):
            found |= {f"{key}:{device}": str(column) for device, column in value.items()}
        else:
            found[str(key)] = str(value)
    return found


def over(base: Meaning, **told: Any) -> Meaning:
    """Return a mapping with what the command line says over what the file says."""
    said = {name: value for name, value in told.items() if value not in (None, "", (), {})}
    for name in ("map", "set"):
        said[name] = {**getattr(base, name), **said.get(name, {})}
    return replace(base, **said)
