"""Which details of a device are known under which OpenTelemetry name, and what they may say.

Ours and those that an OpenTelemetry hardware receiver sends under the same names (``hw.errors``,
``hw.gpu.io``, ``hw.status``, ``hw.gpu.memory.limit``) go the same way. So does what an
exporter says of itself, under ``hw.id`` = ``{node}/exporter``, which never has energy of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from wattshed_exporter import semconv
from wattshed_exporter.model import Detail

from . import Attributes, Point

LARGEST = {
    "J": 1.8e13,
    "W": 1.8e10,
    "By": 1.8e19,
    "Cel": 1000.0,
    "Hz": 1e12,
    "s": 1e10,
    "1": 1e15,
}
"""Largest plausible value by unit: the bounds of ticks, a terahertz, three centuries, and counts
that a float still tells apart."""
FLAGS = frozenset({"wattshed_throttled", "wattshed_device_status", "wattshed_mig_instance_info"})
SHARES = FLAGS | {
    name
    for name in semconv.PUSHED_DETAILS
    if name.endswith("_ratio") and name != "wattshed_energy_agreement_ratio"
}
"""Shares of one whole, and flags: at most 1. Of two energies one may be above the other."""
OTEL_OF_LABEL = {attribute.label: attribute.otel for attribute in semconv.PUSHED_ATTRIBUTES}


@dataclass(frozen=True, slots=True)
class Known:
    """One metric: its Prometheus name, base unit, OTLP names of its own labels, and its bound."""

    metric: str
    unit: str
    attributes: tuple[str, ...]
    largest: float

    def detail(self, point: Point, device: str, value: float) -> Detail:
        """Return the detail; its attributes are the point's own, never those of the device."""
        own = self.own(point.attributes)
        return Detail(device, self.metric, point.ts_ms, value, own, point.start_ms or None)

    def own(self, attributes: Attributes) -> tuple[str, ...]:
        """Return the values of the metric's own labels, in their order."""
        return tuple(str(attributes.get(name, "")) for name in self.attributes)


def _known(metric: semconv.Metric) -> Known:
    unit = "1" if metric.unit.startswith("{") else metric.unit
    attributes = tuple(OTEL_OF_LABEL[label] for label in metric.own)
    largest = 1.0 if metric.prometheus in SHARES else LARGEST[unit]
    return Known(metric.prometheus, unit, attributes, largest)


KNOWN = {metric.otel: _known(metric) for metric in semconv.PUSHED_DETAILS.values()}
"""By OpenTelemetry name."""
