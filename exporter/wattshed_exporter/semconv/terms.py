"""What the tables of the contract are made of, and which units are taken for which."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Type(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a device or workload, on OTLP (``otel``) and as Prometheus ``label``."""

    name: str
    otel: str
    label: str
    help: str


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``field`` is the ``Tick`` field it carries; "" where it is not part of a tick.

    ``own`` are, of a detail, the labels beside its device's: those whose values it carries itself.
    """

    field: str
    prometheus: str
    otel: str
    unit: str
    type: Type
    help: str
    labels: tuple[str, ...] = ()
    own: tuple[str, ...] = ()


UNIT_SCALE: dict[str, dict[str, float]] = {
    "J": {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "kJ": 1e3, "MJ": 1e6, "W.h": 3600.0, "kW.h": 3.6e6},
    "W": {"W": 1.0, "mW": 1e-3, "uW": 1e-6, "kW": 1e3, "MW": 1e6},
    "1": {"1": 1.0, "%": 1e-2},
    "By": {"By": 1.0, "KiBy": 1024.0, "MiBy": 1048576.0, "GiBy": 1073741824.0},
    "Cel": {"Cel": 1.0},
    "s": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9},
    "Hz": {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6},
}
"""Accepted UCUM units per base unit and their factor; any other unit is rejected, never guessed."""
