"""Plug-ins that say who holds which device: one file each, loaded only when enabled.

Once a round every plug-in is asked in the order of ``ALLOCATORS`` and says what it knows of three
things: who holds or uses which device (``claims``), what each of them is called (``about``), and
which names mean the same (``same``). They need not know one another: a pod that the kubelet calls
by namespace and name is the one whose processes are found in a cgroup by uid, because a third one
says that the two names are the same. What a round says together becomes allocations in one place.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from wattshed_exporter.model import Device, Instance, ProcessUse

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

ALLOCATORS: dict[str, str] = {
    name: f"wattshed_exporter.allocations.{name}"
    for name in ("pods", "podresources", "slurm", "docker", "cgroup", "systemd", "static")
}
"""Name to module, imported only when the plug-in is enabled; of two that name a holder the first
counts, so that the one that knows most of it comes first."""

Ref = str
"""How a plug-in calls a holder: ``pod:<uid>``, ``pod:<namespace>/<name>``, ``container:<id>``,
``slurm:<job id>``, ``unit:<name>`` or ``static:<key>``."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A holder has ``share`` (0..1) of a device now, or used it since the last round, or both.

    ``share`` None holds an equal part of what the others leave. ``activity`` is the mean part of
    the whole device that the holder used since the last round, 0..1, None where nobody can tell.
    """

    device: str
    holder: Ref
    share: float | None = None
    activity: float | None = None
    method: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What one plug-in says in one round."""

    claims: Sequence[Claim] = ()
    about: Mapping[Ref, Mapping[str, str]] = field(default_factory=dict)
    """Fields of ``Workload`` (never ``key``) by holder; the first plug-in that says one counts."""
    same: Mapping[Ref, Ref] = field(default_factory=dict)
    """A name of a holder, and the name that stands for it; chains are followed."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    """What could not be understood, by reason; it is counted as errors."""
    ended: Collection[Ref] = ()
    """Holders that have ended for good: what is still granted to them, nobody has."""


@dataclass(frozen=True, slots=True)
class Meters:
    """What the sources of this node know in this round, for plug-ins to make sense of names."""

    ts_ms: int
    devices: Mapping[str, Device] = field(default_factory=dict)
    """By key; the key of an NVIDIA GPU is its UUID, and its ``name`` ``gpu<NVML index>``."""
    instances: Sequence[Instance] = ()
    processes: Sequence[ProcessUse] = ()
    """``sm_ratio`` is the mean since the last round."""
    asked: frozenset[str] = frozenset()
    """Devices all of whose processes are in ``processes``, by key."""


class Allocator(Protocol):
    """One way to learn who holds what.

    ``read`` raises ``NoData`` where this node has nothing of the kind and ``SourceError`` where it
    has and cannot be read: what was held then counts as held until it is known again or a while has
    passed. ``close`` gives back every handle; it may be called at any time and more than once.
    """

    name: str

    def read(self, meters: Meters) -> Told: ...

    def close(self) -> None: ...


def create(name: str, config: Config) -> Allocator:
    """Build the plug-in called ``name``; its module is imported only now."""
    allocator: Allocator = importlib.import_module(ALLOCATORS[name]).create(config)
    return allocator
