"""Plug-ins that read meters: one file each, loaded only when enabled.

A source is a plain synchronous object that the sampler drives from a thread of its own, so it may
block; it must not keep state outside itself. To add one, write a module with a
``create(config) -> Source`` function, add a line to ``SOURCES`` and a recording under
``tests/fixtures``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from wattshed_exporter.model import (
    Allocation,
    Detail,
    Device,
    Instance,
    Outcome,
    ProcessUse,
    Reading,
    Workload,
)

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

SOURCES: dict[str, str] = {
    name: f"wattshed_exporter.sources.{name}"
    for name in (
        "nvml",
        "amdgpu",
        "dcgm",
        "rapl",
        "hwmon",
        "power_supply",
        "rpi",
        "ipmi",
        "redfish",
        "smartplug",
        "estimate",
        "replay",
        "simulate",
    )
}
"""Name to module, imported only when the source is enabled."""

METERS: tuple[str, ...] = ("nvml", "amdgpu", "rapl", "hwmon", "power_supply")
"""Sources that ``auto`` tries: meters of this machine whose counters start with its boot.
``estimate`` follows only where none of them measures the CPU."""

HOLDING_DRIVERS = frozenset({"nvml"})
"""Sources that keep a handle from one read to the next which keeps a driver from being unloaded:
the others open what they read, close it again, or read files that let the driver go."""

MADE_UP = frozenset({"replay", "simulate"})
"""Sources whose devices need not be of this machine, so that nobody here holds them."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one read brings. ``more`` asks to be read again at once (a backlog of history)."""

    readings: Sequence[Reading] = ()
    details: Sequence[Detail] = ()
    workloads: Sequence[Workload] = ()
    allocations: Sequence[Allocation] = ()
    outcomes: Sequence[Outcome] = ()
    processes: Sequence[ProcessUse] | None = None
    """All processes that have a context on a GPU of this source; None where it was not asked."""
    instances: Sequence[Instance] | None = None
    """All instances of boards in MIG mode; None where it was not asked."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    """What the source could not believe, by reason; it is counted as errors."""
    more: bool = False
    finished: bool = False
    """True when the source has nothing left, ever (the end of a recording)."""


class Source(Protocol):
    """One kind of meter on this machine.

    ``discover`` lists the devices; it raises ``NoData`` where there is none and ``SourceError``
    where there is one that cannot be read. ``read`` stamps each reading with the time at which the
    meter was read; it raises ``DevicesChanged`` to be discovered again. ``close`` gives back every
    handle; it may be called at any time and more than once.
    """

    name: str
    interval_seconds: float

    def discover(self) -> Sequence[Device]: ...

    def read(self) -> Sample: ...

    def close(self) -> None: ...


def create(name: str, config: Config) -> Source:
    """Build the source called ``name``; its module is imported only now."""
    source: Source = importlib.import_module(SOURCES[name]).create(config)
    return source
