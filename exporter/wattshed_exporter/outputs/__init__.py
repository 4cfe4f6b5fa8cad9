"""Where ticks go: pulled by Prometheus, pushed over OTLP, or printed.

An output takes what the sampler hands it without blocking; whatever it cannot keep it counts. What
Prometheus pulls is a ``Snapshot``, made of values that are never changed once published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from wattshed_exporter.model import MICRO, Batch, Detail, Device, Tick


class Output(Protocol):
    """Takes batches from the sampler, each from whatever thread read it."""

    name: str

    def put(self, batch: Batch) -> None:
        """Take a batch at once; never block and never raise."""

    def ready(self) -> bool:
        """Return False while a backlog of history had better wait; live ticks do not ask."""

    def flush(self, seconds: float) -> bool:
        """Wait up to ``seconds`` until everything is handed over; return whether it is."""

    def close(self) -> None:
        """Give up what cannot be handed over within two seconds, and count it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The latest of everything, for whoever pulls."""

    devices: tuple[Device, ...] = ()
    ticks: Mapping[str, Tick] = field(default_factory=dict)
    """Latest tick by device key."""
    unknown_seconds: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Seconds of unknown energy by device key and reason."""
    details: Mapping[tuple[str, str, tuple[str, ...]], Detail] = field(default_factory=dict)
    """Latest detail by metric, device and the values of the metric's own labels."""


Labels = tuple[str, ...]
"""A class, then the values of ``semconv.WORKLOAD_LABELS``."""


@dataclass(frozen=True, slots=True)
class Charged:
    """Counters of workloads: joules by device and labels.

    ``keys`` is the same object as long as no series comes or goes.
    """

    keys: tuple[tuple[str, Labels], ...] = ()
    joules: tuple[float, ...] = ()


Values = tuple[
    float | None,
    float | None,
    float | None,
    float | None,
    float | None,
    float | None,
    float | None,
]
"""One value for each of ``semconv.TICK_METRICS``, in that order and in its unit."""
NO_VALUES: Values = (None,) * 7


def tick_values(tick: Tick) -> Values:
    """Return what a tick says, in the order of ``semconv.TICK_METRICS``; None where it is silent.

    A gap was not read, so it has no time of reading; what says a reason beside its power was.
    """
    return (
        None if tick.energy_uj is None else tick.energy_uj / MICRO,
        tick.power_watts,
        tick.utilization_ratio,
        tick.memory_used_bytes,
        tick.temperature_celsius,
        None if tick.start_ms is None else tick.start_ms / 1000,
        None if tick.gap and tick.power_watts is None else tick.ts_ms / 1000,
    )
